"""Error pages of the server: none in a response to HEAD, and a line in the request log."""

from pathlib import Path

import pytest

from tests.harness import Server, wait_until
from tests.workers.asgi.conftest import APP
from tests.workers.wsgi.raw_client import connect, packet, request

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0", "--limit-post", "10",
             "--http-headers-timeout", "1")


def logged(server: Server, *words: str, start: int = 0) -> str:
    def found() -> list[str]:
        return [line for line in server.out[start:] if all(word in line for word in words)]
    return wait_until(found, lambda: f"{words} in {server.out[start:]}", 5)[0]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/fail", "/nothing"])
def test_an_error_page_is_counted_as_it_was_sent(server: Server, path: str, method: str) -> None:
    start = len(server.out)
    with connect(server) as client:
        response = client.get(path, method=method)
        assert response.status == 500 and client.closed()
    line = logged(server, f"{method} {path} => generated {len(response.body)} bytes", " 500) ",
                  start=start)
    assert f"{len(response.headers)} headers in 1" in line
    assert bool(response.body) == (method == "GET")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_without_an_application(tmp_path: Path, method: str) -> None:
    with Server(tmp_path, "--interface", "asgi", "--mount", "/inner=app:app", "--no-default-app",
                app=APP) as server, connect(server) as client:
        response = client.get("/outer", method=method)
        assert response.status == 500 and client.closed()
        assert f"generated {len(response.body)} bytes" in logged(server, f"{method} /outer")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("rest, status", [
    (b" /a b HTTP/1.1\r\n\r\n", 400),
    (b" /two HTTP/2.0\r\n\r\n", 505),
    (b" /nohost HTTP/1.1\r\n\r\n", 400),
    (b" /slow HTTP/1.1\r\nHost: x\r\nX: ", 408),
    (b" /large HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", 413)])
def test_a_rejected_head(server: Server, method: str, rest: bytes, status: int) -> None:
    start = len(server.out)
    with connect(server) as client:
        client.send(method.encode() + rest)
        response = client.read_response(method)
        assert response.status == status and client.closed()
    path = rest.split()[0].decode()
    line = logged(server, f"{method} {path} => generated {len(response.body)} bytes",
                  f" {status}) ", start=start)
    assert " 127.0.0.1 () " in line and "|app: -1|req: -1/" in line
    assert f"{len(response.headers)} headers in" in line


@pytest.mark.parametrize("data, status", [
    (packet(request(HTTP_UPGRADE="websocket")), 400),
    (packet(request(CONTENT_LENGTH="20"), b"x" * 20), 413),
    (packet(request(), size=65535)[:200], 408)])
def test_over_uwsgi(server: Server, data: bytes, status: int) -> None:
    start = len(server.out)
    with connect(server, "uwsgi") as client:
        client.send(data)
        assert client.read_response().status == status
    logged(server, f" {status}) ", start=start)
