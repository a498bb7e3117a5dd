"""Applications of both kinds behind the router of their instance: what they see of the client."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.harness import Server

WSGI = """
import json

def app(environ, start_response):
    seen = {"client": [environ["REMOTE_ADDR"], int(environ["REMOTE_PORT"])],
            "port": int(environ["SERVER_PORT"]), "scheme": environ["wsgi.url_scheme"],
            "SHOP": environ.get("SHOP"), "certificate": environ.get("HTTPS_DN", "")}
    body = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
ASGI = """
import json

async def app(scope, receive, send):
    extensions = scope["extensions"]
    seen = {"client": scope["client"], "port": scope["server"][1], "server": scope["server"][0],
            "scheme": scope["scheme"],
            "SHOP": extensions.get("geventuwsgi.variables", {}).get("SHOP"),
            "certificate": extensions.get("tls", {}).get("client_cert_name") or "",
            "tls": extensions.get("tls")}
    body = json.dumps(seen).encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
"""
BOTH = pytest.mark.parametrize("interface, code", [("wsgi", WSGI), ("asgi", ASGI)])
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def started(directory: Path, interface: str, code: str, *arguments: str) -> Server:
    (directory / "app.py").write_text(code)
    return Server(directory, "--http-router", "--http-var", "SHOP=blue", "--lifespan", "off",
                  "--interface", interface, *arguments, "app:app", ready=False)


def body(sock: Any) -> dict[str, Any]:
    received = b""
    while piece := sock.recv(65536):
        received += piece
    seen: dict[str, Any] = json.loads(received.partition(b"\r\n\r\n")[2])
    return seen


@BOTH
def test_client_server_and_variables(tmp_path: Path, interface: str, code: str) -> None:
    with started(tmp_path, interface, code, "--http", "127.0.0.1:0") as server:
        server.wait_for("ready: ", 2)
        for forwarded, client in ((b"", "127.0.0.1"), (b"X-Forwarded-For: 192.0.2.7\r\n", "")):
            with server.connect() as sock:
                own = list(sock.getsockname())
                sock.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\n" + forwarded + b"\r\n"))
                seen = body(sock)
            assert seen["port"] == server.port and seen["scheme"] == "http"
            assert seen["SHOP"] == "blue" and seen["certificate"] == ""
            if client or interface == "wsgi":   # in WSGI REMOTE_ADDR stays the peer's
                assert seen["client"] == own
            else:
                assert seen["client"] == ["192.0.2.7", 0]
            if interface == "asgi":
                assert seen["server"] == "127.0.0.1" and seen["tls"] is None


@BOTH
def test_the_certificate_of_the_client(tmp_path: Path, interface: str, code: str) -> None:
    authority = Authority(tmp_path)
    crt, key = authority.issue("server", "localhost")
    shown = authority.issue("client", "client.example", common_name="client.example")
    with started(tmp_path, interface, code,
                 "--https", f"127.0.0.1:0,{crt},{key},,{authority.pem}") as server:
        server.wait_for("ready: ", 2)
        with authority.client(shown).wrap_socket(server.connect("https"),
                                                 server_hostname="localhost") as sock:
            own = list(sock.getsockname())
            sock.sendall(REQUEST)
            seen = body(sock)
    assert seen["scheme"] == "https" and seen["client"] == own
    assert "client.example" in seen["certificate"]
    if interface == "asgi":
        tls = seen["tls"]
        assert tls["tls_version"] in (0x0303, 0x0304) and tls["server_cert"] is None
        assert tls["client_cert_chain"][0].startswith("-----BEGIN CERTIFICATE-----")


@BOTH
def test_a_head_that_is_just_within_the_limits(tmp_path: Path, interface: str, code: str) -> None:
    """The router's own fields do not count against the limits of the client."""
    with started(tmp_path, interface, code, "--http", "127.0.0.1:0", "--buffer-size", "4096",
                 "--limit-request-fields", "3") as server:
        server.wait_for("ready: ", 2)
        with server.connect() as sock:
            head = REQUEST.replace(b"\r\n\r\n", b"\r\nX-Long: \r\n\r\n")
            sock.sendall(head.replace(b"X-Long: ", b"X-Long: " + b"a" * (4096 - len(head))))
            assert body(sock)["SHOP"] == "blue"
