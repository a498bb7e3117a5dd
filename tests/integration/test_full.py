"""Servers at their limits: new work comes before idle connections, and slow clients are ended."""

import contextlib
import re
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Server, wait_until
from tests.integration.test_router import pid_of_router
from tests.workers.wsgi.raw_client import RawClient

WSGI = """
import os, time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    while path == "/hold" and not os.path.exists(environ["QUERY_STRING"]):
        time.sleep(0.01)
    if path == "/read":
        environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
ASGI = """
import asyncio, os

async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    while scope["path"] == "/hold" and not os.path.exists(scope["query_string"]):
        await asyncio.sleep(0.01)
    while scope["path"] == "/read" and (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
WORKER = ("--http-socket", "127.0.0.1:0", "--worker-connections", "4")
# The applications, and the options that allow four connections.
KINDS = {
    "greenlets": (WSGI, "--gevent", "9", *WORKER), "threads": (WSGI, "--threads", "9", *WORKER),
    "main-thread": (WSGI, "--threads", "1", *WORKER),
    "asyncio": (ASGI, "--asgi", "app:application", "--lifespan", "off", "--asgi-loop", "asyncio",
                *WORKER),
    "uvloop": (ASGI, "--asgi", "app:application", "--lifespan", "off", "--asgi-loop", "uvloop",
               *WORKER),
    "router": (WSGI, "--gevent", "9", "--http", "127.0.0.1:0", "--http-router",
               "--http-connections", "4")}
Start = Callable[..., contextlib.AbstractContextManager[Server]]


@pytest.fixture(params=KINDS)
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Start:
    app, *options = KINDS[request.param]
    application = () if "--asgi" in options else ("app:application",)

    @contextlib.contextmanager
    def started(*more: str) -> Iterator[Server]:
        with Server(tmp_path, *options, *more, *application, app=app, ready=False) as server:
            server.wait_for("ready: ", 2 if "--http-router" in options else 1)
            yield server
            assert not server.find("Traceback")
            assert server.stop() == 0
    started.kind = request.param
    return started


def connect(server: Server) -> RawClient:
    return RawClient(server.connect())


def kept(server: Server) -> RawClient:
    """Return a connection that has had a response and may send another request."""
    client = connect(server)
    answer = client.get("/")
    assert answer.body == b"ok" and "connection" not in answer.headers
    return client


def is_open(client: RawClient) -> bool:
    client.sock.setblocking(False)
    try:
        return client.sock.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        client.sock.settimeout(60)


@contextlib.contextmanager
def filled(server: Server, make: Callable[[Server], RawClient]) -> Iterator[list[RawClient]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(make(server)) for _ in range(4)]


def test_the_longest_idle_connection_gives_way(start: Start) -> None:
    with start() as server, filled(server, kept) as clients:
        assert clients[0].get("/").body == b"ok"    # so the second one has waited longest
        with kept(server):
            assert clients[1].closed()
            assert [is_open(client) for client in clients] == [True, False, True, True]
        server.wait_for("1 idle connections were closed for new ones")


def test_a_silent_connection_gives_way(start: Start) -> None:
    with start() as server, filled(server, connect) as clients:
        with kept(server), kept(server):
            assert clients[0].closed() and clients[1].closed()
            assert is_open(clients[2]) and is_open(clients[3])


def test_a_connection_with_an_octet_of_its_next_request_stays(start: Start) -> None:
    with start() as server, filled(server, kept) as clients:
        clients[0].send(b"G")
        with kept(server):
            assert clients[1].closed()
            clients[0].send(b"ET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert clients[0].read_response().body == b"ok"


def half_sent(server: Server) -> RawClient:
    client = connect(server)
    client.send(b"GET / HTTP/1.1\r\n")
    return client


def test_a_head_that_has_taken_half_of_its_time_gives_way(start: Start) -> None:
    with start("--http-headers-timeout", "6") as server, filled(server, half_sent) as clients:
        with connect(server) as client:
            assert client.get("/").body == b"ok"
        assert clients[0].read_response().status == 408 and clients[0].closed()
        server.wait_for("no whole request head within")
        line = server.find("no whole request head within")[0]
        assert 2.9 < float(re.findall(r"within ([\d.]+) seconds", line)[0]) < 6


def test_a_connection_with_a_request_stays(start: Start, tmp_path: Path) -> None:
    """The next response closes its connection, as another one waits for its place."""
    if start.kind == "main-thread":
        pytest.skip("it has one request at a time")

    def holding(server: Server) -> RawClient:
        client = connect(server)
        client.send(b"GET /hold?go HTTP/1.1\r\nHost: x\r\n\r\n")
        return client
    with start() as server, filled(server, holding) as clients, connect(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.sock.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.sock.recv(100)
        client.sock.settimeout(60)
        (tmp_path / "go").touch()
        assert client.read_response().body == b"ok"
        for held in clients:
            assert held.read_response().body == b"ok"


@pytest.mark.parametrize("start", ["asyncio", "uvloop"], indirect=True)
def test_a_websocket_stays(start: Start) -> None:
    def opened(server: Server) -> RawClient:
        client = connect(server)
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert client.sock.recv(1000).startswith(b"HTTP/1.1 101 ")
        return client
    with start() as server, filled(server, opened) as clients, connect(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.sock.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.sock.recv(100)
        assert all(map(is_open, clients))
        clients[0].sock.close()
        client.sock.settimeout(60)
        assert client.read_response().body == b"ok"


def test_out_of_descriptors(start: Start) -> None:
    """An idle connection gives way, and the sweeps go on: a line a second, no traceback."""
    more = "--http-connections" if start.kind == "router" else "--worker-connections"
    with start(more, "1000") as server, contextlib.ExitStack() as stack:
        pid = pid_of_router(server) if more == "--http-connections" else server.workers()[0]
        for _ in range(3):
            stack.enter_context(kept(server))
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, used))
        began = time.monotonic()
        clients = [stack.enter_context(connect(server)) for _ in range(3)]
        for client in clients:
            assert client.get("/").body == b"ok"
        wait_until(lambda: time.monotonic() - began > 1.2)     # some sweeps
        lines = len(server.find("cannot accept connections on"))
        assert 1 <= lines <= 2 + (time.monotonic() - began)


def is_served(server: Server) -> bool:
    with connect(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.receive()
        return client.buffered.startswith(b"HTTP/1.1 200 ")


def test_connections_per_address(start: Start) -> None:
    with start("--limit-connections-per-address", "2",
               "--forwarded-allow-ips", "10.0.0.1") as server:
        with kept(server), kept(server) as second:
            with connect(server) as third:
                assert third.closed()
            server.wait_for("1 connections were closed, as their addresses had 2 open already")
            with socket.create_connection(("127.0.0.1", server.port),
                                          source_address=("127.0.0.2", 0)) as other:
                assert RawClient(other).get("/").body == b"ok"  # another address
            second.sock.close()
            wait_until(lambda: is_served(server))
    with start("--limit-connections-per-address", "2") as server:   # a trusted proxy's
        with kept(server), kept(server), kept(server):
            pass


def drip(server: Server, length: int, piece: bytes) -> RawClient:
    """Send pieces of a body until a response comes."""
    client = connect(server)
    client.send(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % length)
    client.sock.settimeout(0.3)
    for _ in range(60):
        client.send(piece)
        with contextlib.suppress(TimeoutError):
            client.receive()
            break
    client.sock.settimeout(60)
    return client


@pytest.mark.parametrize("length", [1000, 100_000])
def test_a_body_has_a_least_rate(start: Start, length: int) -> None:
    with start("--socket-timeout", "1", "--request-min-rate", "100") as server:
        with drip(server, length, b"x") as client:
            assert client.read_response().status == 408 and client.closed()
        server.wait_for("less than 100 bytes a second (request-min-rate)")
        with drip(server, 1000, b"x" * 100) as client:  # ten pieces in three seconds
            assert client.read_response().body == b"ok"


@pytest.mark.parametrize("length", [60_000, 100_000])
def test_a_request_has_a_time_limit(start: Start, length: int) -> None:
    with start("--request-timeout", "2") as server:
        with drip(server, length, b"x" * 1000) as client:
            assert client.read_response().status == 408 and client.closed()
        server.wait_for("no whole request within 2 seconds (request-timeout)")
        with connect(server) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x")
            assert client.read_response().status == 408


def test_of_an_oversized_head_no_more_than_a_mebibyte_is_read(start: Start) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX: "
    with start() as server:
        with connect(server) as client:
            client.send(head + b"x" * 900_000 + b"\r\n\r\n")
            assert client.read_response().status == 431
            assert client.closed() and not client.reset
        with connect(server) as client:
            with pytest.raises(OSError):    # 32 MiB are more than the kernel's buffers hold
                client.sock.sendall(head + b"x" * (32 << 20))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["greenlets", "threads", "uvloop", "router"], indirect=True)
def test_five_thousand_idle_clients(start: Start) -> None:
    limit = ("--http-connections", "1000", "--http-processes", "2") \
        if start.kind == "router" \
        else ("--worker-connections", "1000", "--processes", "2")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8000), hard), hard))
    with start(*limit) as server, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(kept(server)) for _ in range(5000)]
        for _ in range(20):
            with connect(server) as client:
                assert client.get("/").body == b"ok"
        assert 1000 < sum(map(is_open, idle)) <= 2000
