"""The application of the tests in this directory: it records its calls and misbehaves.

`/calls` returns all requests that came here, as "METHOD URI", `/bodies` every body that was
read to its end, and `/notes` what the functions noted. These three are not recorded. The
other paths are the functions below.
"""

import ctypes
import io
import json
import os
import resource
import sys
import threading
import time
from wsgiref.validate import validator

import gevent
from gevent.event import Event
from gevent.monkey import get_original

calls = []
bodies = []
events = {}
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


def fork_without_hooks(environ, start_response):
    """A fork that Python does not notice, as by a library in C."""
    libc = ctypes.CDLL(None)
    child = libc.fork()
    if child == 0:
        libc.sleep(60)
        libc._exit(0)
    return reply(start_response, b"%d" % child)


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    bodies.append(body.decode("latin-1"))
    return reply(start_response, body)


def quiet(environ, start_response):
    """Catch the error of a broken body and respond 200."""
    try:
        bodies.append(environ["wsgi.input"].read().decode("latin-1"))
    except OSError as error:
        return reply(start_response, f"caught {type(error).__name__}".encode())
    return reply(start_response, b"whole")


def size(environ, start_response):
    """Read in pieces; return the size, the peak of memory in KiB and the type of wsgi.input."""
    total = 0
    while piece := environ["wsgi.input"].read(65536):
        total += len(piece)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return as_json(start_response, [total, peak, type(environ["wsgi.input"]).__name__])


def reply_and_read(environ, start_response):
    """Respond while the body is read."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"begun "
    yield environ["wsgi.input"].read()


def first(environ, start_response):
    """Read only some bytes."""
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
    pieces = reply(start_response, b"longer than that", ("Content-Length", "6"))
    if environ["QUERY_STRING"] == "list":
        return [*pieces, b", and a second piece"]
    return iter(pieces) if environ["QUERY_STRING"] == "generator" else pieces


def close(environ, start_response):
    return reply(start_response, b"hello", ("Connection", "close"))


def error(environ, start_response):
    raise ValueError("before the head")


def error_later(environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    raise ValueError("after the head")


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


def factory(environ=None, start_response=None):
    return no_start


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
    """Send the beginning, and the end once the named file exists."""
    start_response("200 OK", [])
    yield b"begun"
    while not os.path.exists(environ["QUERY_STRING"]):
        gevent.sleep(0.02)
    yield b"ended"


def hold(environ, start_response):
    """Wait until `/release` is called with the same name."""
    events.setdefault(environ["QUERY_STRING"], Event()).wait()
    return reply(start_response, b"held")


def release(environ, start_response):
    events.setdefault(environ["QUERY_STRING"], Event()).set()
    return reply(start_response, b"released")


def broad(environ, start_response):
    """Catch Exception broadly, which does not catch a harakiri."""
    try:
        gevent.sleep(30)
    except Exception:
        return reply(start_response, b"swallowed")


def late(environ, start_response):
    """Catch the harakiri and respond nevertheless."""
    try:
        gevent.sleep(30)
    except BaseException:
        return reply(start_response, b"swallowed")


def ignore_harakiri(environ, start_response):
    while True:
        try:
            gevent.sleep(30)
        except BaseException as error:
            print("caught and ignored", type(error).__name__, flush=True)


def gone(environ, start_response):
    """Wait until the client is gone, and note what was seen."""
    disconnected = environ["geventuwsgi.disconnected"]
    before = disconnected()
    notes.append([before, disconnected.wait(number(environ, 10)), disconnected()])
    return reply(start_response, b"too late")


def gone_later(environ, start_response):
    """The same after the head of a stream."""
    start_response("200 OK", [])
    yield b"begun"
    notes.append(["stream", environ["geventuwsgi.disconnected"].wait(10)])


def sleep_and_note(environ, start_response):
    """Sleep, and note the exception that ends it."""
    try:
        gevent.sleep(number(environ, 30))
    except Exception as error:
        notes.append(["Exception", type(error).__name__])
    except BaseException as error:
        notes.append(["BaseException", type(error).__name__])
        raise
    return reply(start_response, b"slept")


def background(environ, start_response):
    """Spawn a greenlet that outlives the request and waits until the client is gone."""
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
    """Block the hub in a system call until the FIFO is opened for writing."""
    with open(environ["QUERY_STRING"], "rb"):
        return reply(start_response, b"opened")


def busy_until(environ, start_response):
    """Block it in Python until the named file exists."""
    while not os.path.exists(environ["QUERY_STRING"]):
        pass
    return reply(start_response, b"found")


def with_the_lock(environ, start_response):
    """Block it in C code that holds the interpreter's lock."""
    return reply(start_response, b"%d" % sum(range(int(number(environ)))))


def spawn(environ, start_response):
    """Spawn a greenlet that outlives the request."""
    gevent.spawn(sleep_in_background)
    return reply(start_response, b"")


def sleep_in_background():
    gevent.sleep(60)


def upgrade(environ, start_response):
    """Take the connection over, as a WebSocket library does."""
    sock = environ[environ["QUERY_STRING"] or "geventuwsgi.socket"]
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n"
                 b"Connection: Upgrade\r\n\r\n")
    while data := sock.recv(100):
        sock.sendall(data.upper())
    sock.close()
    return reply(start_response, b"not sent")


def upgrade_and_raise(environ, start_response):
    """End a connection that was taken over as Flask-Sock does under gunicorn."""
    environ["gunicorn.socket"].sendall(b"mine")
    raise StopIteration


# Handles of a request that is over. The threads are greenlets where the process is patched.

released = threading.Event()


def release_late(environ, start_response):
    released.set()
    return reply(start_response, b"")


def use_late(calls):
    """Note the result of each named call once `/release-late` was called."""
    released.clear()

    def use():
        released.wait(30)
        for name, call in calls:
            try:
                notes.append([name, repr(call())])
            except Exception as error:
                notes.append([name, str(error)])
    threading.Thread(target=use).start()


def late_read(environ, start_response):
    """Read the octets of the query string, and more after the request."""
    body = environ["wsgi.input"]
    body.read(int(number(environ)))
    use_late([("read", lambda: body.read(10)), ("line", body.readline)])
    return reply(start_response, b"early")


def late_output(environ, start_response):
    write = start_response("200 OK", [])    # chunked: more could follow
    early, gone = environ["wsgi.early_hints"], environ["geventuwsgi.disconnected"]
    sock = environ["geventuwsgi.socket"]
    use_late([("write", lambda: write(b"INJECTED")), ("hints", lambda: early(hints)),
              ("gone", gone), ("wait", lambda: gone.wait(5)),
              ("socket", lambda: sock.sendall(b"INJECTED"))])
    return iter([b"early"])


stored = {}


def store(environ, start_response):
    """Store everything of a request under a name, and read some octets of its body."""
    name, octets = environ["QUERY_STRING"].split(",")
    write, sock = start_response("200 OK", []), environ["geventuwsgi.socket"]
    early, body = environ["wsgi.early_hints"], environ["wsgi.input"]
    stored[name] = {
        "write": lambda: write(b"INJECTED"), "hints": lambda: early(hints),
        "gone": environ["geventuwsgi.disconnected"], "look": lambda: sock.getpeername(),
        "take": lambda: sock.sendall(b"INJECTED"), "read": body.read}
    return iter([b"%d" % len(body.read(int(octets)))])


def use_stored(environ, start_response):
    """Use something that was stored, and return the outcome."""
    name, thing = environ["QUERY_STRING"].split(",")
    try:
        return reply(start_response, repr(stored[name][thing]()).encode())
    except Exception as error:
        return reply(start_response, str(error).encode())


def look(environ, start_response):
    """Look at the socket, and respond as usual."""
    sock = environ["gunicorn.socket"]
    return as_json(start_response, [sock.getpeername()[0], sock.getsockname()[0],
                                    int(sock.family)])


kept = []


def keep_socket(environ, start_response):
    """Keep a duplicate of the socket and raise, as a WebSocket library whose handler failed."""
    sock = environ["gunicorn.socket"]
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n")
    kept.append(sock.dup())
    raise ValueError("of the handler")


def detach_socket(environ, start_response):
    """Hand the socket on to a thread."""
    import socket
    plain = socket.socket(fileno=environ["gunicorn.socket"].detach())
    plain.setblocking(True)

    def use():
        released.wait(30)
        plain.sendall(b"later")
        plain.close()
    released.clear()
    threading.Thread(target=use).start()
    return []


def waiting_read(environ, start_response):
    """A thread waits for the body when the request ends."""
    def read():
        try:
            notes.append(["waited", repr(environ["wsgi.input"].read())])
        except OSError as error:
            notes.append(["waited", str(error)])
    threading.Thread(target=read).start()
    time.sleep(0.1)
    return reply(start_response, b"early")


def limit_files(environ, start_response):
    """Limit the size of files from now on, like a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(number(environ)), resource.RLIM_INFINITY))
    return reply(start_response, b"")


@validator
def valid(environ, start_response):
    body = environ["wsgi.input"].read(100)
    return reply(start_response, b"valid " + body)


NOT_RECORDED = {"/calls": calls, "/bodies": bodies, "/notes": notes}
PATHS = {"/environ": environ_}


def application(environ, start_response):
    name = environ["PATH_INFO"]
    if name in NOT_RECORDED:
        return as_json(start_response, NOT_RECORDED[name])
    calls.append(f"{environ['REQUEST_METHOD']} {environ.get('REQUEST_URI', '')}")
    function = PATHS.get(name) or globals().get(name[1:].replace("-", "_"), hello)
    return function(environ, start_response)
