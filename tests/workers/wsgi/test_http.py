"""HTTP: keep-alive, pipelining, 1.0, HEAD, framing, 100 and 103."""

import json
import os
import re
import time

import pytest

from tests.harness import Server, wait_until
from tests.workers.wsgi.raw_client import HOST, connect, get, get_json

ARGUMENTS = ("--add-header", "X-Added: yes")


def get_of(path: str, *fields: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: test", *fields, "", ""]).encode()


# Persistence

@pytest.mark.parametrize("version, fields, said, stays", [
    ("1.1", [], None, True), ("1.1", ["Connection: keep-alive"], None, True),
    ("1.1", ["Connection: close"], "close", False), ("1.1", ["Connection: CLOSE"], "close", False),
    ("1.1", ["Connection: foo, close"], "close", False),
    ("1.1", ["Connection: foo", "Connection: close"], "close", False),
    ("1.1", ["Connection: keep-alive, close"], "close", False),
    ("1.1", ["Connection: foo"], None, True),
    ("1.0", [], "close", False), ("1.0", ["Connection: keep-alive"], "keep-alive", True),
    ("1.0", ["Connection: Keep-Alive"], "keep-alive", True),
    ("1.0", ["Connection: keep-alive, close"], "close", False)])
def test_keep_alive(server: Server, version: str, fields: list[str], said: str | None,
                    stays: bool) -> None:
    with connect(server) as client:
        response = client.get("/hello", *fields, version=version)
        assert response.body == b"hello" and response.headers.get("connection") == said
        if stays:
            assert client.get("/hello").body == b"hello"
        else:
            client.send(get_of("/smuggled"))
            assert client.closed()


def test_the_application_closes(server: Server) -> None:
    with connect(server) as client:
        assert client.get("/close").headers["connection"] == "close" and client.closed()


def test_pipelined_requests_get_responses_in_order(server: Server) -> None:
    with connect(server) as client:
        client.send(get_of("/sleep?0.2") + get_of("/hello") + get_of("/stream")
                    + b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nbody"
                    + get_of("/environ?last") + get_of("/hello", "Connection: close")
                    + get_of("/smuggled"))
        bodies = [client.read_response().body for _ in range(6)]
        assert bodies[:4] == [b"slept", b"hello", b"onetwo", b"body"]
        assert b"/environ?last" in bodies[4] and bodies[5] == b"hello"
        assert client.read_to_end() == b""
    assert "GET /smuggled" not in get_json(server, "/calls")


def test_requests_byte_by_byte(server: Server) -> None:
    data = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + (
        b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX: y\r\n\r\n")
    with connect(server) as client:
        client.sock.setsockopt(6, 1, 1)  # TCP_NODELAY
        for _ in range(2):
            for octet in data:
                client.send(bytes([octet]))
            assert client.read_response().body == b"abcde"


def test_one_empty_line_before_a_request_is_ignored(server: Server) -> None:
    with connect(server) as client:
        client.send(b"\r\n" + get_of("/hello") + b"\r\n" + get_of("/hello"))
        assert client.read_response().body == client.read_response().body == b"hello"


# Framing

def test_default_fields(server: Server) -> None:
    for path in ("/hello", "/stream", "/error", "/status?204"):
        headers = get(server, path).headers
        assert headers["x-added"] == "yes" and headers["server"] == "geventuwsgi"
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers["date"])


@pytest.mark.parametrize("path", [
    "/hello", "/stream", "/write", "/memory-file", "/file?app.py", "/big?300000", "/error"])
def test_head_has_no_body(server: Server, path: str) -> None:
    with connect(server) as client:
        response = client.get(path, method="HEAD")
        assert "transfer-encoding" not in response.headers
        if path == "/error":
            assert response.status == 500 and client.closed()
            return
        length = response.headers.get("content-length")
        body = client.get(path).body
        assert length in (None, str(len(body)))


@pytest.mark.parametrize("status", ["204+No+Content", "304+Not+Modified"])
def test_statuses_without_a_body(server: Server, status: str) -> None:
    with connect(server) as client:
        response = client.get(f"/status?{status}")
        assert response.status == int(status[:3]) and "content-length" not in response.headers
        assert client.get("/hello").body == b"hello"


@pytest.mark.parametrize("path, body", [
    ("/stream", b"onetwo"), ("/write", b"onetwothree"), ("/memory-file", b"from memory")])
def test_a_body_without_length(server: Server, path: str, body: bytes) -> None:
    with connect(server) as client:
        response = client.get(path)
        assert response.headers["transfer-encoding"] == "chunked" and response[2:] == (body, True)
        response = client.get(path, "Connection: keep-alive", version="1.0")
        assert response.headers["connection"] == "close" and response.body == body
        assert "transfer-encoding" not in response.headers and client.ended


def test_files(server: Server) -> None:
    path = server.directory / "large"
    path.write_bytes(b"0123456789" * 500_000)
    with connect(server) as client:
        for version in ("1.1", "1.0"):
            response = client.get(f"/file?{path}", "Connection: keep-alive", version=version)
            assert response.body == path.read_bytes() and response.whole
        assert client.get("/hello").body == b"hello"
    server.wait_for(f"GET /file?{path} =>", 2)
    for version, line in zip(("1.1", "1.0"), server.find(f"GET /file?{path} =>")):
        assert f"via sendfile() (HTTP/{version} 200)" in line


def test_files_whose_size_is_wrong(server: Server) -> None:
    """Those of /proc are complete, one that becomes shorter cuts the connection; both are logged
    with what was sent."""
    path = server.directory / "shrinking"
    path.write_bytes(b"x" * 20_000_000)
    with connect(server) as client:
        response = client.get("/file?/proc/self/status")
        assert b"VmRSS" in response.body and response.whole
        assert client.get("/hello").body == b"hello"
        client.send(get_of(f"/file?{path}"))
        client.sock.recv(1)
        os.truncate(path, 10_000_000)
        rest = client.read_to_end()
        assert len(rest) < 11_000_000 and client.ended
        server.wait_for(f"GET /file?{path}: the body is 10000000 bytes shorter than its Content-")
        server.wait_for("generated 10000000 bytes")


def test_short_bodies_cut_the_connection(server: Server) -> None:
    with connect(server) as client:
        client.send(get_of("/short") + get_of("/smuggled"))
        response = client.read_response()
        assert response.body == b"short" and not response.whole and client.ended
        server.wait_for(f"{client.name}: GET /short: the body is 5 bytes shorter than its Content-")


@pytest.mark.parametrize("path, excess", [
    ("/long", 10), ("/long?list", 30), ("/long?generator", 10)])
def test_long_bodies_are_cut(server: Server, path: str, excess: int) -> None:
    with connect(server) as client:
        response = client.get(path)
        assert response.body == b"longer" and response.headers["connection"] == "close"
        assert client.closed()
        server.wait_for(f"{client.name}: GET {path}: the body is {excess} bytes longer than its Co")


# 100 (Continue)

EXPECTING = b"POST %b HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n%b\r\n"


@pytest.mark.parametrize("framing, body", [
    (b"Content-Length: 5\r\n", b"hello"), (b"Content-Length: 70000\r\n", b"x" * 70_000),
    (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n")])
def test_100_when_the_application_reads(server: Server, framing: bytes, body: bytes) -> None:
    with connect(server) as client:
        client.send(EXPECTING % (b"/echo", framing))
        assert client.read_response().status == 100
        client.send(body)
        assert client.read_response().body == (b"hello" if b"hello" in body else body)
        assert client.get("/hello").body == b"hello", "one 100, and the connection is kept"


@pytest.mark.parametrize("path", ["/hello", "/error", "/stream"])
def test_no_100_without_a_read_and_the_body_is_no_request(server: Server, path: str) -> None:
    with connect(server) as client:
        client.send(EXPECTING % (path.encode(), b"Content-Length: 40\r\n"))
        response = client.read_response()
        assert response.status in (200, 500) and response.headers["connection"] == "close"
        client.send(get_of("/smuggled"))
        assert client.closed()
    assert "GET /smuggled" not in get_json(server, "/calls")


def test_no_100_for_a_body_that_is_here(server: Server) -> None:
    with connect(server) as client:
        client.send(EXPECTING % (b"/echo", b"Content-Length: 5\r\n") + b"hello")
        response = client.read_response()
        assert response.status == 200 and response.body == b"hello"
        assert client.get("/hello").body == b"hello"


@pytest.mark.parametrize("data", [
    b"GET /hello HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n\r\n",
    b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    b"POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"])
def test_no_100_where_none_is_allowed(server: Server, data: bytes) -> None:
    with connect(server) as client:
        client.send(data)
        assert client.read_response().status == 200


# 103 (Early Hints)

def test_early_hints(server: Server) -> None:
    with connect(server) as client:
        hint = client.get("/early")
        assert hint.status == 103 and hint.headers == {"link": "</a.css>; rel=preload"}
        assert client.read_response().body == b"hello"
        assert client.get("/early", "Connection: keep-alive", version="1.0").body == b"hello"


# The environ

def test_environ(server: Server) -> None:
    with connect(server) as client:
        environ = json.loads(client.get("/x/../enviro%6e?d=%65").body)
        assert f"{environ['REMOTE_ADDR']}:{environ['REMOTE_PORT']}" == client.name
    assert environ["PATH_INFO"] == "/environ" and environ["QUERY_STRING"] == "d=%65"
    assert environ["REQUEST_URI"] == environ["RAW_URI"] == "/x/../enviro%6e?d=%65"
    assert environ["HTTP_HOST"] == "test" and environ["SERVER_PORT"] == str(server.port)
    assert environ["SERVER_NAME"] == "127.0.0.1" and environ["wsgi.url_scheme"] == "http"
    assert environ["wsgi.multithread"] == "True" and environ["wsgi.multiprocess"] == "False"
    assert environ["wsgi.input_terminated"] == "True" and environ["wsgi.version"] == "(1, 0)"
    for name in ("uwsgi.version", "uwsgi.node", "geventuwsgi.socket", "gunicorn.socket",
                 "wsgi.early_hints", "wsgi.file_wrapper"):
        assert name in environ


def test_the_scheme_of_a_trusted_peer(server: Server) -> None:
    def scheme(source: str) -> str:
        with connect(server, source=source) as client:
            return json.loads(
                client.get("/environ", "X-Forwarded-Proto: https").body)["wsgi.url_scheme"]
    assert scheme("127.0.0.1") == "https" and scheme("127.0.0.2") == "http"


def test_wsgiref_validate_in_a_running_server(server: Server) -> None:
    with connect(server) as client:
        for framing, body in ((b"Content-Length: 4\r\n", b"body"), (b"", b""),
                              (b"Transfer-Encoding: chunked\r\n", b"4\r\nbody\r\n0\r\n\r\n")):
            client.send(b"POST /valid?x HTTP/1.1\r\n" + HOST + framing + b"\r\n" + body)
            assert client.read_response().body == (b"valid body" if body else b"valid ")


def test_what_is_unread_is_drained_or_closed_without_a_reset(server: Server) -> None:
    for size, stays in ((10, True), (200_000, True), (1_000_000, False)):
        with connect(server) as client:
            client.send(b"POST /hello HTTP/1.1\r\n" + HOST
                        + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
            answer = client.read_response()
            # A proxy that believes the connection kept would send its next request into the close.
            assert answer.headers.get("connection") == (None if stays else "close")
            assert answer.body == b"hello"
            if stays:
                assert client.get("/hello").body == b"hello"
            else:
                assert client.closed() and not client.reset
    with connect(server) as client:  # partly read
        client.send(b"POST /first?3 HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
                    b"5\r\nhello\r\n0\r\n\r\n" + get_of("/hello"))
        assert client.read_response().body == b"hel" and client.read_response().body == b"hello"
    with connect(server) as client:  # of unknown size, and not all of it has arrived
        client.send(b"POST /hello HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
                    b"5\r\nhello\r\n")
        assert client.read_response().headers["connection"] == "close" and client.closed()


def test_a_slow_request_delays_no_other(server: Server) -> None:
    with connect(server) as slow, connect(server) as quick:
        slow.send(get_of("/hold?here"))
        wait_until(lambda: "GET /hold?here" in get_json(server, "/calls"))
        began = time.monotonic()
        for _ in range(20):
            assert quick.get("/hello").body == b"hello"
        assert time.monotonic() - began < 5
        get(server, "/release?here")
        assert slow.read_response().body == b"held"
