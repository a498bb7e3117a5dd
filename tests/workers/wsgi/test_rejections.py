"""Requests that are rejected before the application have a line in the request log too."""

import pytest

from tests.harness import Server, wait_until
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.raw_client import HOST, connect, get, packet, request

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0", "--limit-post", "10",
             "--limit-request-line", "300", "--http-headers-timeout", "1")
THREADS = 4


def logged(server: Server, *words: str, start: int = 0) -> str:
    def found() -> list[str]:
        return [line for line in server.out[start:] if all(word in line for word in words)]
    return wait_until(found, lambda: f"{words} in {server.out[start:]}", 5)[0]


@pytest.mark.parametrize("data, line", [
    (b"GET /a b HTTP/1.1\r\n\r\n", "GET /a => generated"),
    (b"GET /bare HTTP/1.1\nHost: x\r\n\r\n", "GET /bare"),
    (b"GET /" + b"x" * 400 + b" HTTP/1.1\r\n\r\n", "GET /xxx"),
    (b"GET /nohost HTTP/1.1\r\n\r\n", "GET /nohost => generated"),
    (b"GET /two HTTP/2.0\r\n\r\n", "GET /two => generated"),
    (b"GET /slow HTTP/1.1\r\n", "GET /slow => generated"),
    (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", "POST /echo => generated"),
    (b"\x16\x03\x01\x02\x00\r\n\r\n", "\\x16\\x03\\x01\\x02\\x00 - => generated"),
])
def test_over_http(server: Server, data: bytes, line: str) -> None:
    start = len(server.out)
    with connect(server) as client:
        client.send(data)
        response = client.read_response()
    found = logged(server, line, start=start)
    assert f" {response.status}) " in found and "|app: -1|req: -1/" in found, found
    assert " 127.0.0.1 () " in found and f"generated {len(response.body)} bytes" in found
    assert f"{len(response.headers)} headers in" in found


def test_not_confused_with_the_previous_request(server: Server) -> None:
    start = len(server.out)
    with connect(server) as client:
        client.send(b"GET /first HTTP/1.1\r\nHo")
        client.send(b"st: x\r\n\r\n")
        assert client.read_response().status == 200
        client.send(b"GET /second HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n")
        assert client.read_response().status == 400
        assert " 400) " in logged(server, "GET /second", start=start)
    with connect(server) as client:
        client.send(b"GET /third HTTP/1.1\r\nHo")
        client.send(b"st: x\r\n\r\n")
        assert client.read_response().status == 200
        client.send(b"DELETE /fourth HTTP/1.1\r\n\r\n")
        assert client.read_response().status == 400
        assert " 400) " in logged(server, "DELETE /fourth", start=start)


@pytest.mark.parametrize("data, status", [
    (b"\0\5\0\0\x09\0PAT", 400),   # a name that is longer than the block
    (packet(request(CONTENT_LENGTH="20"), b"x" * 20), 413),
    (packet(request(), size=65535)[:200], 408),
])
def test_over_uwsgi(server: Server, data: bytes, status: int) -> None:
    start = len(server.out)
    with connect(server, "uwsgi") as client:
        client.send(data)
        assert client.read_response().status == status
    assert logged(server, f" {status}) ", start=start)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_error_page_is_counted_as_it_was_sent(server: Server, method: str) -> None:
    start = len(server.out)
    with connect(server) as client:
        response = client.get("/error", method=method)
    line = logged(server, f"{method} /error => generated {len(response.body)} bytes", " 500) ",
                  start=start)
    assert f"{len(response.headers)} headers in 1" in line and response.status == 500


def test_a_rejected_head_request_has_no_body(server: Server) -> None:
    for head in (b"HEAD /nohost HTTP/1.1\r\n\r\n",
                 b"HEAD /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n"):
        with connect(server) as client:
            client.send(head)
            assert client.read_response("HEAD").status in (400, 413) and client.closed()


def test_served_requests_are_counted_separately(server: Server) -> None:
    start = len(server.out)
    get(server, "/hello")
    before = int(logged(server, "GET /hello", start=start).partition("req: ")[2].split("/")[0])
    with connect(server) as client:
        client.send(b"BAD\r\n" + HOST + b"\r\n")
        assert client.read_response().status == 400
    start = len(server.out)
    get(server, "/hello")
    assert f"req: {before + 1}/" in logged(server, "GET /hello", start=start)


def test_response_headers_in_a_format(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--access-logformat",
                '%(m)s %(U)s %(s)s "%({content-type}o)s" "%({X-None}o)s"', app=APP) as server:
        for path in ("/hello", "/error", "/stream"):
            get(server, path)
        with connect(server) as client:
            client.send(b"GET /rejected HTTP/1.1\r\n\r\n")
            client.read_response()
        for line in ('GET /hello 200 "text/plain" "-"', 'GET /error 500 "-" "-"',
                     'GET /stream 200 "text/plain" "-"', 'GET /rejected 400 "-" "-"'):
            assert logged(server, line)
