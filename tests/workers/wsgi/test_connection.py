"""Errors of the application, connections that are handed over, and the PROXY protocol."""

import json
import os
import signal
import struct
from pathlib import Path

import pytest

from tests.harness import Server, alive, wait_until
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.raw_client import (
    NEXT_REQUEST, RawClient, connect, get, get_json, packet, request, wait_for_rejection)

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0")
THREADS = 4


def test_a_connection_ends_although_a_child_has_a_copy(server: Server) -> None:
    with connect(server) as wire:
        child = int(wire.get("/fork_without_hooks", "Connection: close").body)
        try:
            wire.sock.settimeout(20)
            assert wire.closed() and alive(child)
        finally:
            os.kill(child, signal.SIGKILL)


# Errors of the application

@pytest.mark.parametrize("path, message", [
    ("/error", "ValueError: before the head"), ("/leave", "SystemExit: 7"),
    ("/kill_greenlet", "GreenletExit"), ("/inject", "control character in the value of header"),
    ("/inject-status", "malformed status"), ("/text", "str, not bytes"),
    ("/nothing", "the application returned NoneType, which is not iterable"),
    ("/factory", "the application returned function, which is not iterable; add () to the applic"),
    ("/no-start", "did not call start_response"), ("/status?099+x", "malformed status"),
    ("/status?100+Continue", "100 is not a final status")])
def test_an_error_before_the_head_is_a_500(server: Server, path: str, message: str) -> None:
    worker = get(server, "/pid").body
    with connect(server) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode() + NEXT_REQUEST)
        response = client.read_response()
        assert response.status == 500 and response.body == b"500 Internal Server Error\n"
        assert response.headers["connection"] == "close" and "set-cookie" not in response.headers
        assert client.closed()
        name = client.name
    first = server.wait_for(f"Error handling request GET {path} from {name}")
    start = server.err.index(first)
    wait_until(lambda: any(message in line for line in server.err[start:]), message)
    assert get(server, "/pid").body == worker
    assert "GET /smuggled" not in get_json(server, "/calls")


def test_the_traceback_is_the_applications(server: Server) -> None:
    start = len(server.err)
    get(server, "/error")
    wait_until(lambda: "ValueError: before the head" in server.err[start:], "the traceback")
    lines = server.err[start:]
    assert "Traceback (most recent call last):" in lines
    files = [line for line in lines if line.startswith("  File ")]
    assert len(files) == 2 and all("app.py" in line for line in files)


def test_a_response_that_cannot_be_sent_is_logged_in_one_line(server: Server) -> None:
    """There is no frame of the application to show."""
    start = len(server.err)
    get(server, "/no-start")
    line = wait_until(lambda: [line for line in server.err[start:] if "start_response" in line],
                      "the line of this request")[0]
    assert "Error handling request GET /no-start from 127.0.0.1" in line
    assert not [line for line in server.err[start:] if line.startswith("  File ")]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_error_after_the_head_cuts_the_connection(server: Server, version: str) -> None:
    with connect(server) as client:
        response = client.get("/error-later", version=version)
        assert response.status == 200 and response.body in (b"begun", b"")
        assert not response.whole, "half a body must not look like a whole one"
        assert client.ended
        server.wait_for(f"Error handling request GET /error-later from {client.name}")


def test_a_cut_uwsgi_response_does_not_look_whole(server: Server) -> None:
    with connect(server, "uwsgi") as client:
        client.send(packet(request("/error-later")))
        assert not client.read_response().whole


def test_no_page_for_a_head_request(server: Server) -> None:
    with connect(server) as client:
        assert client.get("/error", method="HEAD").status == 500 and client.closed()


def test_a_client_that_leaves_is_not_an_application_error(server: Server) -> None:
    errors = len(server.find("Error handling request GET /endless"))
    for _ in range(5):
        with connect(server) as client:
            client.send(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
            client.read(100_000)
            client.sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: reset at close
    wait_until(lambda: len(server.find("GET /endless =>")) == 5, "5 lines")
    assert len(server.find("Error handling request GET /endless")) == errors
    assert get(server, "/hello").body == b"hello"


# Upgrades: the application takes the connection over

@pytest.mark.parametrize("key", ["geventuwsgi.socket", "gunicorn.socket"])
def test_hand_over(server: Server, key: str) -> None:
    with connect(server) as client:
        response = client.get(f"/upgrade?{key}", "Upgrade: echo", "Connection: Upgrade")
        assert response.status == 101 and response.headers["upgrade"] == "echo"
        for text in (b"one", b"two"):
            client.send(text)
            assert client.read(3) == text.upper()
        client.sock.shutdown(1)
        assert client.closed(), "the server adds nothing"


def test_hand_over_that_ends_in_an_exception(server: Server) -> None:
    with connect(server) as client:
        client.send(b"GET /upgrade-and-raise HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.read_to_end() == b"mine"
    assert not server.find("Error handling request GET /upgrade-and-raise")


# PROXY protocol

V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n"
V2 = (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes((203, 0, 113, 7, 198, 51, 100, 1))
      + struct.pack("!HH", 56324, 443))
GET = (b"GET /environ HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
       b"X-Forwarded-Proto: https\r\n\r\n")


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory):
    """A server that accepts PROXY headers, from 127.0.0.1 only."""
    with Server(tmp_path_factory.mktemp("proxied"), "app:application", "--http-socket",
                "127.0.0.1:0", "--socket", "127.0.0.1:0", "--enable-proxy-protocol",
                "--proxy-allow-ips", "127.0.0.1", "--http-headers-timeout", "1",
                "--disable-logging", app=APP) as server:
        yield server
        assert server.stop() == 0


PATIENT = ("--enable-proxy-protocol", "--http-headers-timeout", "90", "--worker-reload-mercy", "90")


@pytest.mark.parametrize("sent", [b"", V1[:9], V2[:9], V1, V2])
def test_a_stop_does_not_wait_for_a_connection_without_a_request(
        tmp_path: Path, sent: bytes) -> None:
    with Server(tmp_path, "app:application", "--http-socket", "127.0.0.1:0", *PATIENT,
                app=APP) as server, connect(server) as client:
        client.send(sent)
        with connect(server) as other:  # accepted and served after the first one
            other.send(V1 + GET)
            assert other.read_response().status == 200
        assert server.stop(deadline=20) == 0
        assert client.closed()


def environ_of(client: RawClient) -> dict[str, str]:
    return json.loads(client.read_response().body)


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_proxy_headers(proxied: Server, header: bytes, step: int) -> None:
    data = header + GET
    with connect(proxied) as client:
        client.sock.setsockopt(6, 1, 1)  # TCP_NODELAY
        for at in range(0, len(data), step):
            client.send(data[at:at + step])
        environ = environ_of(client)
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("203.0.113.7", "56324")
    assert environ["wsgi.url_scheme"] == "http", "the client that it names is not trusted"


@pytest.mark.parametrize("header", [
    b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"])
def test_proxy_headers_without_an_address(proxied: Server, header: bytes) -> None:
    with connect(proxied) as client:
        client.send(header + GET)
        assert environ_of(client)["REMOTE_ADDR"] == "127.0.0.1"


def test_a_health_probe_without_a_proxy_header(proxied: Server) -> None:
    with connect(proxied) as client:
        client.send(GET)
        assert environ_of(client)["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("data", [
    b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n" + GET, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\n" + GET,
    b"PROXY TCP4 1.2.3.4\r\n" + GET, b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n" + GET,
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n" + GET, b"PROXY " + b"x" * 200,
    V2.replace(b"\x21\x11", b"\x31\x11") + GET, V2.replace(b"\0\x0c", b"\0\x0b") + GET,
    V2.replace(b"\x21\x11", b"\x21\x61") + GET])
def test_broken_proxy_headers(proxied: Server, data: bytes) -> None:
    calls = get_through(proxied, "/calls")
    with connect(proxied) as client:
        client.send(data + NEXT_REQUEST)
        assert client.read_response().status == 400 and client.closed()
        wait_for_rejection(proxied, client, "PROXY", "closed with 400")
    assert get_through(proxied, "/calls") == calls


def get_through(server: Server, path: str) -> list[str]:
    with connect(server) as client:
        client.send(V1 + f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        return json.loads(client.read_response().body)


@pytest.mark.slow
@pytest.mark.parametrize("data", [b"", V1[:10], V2[:14], V2[:20]])
def test_truncated_proxy_headers(proxied: Server, data: bytes) -> None:
    with connect(proxied) as client:
        client.send(data)
        client.sock.shutdown(1)
        if data:
            assert client.read_response().status == 400
            wait_for_rejection(proxied, client, "truncated PROXY protocol header")
        else:  # a health check that only connects
            assert client.closed()
            assert not proxied.find(f"{client.name}: ")
    with connect(proxied) as client:  # one that does not end is closed at its deadline
        client.send(data)
        assert b"HTTP/1.1 200" not in client.read_to_end()


@pytest.mark.parametrize("header", [V1, V2])
def test_a_proxy_header_of_another_peer_is_rejected(proxied: Server, header: bytes) -> None:
    with connect(proxied, source="127.0.0.2") as client:
        client.send(header + GET)
        assert client.read_response().status == 400 and client.closed()
    with connect(proxied, source="127.0.0.2") as client:
        client.send(GET)
        assert environ_of(client)["REMOTE_ADDR"] == "127.0.0.2"


def test_uwsgi_sockets_expect_no_proxy_header(proxied: Server) -> None:
    with connect(proxied, "uwsgi") as client:
        client.send(packet(request("/hello")))
        assert client.read_response().body == b"hello"
