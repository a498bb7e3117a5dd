"""Requests as nodes get them."""

from dataclasses import replace

import pytest

from geventuwsgi.errors import ProtocolError
from geventuwsgi.protocol.http1 import RequestParser
from geventuwsgi.protocol.message import Limits
from geventuwsgi.protocol.uwsgi import PacketParser
from geventuwsgi.router.request import ForwardingOptions, Origin, Request

ORIGIN = Origin("192.0.2.1", "5000", "http", "node", "8080", False, {}, "192.0.2.9")


def request(data: str, origin: Origin = ORIGIN,
            forwarding: ForwardingOptions = ForwardingOptions()) -> Request:
    parser = RequestParser(Limits(field=70000, head=80000))
    assert parser.head(data.replace("\n", "\r\n").encode("latin-1"))
    return Request(parser, origin, forwarding)


def variables(packet: bytes) -> dict[str, str]:
    parser = PacketParser()
    assert parser.head(packet)
    return parser.vars


def test_a_packet_has_the_variables_of_uwsgi() -> None:
    found = variables(request("POST /a%20b/../c?d=e HTTP/1.1\nHost: h\nContent-Type: t/x\n"
                              "Cookie: a=1\nCookie: b=2\nX-A: 1\nX-A: 2\n"
                              "Content-Length: 5\n\n").packet(5, (0, 0)))
    assert found == {
        "REQUEST_METHOD": "POST", "REQUEST_URI": "/a%20b/../c?d=e", "PATH_INFO": "/c",
        "QUERY_STRING": "d=e", "SERVER_PROTOCOL": "HTTP/1.1", "SCRIPT_NAME": "",
        "SERVER_NAME": "node", "SERVER_PORT": "8080", "UWSGI_ROUTER": "http",
        "REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "5000", "CONTENT_LENGTH": "5",
        "CONTENT_TYPE": "t/x", "HTTP_HOST": "h", "HTTP_COOKIE": "a=1; b=2", "HTTP_X_A": "1, 2",
        "HTTP_X_FORWARDED_FOR": "192.0.2.1", "HTTP_X_FORWARDED_PROTO": "http"}


def test_modifiers_and_variables_of_the_configuration() -> None:
    forwarding = ForwardingOptions(forwarded=False, variables=(("A", "b c"),))
    packet = request("GET / HTTP/1.1\nHost: h\n\n", forwarding=forwarding).packet(0, (7, 2))
    assert (packet[0], packet[3]) == (7, 2)
    found = variables(b"\0" + packet[1:])
    assert found["A"] == "b c" and not [name for name in found if "FORWARDED" in name]


def test_https_and_certificates() -> None:
    origin = replace(ORIGIN, scheme="https", variables={"HTTPS_DN": "/CN=x y"})
    found = variables(request("GET / HTTP/1.1\nHost: h\n\n", origin).packet(0, (0, 0)))
    assert found["HTTPS"] == "on" and found["HTTPS_DN"] == "/CN=x y"
    head = request("GET / HTTP/1.1\nHost: h\n\n", origin).http("", routed=True).decode()
    assert head.startswith("GET / HTTP/1.1\r\nGeventuwsgi-Client: 192.0.2.1 5000 https 192.0.2.9 "
                           "8080 - HTTPS_DN=/CN%3Dx%20y\r\nHost: h\r\n")


@pytest.mark.parametrize("trusted, expected", [
    (False, ["X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http"]),
    (True, ["X-Forwarded-Host: e", "Forwarded: for=1", "X-Real-IP: 1.1.1.1",
            "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.1", "X-Forwarded-Proto: https"])])
def test_forwarding_fields_of_other_proxies(trusted: bool, expected: list[str]) -> None:
    head = request("GET / HTTP/1.1\nHost: h\nX-Forwarded-For: 1.1.1.1\nX-Forwarded-Host: e\n"
                   "X-Forwarded-Proto: https\nForwarded: for=1\nX-Real-IP: 1.1.1.1\n"
                   "x-forwarded-for: 2.2.2.2\n\n", replace(ORIGIN, trusted=trusted)).http("")
    assert head.decode().split("\r\n")[2:-2] == expected
    found = variables(request("GET / HTTP/1.1\nHost: h\nX-Forwarded-For: 1.1.1.1\nForwarded: x\n"
                              "X-Real-IP: 1.1.1.1\n\n",
                              replace(ORIGIN, trusted=trusted)).packet(0, (0, 0)))
    assert ("HTTP_X_REAL_IP" in found) is trusted
    assert found["HTTP_X_FORWARDED_FOR"].endswith("192.0.2.1")


def test_a_client_without_address_adds_nothing() -> None:
    head = request("GET / HTTP/1.1\nHost: h\n\n", replace(ORIGIN, host="", port="")).http("")
    assert b"Forwarded-For" not in head


def test_fields_that_connection_names_are_dropped() -> None:
    one = request("GET / HTTP/1.1\nHost: h\nConnection: X-A, close\nX-A: 1\nX-B: 2\n\n")
    assert b"X-A" not in one.http("") and b"X-B: 2" in one.http("")
    assert "HTTP_X_A" not in variables(one.packet(0, (0, 0)))


def test_connection_cannot_name_fields_for_all_recipients() -> None:
    one = request("GET / HTTP/1.1\nHost: h\nContent-Type: t\n"
                  "Connection: host, content-type\n\n")
    assert one.http("").startswith(b"GET / HTTP/1.1\r\nHost: h\r\nContent-Type: t\r\n")
    found = variables(one.packet(0, (0, 0)))
    assert (found["HTTP_HOST"], found["CONTENT_TYPE"]) == ("h", "t")


@pytest.mark.parametrize("data", ["GET / HTTP/1.0\n\n", "GET / HTTP/1.1\nHost:\n\n"])
def test_a_request_without_fields_or_host_gets_one_head(data: str) -> None:
    one = request(data)
    assert one.http("") == (b"GET / HTTP/1.1\r\nHost: node:8080\r\nX-Forwarded-For: 192.0.2.1\r\n"
                            b"X-Forwarded-Proto: http\r\n\r\n")
    found = variables(one.packet(0, (0, 0)))
    assert not found.get("HTTP_HOST") and "" not in found and "HTTP_" not in found


@pytest.mark.parametrize("line, upgrade", [
    ("Connection: Upgrade\nUpgrade: WebSocket", "WebSocket"),
    ("Connection: keep-alive, upgrade\nUpgrade: websocket", "websocket"),
    ("Upgrade: websocket", ""), ("Connection: Upgrade\nUpgrade: h2c", ""),
    ("Connection: Upgrade\nUpgrade: other", ""),
    ("Connection: Upgrade\nUpgrade: websocket\nContent-Length: 5", "")])
def test_upgrades(line: str, upgrade: str) -> None:
    assert request(f"GET / HTTP/1.1\nHost: h\n{line}\n\n").upgrade == upgrade


def test_other_upgrades_with_raw_bodies() -> None:
    forwarding = ForwardingOptions(any_upgrade=True)
    for name, passes in (("other", True), ("h2c", False), ("HTTP/2.0", False), ("a, b", False)):
        one = request(f"GET / HTTP/1.1\nHost: h\nConnection: Upgrade\nUpgrade: {name}\n\n",
                      forwarding=forwarding)
        assert bool(one.upgrade) is passes


def test_a_head_too_large_for_a_packet_is_431() -> None:
    one = request(f"GET / HTTP/1.1\nHost: h\nX: {'x' * 65530}\n\n")
    with pytest.raises(ProtocolError) as caught:
        one.packet(0, (0, 0))
    assert caught.value.status == 431
