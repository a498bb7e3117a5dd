"""What an application changes for the whole interpreter neither blinds nor breaks the server."""

import signal
from pathlib import Path

import pytest

from tests.harness import Server, wait_until

APP = """
import decimal, gc, logging, logging.config, os, signal, socket, sys, threading, warnings


def broken(*arguments, **keywords):
    raise RuntimeError("the hook of an application")


class Stream:
    write = flush = broken


def replaced_streams():
    sys.stdout = sys.stderr = Stream()


STATES = {
    "logging-config": lambda: logging.config.dictConfig({"version": 1}),
    "logging-disable": lambda: logging.disable(logging.CRITICAL),
    "logging-factory": lambda: logging.setLogRecordFactory(broken),
    "logging-shutdown": logging.shutdown,
    "hooks": lambda: [setattr(*one) for one in (
        (sys, "excepthook", broken), (threading, "excepthook", broken))],
    "wakeup": lambda: threading.current_thread() is threading.main_thread()
        and signal.set_wakeup_fd(-1),
    "timeout": lambda: socket.setdefaulttimeout(0.001),
    "decimal": lambda: setattr(decimal.getcontext(), "prec", 1),
    "warnings": lambda: warnings.simplefilter("error"),
    "umask": lambda: os.umask(0o777),
    "chdir": lambda: os.chdir("/"),
    "closed-streams": lambda: (sys.stdout.close(), sys.stderr.close()),
    "no-streams": lambda: [setattr(sys, name, None) for name in ("stdout", "stderr")],
    "replaced-streams": replaced_streams,
    "descriptors": lambda: os.closerange(0, 2),
    "recursion": lambda: sys.setrecursionlimit(120),
}


def answer(path):
    if path == "/boom":
        raise ValueError("BOOM")
    if path[1:] in STATES:
        STATES[path[1:]]()


def application(environ, start_response):
    answer(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    answer(scope["path"])
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
STATES = [line.split('"')[1] for line in APP.splitlines() if line.startswith('    "')]
MODES = {"greenlets": ("app:application", "--gevent", "10"),
         "main thread": ("app:application", "--threads", "1"),
         "threads": ("app:application", "--threads", "3"),
         "asgi": ("app:asgi", "--interface", "asgi")}


@pytest.fixture(params=MODES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    return Server(tmp_path, *MODES[request.param], "--workers", "1", "--log-level", "debug",
                  app=APP)


def test_errors_are_logged_and_requests_served(server: Server) -> None:
    with server:
        worker = server.workers()
        for number, state in enumerate(STATES, 1):
            assert server.body("/" + state) == b"ok", state
            assert b" 500 " in server.get("/boom").splitlines()[0], state
            # Once in the traceback.
            wait_until(lambda: len(server.find("ValueError: BOOM")) == number,
                       f"the traceback after {state}\n{server.log}", 5)
            assert server.body("/") == b"ok", state
        assert server.workers() == worker
        assert server.stop() == 0
        assert not server.find("NO MERCY")


@pytest.mark.parametrize("state", ["closed-streams", "no-streams", "replaced-streams"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_stop_without_standard_streams(server: Server, state: str, number: int) -> None:
    with server:
        assert server.body("/" + state) == b"ok"
        assert server.stop(number) == 0
        assert not server.find("NO MERCY") and not server.find("ended with an exception")
