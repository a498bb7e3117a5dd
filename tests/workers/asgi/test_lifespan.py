"""Startup and shutdown of applications: an error there fails the boot with a message."""

import asyncio
import signal
import traceback
from pathlib import Path
from typing import Any

import pytest

from geventuwsgi.errors import BootError
from geventuwsgi.workers.asgi.lifespan import Lifespan
from tests.harness import Server, wait_until

APP = """
import asyncio

async def answer(send, data=b"served"):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": data})

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    else:
        await answer(send)
"""
LIFESPANS = {
    "fails": "await send({'type': 'lifespan.startup.failed', 'message': 'no database'})",
    "raises": "raise RuntimeError('no database')",
    "hangs": "await asyncio.sleep(60)",
    "unknown": "assert False, 'only http'",
    "returns": "return",
}


def app(name: str, after: str = "") -> str:
    receive = "" if name == "unknown" else "    await receive()\n"
    return APP + f"async def lifespan(receive, send):\n{receive}    {LIFESPANS[name]}\n{after}"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments", "line"), [
    ("fails", (), "the lifespan startup failed: no database"),
    ("raises", ("--lifespan", "on"), "RuntimeError: no database"),
    ("hangs", ("--lifespan-startup-timeout", "0.3"), "the lifespan startup took more than 0.3"),
    ("returns", ("--lifespan", "on"), "the lifespan startup failed: it returned"),
])
def test_a_failed_startup_is_exit_status_3(tmp_path: Path, name: str,
                                           arguments: tuple[str, ...], line: str) -> None:
    with Server(tmp_path, "--asgi", "app:app", *arguments, app=app(name), ready=False) as server:
        assert server.wait() == 3
        server.wait_for(line)


@pytest.mark.parametrize(("source", "mode", "subject", "frames"), [
    ("raise ValueError('gone')", "on", "ValueError: gone", 1),
    ("await send({'type': FAILED, 'message': 'no database'})", "auto", "no database", 0),
    # As in Starlette: the message is the traceback, and the exception is raised too.
    ("try:\n  open('/not/there')\n except OSError:\n  await send("
     "{'type': FAILED, 'message': traceback.format_exc()})\n  raise",
     "auto", "FileNotFoundError: [Errno 2] No such file or directory: '/not/there'", 1)])
def test_a_traceback_is_reported_once(source: str, mode: str, subject: str, frames: int,
                                      caplog: pytest.LogCaptureFixture) -> None:
    names: dict[str, Any] = {"FAILED": "lifespan.startup.failed", "traceback": traceback}
    exec(compile(f"async def app(scope, receive, send):\n await receive()\n {source}\n",
                 "the application", "exec"), names)

    async def startup() -> None:
        await Lifespan(names["app"], mode, 9.0, 9.0).startup()

    with pytest.raises(BootError) as caught:
        asyncio.run(startup())
    assert str(caught.value) == f"the lifespan startup failed: {subject}"
    assert caught.value.traceback.count('  File "the application"') == frames
    assert "lifespan.py" not in caught.value.traceback and not caplog.records
    assert bool(caught.value.__cause__) == bool(frames)     # for the caller of serve()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arguments", "line"), [
    ("unknown", (), "the application does not support lifespan (AssertionError: only http)"),
    ("returns", (), "the application does not support lifespan (it returned)"),
])
def test_an_application_without_lifespan_is_served(tmp_path: Path, name: str,
                                                   arguments: tuple[str, ...], line: str) -> None:
    with Server(tmp_path, "--asgi", "app:app", *arguments, app=app(name)) as server:
        server.wait_for(line)
        assert server.get().endswith(b"served")
        assert server.stop() == 0


@pytest.mark.slow
def test_without_lifespan_the_application_is_not_asked(tmp_path: Path) -> None:
    with Server(tmp_path, "--asgi", "app:app", "--lifespan", "off", app=app("fails")) as server:
        assert server.get().endswith(b"served")
        assert server.stop() == 0
        assert not server.find("lifespan")


@pytest.mark.slow
def test_each_application_has_its_own_state(tmp_path: Path) -> None:
    source = """
def make(name):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            scope["state"][name] = "mine"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(scope["state"]).encode()})
    return app

one, two = make("one"), make("two")
"""
    with Server(tmp_path, "--asgi", "app:one", "--mount", "/two=app:two", app=source) as server:
        assert server.get("/").endswith(b"{'one': 'mine'}")
        assert server.get("/two/x").endswith(b"{'two': 'mine'}")


@pytest.mark.slow
def test_a_failed_reload_keeps_the_old_generation(tmp_path: Path) -> None:
    good = app("unknown").replace("served", "the old one")
    with Server(tmp_path, "--asgi", "app:app", app=good) as server:
        assert b"the old one" in server.get()
        (tmp_path / "app.py").write_text(app("fails").replace("served", "the new one"))
        server.send_signal(signal.SIGHUP)
        server.wait_for("reload failed: the lifespan startup failed: no database")
        assert b"the old one" in server.get()
        (tmp_path / "app.py").write_text(app("unknown").replace("served", "the newest"))
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: 1 worker (generation ", 2)
        wait_until(lambda: b"the newest" in server.get(), "the new generation")
        assert server.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize(("end", "line"), [
    ("await asyncio.sleep(60)", "the lifespan shutdown took more than 0.3 seconds"),
    ("await send({'type': 'lifespan.shutdown.failed', 'message': 'stuck queue'})",
     "the lifespan shutdown failed: stuck queue"),
    ("raise ValueError('at the end')", "ValueError: at the end"),
])
def test_a_failed_shutdown_is_logged(tmp_path: Path, end: str, line: str) -> None:
    source = APP + f"""
async def lifespan(receive, send):
    await receive()
    await send({{"type": "lifespan.startup.complete"}})
    await receive()
    {end}
"""
    with Server(tmp_path, "--asgi", "app:app", "--lifespan-shutdown-timeout", "0.3",
                app=source) as server:
        assert server.get().endswith(b"served")
        assert server.stop() == 0
        server.wait_for(line)
