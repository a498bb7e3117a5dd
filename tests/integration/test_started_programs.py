"""Programs that an application starts have the signals of any other program."""

import re
import signal
from pathlib import Path

import pytest

from tests.harness import Server

APP = """
import subprocess

STATUS = ["sh", "-c", "grep -e Sig -e Shd /proc/self/status"]
imported = subprocess.run(STATUS, stdout=subprocess.PIPE).stdout


def results():
    yield imported
    yield subprocess.run(STATUS, stdout=subprocess.PIPE).stdout
    program = subprocess.Popen(["sleep", "60"])
    program.send_signal(2)
    yield b"%d" % program.wait()


def application(environ, start_response):
    body = b"|".join(results())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(scope, receive, send):
    if scope["type"] == "http":
        body = b"|".join(results())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
"""
# Job control is not for a server; a write to a terminal must not stop it.
JOB_CONTROL = {signal.SIGTTIN, signal.SIGTTOU}


def signals_of(status: str, field: str) -> set[int]:
    """Return the signals in a field of /proc/PID/status."""
    mask = int(re.search(rf"{field}:\s*(\w+)", status)[1], 16)
    return {number for number in range(1, 32) if mask & 1 << number - 1}


@pytest.mark.parametrize("arguments", [
    ("app:application", "--gevent", "10"), ("app:application", "--threads", "1"),
    ("app:application", "--threads", "3"), ("app:asgi", "--interface", "asgi", "--lazy-apps"),
    ("app:asgi", "--interface", "asgi", "--lazy-apps=false")], ids=" ".join)
def test_signals(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Server(tmp_path, *arguments, "--workers", "1", app=APP) as server:
        imported, started, ended = server.body().decode().rpartition("\r\n")[2].split("|")
        for status in (imported, started):
            assert not signals_of(status, "SigIgn") - JOB_CONTROL
            assert not signals_of(status, "SigBlk")
        assert ended == str(-signal.SIGINT)
        assert server.stop() == 0
