"""Threads that requests have left, for which a worker waits at its end, and those of before the
import."""

import signal
import time
from pathlib import Path

import pytest

from tests.harness import ROOT, Server, alive, wait_until

APP = """
import asyncio, atexit, threading, time
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(4)
atexit.register(print, "atexit", flush=True)


def work(name, seconds):
    time.sleep(seconds)
    print("done", name, flush=True)


LEFT = {
    "/thread": lambda: threading.Thread(target=work, args=("thread", 3), name="mailer").start(),
    "/executor": lambda: pool.submit(work, "executor", 2),
    "/timer": lambda: threading.Timer(2, work, ("timer", 0)).start(),
    "/daemon": lambda: threading.Thread(target=work, args=("daemon", 60), daemon=True).start(),
    "/hang": lambda: threading.Thread(target=work, args=("hang", 60), name="hanging").start(),
    "/idle": lambda: pool.submit(int).result(),
    "/": lambda: None,
}


def application(environ, start_response):
    LEFT[environ["PATH_INFO"]]()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        LEFT[scope["path"]]()
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
"""
MODES = {"greenlets": ("app:application", "--gevent", "10"),
         "main thread": ("app:application", "--threads", "1"),
         "threads": ("app:application", "--threads", "3"),
         "asgi": ("app:asgi", "--interface", "asgi")}


@pytest.fixture(params=MODES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    return Server(tmp_path, *MODES[request.param], "--workers", "1", app=APP)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_threads_end_before_their_worker(server: Server, number: int) -> None:
    with server:
        worker = server.workers()[0]
        for path in ("/daemon", "/idle", "/thread", "/executor", "/timer"):
            assert server.body(path) == b"ok"
        server.send_signal(number)
        wait_until(lambda: not alive(worker), "the end of the worker")
        assert (server.wait() if number == signal.SIGTERM else server.stop()) == 0
        done = [line for line in server.out if line.startswith(("done", "atexit"))]
        assert sorted(done[:3]) == ["done executor", "done thread", "done timer"]
        assert done[3] == "atexit"
        if number == signal.SIGTERM:    # a reload takes its time
            assert server.find("worker 1 waits for ") and server.find("mailer")
        assert not server.find("NO MERCY")


def test_a_thread_that_goes_on_costs_the_mercy(tmp_path: Path) -> None:
    with Server(tmp_path, *MODES["threads"], "--workers", "1", "--worker-reload-mercy", "2",
                app=APP) as server:
        assert server.body("/hang") == b"ok"
        assert server.stop() == 0
        assert server.find("worker 1 waits for 1 thread of the application: hanging")
        assert server.find("NO MERCY")


def test_idle_threads_of_executors_are_not_waited_for(tmp_path: Path) -> None:
    with Server(tmp_path, *MODES["greenlets"], "--workers", "1", "--gevent-wait-for-hub",
                app=APP) as server:
        assert server.body("/idle") == b"ok"
        started = time.monotonic()
        assert server.stop() == 0 and time.monotonic() - started < 10
        assert not server.find("gevent-wait-for-hub)") and not server.find("waits for")


# What opentelemetry-instrument does: threads that begin before the application is imported, and
# again in each forked process.
INSTRUMENTATION = """
import os, threading, time

ticks = {}


def export():
    while True:
        ticks[threading.get_ident()] = time.monotonic()
        time.sleep(0.02)


def start():
    ticks.clear()
    threading.Thread(target=export, daemon=True).start()


start()
os.register_at_fork(after_in_child=start)
"""
INSTRUMENTED = """
import sitecustomize, time


def application(environ, start_response):
    began = time.monotonic()
    time.sleep(0.5)
    body = b"%d" % sum(tick > began for tick in sitecustomize.ticks.values())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.mark.parametrize("mode", ["greenlets", "main thread", "threads"])
def test_threads_of_before_the_import(tmp_path: Path, mode: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(INSTRUMENTATION)
    with Server(tmp_path, *MODES[mode], "--workers", "1", app=INSTRUMENTED,
                env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}) as server:
        assert server.body() == b"1"
        assert server.stop() == 0
        assert "left behind" not in server.log and "Error" not in server.log
