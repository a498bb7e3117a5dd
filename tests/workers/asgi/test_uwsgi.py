"""The uwsgi protocol for ASGI applications: the scope, bodies, and no WebSocket."""

import json

import pytest

from tests.harness import Server
from tests.workers.wsgi.raw_client import connect, packet, request

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0")


def talk(server: Server, path: str, body: bytes = b"", method: str = "GET",
         **variables: str) -> tuple[int, bytes, bytes]:
    """Send one packet; return status, head and body."""
    with connect(server, "uwsgi") as wire:
        wire.send(packet(request(path, method, **variables), body))
        head, _, rest = wire.read_to_end().partition(b"\r\n\r\n")
        return int(head.split()[1]), head, rest


def test_the_scope(server: Server) -> None:
    status, head, rest = talk(
        server, "/scope/caf%C3%A9?a=b", PATH_INFO="/scope/caf\xc3\xa9", HTTPS="on",
        SCRIPT_NAME="", CONTENT_TYPE="text/plain", HTTP_X_ONE="1", HTTP_COOKIE="a=b")
    assert status == 200 and b"Transfer-Encoding" not in head
    scope = json.loads(rest)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (
        "/scope/caf\u00e9", "/scope/caf%C3%A9", "a=b")
    assert (scope["scheme"], scope["method"], scope["http_version"]) == ("https", "GET", "1.1")
    assert scope["client"] == ["10.9.8.7", 1234] and scope["server"] == ["front", 80]
    assert sorted(scope["headers"]) == [
        ["content-type", "text/plain"], ["cookie", "a=b"], ["host", "front"], ["x-one", "1"]]
    assert sorted(scope["extensions"]) == [
        "http.response.pathsend", "http.response.zerocopysend"]


@pytest.mark.parametrize(("sent", "version"), [
    ("HTTP/1.0", "1.0"), ("HTTP/1.1", "1.1"), ("HTTP/2.0", "2"), ("HTTP/3.0", "3")])
def test_versions_have_the_form_of_asgi(server: Server, sent: str, version: str) -> None:
    _, _, rest = talk(server, "/scope", SERVER_PROTOCOL=sent)
    assert json.loads(rest)["http_version"] == version


def test_script_name_is_the_root_path(server: Server) -> None:
    _, _, rest = talk(server, "/scope/x", PATH_INFO="/x", SCRIPT_NAME="/scope")
    scope = json.loads(rest)
    assert (scope["path"], scope["root_path"]) == ("/scope/x", "/scope")


@pytest.mark.parametrize("size", [0, 5, 400_000])
def test_bodies_come_back(server: Server, size: int) -> None:
    body = b"x" * size
    assert talk(server, "/echo", body, "POST", CONTENT_LENGTH=str(size))[2] == body


def test_responses_end_with_the_connection(server: Server) -> None:
    assert talk(server, "/stream")[2] == b"0\n1\n2\n"
    assert talk(server, "/empty?status=204")[0] == 204
    assert talk(server, "/hello", method="HEAD")[2] == b""
    assert talk(server, "/fail")[0] == 500


def test_an_incomplete_response_ends_with_a_reset(server: Server) -> None:
    with connect(server, "uwsgi") as wire:
        wire.send(packet(request("/fail_late")))
        wire.read_to_end()
        assert wire.reset


def test_a_websocket_is_rejected_with_a_reason(server: Server) -> None:
    status, _, _ = talk(server, "/echo", HTTP_UPGRADE="websocket", HTTP_CONNECTION="upgrade")
    assert status == 400
    server.wait_for("use proxy_pass to an http-socket")


def test_a_truncated_body(server: Server) -> None:
    with connect(server, "uwsgi") as wire:
        wire.send(packet(request("/echo", "POST", CONTENT_LENGTH="100"), b"only this"))
        wire.sock.shutdown(1)
        wire.read_to_end()
    server.wait_for("the connection ended inside the request body")
    server.wait_for("APP echo gone after 9")


def test_a_packet_without_a_method_is_a_get(server: Server) -> None:
    status, _, body = talk(server, "/scope", REQUEST_METHOD="", SERVER_PROTOCOL="")
    assert status == 200
    scope = json.loads(body)
    assert scope["method"] == "GET" and scope["http_version"] == "1.1"


def test_an_invalid_packet(server: Server) -> None:
    with connect(server, "uwsgi") as wire:
        wire.send(packet(request("/echo", CONTENT_LENGTH="x")))
        assert wire.read_to_end().startswith(b"HTTP/1.1 400 ")
    with connect(server, "uwsgi") as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.closed()
    server.wait_for("an HTTP request on a uwsgi socket")
