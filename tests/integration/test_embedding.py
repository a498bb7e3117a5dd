"""`geventuwsgi.serve` in a program of the user's: requests, signals, and what it restores."""

import http.client
import signal
import subprocess
import sys

import pytest

from tests.certificates import Authority
from tests.harness import ROOT, Program, Server, free_port, wait_until

WSGI = """
import os, time
from pathlib import Path

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/wait":
        print("inside", flush=True)
        while not Path("go").exists():
            time.sleep(0.01)
    elif path == "/spin":
        print("inside", flush=True)
        while True:
            pass
    body = repr((environ["wsgi.url_scheme"], environ["wsgi.multiprocess"], os.getpid())).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
SERVED = """
import os, signal, logging
from geventuwsgi import serve
NUMBERS = [number for number in signal.valid_signals() if number not in (9, 19)]
signal.signal(signal.SIGUSR1, lambda *_: None)
logger = logging.getLogger("geventuwsgi.error")
logger.addHandler(logging.NullHandler())

def state():
    return ([signal.getsignal(number) for number in NUMBERS], logger.handlers, logger.propagate,
            logger.level)

def served(*arguments, **options):
    before = state()
    serve(*arguments, **options)
    assert state() == before, (before, state())
    left = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
            if os.path.lexists(f"/proc/self/fd/{fd}")]
    assert not [path for path in left if "memfd" in path], left
    print("returned", flush=True)
"""
PATCHED = "from gevent import monkey; monkey.patch_all()\n"


class Script(Server):
    """A program that calls `serve`, in a directory of its own."""

    def __init__(self, directory, source, ready=True):
        (directory / "script.py").write_text(source)
        Program.__init__(self, sys.executable, "script.py", cwd=directory)
        self.directory = directory
        self._wait_ready = ready


def uwsgi_packet(**variables):
    block = b"".join(len(text).to_bytes(2, "little") + text
                     for pair in variables.items() for text in map(str.encode, pair))
    return b"\0" + len(block).to_bytes(2, "little") + b"\0" + block


def start_slow_request(server, path="/wait"):
    sock = server.connect()
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    server.wait_for("inside")
    return sock


def read_all(sock):
    received = b""
    with sock:
        while piece := sock.recv(65536):
            received += piece
    return received


def received(sock):
    """Return the data that arrived before the connection was reset."""
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


def test_a_patched_program(tmp_path):
    """HTTP, HTTPS and uwsgi; then a second time, as everything was restored."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("here", "localhost", "127.0.0.1")
    source = PATCHED + WSGI + SERVED + f"""
served(application, http_socket="127.0.0.1:0", socket=["127.0.0.1:0", "app.sock"],
       https_socket="127.0.0.1:0,{cert},{key}", log_format="%(method) %(uri)", vacuum=True,
       processes=1, lazy_apps=None, daemonize=False)
served(application, bind="127.0.0.1:0", accesslog="access.log", errorlog="error.log")
"""
    with Script(tmp_path, source) as server:
        assert not server.find("patched for gevent only now")
        assert server.body() == repr(("http", False, server.pid)).encode()
        host, port = server.address("https")
        connection = http.client.HTTPSConnection(host, port, context=authority.client(),
                                                 timeout=30)
        connection.request("GET", "/secure")
        assert connection.getresponse().read() == repr(("https", False, server.pid)).encode()
        connection.close()
        packet = uwsgi_packet(REQUEST_METHOD="GET", PATH_INFO="/u", REQUEST_URI="/u",
                              SERVER_PROTOCOL="HTTP/1.1")
        for index in (0, 1):
            assert server.talk(packet, "uwsgi", index).endswith(
                repr(("http", False, server.pid)).encode())
        server.wait_for("GET /secure")
        server.send_signal(signal.SIGINT)
        server.wait_for("returned")
        assert not (tmp_path / "app.sock").exists()

        error_log = tmp_path / "error.log"
        wait_until(lambda: error_log.exists() and "ready: " in error_log.read_text(), "a second")
        server.err = error_log.read_text().splitlines()
        assert b"200 OK" in server.get("/twice")
        server.send_signal(signal.SIGTERM)
        server.wait_for("returned", 2)
        assert server.wait() == 0
    assert "GET /twice" in (tmp_path / "access.log").read_text()


def test_a_request_in_progress_is_finished(tmp_path):
    """In a program that is patched only now, which logs a warning."""
    source = WSGI + SERVED + "served(application, bind='127.0.0.1:0')\n"
    with Script(tmp_path, source) as server:
        server.wait_for("patched for gevent only now")
        sock = start_slow_request(server)
        server.send_signal(signal.SIGTERM)
        server.wait_for("graceful shutdown triggered")
        (tmp_path / "go").touch()
        assert repr(("http", False, server.pid)).encode() in read_all(sock)
        assert server.wait() == 0
        server.wait_for("returned")


@pytest.mark.parametrize("path, what", [("/wait", "waits"), ("/spin", "blocks the hub")])
def test_a_second_signal_ends_at_once(tmp_path, path, what):
    source = PATCHED + WSGI + SERVED + "served(application, bind='127.0.0.1:0')\n"
    with Script(tmp_path, source) as server:
        with start_slow_request(server, path) as sock:
            server.send_signal(signal.SIGTERM)
            if path == "/wait":
                server.wait_for("graceful shutdown triggered")
            server.send_signal(signal.SIGINT)
            server.wait_for("stopping at once")
            assert server.wait() == 0
            assert not received(sock)
        assert server.find("returned") and server.find(f"GET {path} broken off")
        assert not server.find("Error handling request") and not server.find(f"GET {path} =>")


@pytest.mark.parametrize("threads", [1, 3])
def test_native_threads(tmp_path, threads):
    """Twice; nothing is left of the first server, and a fork leaves the signal mask as it was. A
    request in progress is finished, and ended by a second signal."""
    source = WSGI + SERVED + f"""
def descriptors():
    return len(os.listdir("/proc/self/fd"))

for number in range(3):
    served(application, bind="127.0.0.1:{free_port()}", threads={threads})
    if number == 0:
        before = descriptors()
assert descriptors() == before, (before, descriptors())
mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
child = os.fork()
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    with Script(tmp_path, source) as server:
        for number in (1, 2, 3):
            server.wait_for("ready: this process", number)
            with start_slow_request(server, "/spin" if number == 3 else "/wait") as sock:
                server.send_signal(signal.SIGTERM)
                server.wait_for("graceful shutdown triggered", number)
                if number == 3:
                    server.send_signal(signal.SIGTERM)
                    assert not received(sock)
                else:
                    (tmp_path / "go").touch()
                    assert b"200 OK" in received(sock)
                    (tmp_path / "go").unlink()
            server.wait_for("returned", number)
        assert server.wait() == 0, server.log


TERMINATED = """
import asyncio, os, signal, time

def terminated():
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(3)
    os.kill(child, signal.SIGTERM)
    return b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [terminated()]

async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": terminated()})
"""


@pytest.mark.parametrize("call", ["asgi", "wsgi, threads=1"])
def test_a_child_of_the_application_ends_on_a_signal(tmp_path, call):
    """It does not have the handlers that stop this server."""
    source = TERMINATED + SERVED + f"served({call}, bind='127.0.0.1:0')\n"
    with Script(tmp_path, source) as server:
        server.wait_for("ready: this process")
        for _ in range(5):
            assert server.get("/").endswith(b"-15")
        assert server.stop() == 0, server.log


def test_the_grace_period_ends(tmp_path):
    source = PATCHED + WSGI + SERVED + \
        "served(application, bind='127.0.0.1:0', graceful_timeout=0.1)\n"
    with Script(tmp_path, source) as server:
        sock = start_slow_request(server)
        server.send_signal(signal.SIGTERM)
        server.wait_for("requests did not end in 0.1 seconds")
        assert server.wait() == 0
        sock.close()


ASGI = """
import asyncio, os
from pathlib import Path

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            print(kind, flush=True)
            await send({"type": f"lifespan.{kind}.complete"})
        return
    if scope["path"] == "/wait":
        print("inside", flush=True)
        while not Path("go").exists():
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"asgi"})
"""


def test_asgi(tmp_path):
    """Detected as ASGI, unpatched, drained; then a second time, and aborted."""
    source = ASGI + SERVED + """
import sys, threading
thread = threading.Thread(target=threading.Event().wait, daemon=True)
thread.start()  # harmless here
for _ in range(2):
    served(application, bind="127.0.0.1:0", lifespan="on")
from gevent import monkey
assert not monkey.is_module_patched("socket")
"""
    with Script(tmp_path, source) as server:
        assert server.body() == b"asgi"
        sock = start_slow_request(server)
        server.send_signal(signal.SIGTERM)
        server.wait_for("graceful shutdown triggered")
        (tmp_path / "go").touch()
        assert read_all(sock).endswith(b"asgi")
        server.wait_for("ready: ", 2)
        assert [line for line in server.out if line in ("startup", "shutdown", "returned")] == [
            "startup", "shutdown", "returned", "startup"]
        (tmp_path / "go").unlink()
        server.err = [line for line in server.err if "Listening" in line][1:]
        with server.connect() as waiting:
            waiting.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("inside", 2)
            server.send_signal(signal.SIGTERM)
            server.send_signal(signal.SIGQUIT)
            server.wait_for("returned", 2)
        assert server.wait() == 0


def test_ignored_signals_stay_ignored(tmp_path):
    source = PATCHED + WSGI + SERVED + """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
served(application, bind="127.0.0.1:0")
"""
    with Script(tmp_path, source) as server:
        server.send_signal(signal.SIGHUP)
        assert b"200 OK" in server.get()
        server.send_signal(signal.SIGTERM)
        assert server.wait() == 0


REFUSALS = """
import os, sys, threading
from geventuwsgi import serve
from geventuwsgi.errors import GeventuwsgiError

def wsgi(environ, start_response): ...
async def asgi(scope, receive, send): ...

def attempt(what, *arguments, **options):
    try:
        serve(*arguments, **options)
    except (GeventuwsgiError, TypeError) as error:
        print(what, "|", type(error).__name__, "|", error, flush=True)

attempt("workers", wsgi, workers=2)
attempt("unknown", wsgi, bindd=":8000")
attempt("name", "app:application")
attempt("nothing", object())
attempt("kind", asgi, interface="wsgi", bind="127.0.0.1:0")
attempt("port", wsgi, bind="203.0.113.7:1")
thread = threading.Thread(target=attempt, args=("thread", wsgi))
thread.start(); thread.join()
release = threading.Event()
thread = threading.Thread(target=release.wait, name="worker bee")
thread.start()
attempt("threads", wsgi, bind="127.0.0.1:0")
release.set(); thread.join()
assert "gevent.monkey" not in sys.modules or not sys.modules["gevent.monkey"].saved
from gevent import monkey; monkey.patch_all()
attempt("log", wsgi, bind="127.0.0.1:0", accesslog="/nowhere/access.log")
attempt("certificate", wsgi, bind="127.0.0.1:0", ssl_certfile="/nowhere/cert.pem")
os.environ["GEVENTUWSGI_ERROR_LOGFILE"] = "/nowhere/error.log"
attempt("variable", wsgi, bind="127.0.0.1:0")
del os.environ["GEVENTUWSGI_ERROR_LOGFILE"]
attempt("patched", asgi, bind="127.0.0.1:0")
"""


def test_errors(tmp_path):
    (tmp_path / "script.py").write_text(REFUSALS)
    result = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, text=True, timeout=60,
                            capture_output=True, env={"PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr
    errors = dict(line.split(" | ", 1) for line in result.stdout.splitlines())
    for what, beginning in {
        "workers": "ConfigError | serve(): workers: serve() is one worker in the caller's process",
        "unknown": "ConfigError | serve(): bindd: there is no such option; did you mean bind?",
        "name": "AppLoadError | serve() takes the application itself and not its name",
        "nothing": "AppLoadError | object is not callable",
        "kind": "AppLoadError | __main__:asgi is an ASGI application",
        "port": "BindError | cannot bind 203.0.113.7:1: ",
        "thread": "ConfigError | serve() handles signals and has to run in the main thread",
        "threads": "ConfigError | serve(): monkey_patch: threads run already (worker bee)",
        "log": "ConfigError | serve(): accesslog: ",
        "certificate": "ConfigError | serve(): ssl_certfile: ",
        "variable": "ConfigError | environment: GEVENTUWSGI_ERROR_LOGFILE: ",
        "patched": "ConfigError | an ASGI application runs in a thread of its own",
    }.items():
        assert errors[what].startswith(beginning), errors[what]
