"""A process that an ASGI application forks is no worker."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, alive, wait_until
from tests.workers.wsgi.raw_client import connect, get

pytestmark = pytest.mark.slow

APP = '''
import asyncio, ctypes, multiprocessing, os, sys, time

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError
    name, _, argument = scope["path"].strip("/").partition("/")
    answer = await FORKS[name](argument) if name else os.getpid()
    body = b"%d" % answer
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

def sleep():
    time.sleep(100)

def run():
    asyncio.run(asyncio.sleep(100))

async def process(target):
    child = multiprocessing.Process(target=globals()[target], daemon=True)
    child.start()
    return child.pid

async def fork(how):
    """Return the exit status of a child that leaves the application."""
    child = os.fork()
    if child == 0:
        if how == "exit":
            sys.exit(3)
        if how == "raise":
            raise ValueError("of the child")
        if how == "sleep":
            await asyncio.sleep(100)
        if how == "send":
            return 0
        assert how == "stay"
        while True:
            time.sleep(100)
    if how == "stay":
        return child
    return os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1])

async def in_thread(how):
    return await asyncio.to_thread(fork_in_thread, how)

def fork_in_thread(how):
    child = os.fork()
    if child == 0:
        if how == "exit":
            sys.exit(3)
        return 0
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

async def ends(number):
    """Terminate a child at once; return its exit status."""
    child = os.fork()
    if child == 0:
        time.sleep(30)
        os._exit(3)
    os.kill(child, 15)
    return -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

async def without_hooks(_):
    """A fork that Python does not notice, as by a library in C."""
    libc = ctypes.CDLL(None)
    child = libc.fork()
    if child == 0:
        libc.sleep(60)
        libc._exit(0)
    return child

FORKS = {"without_hooks": without_hooks, "process": process, "fork": fork, "thread": in_thread,
         "ends": ends}
'''


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest,
           tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    with Server(tmp_path_factory.mktemp("server"), "--asgi", "app:app", "--asgi-loop",
                request.param, app=APP) as server:
        yield server


def number(server: Server, path: str, *fields: str) -> int:
    answer = get(server, path, *fields)
    assert answer.status == 200, server.log
    return int(answer.body)


def sockets(pid: int) -> list[str]:
    """Return the sockets of a process."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):    # closed meanwhile
            links.append(os.readlink(entry))
    return [link for link in links if link.startswith("socket:")]


@pytest.mark.parametrize("target", ["sleep", "run"])
def test_a_process_is_not_a_server(server: Server, target: str) -> None:
    """It has no connection and no listening socket, and takes no part in a reload."""
    [worker] = server.workers()
    with connect(server) as idle, connect(server) as wire:
        assert int(idle.get("/").body) == worker
        child = int(wire.get(f"/process/{target}", "Connection: close").body)
        wire.sock.settimeout(20)
        assert wire.closed() and alive(child)   # by a FIN, although the child lives
        assert {number(server, "/") for _ in range(20)} == {worker}
        # What wakes the loop of the worker remains: it has no other effect.
        wait_until(lambda: len(set(sockets(child)) & set(sockets(worker))) <= 2, "the sockets", 10)
        assert int(idle.get("/").body) == worker
    os.kill(child, signal.SIGTERM)
    wait_until(lambda: not alive(child), "the end of the child", 10)


def test_a_process_takes_no_orders(server: Server) -> None:
    [worker] = server.workers()
    child = number(server, "/fork/stay")
    try:
        ready = len(server.find("ready: "))
        for _ in range(3):
            ready += 1
            server.send_signal(signal.SIGHUP)
            server.wait_for("ready: ", ready)
        wait_until(lambda: not alive(worker), "the end of the worker", 20)
        assert alive(child)
        # The generation before may accept until it learns of the reload.
        wait_until(lambda: number(server, "/") == server.workers()[-1], "the new worker", 20)
    finally:
        os.kill(child, signal.SIGTERM)
    wait_until(lambda: not alive(child), "the end of the child", 10)


@pytest.mark.parametrize(("path", "status"), [
    ("fork/exit", 3), ("fork/raise", 1), ("fork/sleep", 1), ("fork/send", 0), ("thread/exit", 3),
    ("thread/return", 0)])
def test_a_child_that_leaves_the_application(server: Server, path: str, status: int) -> None:
    """There is one response, and the child ends as a program would."""
    [worker] = server.workers()[-1:]
    with connect(server) as wire:
        for _ in range(5):
            assert int(wire.get("/" + path).body) == status
        assert int(wire.get("/", "Connection: close").body) == worker
        assert wire.closed()
    if path == "fork/raise":
        server.wait_for("ValueError: of the child")
    assert not server.find("Error handling")


def test_a_connection_ends_although_a_child_has_a_copy(server: Server) -> None:
    with connect(server) as wire:
        child = int(wire.get("/without_hooks", "Connection: close").body)
        try:
            wire.sock.settimeout(20)
            assert wire.closed()
            assert sockets(child)
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_child_that_is_terminated_at_once(server: Server) -> None:
    assert [number(server, "/ends/") for _ in range(20)] == [signal.SIGTERM] * 20


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_after_a_stop_the_port_is_free(tmp_path: Path, loop: str) -> None:
    with Server(tmp_path, "--asgi", "app:app", "--asgi-loop", loop, app=APP) as server:
        child = number(server, "/fork/stay")
        try:
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
