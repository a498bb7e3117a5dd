"""An application that must not know gevent: what native threads run in `test_threads`."""

import contextvars
import ctypes
import json
import os
import queue
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

VARIABLE = contextvars.ContextVar("variable", default="fresh")
LOCAL = threading.local()
notes: list = []


def reply(start_response, body, status="200 OK"):
    start_response(status, [("Content-Length", str(len(body)))])
    return [body]


def as_json(start_response, value):
    return reply(start_response, json.dumps(value).encode())


def facts(environ, start_response):
    """What the application sees of its process and thread."""
    seen, before = VARIABLE.get(), getattr(LOCAL, "count", 0)
    VARIABLE.set("used")
    LOCAL.count = before + 1
    return as_json(start_response, {
        "main": threading.current_thread() is threading.main_thread(),
        "name": threading.current_thread().name,
        "thread": threading.get_ident(), "variable": seen, "count": LOCAL.count,
        "multithread": environ["wsgi.multithread"], "pid": os.getpid(),
        "patched": [name for name, one in (
            ("socket", socket.socket), ("ssl", ssl.SSLContext), ("Lock", threading.Lock),
            ("sleep", time.sleep), ("Popen", subprocess.Popen), ("queue", queue.SimpleQueue))
            if "gevent" in (getattr(one, "__module__", "") or "")]})


def sleep(environ, start_response):
    time.sleep(float(environ["QUERY_STRING"]))
    return reply(start_response, b"slept")


def spin(environ, start_response):
    end = time.monotonic() + float(environ["QUERY_STRING"])
    while time.monotonic() < end:
        pass
    return reply(start_response, b"done")


def in_c(environ, start_response):
    """C code that releases the lock and is not interrupted."""
    end = time.monotonic() + float(environ["QUERY_STRING"])
    usleep = ctypes.CDLL(None).usleep
    try:
        while time.monotonic() < end:
            usleep(ctypes.c_uint(900_000))
            if environ["PATH_INFO"] == "/in-c":
                raise_nothing(end)
    finally:
        notes.append("left C")
    return reply(start_response, b"done")


def raise_nothing(end):
    """Ignore every exception until the end, as code in C does."""
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException as error:
            notes.append(type(error).__name__)


def with_the_lock(environ, start_response):
    """C code that keeps the interpreter's lock."""
    ctypes.PyDLL(None).usleep(ctypes.c_uint(900_000))
    return reply(start_response, b"done")


def hold(environ, start_response):
    """Wait for the file of the query string; have a file of this thread meanwhile."""
    name = environ["QUERY_STRING"]
    mark = Path(f"{name}-{threading.get_ident()}")
    mark.touch()
    while not Path(name).exists():
        time.sleep(0.01)
    mark.unlink()
    return reply(start_response, b"held")


def swallow(environ, start_response):
    """Note the exception that ends a sleep, and raise it."""
    try:
        time.sleep(30)
    except BaseException as error:
        notes.append([environ["PATH_INFO"], type(error).__name__])
        raise
    return reply(start_response, b"slept")


def gone(environ, start_response):
    disconnected = environ["geventuwsgi.disconnected"]
    Path("waiting").touch()
    notes.append(["gone", disconnected.wait(10), disconnected()])
    return reply(start_response, b"too late")


def two_readers(environ, start_response):
    """Two threads read the body at once; together they get all of it."""
    sizes = [0, 0]

    def read(index):
        while piece := environ["wsgi.input"].read(1000):
            sizes[index] += len(piece)
    other = threading.Thread(target=read, args=(1,))
    other.start()
    read(0)
    other.join()
    return as_json(start_response, sum(sizes))


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    return reply(start_response, b"%d" % len(body))


def late(environ, start_response):
    """A thread that uses everything of the request after its end."""
    write = start_response("200 OK", [])    # chunked: more could follow

    def use():
        while not Path("late").exists():
            time.sleep(0.01)
        for name, call in (
                ("read", lambda: environ["wsgi.input"].read(10)),
                ("write", lambda: write(b"INJECTED")),
                ("socket", lambda: environ["geventuwsgi.socket"].send(b"INJECTED")),
                ("hints", lambda: environ["wsgi.early_hints"]([("Link", "</x>")]))):
            try:
                notes.append([name, repr(call())])
            except OSError as error:
                notes.append([name, str(error)])
    threading.Thread(target=use).start()
    return iter([b"early"])


def stream(environ, start_response):
    """Pieces, the second when the file of the query string exists."""
    start_response("200 OK", [])
    yield b"first"
    while not Path(environ["QUERY_STRING"]).exists():
        time.sleep(0.01)
    yield b"second"


def endless(environ, start_response):
    """Write until the client is gone; count the pieces."""
    write = start_response("200 OK", [])
    counter = Path("pieces")
    try:
        for count in range(100_000):
            write(b"x" * 65536)
            counter.write_text(str(count))
    except OSError as error:
        notes.append(["endless", type(error).__name__])
        raise
    return []


def large(environ, start_response):
    return reply(start_response, b"x" * int(environ["QUERY_STRING"]))


def file(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"] or "large", "rb"))


def error(environ, start_response):
    raise ValueError("of the application")


def error_later(environ, start_response):
    start_response("200 OK", [])
    yield b"begun"
    raise ValueError("later")


def raise_after(seconds, interval=0.0):
    """Have a signal handler raise TimeoutError in the main thread."""
    def raise_error(*_):
        raise TimeoutError("of the timer")
    signal.signal(signal.SIGALRM, raise_error)
    signal.setitimer(signal.ITIMER_REAL, seconds, interval)


def late_alarm(environ, start_response):
    """A signal handler that raises, possibly after the request."""
    raise_after(0.2)
    return reply(start_response, b"set")


def alarm(environ, start_response):
    raise_after(0.1)
    try:
        time.sleep(30)
    except TimeoutError:
        return reply(start_response, b"alarmed")


def upgrade(environ, start_response):
    """Echo in upper case on the socket, as a WebSocket library does in a thread."""
    sock = environ["gunicorn.socket"]
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n")
    notes.append(["blocking", sock.getblocking()])
    while data := sock.recv(65536):
        sock.sendall(data.upper())
    sock.close()
    return []


def logvar(environ, start_response):
    import uwsgi
    uwsgi.set_logvar("name", environ["QUERY_STRING"])
    time.sleep(0.05)
    return reply(start_response, uwsgi.get_logvar("name"))


def child(environ, start_response):
    """Leave a zombie."""
    pid = os.posix_spawn("/bin/true", ["true"], os.environ)
    return reply(start_response, b"%d" % pid)


def ticking(environ, start_response):
    """A signal handler that raises every few milliseconds, also between the requests."""
    interval = float(environ["QUERY_STRING"])
    try:
        raise_after(interval, interval)
    finally:
        return reply(start_response, b"set")


def read_with_alarm(environ, start_response):
    """Give up a read after a moment, respond, and read on afterwards."""
    raise_after(0.2)
    pieces = []
    try:
        while piece := environ["wsgi.input"].read1(10):
            pieces.append(piece)
    except TimeoutError:
        start_response("200 OK", [])
        yield b"waiting"
    while piece := environ["wsgi.input"].read1(10):
        pieces.append(piece)
    yield b"".join(pieces)


def echo_meanwhile(environ, start_response):
    """A thread reads the body while the request sends."""
    pieces = queue.SimpleQueue()

    def read():
        while piece := environ["wsgi.input"].read1(1000):
            pieces.put(piece)
        pieces.put(b"")
    threading.Thread(target=read).start()
    start_response("200 OK", [])
    yield b"ready"
    while piece := pieces.get():
        yield piece


def hints_and_sleep(environ, start_response):
    environ["wsgi.early_hints"]([("Link", "</style.css>")])
    time.sleep(30)


class Falsy(Exception):
    def __len__(self):
        return 0


def falsy(environ, start_response):
    raise Falsy("without a truth value")


def get_notes(environ, start_response):
    return as_json(start_response, notes)


def application(environ, start_response):
    name = environ["PATH_INFO"].lstrip("/").replace("-", "_")
    return globals()[{"notes": "get_notes"}.get(name, name)](environ, start_response)
