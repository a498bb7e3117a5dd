"""The page about moving here, followed with the servers that it leaves."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.harness import GEVENTUWSGI, ROOT, Program, Server, free_port, reference_uwsgi, wait_until
from tests.integration.packets import packet

PAGE = (ROOT / "docs/moving.rst").read_text()
APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
app = application
"""
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*GEVENTUWSGI, *arguments], cwd=directory, env=ENVIRON, text=True,
                          capture_output=True)


def get(port: int) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as response:
            return bytes(response.read())
    except OSError:
        return b""


def test_from_uwsgi(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    old = tmp_path / "shop.ini"
    old.write_text(f"[uwsgi]\nplugins = python3\nmodule = shop\nchdir = {tmp_path}\n"
                   f"socket = {tmp_path}/old.sock\nmaster = true\n")
    lines = re.search(r"       (workers = 2\n(?:       .*\n)+)", PAGE)
    assert lines is not None
    new = old.read_text().partition("socket")[0] + lines[1].replace("       ", "")
    new = new.replace("/run/geventuwsgi-shop", str(tmp_path))
    with Program(reference_uwsgi(), "--ini", str(old), cwd=tmp_path) as uwsgi:
        uwsgi.wait_for("spawned uWSGI worker 1")
        assert run(tmp_path, "--check-config", str(old)).returncode == 0
        with Server(tmp_path, ini=new) as server:
            assert [address for _, address in server.listeners] == [f"{tmp_path}/socket"]
            assert server.talk(packet("/", "", "shop"), "uwsgi").endswith(b"ok")
        uwsgi.send_signal(signal.SIGINT)


def test_from_gunicorn(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "wsgi.py").write_text(APP)
    (tmp_path / "gunicorn.conf.py").write_text(
        f"bind = '127.0.0.1:{port}'\nworkers = 2\nworker_class = 'gthread'\nthreads = 4\n"
        "wsgi_app = 'wsgi:app'\ntimeout = 60\n")
    assert run(tmp_path, "--check-config", "gunicorn.conf.py").returncode == 0
    converted = run(tmp_path, "--from", "gunicorn.conf.py")
    assert (converted.returncode, converted.stderr) == (0, "")
    (tmp_path / "converted.ini").write_text(converted.stdout)
    with Program(sys.executable, "-m", "gunicorn", cwd=tmp_path):
        wait_until(lambda: get(port) == b"ok", "gunicorn serves")
        beside = free_port()
        with Server(tmp_path, "-c", "converted.ini", "--bind", f"127.0.0.1:{beside}"):
            assert get(beside) == b"ok"
    with Server(tmp_path, "-c", "converted.ini", "--pidfile", "bind.pid"):
        assert get(port) == b"ok"


@pytest.mark.parametrize("arguments", [
    "-w 2 --threads 8 -b 127.0.0.1:{} wsgi", "-w 1 -k sync -b 127.0.0.1:{} wsgi:app",
    "-w 1 -k gevent -b 127.0.0.1:{} wsgi"])
def test_command_lines_of_gunicorn(tmp_path: Path, arguments: str) -> None:
    (tmp_path / "wsgi.py").write_text(APP)
    port = free_port()
    with Server(tmp_path, *arguments.format(port).split()):
        assert get(port) == b"ok"


def test_the_command_line_of_uvicorn(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("""
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
""")
    line = re.search(r"    geventuwsgi (--asgi main:app .*--workers 4)", PAGE)
    assert line is not None
    port = free_port()
    arguments = line[1].replace("8000", str(port)).replace("0.0.0.0", "127.0.0.1")
    with Server(tmp_path, *arguments.split(), "--protocol", "http", "--pidfile", "bind.pid"):
        assert get(port) == b"ok"
