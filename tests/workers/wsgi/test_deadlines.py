"""Deadlines: slow heads, idle connections, stalled bodies and readers; and 0 is no limit.

Each takes at least the second of the server's limits, so they run at the same time.
"""

import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.harness import Server, wait_until
from tests.parallel import in_parallel
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.raw_client import (
    HOST, RawClient, connect, get, get_json, packet, request, wait_for_rejection)

pytestmark = pytest.mark.slow

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0",
             "--http-headers-timeout", "1", "--keepalive", "1", "--socket-timeout", "1",
             "--request-min-rate", "0",
             "--disable-logging", "--log-level", "debug")
POST = b"POST /echo HTTP/1.1\r\n" + HOST
LATE = 20  # seconds: the sweeper looks four times a second, and the machine may be busy


class Clock:
    """Measure how long the server waited."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def about(self, seconds: float) -> bool:
        return seconds - 0.1 <= time.monotonic() - self.began <= seconds + LATE


def a_head_that_does_not_end_is_a_408(server: Server, protocol: str, size: int) -> None:
    data = packet(request()) if protocol == "uwsgi" else b"GET /hello HTTP/1.1\r\nHost: test\r\n"
    clock = Clock()
    with connect(server, protocol) as client:
        client.send(data[:size])
        assert client.read_response().status == 408 and client.closed() and clock.about(1)
        wait_for_rejection(server, client, "no whole request head within 1 seconds",
                           "closed with 408")


def a_trickle_does_not_prolong_a_head(server: Server) -> None:
    clock = Clock()
    with connect(server) as client:
        client.sock.settimeout(0.2)
        client.send(b"GET /hello HTTP/1.1\r\n")
        answered = False
        while not answered and clock.about(0) or time.monotonic() - clock.began < 1:
            client.send(b"X: y\r\n")
            try:
                answered = client.receive()
            except TimeoutError:
                continue
        client.sock.settimeout(20)
        assert client.read_response().status == 408 and clock.about(1)


def a_connection_that_sends_nothing_is_closed(server: Server) -> None:
    clock = Clock()
    with connect(server) as client:
        assert client.closed() and clock.about(1)
        wait_until(lambda: server.find(f"{client.name}: sent nothing"), "the reason")


def an_idle_connection_is_closed_silently(server: Server) -> None:
    with connect(server) as client:
        for _ in range(4):
            assert client.get("/hello").body == b"hello"
            time.sleep(0.3)  # less than keepalive, which starts again
        clock = Clock()
        assert client.get("/hello").body == b"hello"
        assert client.closed() and clock.about(1)


def a_body_without_progress_is_a_408(server: Server, length: int) -> None:
    with connect(server) as client:
        clock = Clock()
        client.send(POST + b"Content-Length: %d\r\n\r\nhalf" % length)
        assert client.read_response().status == 408 and client.closed() and clock.about(1)
        wait_for_rejection(server, client, "no progress of the request body for 1 seconds",
                           "closed")
    assert not [body for body in get_json(server, "/bodies") if body.startswith("half")]


def a_body_that_makes_progress_is_not_limited(server: Server) -> None:
    with connect(server) as client:
        client.send(POST + b"Content-Length: 5\r\n\r\n")
        for octet in b"hello":
            time.sleep(0.3)  # 1.5 s in all
            client.send(bytes([octet]))
        assert client.read_response().body == b"hello"


def a_100_that_is_not_followed_by_a_body(server: Server) -> None:
    with connect(server) as client:
        client.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.read_response().status == 100 and client.read_response().status == 408


def a_reader_that_reads_nothing_is_cut(server: Server, path: str) -> None:
    with connect(server) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        wait_for_rejection(server, client, f"GET {path}", "no progress", "closed")
        assert not client.read_response().whole


def a_slow_reader_that_reads_something_is_served(server: Server) -> None:
    with connect(server) as client:
        client.send(b"GET /big?8000000 HTTP/1.1\r\nHost: test\r\n\r\n")
        for _ in range(4):
            time.sleep(0.3)
            client.read(2_000_000)
            client.buffered = b""
        assert len(client.read_to_end()) < 1000  # the head, and then keepalive ends


def test_deadlines(server: Server) -> None:
    (server.directory / "large").write_bytes(b"x" * 30_000_000)
    in_parallel([
        *(partial(a_head_that_does_not_end_is_a_408, server, protocol, size)
          for protocol in ("http", "uwsgi") for size in (1, 20)),
        *(partial(a_body_without_progress_is_a_408, server, length) for length in (20, 200_000)),
        *(partial(a_reader_that_reads_nothing_is_cut, server, path)
          for path in ("/big?30000000", "/endless", "/file?large")),
        *(partial(check, server) for check in (
            a_trickle_does_not_prolong_a_head, a_connection_that_sends_nothing_is_closed,
            an_idle_connection_is_closed_silently, a_100_that_is_not_followed_by_a_body,
            a_body_that_makes_progress_is_not_limited,
            a_slow_reader_that_reads_something_is_served))])


def test_slow_connections_do_not_delay_others(server: Server) -> None:
    slow: list[RawClient] = []
    before = len(server.find("; closed"))
    try:
        for number in range(150):
            client = connect(server)
            client.send((b"GET / HT", POST + b"Content-Length: 9\r\n\r\n",
                         b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")[number % 3])
            slow.append(client)
        with connect(server) as client:
            for _ in range(50):
                assert client.get("/hello").body == b"hello"
        wait_until(lambda: len(server.find("; closed")) >= before + 150, "the end of them all")
    finally:
        for client in slow:
            client.sock.close()


@pytest.fixture(scope="module")
def unlimited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without timeouts."""
    with Server(tmp_path_factory.mktemp("unlimited"), "app:application", "--http-socket",
                "127.0.0.1:0", "--http-headers-timeout", "0", "--socket-timeout", "0",
                "--keepalive", "0", "--disable-logging", app=APP) as server:
        yield server
        assert server.stop() == 0, server.log


def test_zero_is_no_limit(unlimited: Server) -> None:
    with connect(unlimited) as head, connect(unlimited) as body, connect(unlimited) as reader:
        head.send(b"GET /hello HTTP/1.1\r\n")
        body.send(POST + b"Content-Length: 5\r\n\r\nhel")
        reader.send(b"GET /big?9000000 HTTP/1.1\r\n" + HOST + b"\r\n")
        time.sleep(1)  # four sweeps
        head.send(HOST + b"\r\n")
        body.send(b"lo")
        assert head.read_response().body == b"hello" and body.read_response().body == b"hello"
        assert reader.read_response().whole


def test_keepalive_zero_closes_after_each_response(unlimited: Server) -> None:
    with connect(unlimited) as client:
        assert client.get("/hello").headers["connection"] == "close" and client.closed()


def test_a_stop_does_not_wait_for_idle_connections(tmp_path) -> None:
    with Server(tmp_path, "app:application", app=APP) as server:
        with connect(server) as kept, connect(server) as fresh, connect(server) as busy:
            kept.get("/hello")
            get(server, "/hello")
            clock = Clock()
            busy.send(b"GET /sleep?1 HTTP/1.1\r\n" + HOST + b"\r\n")
            wait_until(lambda: "GET /sleep?1" in get_json(server, "/calls"))
            assert server.stop() == 0
            assert busy.read_response().body == b"slept" and busy.closed()
            assert kept.closed() and fresh.closed() and clock.about(1), server.log
