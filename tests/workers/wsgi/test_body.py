"""Request bodies: bounded, streamed or stored, and refused before they are read."""

import os
import re
from collections.abc import Iterator

import pytest

from tests.harness import Server
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.wire import BEHIND, HOST, Wire, ask, connect, packet, refused, request

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0", "--limit-post", "100000",
             "--disable-logging")
LIMIT = 100_000


def post(path: str, body: bytes, chunked: bool = False, *fields: bytes) -> bytes:
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    if chunked:
        body = b"".join(b"%x\r\n%b\r\n" % (len(body[at:at + 7000]), body[at:at + 7000])
                        for at in range(0, len(body), 7000)) + b"0\r\n\r\n"
    return b"\r\n".join([b"POST %b HTTP/1.1" % path.encode(), HOST + framing, *fields, b"",
                         body])


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_up_to_the_limit(server: Server, chunked: bool) -> None:
    with connect(server) as wire:
        wire.send(post("/echo", b"x" * LIMIT, chunked))
        assert wire.answer().body == b"x" * LIMIT
        assert wire.get("/hello").body == b"hello"


def test_a_length_over_the_limit_is_refused_unread(server: Server) -> None:
    before = ask(server, "/calls")
    for fields in ((), (b"Expect: 100-continue",)):
        with connect(server) as wire:
            wire.send(post("/echo", b"x" * (LIMIT + 1), False, *fields) + BEHIND)
            assert wire.answer().status == 413 and wire.closed() and not wire.reset
            refused(server, wire, "limit-post is 100000", "closed with 413")
    assert ask(server, "/calls") == before


@pytest.mark.parametrize("path, status", [("/echo", 413), ("/quiet", 200)])
def test_chunks_over_the_limit(server: Server, path: str, status: int) -> None:
    before = ask(server, "/bodies")
    with connect(server) as wire:
        wire.send(post(path, b"x" * (LIMIT + 1), True) + BEHIND)
        answer = wire.answer()
        assert answer.status == status and b"whole" not in answer.body
        assert wire.closed() and not wire.reset
        refused(server, wire, "limit-post", "closed")
    assert ask(server, "/bodies") == before
    assert "GET /smuggled" not in ask(server, "/calls")


def test_the_limit_over_uwsgi(server: Server) -> None:
    for length, status in ((LIMIT, 200), (LIMIT + 1, 413)):
        with connect(server, "uwsgi") as wire:
            wire.send(packet(request("/echo", "POST", CONTENT_LENGTH=str(length)), b"x" * length))
            assert wire.answer().status == status and wire.closed() and not wire.reset


@pytest.fixture(scope="module")
def storing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that stores bodies before the application is called."""
    with Server(tmp_path_factory.mktemp("storing"), "app:application", "--http-socket",
                "127.0.0.1:0", "--socket", "127.0.0.1:0", "--post-buffering", "10000",
                "--disable-logging", "--socket-timeout", "1", app=APP) as server:
        yield server
        assert server.stop() == 0, server.log


@pytest.mark.parametrize("size, kind", [(0, "BytesIO"), (10_000, "BytesIO"),
                                        (10_001, "BufferedRandom"), (300_000, "BufferedRandom")])
@pytest.mark.parametrize("over", ["length", "chunked", "uwsgi"])
def test_post_buffering(storing: Server, over: str, size: int, kind: str) -> None:
    with connect(storing, "uwsgi" if over == "uwsgi" else "http") as wire:
        if over == "uwsgi":
            wire.send(packet(request("/size", "POST", CONTENT_LENGTH=str(size)), b"x" * size))
        else:
            wire.send(post("/size", b"x" * size, over == "chunked"))
        body = wire.answer().body
        assert re.fullmatch(rb'\[%d, \d+, "%b"\]' % (size, kind.encode()), body)


def test_a_stored_body_that_breaks_never_reaches_the_application(storing: Server) -> None:
    before = ask(storing, "/calls")
    for data, status in ((post("/echo", b"x" * 20_000)[:-1], 408),
                         (post("/echo", b"x" * 20_000, True)[:-5] + b"zz\r\n", 400)):
        with connect(storing) as wire:
            wire.send(data)
            assert wire.answer().status == status
            refused(storing, wire, f"closed with {status}")
    assert ask(storing, "/calls") == before


def test_100_is_sent_before_a_body_is_stored(storing: Server) -> None:
    with connect(storing) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\n" + HOST
                  + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert wire.answer().status == 100
        wire.send(b"hello")
        assert wire.answer().body == b"hello"


def test_no_room_to_store_a_body(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--post-buffering", "1000", "--disable-logging",
                app=APP) as server:
        with connect(server) as wire:
            worker = wire.get("/pid").body
            wire.get("/limit-files?5000")
            wire.send(post("/echo", b"x" * 400_000) + BEHIND)
            assert wire.answer().status == 500 and wire.closed()
            refused(server, wire, "cannot store the request body", "closed with 500")
        with connect(server) as wire:
            assert wire.get("/pid").body == worker
            assert "POST /echo" not in wire.get("/calls").body.decode()


def peak(wire: Wire) -> int:
    """The worker's peak of memory in KiB."""
    wire.send(post("/size", b""))
    return int(wire.answer().body.split(b",")[1])


def test_a_large_upload_and_download_are_not_held_in_memory(tmp_path) -> None:
    size = 200 << 20
    piece = b"x" * (1 << 20)
    path = tmp_path / "large"
    with open(path, "wb") as file:
        os.truncate(file.fileno(), size)
    with Server(tmp_path, "app:application", "--disable-logging", app=APP) as server:
        with connect(server) as wire:
            wire.send(post("/size", piece))
            wire.answer()
            before = peak(wire)
            wire.send(b"POST /size HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size)
            for _ in range(size >> 20):
                wire.send(piece)
            assert wire.answer().body.startswith(b"[%d," % size)
            wire.send(f"GET /file?{path} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
            while wire.line() != b"\r\n":
                pass
            left = size - len(wire.buffered)
            wire.buffered = b""
            while left:
                left -= len(wire.sock.recv(min(left, 1 << 20)))
            assert peak(wire) - before < 10 << 10
