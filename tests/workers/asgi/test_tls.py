"""HTTPS on the loop: requests, WebSocket, certificates, and input that is not TLS."""

import json
import os
import random
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect as websocket

from tests.certificates import Authority
from tests.harness import Server, installed, wait_until
from tests.tls import VERSIONS, break_a_record, dial, fails, hello, leave_in_the_middle, refused
from tests.workers.wsgi.raw_client import RawClient

pytestmark = pytest.mark.slow

APP = '''
import json

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            await send({"type": "websocket.send", "text": scope["scheme"] + message["text"]})
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message.get("more_body"):
            break
    path = scope["path"]
    headers = []
    if path == "/scope":
        body = json.dumps(scope, default=repr).encode()
    elif path.startswith("/big/"):
        body = b"x" * int(path[5:])
    elif path == "/file":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": scope["query_string"].decode()})
        return
    elif path == "/cut":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        raise ValueError("after the head")
    elif path == "/endless":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    elif not body:
        body = b"hello"
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
'''
INI = """\
[geventuwsgi]
module = app:application
https-socket = 127.0.0.1:0,here.crt,here.key
https-socket = 127.0.0.1:0,here.crt,here.key,,!ca.pem
sni = other.test other.crt,other.key
http-headers-timeout = 1
disable-logging = true
asgi-loop = %s
"""
REQUIRED = 1


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(authority: Authority, request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    with Server(authority.directory, app=APP, ini=INI % request.param) as server:
        yield server
        assert server.stop() == 0, "\n".join(server.err)
        assert not server.find("Exception in callback")


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_on_one_connection(server: Server, authority: Authority,
                                    version: ssl.TLSVersion, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1_000_001))
    with dial(server, authority.client(only=version)) as wire:
        assert wire.get("/").body == b"hello"
        wire.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n" * 30)
        assert [wire.read_response().body for _ in range(30)] == [b"hello"] * 30
        body = random.Random(1).randbytes(3_000_000)
        wire.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3000000\r\n\r\n")
        wire.send(body)
        assert wire.read_response().body == body
        wire.send(b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
                  + b"10000\r\n" + body[:65536] + b"\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert wire.read_response().body == body[:65536]
        assert wire.read_response().body == b"hello"
        assert len(wire.get("/big/10000000").body) == 10_000_000
        assert wire.get(f"/file?{path}").body == path.read_bytes()
        assert wire.get("/", "Connection: close").body == b"hello"
        assert wire.closed()


def test_a_body_that_ends_with_the_connection(server: Server, authority: Authority) -> None:
    with dial(server, authority.client()) as wire:
        wire.send(b"GET /big/9000000 HTTP/1.0\r\n\r\n")
        time.sleep(0.2)  # the buffers fill: the close_notify has to wait
        assert len(wire.read_to_end().partition(b"\r\n\r\n")[2]) == 9_000_000
    with dial(server, authority.client()) as wire:
        wire.send(b"GET /cut HTTP/1.0\r\n\r\n")
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            while wire.sock.recv(65536):
                pass


def test_an_error_response_arrives_before_the_close(server: Server, authority: Authority) -> None:
    with dial(server, authority.client()) as wire:
        # More than the server has read when it responds, but no more than the kernel accepts
        # at once: a client that blocks in between would find the connection closed.
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + b"x" * 30_000)
        assert wire.read_response().status == 400
        assert wire.closed()


def scope(wire: RawClient) -> dict[str, Any]:
    return json.loads(wire.get("/scope").body)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_scope(server: Server, authority: Authority, version: ssl.TLSVersion) -> None:
    mine = authority.issue("me", "me@localhost", common_name="Me, too")
    with dial(server, authority.client(mine, version), REQUIRED) as wire:
        for _ in range(4):
            found = scope(wire)
            assert found["scheme"] == "https"
            tls = found["extensions"]["tls"]
            assert tls["tls_version"] == {"TLSv1.2": 0x303, "TLSv1.3": 0x304}[wire.sock.version()]
            assert tls["client_cert_name"].startswith("CN=Me\\, too,")
            assert tls["client_cert_error"] is None
            assert ssl.PEM_cert_to_DER_cert(tls["server_cert"]) == wire.sock.getpeercert(True)
            assert Path(mine[0]).read_text().startswith(tls["client_cert_chain"][0])
            number, = [one["id"] & 0xFFFF for one in wire.sock.context.get_ciphers()
                       if one["name"] == wire.sock.cipher()[0]]
            assert tls["cipher_suite"] == number
    with dial(server, authority.client()) as wire:
        tls = scope(wire)["extensions"]["tls"]
        assert tls["client_cert_name"] is None and tls["client_cert_chain"] == []


def test_websocket(server: Server, authority: Authority) -> None:
    host, port = server.address("https")
    with websocket(f"wss://localhost:{port}/", ssl=authority.client(),
                   sock=server.connect("https")) as client:
        for text in ("one", "t" * 300_000):
            client.send(text)
            assert client.recv() == "wss" + text


def test_host_names_choose_certificates(server: Server, authority: Authority) -> None:
    with dial(server, authority.client(), name="other.test") as wire:
        tls = scope(wire)["extensions"]["tls"]["server_cert"]
        assert ssl.PEM_cert_to_DER_cert(tls) == wire.sock.getpeercert(True)


@pytest.mark.parametrize("version", VERSIONS)
def test_rejected_clients(server: Server, authority: Authority,
                          version: ssl.TLSVersion) -> None:
    expired = authority.issue("old", "me@localhost", expired=True)
    for cert, words in ((None, "did not return a certificate"),
                        (expired, "certificate has expired")):
        refused(server, fails(server, authority.client(cert, version), REQUIRED), words)


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
                                      b"POST / HTTP/1.0\r\nContent-Length: 100000\r\n\r\n"
                                      + b"x" * 100_000])
def test_plain_http_is_answered_with_a_400(server: Server, request_: bytes) -> None:
    with RawClient(server.connect("https")) as wire:
        wire.send(request_)
        answer = wire.read_response()
        assert answer.status == 400 and b"speaks HTTPS" in answer.body
        assert wire.closed()
        refused(server, wire.name, "plain HTTP on an HTTPS port")


@pytest.mark.parametrize("garbage, words, first", [
    (b"\0" * 100, "no TLS; closed", b""), (b"SSH-2.0-x\r\n", "no TLS; closed", b""),
    (b"\x16\x03\x01\x00\x05hello", "the TLS handshake failed", b"\x15"),
])
def test_garbage_is_closed(server: Server, garbage: bytes, words: str, first: bytes) -> None:
    with RawClient(server.connect("https")) as wire:
        wire.send(garbage)
        assert wire.read_to_end()[:1] == first
        refused(server, wire.name, words)


def test_handshakes_that_stall(server: Server, authority: Authority) -> None:
    data = hello()
    with RawClient(server.connect("https")) as half, RawClient(server.connect("https")) as whole, \
            RawClient(server.connect("https")) as silent:
        half.send(data[:100])
        whole.send(data)
        with dial(server, authority.client()) as other:
            assert other.get("/").body == b"hello"
        assert half.read_to_end() == silent.read_to_end() == b""
        whole.read_to_end()
        for wire in (half, whole):
            refused(server, wire.name, "no TLS handshake within 1 seconds")
        assert not server.find(f"{silent.name}: ")


@pytest.mark.parametrize("reset", [False, True])
def test_clients_that_disconnect_in_the_middle(server: Server, authority: Authority,
                                               reset: bool) -> None:
    leave_in_the_middle(server, authority, reset)
    break_a_record(server, authority)
    with dial(server, authority.client()) as wire:
        assert wire.get("/").body == b"hello"


def test_a_proxy_header_a_reload_and_a_stop(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old-"), Authority(tmp_path, "new-")
    old.issue("here", "localhost")
    with Server(tmp_path, "app:application", "--certfile", "here.crt", "--keyfile", "here.key",
                "--bind", "127.0.0.1:0", "--enable-proxy-protocol", app=APP) as server:
        def proxied(client: ssl.SSLContext) -> RawClient:
            sock = server.connect("https")
            sock.sendall(b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n")
            return RawClient(client.wrap_socket(sock, server_hostname="localhost",
                                                suppress_ragged_eofs=False))
        with proxied(old.client()) as wire:
            found = scope(wire)
            assert (found["client"], found["scheme"]) == (["203.0.113.7", 56324], "https")
            new.issue("here", "localhost")
            server.send_signal(signal.SIGHUP)
            server.wait_for("(generation 2)")
            wait_until(lambda: wire.get("/").headers.get("connection") == "close")
            assert wire.closed()
        with proxied(new.client()) as wire, server.connect("https") as half:
            half.sendall(b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n" + hello()[:50])
            assert wire.get("/").body == b"hello"
            assert server.stop() == 0
            assert wire.closed()
            assert half.recv(1) == b""


def test_curl(server: Server, authority: Authority) -> None:
    port = server.address("https")[1]
    for version in ("--tlsv1.2", "--tlsv1.3"):
        done = subprocess.run(
            [installed("curl"), "-sS", version, "--cacert", str(authority.pem), "--http2",
             f"https://localhost:{port}/big/100000", f"https://localhost:{port}/"],
            capture_output=True, text=True, timeout=20)
        assert re.fullmatch("x{100000}hello", done.stdout), done.stderr
