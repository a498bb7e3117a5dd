"""Errors of the application, connections that change hands, and the PROXY protocol."""

import json
import struct

import pytest

from tests.harness import Server, wait_until
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.wire import BEHIND, Wire, ask, connect, get, packet, refused, request

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0")


# Errors of the application

@pytest.mark.parametrize("path, told", [
    ("/error", "ValueError: before the head"), ("/leave", "SystemExit: 7"),
    ("/kill_greenlet", "GreenletExit"), ("/inject", "control character in the value of header"),
    ("/inject-status", "malformed status"), ("/text", "str, not bytes"),
    ("/nothing", "the application returned NoneType, which is not iterable"),
    ("/no-start", "did not call start_response"), ("/status?999+x", "malformed status"),
    ("/status?100+Continue", "100 is not a final status")])
def test_an_error_before_the_head_is_a_500(server: Server, path: str, told: str) -> None:
    worker = get(server, "/pid").body
    with connect(server) as wire:
        wire.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode() + BEHIND)
        answer = wire.answer()
        assert answer.status == 500 and answer.body == b"500 Internal Server Error\n"
        assert answer.headers["connection"] == "close" and "set-cookie" not in answer.headers
        assert wire.closed()
        name = wire.name
    server.wait_for(f"Error handling request GET {path} from {name}")
    server.wait_for(told)
    assert get(server, "/pid").body == worker
    assert "GET /smuggled" not in ask(server, "/calls")


def test_the_traceback_is_the_applications(server: Server) -> None:
    start = len(server.err)
    get(server, "/error")
    wait_until(lambda: "ValueError: before the head" in server.err[start:], "the traceback")
    lines = server.err[start:]
    assert "Traceback (most recent call last):" in lines
    files = [line for line in lines if line.startswith("  File ")]
    assert len(files) == 2 and all("app.py" in line for line in files)


def test_a_response_that_cannot_be_sent_is_told_in_one_line(server: Server) -> None:
    """There is no frame of the application's to show, and ours would help nobody."""
    start = len(server.err)
    get(server, "/no-start")
    line = wait_until(lambda: [line for line in server.err[start:] if "start_response" in line],
                      "the line of this request")[0]
    assert "Error handling request GET /no-start from 127.0.0.1" in line
    assert not [line for line in server.err[start:] if line.startswith("  File ")]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_an_error_behind_the_head_cuts_the_connection(server: Server, version: str) -> None:
    with connect(server) as wire:
        answer = wire.get("/error-later", version=version)
        assert answer.status == 200 and answer.body in (b"begun", b"")
        assert not answer.whole, "half a body must not look like a whole one"
        assert wire.ended
        server.wait_for(f"Error handling request GET /error-later from {wire.name}")


def test_a_cut_uwsgi_answer_does_not_look_whole(server: Server) -> None:
    with connect(server, "uwsgi") as wire:
        wire.send(packet(request("/error-later")))
        assert not wire.answer().whole


def test_no_page_for_a_head_request(server: Server) -> None:
    with connect(server) as wire:
        assert wire.get("/error", method="HEAD").status == 500 and wire.closed()


def test_a_client_that_leaves_is_no_error_of_the_application(server: Server) -> None:
    errors = len(server.find("Error handling request GET /endless"))
    for _ in range(5):
        with connect(server) as wire:
            wire.send(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
            wire.take(100_000)
            wire.sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: reset at close
    wait_until(lambda: len(server.find("GET /endless =>")) == 5, "5 lines")
    assert len(server.find("Error handling request GET /endless")) == errors
    assert get(server, "/hello").body == b"hello"


# Upgrades: the connection is the application's

@pytest.mark.parametrize("key", ["geventuwsgi.socket", "gunicorn.socket"])
def test_hand_over(server: Server, key: str) -> None:
    with connect(server) as wire:
        answer = wire.get(f"/upgrade?{key}", "Upgrade: echo", "Connection: Upgrade")
        assert answer.status == 101 and answer.headers["upgrade"] == "echo"
        for text in (b"one", b"two"):
            wire.send(text)
            assert wire.take(3) == text.upper()
        wire.sock.shutdown(1)
        assert wire.closed(), "the server adds nothing of its own"


def test_hand_over_that_ends_in_an_exception(server: Server) -> None:
    with connect(server) as wire:
        wire.send(b"GET /upgrade-and-raise HTTP/1.1\r\nHost: test\r\n\r\n")
        assert wire.rest() == b"mine"
    assert not server.find("Error handling request GET /upgrade-and-raise")


# PROXY protocol

V1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n"
V2 = (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes((203, 0, 113, 7, 198, 51, 100, 1))
      + struct.pack("!HH", 56324, 443))
GET = (b"GET /environ HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
       b"X-Forwarded-Proto: https\r\n\r\n")


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory):
    """A server that takes PROXY headers, from 127.0.0.1 only."""
    with Server(tmp_path_factory.mktemp("proxied"), "app:application", "--http-socket",
                "127.0.0.1:0", "--socket", "127.0.0.1:0", "--enable-proxy-protocol",
                "--proxy-allow-ips", "127.0.0.1", "--http-headers-timeout", "1",
                "--disable-logging", app=APP) as server:
        yield server
        assert server.stop() == 0


def environ_of(wire: Wire) -> dict[str, str]:
    return json.loads(wire.answer().body)


@pytest.mark.parametrize("header", [V1, V2])
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_proxy_headers(proxied: Server, header: bytes, step: int) -> None:
    data = header + GET
    with connect(proxied) as wire:
        wire.sock.setsockopt(6, 1, 1)  # TCP_NODELAY
        for at in range(0, len(data), step):
            wire.send(data[at:at + step])
        environ = environ_of(wire)
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("203.0.113.7", "56324")
    assert environ["wsgi.url_scheme"] == "http", "the client behind it is not trusted"


@pytest.mark.parametrize("header", [
    b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0"])
def test_proxy_headers_that_speak_for_nobody(proxied: Server, header: bytes) -> None:
    with connect(proxied) as wire:
        wire.send(header + GET)
        assert environ_of(wire)["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("data", [
    GET, b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n" + GET, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\n" + GET,
    b"PROXY TCP4 1.2.3.4\r\n" + GET, b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n" + GET,
    b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n" + GET, b"PROXY " + b"x" * 200, b"\r\n\r\n\0\r\nQUITx" + GET,
    V2.replace(b"\x21\x11", b"\x31\x11") + GET, V2.replace(b"\0\x0c", b"\0\x0b") + GET,
    V2.replace(b"\x21\x11", b"\x21\x61") + GET])
def test_broken_proxy_headers(proxied: Server, data: bytes) -> None:
    calls = ask_through(proxied, "/calls")
    with connect(proxied) as wire:
        wire.send(data + BEHIND)
        assert wire.answer().status == 400 and wire.closed()
        refused(proxied, wire, "PROXY", "closed with 400")
    assert ask_through(proxied, "/calls") == calls


def ask_through(server: Server, path: str) -> list[str]:
    with connect(server) as wire:
        wire.send(V1 + f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
        return json.loads(wire.answer().body)


@pytest.mark.parametrize("data", [b"", V1[:10], V2[:14], V2[:20]])
def test_truncated_proxy_headers(proxied: Server, data: bytes) -> None:
    with connect(proxied) as wire:
        wire.send(data)
        wire.sock.shutdown(1)
        if data:
            assert wire.answer().status == 400
            refused(proxied, wire, "truncated PROXY protocol header")
        else:  # a health check that only connects
            assert wire.closed()
            assert not proxied.find(f"{wire.name}: ")
    with connect(proxied) as wire:  # and one that never ends meets its deadline
        wire.send(data)
        assert b"HTTP/1.1 200" not in wire.rest()


@pytest.mark.parametrize("header", [V1, V2])
def test_a_proxy_header_of_somebody_else_is_refused(proxied: Server, header: bytes) -> None:
    with connect(proxied, source="127.0.0.2") as wire:
        wire.send(header + GET)
        assert wire.answer().status == 400 and wire.closed()
    with connect(proxied, source="127.0.0.2") as wire:
        wire.send(GET)
        assert environ_of(wire)["REMOTE_ADDR"] == "127.0.0.2"


def test_uwsgi_sockets_know_no_proxy_header(proxied: Server) -> None:
    with connect(proxied, "uwsgi") as wire:
        wire.send(packet(request("/hello")))
        assert wire.answer().body == b"hello"
