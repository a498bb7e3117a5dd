"""An exception that nothing handles costs its worker no request: another one takes over."""

import signal
import threading
from pathlib import Path

import pytest

from tests.harness import Server, wait_until

WSGI = """
import signal, sys, time
import gevent
from greenlet import greenlet, getcurrent


def raising(error):
    def function(*arguments):
        raise error
    return function


def alarm(error, every=0.0):
    signal.signal(signal.SIGALRM, raising(error))
    signal.setitimer(signal.ITIMER_REAL, 0.05, every)


hub = gevent.get_hub
STRAY = {
    "exit": lambda: gevent.spawn(sys.exit, 3),
    "interrupt": lambda: gevent.spawn(raising(KeyboardInterrupt)),
    "callback": lambda: hub().loop.run_callback(sys.exit),
    "alarm": lambda: alarm(RuntimeError("alarm")),
    "alarm-exit": lambda: alarm(SystemExit(3)),
    "alarms": lambda: alarm(RuntimeError("alarm"), 0.002),
    "main": lambda: hub().loop.run_callback(greenlet(raising(ValueError()), hub().parent).switch),
}


def application(environ, start_response):
    path = environ["PATH_INFO"][1:]
    body = b"ok"
    if path == "wait":
        started = time.monotonic()
        while time.monotonic() < started + 0.5:
            try:
                time.sleep(0.1)
            except RuntimeError:
                body = b"caught"
    elif path == "own-alarm":
        alarm(TimeoutError("mine"))
        time.sleep(10)
    elif path:
        STRAY[path]()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
ASGI = """
import asyncio, sys


async def leave():
    sys.exit(3)


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/wait":
        await asyncio.sleep(0.5)
    elif scope["path"] == "/exit":
        asyncio.get_running_loop().create_task(leave())
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
STRAY = [line.split('"')[1] for line in WSGI.splitlines() if line.startswith('    "')]


def strays_are_survived(server: Server, path: str) -> None:
    """A request that runs meanwhile and the next ones are served, by a worker that is replaced."""
    with server:
        worker, bodies = server.workers(), []
        waiting = threading.Thread(target=lambda: bodies.append(server.body("/wait")))
        waiting.start()
        wait_until(lambda: bodies or server.body("/") == b"ok")
        assert server.body("/" + path) == b"ok"
        # Another alarm may interrupt the logging of the first, but not the master's.
        server.wait_for("RuntimeError was not handled" if path == "alarms"
                        else "of the application raised")
        waiting.join()
        assert bodies in ([b"ok"], [b"caught"])
        wait_until(lambda: server.workers() != worker, "another worker")
        assert server.body("/") == b"ok"
        assert server.stop() == 0
        assert server.find("is replaced: ") and not server.find("could not boot")
        assert not server.find("DAMN")


@pytest.mark.parametrize("path", STRAY)
def test_in_greenlets(tmp_path: Path, path: str) -> None:
    strays_are_survived(Server(tmp_path, "app:application", "--gevent", "10", "--workers", "1",
                               app=WSGI), path)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_in_a_task(tmp_path: Path, loop: str) -> None:
    strays_are_survived(Server(tmp_path, "app:application", "--interface", "asgi", "--asgi-loop",
                               loop, "--workers", "1", app=ASGI), "exit")


def test_the_only_request_gets_what_its_signal_handler_raises(tmp_path: Path) -> None:
    with Server(tmp_path, "app:application", "--gevent", "1", "--workers", "1",
                app=WSGI) as server:
        worker = server.workers()
        assert b" 500 " in server.get("/own-alarm").splitlines()[0]
        server.wait_for("TimeoutError: mine")
        assert server.body("/alarm") == b"ok"      # it comes in the next request
        assert server.body("/wait") == b"caught"
        assert server.workers() == worker
        assert server.stop(signal.SIGTERM) == 0
