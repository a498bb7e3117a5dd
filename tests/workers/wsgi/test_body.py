"""Request bodies: limited, streamed or stored, and rejected before they are read."""

import os
import re
from collections.abc import Iterator

import pytest

from tests.harness import Server
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.raw_client import (
    HOST, NEXT_REQUEST, RawClient, connect, get_json, packet, request, wait_for_rejection)

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0", "--limit-post", "100000",
             "--disable-logging")
THREADS = 4
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
    with connect(server) as client:
        client.send(post("/echo", b"x" * LIMIT, chunked))
        assert client.read_response().body == b"x" * LIMIT
        assert client.get("/hello").body == b"hello"


def test_a_length_over_the_limit_is_rejected_unread(server: Server) -> None:
    before = get_json(server, "/calls")
    for fields in ((), (b"Expect: 100-continue",)):
        with connect(server) as client:
            client.send(post("/echo", b"x" * (LIMIT + 1), False, *fields) + NEXT_REQUEST)
            assert client.read_response().status == 413 and client.closed() and not client.reset
            wait_for_rejection(server, client, "limit-post is 100000", "closed with 413")
    assert get_json(server, "/calls") == before


@pytest.mark.parametrize("path, status", [("/echo", 413), ("/quiet", 200)])
def test_chunks_over_the_limit(server: Server, path: str, status: int) -> None:
    before = get_json(server, "/bodies")
    with connect(server) as client:
        client.send(post(path, b"x" * (LIMIT + 1), True) + NEXT_REQUEST)
        response = client.read_response()
        assert response.status == status and b"whole" not in response.body
        assert client.closed() and not client.reset
        wait_for_rejection(server, client, "limit-post", "closed")
    assert get_json(server, "/bodies") == before
    assert "GET /smuggled" not in get_json(server, "/calls")


def test_no_100_within_a_response(server: Server) -> None:
    with connect(server) as client:
        client.send(post("/reply_and_read", b"hello", False, b"Expect: 100-continue")[:-5])
        while b"begun " not in client.buffered:
            assert client.receive()
        client.send(b"hello")
        response = client.read_response()
        assert response.body == b"begun hello" and response.headers["connection"] == "close"
        assert client.closed()


def test_the_limit_over_uwsgi(server: Server) -> None:
    for length, status in ((LIMIT, 200), (LIMIT + 1, 413)):
        with connect(server, "uwsgi") as client:
            client.send(packet(request("/echo", "POST", CONTENT_LENGTH=str(length)), b"x" * length))
            assert client.read_response().status == status and client.closed() and not client.reset


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
    with connect(storing, "uwsgi" if over == "uwsgi" else "http") as client:
        if over == "uwsgi":
            client.send(packet(request("/size", "POST", CONTENT_LENGTH=str(size)), b"x" * size))
        else:
            client.send(post("/size", b"x" * size, over == "chunked"))
        body = client.read_response().body
        assert re.fullmatch(rb'\[%d, \d+, "%b"\]' % (size, kind.encode()), body)


def test_a_stored_body_that_breaks_never_reaches_the_application(storing: Server) -> None:
    before = get_json(storing, "/calls")
    for data, status in ((post("/echo", b"x" * 20_000)[:-1], 408),
                         (post("/echo", b"x" * 20_000, True)[:-5] + b"zz\r\n", 400)):
        with connect(storing) as client:
            client.send(data)
            assert client.read_response().status == status
            wait_for_rejection(storing, client, f"closed with {status}")
    assert get_json(storing, "/calls") == before


def test_100_is_sent_before_a_body_is_stored(storing: Server) -> None:
    with connect(storing) as client:
        client.send(b"POST /echo HTTP/1.1\r\n" + HOST
                    + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.read_response().status == 100
        client.send(b"hello")
        assert client.read_response().body == b"hello"


def test_a_body_that_cannot_be_stored(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--post-buffering", "1000", "--disable-logging",
                app=APP) as server:
        with connect(server) as client:
            worker = client.get("/pid").body
            client.get("/limit-files?5000")
            client.send(post("/echo", b"x" * 400_000) + NEXT_REQUEST)
            assert client.read_response().status == 500 and client.closed()
            wait_for_rejection(server, client, "cannot store the request body", "closed with 500")
        with connect(server) as client:
            assert client.get("/pid").body == worker
            assert "POST /echo" not in client.get("/calls").body.decode()


def peak(client: RawClient) -> int:
    """Return the worker's peak of memory in KiB."""
    client.send(post("/size", b""))
    return int(client.read_response().body.split(b",")[1])


def test_a_large_upload_and_download_are_not_held_in_memory(tmp_path) -> None:
    size = 200 << 20
    piece = b"x" * (1 << 20)
    path = tmp_path / "large"
    with open(path, "wb") as file:
        os.truncate(file.fileno(), size)
    with Server(tmp_path, "app:application", "--disable-logging", app=APP) as server:
        with connect(server) as client:
            client.send(post("/size", piece))
            client.read_response()
            before = peak(client)
            client.send(b"POST /size HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size)
            for _ in range(size >> 20):
                client.send(piece)
            assert client.read_response().body.startswith(b"[%d," % size)
            client.send(f"GET /file?{path} HTTP/1.1\r\n".encode() + HOST + b"\r\n")
            while client.readline() != b"\r\n":
                pass
            left = size - len(client.buffered)
            client.buffered = b""
            while left:
                left -= len(client.sock.recv(min(left, 1 << 20)))
            assert peak(client) - before < 10 << 10
