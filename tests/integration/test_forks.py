"""A process that a library forks, or the import of an application, is not a server either."""

import contextlib
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.harness import Server, alive, wait_until
from tests.integration.test_logging import collector_of
from tests.integration.test_router import pid_of_router
from tests.integration.test_statistics import monitor
from tests.router.nodes import APP
from tests.workers.wsgi.raw_client import connect

pytestmark = pytest.mark.slow

# Loaded by every process of the server: on SIGWINCH it forks, as a profiler or monitor would.
LIBRARY = """
import os, signal, time

def fork(*_):
    child = os.fork()
    if child == 0:
        time.sleep(100)
        os._exit(3)
    with open("new", "w") as file:
        file.write(str(child))
    os.rename("new", "child")

signal.signal(signal.SIGWINCH, fork)
"""


def forked_by(server: Server, pid: int) -> int:
    """Have a process fork; return the pid of its child."""
    os.kill(pid, signal.SIGWINCH)
    child = server.directory / "child"
    wait_until(child.exists, "the fork")
    found = int(child.read_text())
    child.unlink()
    return found


def descriptors(pid: int) -> set[str]:
    """Return what a process has open, but files and its output."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):    # closed meanwhile
            if int(entry.name) not in (1, 2):
                found.add(os.readlink(entry))
    return {text for text in found if text.startswith(("socket:", "pipe:"))}


def gives_up_sockets(child: int, parent: int) -> None:
    """Wait until a child has no socket of its parent; its own code runs after that."""
    sockets = {one for one in descriptors(parent) if one.startswith("socket:")}
    wait_until(lambda: not descriptors(child) & sockets, lambda: descriptors(child) & sockets, 10)


def environment(directory: Path) -> dict[str, str]:
    library = directory / "library"
    library.mkdir()
    (library / "sitecustomize.py").write_text(LIBRARY)
    root = Path(__file__).parent.parent.parent
    return {"PYTHONPATH": f"{library}:{root}"}


@pytest.mark.parametrize("where", ["embedded", "standalone"])
def test_of_a_router(tmp_path: Path, where: str) -> None:
    """Its child holds no port, connection or message of the master, and ends on SIGTERM."""
    arguments: tuple[str, ...] = ("-p", "1", "--gevent", "1", "app")
    with contextlib.ExitStack() as stack:
        if where == "standalone":
            (tmp_path / "node").mkdir()
            node = stack.enter_context(Server(tmp_path / "node", "--socket", "127.0.0.1:0", "app",
                                              app=APP))
            host, port = node.address("uwsgi")
            arguments = ("--http-to", f"{host}:{port}")
        server = stack.enter_context(Server(
            tmp_path, "--http", "127.0.0.1:0", "--http-stats-server", "127.0.0.1:0", *arguments,
            app=APP, env=environment(tmp_path)))
        router = pid_of_router(server)
        wire = stack.enter_context(connect(server))
        assert wire.get("/").status == 200
        child = forked_by(server, router)
        try:
            gives_up_sockets(child, router)
            assert wire.get("/", "Connection: close").status == 200
            wire.sock.settimeout(20)
            assert wire.closed()
            assert alive(child)
            address = server.address()
            assert server.stop(deadline=20) == 0
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(address)
                sock.listen()
        finally:
            os.kill(child, signal.SIGTERM)
        wait_until(lambda: not alive(child), "the end of the child", 10)


def test_of_a_log_collector(tmp_path: Path) -> None:
    """Its child reads no lines, and does not keep those alive that write them."""
    with Server(tmp_path, "--logger", "file:all.log", "--stats", "127.0.0.1:0", "app", app=APP,
                env=environment(tmp_path), ready=False) as server:
        log = tmp_path / "all.log"
        wait_until(lambda: log.exists() and "ready: " in log.read_text(), "the server")
        collector = collector_of(server.pid)
        child = forked_by(server, collector)
        try:
            pipe = os.readlink(f"/proc/{collector}/fd/0")
            wait_until(lambda: pipe not in descriptors(child), "the pipe to be closed", 10)
            wait_until(lambda: os.readlink(f"/proc/{child}/fd/0") == os.devnull, "/dev/null", 10)
            assert server.stop(deadline=20) == 0
            wait_until(lambda: not alive(collector), "the end of the collector", 10)
            assert alive(child)
        finally:
            os.kill(child, signal.SIGTERM)
        wait_until(lambda: not alive(child), "the end of the child", 10)


def test_of_a_monitor(tmp_path: Path) -> None:
    with Server(tmp_path, "--stats", "127.0.0.1:0", "app", app=APP,
                env=environment(tmp_path)) as server:
        pid = monitor(server)
        child = forked_by(server, pid)
        try:
            gives_up_sockets(child, pid)
            assert server.stop(deadline=20) == 0
        finally:
            os.kill(child, signal.SIGTERM)
        wait_until(lambda: not alive(child), "the end of the child", 10)


IMPORTS = """
import os, time
child = os.fork()
if child == 0:
    time.sleep(100)
    os._exit(3)
with open("new", "w") as file:
    file.write(str(child))
os.rename("new", "child")
""" + APP


@pytest.mark.parametrize("arguments", [("--gevent", "2"), ("--threads", "2"), ("--lazy-apps",)],
                         ids=["greenlets", "threads", "lazy"])
def test_of_an_import(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A background process that a module starts holds no port, and ends on SIGTERM."""
    with Server(tmp_path, "--http-socket", "127.0.0.1:0", *arguments, "app",
                app=IMPORTS) as server, connect(server) as wire:
        child = int((tmp_path / "child").read_text())
        try:
            wait_until(lambda: not [one for one in descriptors(child) if "socket" in one],
                       lambda: descriptors(child), 10)
            assert wire.get("/", "Connection: close").status == 200
            address = server.address()
            assert server.stop(deadline=20) == 0
            assert alive(child)
            with socket.socket() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(address)
                sock.listen()
        finally:
            os.kill(child, signal.SIGTERM)
        wait_until(lambda: not alive(child), "the end of the child", 10)


FORKS = """
import os, signal

def application(environ, start_response):
    child = os.fork()
    if child == 0:
        signal.pause()      # without running the hub
    start_response("200 OK", [("Content-Length", str(len(str(child))))])
    return [str(child).encode()]
"""


@pytest.mark.parametrize("mode", ["--gevent", "--threads"])
def test_of_a_request(tmp_path: Path, mode: str) -> None:
    """The descriptors are closed although no greenlet runs in the child."""
    with Server(tmp_path, "--http-socket", "127.0.0.1:0", mode, "2", "app",
                app=FORKS) as server, connect(server) as wire:
        child = int(wire.get("/").body)
        try:
            [worker] = server.workers()
            gives_up_sockets(child, worker)
        finally:
            os.kill(child, signal.SIGTERM)
