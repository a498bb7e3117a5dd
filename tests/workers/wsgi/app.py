"""The application that the tests of the server run: it records its calls and misbehaves.

`/calls` tells all requests that came here, as "METHOD URI", `/bodies` every body that was
read to its end and `/told` what the functions noted; none records itself. The other paths
are the functions below.
"""

import io
import json
import os
import resource
import sys
import time
from wsgiref.validate import validator

import gevent
from gevent.event import Event
from gevent.monkey import get_original

calls = []
bodies = []
doors = {}
notes = []
hints = [("Link", "</a.css>; rel=preload")]


def reply(start_response, body, *headers, status="200 OK"):
    start_response(status, [("Content-Type", "text/plain"), *headers])
    return [body]


def as_json(start_response, value):
    return reply(start_response, json.dumps(value).encode())


def number(environ, default=0):
    return float(environ["QUERY_STRING"] or default)


def hello(environ, start_response):
    return reply(start_response, b"hello")


def environ_(environ, start_response):
    return as_json(start_response, {key: value if isinstance(value, str) else repr(value)
                                    for key, value in environ.items()})


def pid(environ, start_response):
    return reply(start_response, b"%d" % os.getpid())


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    bodies.append(body.decode("latin-1"))
    return reply(start_response, body)


def quiet(environ, start_response):
    """Read like a program that thinks it knows better than the server."""
    try:
        bodies.append(environ["wsgi.input"].read().decode("latin-1"))
    except OSError as error:
        return reply(start_response, f"caught {type(error).__name__}".encode())
    return reply(start_response, b"whole")


def size(environ, start_response):
    """Read in pieces; tell how much there was, and the peak of memory in KiB."""
    total = 0
    while piece := environ["wsgi.input"].read(65536):
        total += len(piece)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return as_json(start_response, [total, peak, type(environ["wsgi.input"]).__name__])


def first(environ, start_response):
    """Read some bytes only."""
    return reply(start_response, environ["wsgi.input"].read(int(number(environ))))


def stream(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    for piece in (b"one", b"", b"two"):
        yield piece


def big(environ, start_response):
    return reply(start_response, b"x" * int(number(environ)))


def endless(environ, start_response):
    start_response("200 OK", [])
    while True:
        yield b"x" * 65536


def file(environ, start_response):
    path = environ["QUERY_STRING"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](open(path, "rb"))


def memory_file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"from memory"))


def write(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    write(b"one")
    write(b"two")
    return [b"three"]


def early(environ, start_response):
    environ["wsgi.early_hints"](hints)
    return reply(start_response, b"hello")


def status(environ, start_response):
    return reply(start_response, b"body", status=environ["QUERY_STRING"].replace("+", " "))


def short(environ, start_response):
    return reply(start_response, b"short", ("Content-Length", "10"))


def long(environ, start_response):
    return reply(start_response, b"longer than that", ("Content-Length", "6"))


def close(environ, start_response):
    return reply(start_response, b"hello", ("Connection", "close"))


def error(environ, start_response):
    raise ValueError("before the head")


def error_later(environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    raise ValueError("behind the head")


def leave(environ, start_response):
    sys.exit(7)


def kill_greenlet(environ, start_response):
    raise gevent.GreenletExit


def inject(environ, start_response):
    return reply(start_response, b"", ("X-A", "a\r\nSet-Cookie: b=c"))


def inject_status(environ, start_response):
    return reply(start_response, b"", status="200 OK\r\nSet-Cookie: b=c")


def text(environ, start_response):
    return reply(start_response, "text")


def nothing(environ, start_response):
    start_response("200 OK", [])


def no_start(environ, start_response):
    return [b"hello"]


def sleep(environ, start_response):
    gevent.sleep(number(environ))
    return reply(start_response, b"slept")


def sleep_later(environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    gevent.sleep(number(environ))
    yield b"ended"


def wait_for(environ, start_response):
    """Begin, and end when there is such a file."""
    start_response("200 OK", [])
    yield b"begun"
    while not os.path.exists(environ["QUERY_STRING"]):
        gevent.sleep(0.02)
    yield b"ended"


def hold(environ, start_response):
    """Stay until `/open` names the same door."""
    doors.setdefault(environ["QUERY_STRING"], Event()).wait()
    return reply(start_response, b"held")


def open_(environ, start_response):
    doors.setdefault(environ["QUERY_STRING"], Event()).set()
    return reply(start_response, b"open")


def broad(environ, start_response):
    """What an application with a broad `except Exception` does with its harakiri."""
    try:
        gevent.sleep(30)
    except Exception:
        return reply(start_response, b"swallowed")


def late(environ, start_response):
    """Swallow the harakiri and answer all the same."""
    try:
        gevent.sleep(30)
    except BaseException:
        return reply(start_response, b"swallowed")


def immortal(environ, start_response):
    while True:
        try:
            gevent.sleep(30)
        except BaseException as error:
            print("immortal caught", type(error).__name__, flush=True)


def gone(environ, start_response):
    """Wait until the client is gone; `/told` tells what was seen."""
    disconnected = environ["geventuwsgi.disconnected"]
    before = disconnected()
    notes.append([before, disconnected.wait(number(environ, 10)), disconnected()])
    return reply(start_response, b"for nobody")


def gone_later(environ, start_response):
    """The same behind the head of a stream."""
    start_response("200 OK", [])
    yield b"begun"
    notes.append(["stream", environ["geventuwsgi.disconnected"].wait(10)])


def survivor(environ, start_response):
    """Note how a request ends that only waits."""
    try:
        gevent.sleep(number(environ, 30))
    except Exception as error:
        notes.append(["Exception", type(error).__name__])
    except BaseException as error:
        notes.append(["BaseException", type(error).__name__])
        raise
    return reply(start_response, b"slept")


def background(environ, start_response):
    """A greenlet of the application's outlives its request and waits for the client's end."""
    disconnected = environ["geventuwsgi.disconnected"]
    gevent.spawn(lambda: notes.append(["background", disconnected.wait(10)]))
    return reply(start_response, b"spawned")


def busy(environ, start_response):
    end = time.monotonic() + number(environ, 3600)
    while time.monotonic() < end:
        pass
    return reply(start_response, b"done")


def in_c(environ, start_response):
    """Block the hub in a system call, as a driver written in C does."""
    get_original("time", "sleep")(number(environ))
    return reply(start_response, b"slept")


def in_c_until(environ, start_response):
    """Block the hub in a system call until somebody writes to the FIFO."""
    with open(environ["QUERY_STRING"], "rb"):
        return reply(start_response, b"opened")


def busy_until(environ, start_response):
    """Block it in Python until there is such a file."""
    while not os.path.exists(environ["QUERY_STRING"]):
        pass
    return reply(start_response, b"found")


def with_the_lock(environ, start_response):
    """Block it in C that never lets other threads run."""
    return reply(start_response, b"%d" % sum(range(int(number(environ)))))


def spawn(environ, start_response):
    """Leave a greenlet behind that has no request."""
    gevent.spawn(left_behind)
    return reply(start_response, b"")


def left_behind():
    gevent.sleep(60)


def upgrade(environ, start_response):
    """Take the connection over, as a WebSocket library does."""
    sock = environ[environ["QUERY_STRING"] or "geventuwsgi.socket"]
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n"
                 b"Connection: Upgrade\r\n\r\n")
    while data := sock.recv(100):
        sock.sendall(data.upper())
    sock.close()
    return reply(start_response, b"of no use")


def upgrade_and_raise(environ, start_response):
    """End a taken connection as Flask-Sock does under gunicorn."""
    environ["gunicorn.socket"].sendall(b"mine")
    raise StopIteration


def limit_files(environ, start_response):
    """From now on no file grows over so many bytes (a full disk)."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(number(environ)), resource.RLIM_INFINITY))
    return reply(start_response, b"")


@validator
def valid(environ, start_response):
    body = environ["wsgi.input"].read(100)
    return reply(start_response, b"valid " + body)


QUIET = {"/calls": calls, "/bodies": bodies, "/told": notes}
PATHS = {"/environ": environ_, "/open": open_}


def application(environ, start_response):
    name = environ["PATH_INFO"]
    if name in QUIET:
        return as_json(start_response, QUIET[name])
    calls.append(f"{environ['REQUEST_METHOD']} {environ.get('REQUEST_URI', '')}")
    function = PATHS.get(name) or globals().get(name[1:].replace("-", "_"), hello)
    return function(environ, start_response)
