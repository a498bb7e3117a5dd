"""Clients of the router: rejected and forwarded requests, upgrades, HTTPS, PROXY."""

import contextlib
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.harness import Server, free_port, wait_until
from tests.router.nodes import (
    APP, Scripted, head_of, our_node, responding, router, text_of,
)
from tests.tls import hello
from tests.workers.wsgi.raw_client import NEXT_REQUEST
from tests.workers.wsgi.test_hostile import BODIES, CHUNKED, HEADS, SMUGGLED

WEBSOCKET = (b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, "
             b"Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n\r\n")


class Recorder(Scripted):
    """An HTTP node that keeps what it was sent, and responses every head."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        super().__init__(self._respond)

    def _respond(self, peer: socket.socket) -> None:
        peer.settimeout(20)
        while head := head_of(peer):
            self.heads.append(head)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recorder, Server]]:
    with Recorder() as node:
        with router(tmp_path_factory.mktemp("recorded"), "--http-to", f"http://{node.address}",
                    "--limit-post", "1000000", "--forwarded-allow-ips", "10.0.0.1",
                    "--http-headers-timeout", "10", "--socket-timeout", "10") as server:
            yield node, server


def conversation(server: Server, data: bytes) -> bytes:
    """Send all of it and read until the server closes, whichever way it does."""
    response = b""
    with server.connect() as sock, contextlib.suppress(ConnectionError):
        sock.sendall(data)
        while piece := sock.recv(65536):
            response += piece
    return response


def test_rejected_heads_reach_no_node(recorded: tuple[Recorder, Server]) -> None:
    node, server = recorded
    before = len(node.heads)
    for name, data, status in HEADS:
        response = conversation(server, data + NEXT_REQUEST)
        assert response[9:12] == (str(status).encode() if status else b""), (name, response[:100])
        assert response.count(b"HTTP/1.1 ") <= 1, name
    assert len(node.heads) == before


def test_rejected_bodies_reach_no_node(recorded: tuple[Recorder, Server]) -> None:
    node, server = recorded
    before = len(node.heads)
    for row in BODIES:
        response = conversation(server, CHUNKED + row[1] + SMUGGLED)
        assert response.startswith(b"HTTP/1.1 400 "), row[0]
    assert len(node.heads) == before


def test_a_node_gets_one_framing_and_no_field_of_this_connection(
        recorded: tuple[Recorder, Server]) -> None:
    node, server = recorded
    conversation(server, b"GET http://other.example/a?b HTTP/1.1\r\nHost: ignored\r\n"
                 b"Connection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
                 b"Proxy-Connection: x\r\nTrailer: a\r\nX_Under: 1\r\nProxy: http://evil\r\n"
                 b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nForwarded: for=evil\r\n"
                 b"X-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
                 b"Geventuwsgi-Client: 6.6.6.6 1 https 443\r\nX-Kept: yes\r\n\r\n")
    lines = node.heads[-1].decode().split("\r\n")
    assert lines == ["GET /a?b HTTP/1.1", "Host: other.example", "X-Kept: yes",
                     "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "", ""]


def test_a_bare_request_is_one_request_to_a_node(recorded: tuple[Recorder, Server]) -> None:
    """Two of them on one connection to the node: nothing was left of the first."""
    node, server = recorded
    before = len(node.heads)
    for _ in range(2):
        assert conversation(server, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    heads = node.heads[before:]
    assert len(heads) == 2 and heads[0] == heads[1]
    assert all(head.endswith(b"\r\n\r\n") and head.count(b"\r\n\r\n") == 1 for head in heads)


def test_connect_is_not_supported(recorded: tuple[Recorder, Server]) -> None:
    node, server = recorded
    before = len(node.heads)
    response = conversation(server, b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + NEXT_REQUEST)
    assert response.startswith(b"HTTP/1.1 501 ") and len(node.heads) == before


def test_a_small_chunked_body_gets_a_length(recorded: tuple[Recorder, Server]) -> None:
    node, server = recorded
    conversation(server, b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert b"\r\nContent-Length: 3\r\n" in node.heads[-1] and node.heads[-1].endswith(b"\r\nabc")
    assert b"chunked" not in node.heads[-1]


def test_connections_to_a_node_are_kept(recorded: tuple[Recorder, Server]) -> None:
    node, server = recorded
    server.get("/")
    before = node.seen
    for _ in range(5):
        assert server.get("/").endswith(b"ok")
    assert node.seen == before


@pytest.mark.parametrize("target", [b"h2c", b"HTTP/2.0", b"TLS/1.0", b"websocket, h2c"])
def test_upgrades_to_other_protocols_are_not_forwarded(
        recorded: tuple[Recorder, Server], target: bytes) -> None:
    node, server = recorded
    response = conversation(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, "
                            b"HTTP2-Settings, close\r\nUpgrade: " + target
                            + b"\r\nHTTP2-Settings: AAA\r\n\r\n")
    assert b" 200 " in response
    assert b"pgrade" not in node.heads[-1] and b"HTTP2" not in node.heads[-1]


def test_a_kept_connection_that_the_node_closed_costs_no_request(tmp_path: Path) -> None:
    def act(peer: socket.socket) -> None:  # one response, then the connection is closed in silence
        if head_of(peer):
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with Scripted(act) as node:
        with router(tmp_path, "--http-to", f"http://{node.address}") as server:
            with server.connect() as sock:
                for _ in range(20):
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                    assert sock.recv(1000).endswith(b"ok")


def test_server_sent_events_come_one_by_one(tmp_path: Path) -> None:
    go = threading.Event()

    def act(peer: socket.socket) -> None:
        head_of(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        go.wait(10)
        peer.sendall(b"data: 2\n\n")
    with Scripted(act) as node:
        with router(tmp_path, "--http-to", f"http://{node.address}") as server, \
                server.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            response = b""
            while b"data: 1" not in response:
                response += sock.recv(1000)
            assert b"data: 2" not in response
            go.set()
            while not response.endswith(b"0\r\n\r\n"):
                response += sock.recv(1000)


def accepting(peer: socket.socket) -> None:
    """Accept an upgrade and send back what comes, in capitals."""
    peer.settimeout(10)
    request = peer.recv(65536)
    assert b"websocket" in request
    peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                 b"Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhello ")
    while data := peer.recv(65536):
        peer.sendall(data.upper())


@pytest.mark.parametrize("protocol", ["http://", ""])
def test_websockets_pass_through(tmp_path: Path, protocol: str) -> None:
    with Scripted(accepting) as node:
        with router(tmp_path, "--http-to", protocol + node.address) as server, \
                server.connect() as sock:
            sock.sendall(WEBSOCKET)
            response = b""
            while not response.endswith(b"hello "):
                response += sock.recv(1000)
            assert response.startswith(b"HTTP/1.1 101 ") and b"Sec-WebSocket-Accept: x" in response
            sock.sendall(b"some octets")
            assert sock.recv(100) == b"SOME OCTETS"
            big = b"a" * 1_000_000
            threading.Thread(target=sock.sendall, args=(big,), daemon=True).start()
            got = 0
            while got < len(big):
                got += len(sock.recv(65536))
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100) == b""


def test_websockets_can_be_switched_off(tmp_path: Path) -> None:
    with Recorder() as node:
        with router(tmp_path, "--http-to", f"http://{node.address}",
                    "--http-websockets=false") as server:
            with server.connect() as sock:
                sock.sendall(WEBSOCKET)
                assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
        assert b"pgrade" not in node.heads[0]


def test_routes_by_host_and_path(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        nodes = {name: stack.enter_context(Scripted(named(name))) for name in "dapw"}
        server = stack.enter_context(router(
            tmp_path, "--http-to", f"http://{nodes['d'].address}",
            "--http-route", f"a.example=http://{nodes['a'].address}",
            "--http-route", f"/api=http://{nodes['p'].address}",
            "--http-route", f"*.wild.example=http://{nodes['w'].address}"))
        for host, path, name in (
                ("x", "/", "d"), ("a.example", "/", "a"), ("A.Example:80", "/x", "a"),
                ("a.example.", "/", "a"), ("a.example.:80", "/", "a"),
                ("b.wild.example.", "/", "w"), (".", "/", "d"),
                ("x", "/api", "p"), ("x", "/api/more", "p"), ("x", "/apix", "d"),
                ("x", "/x/../api/a", "p"), ("x", "/%61pi?q", "p"), ("x", "/api/../x", "d"),
                ("b.wild.example", "/", "w"), ("wild.example", "/", "d")):
            response = conversation(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n"
                                            "Connection: close\r\n\r\n".encode())
            assert response.endswith(name.encode()), (host, path)


def named(name: str):
    def act(peer: socket.socket) -> None:
        head_of(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name.encode())
    return act


def test_a_response_before_the_end_of_a_body_says_that_the_connection_closes(
        recorded: tuple[Recorder, Server]) -> None:
    _, server = recorded
    with server.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n"
                     + bytes(100_000))
        assert b"\r\nConnection: close\r\n" in sock.recv(1000)
        sock.sendall(bytes(800_000))
        assert sock.recv(1000) == b""


def test_statuses_beyond_http_are_passed_on(tmp_path: Path) -> None:
    """Applications use them (RFC 9110 section 15)."""
    with Scripted(responding(b"HTTP/1.1 999 Go away\r\nContent-Length: 2\r\n\r\nok")) as node, \
            router(tmp_path, "--http-to", f"http://{node.address}") as server:
        response = conversation(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 999 Go away\r\n") and response.endswith(b"\r\n\r\nok")


def test_proxy_protocol_names_the_client(tmp_path: Path) -> None:
    with Recorder() as node:
        with router(tmp_path, "--http-to", f"http://{node.address}",
                    "--http-enable-proxy-protocol") as server:
            response = conversation(server, b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 80\r\n"
                                    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 200 " in response and b"X-Forwarded-For: 192.0.2.7\r\n" in node.heads[0]
            assert conversation(server, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                                )[9:12] == b"200"  # a health probe has no header
            assert b"X-Forwarded-For: 127.0.0.1\r\n" in node.heads[1]
            assert conversation(server, b"PROXY TCP4 x\r\n\r\n")[9:12] == b"400"


# HTTPS.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory,
            authority: trustme.CA) -> Iterator[tuple[Server, ssl.SSLContext]]:
    """A router for HTTPS and for redirects to it, in front of a node of ours."""
    base = tmp_path_factory.mktemp("secured")
    authority.cert_pem.write_to_path(base / "ca.pem")
    for name in ("localhost", "other.example"):
        issued = authority.issue_cert(name)
        issued.private_key_pem.write_to_path(base / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(base / f"{name}.crt")
    context = ssl.create_default_context(cafile=str(base / "ca.pem"))
    client = authority.issue_cert("client.example", common_name="client.example")
    client.private_key_and_cert_chain_pem.write_to_path(base / "client.pem")
    context.load_cert_chain(base / "client.pem")
    with our_node(base / "node", "n") as node:
        with router(base / "router", "--http-to", text_of(node.address("uwsgi")),
                    "--https", f"127.0.0.1:0,{base}/localhost.crt,{base}/localhost.key,,"
                               f"{base}/ca.pem",
                    "--sni", f"other.example {base}/other.example.crt,{base}/other.example.key",
                    "--http-to-https", f"127.0.0.1:{free_port()},8443") as server:
            yield server, context


def secure(server: Server, context: ssl.SSLContext, name: str = "localhost") -> ssl.SSLSocket:
    return context.wrap_socket(server.connect("https"), server_hostname=name)


def test_nodes_get_the_scheme_and_the_certificate(
        secured: tuple[Server, ssl.SSLContext]) -> None:
    server, context = secured
    with secure(server, context) as sock:
        for _ in range(3):
            sock.sendall(b"GET /env HTTP/1.1\r\nHost: x\r\n\r\n")
            head, _, body = sock.recv(65536).partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(body) < length:
                body += sock.recv(65536)
            lines = body.decode().splitlines()
            assert {"HTTPS=on", "wsgi.url_scheme=https",
                    "HTTP_X_FORWARDED_PROTO=https"} <= set(lines)
            assert any(line.startswith("HTTPS_DN=") and "client.example" in line
                       for line in lines)


@pytest.mark.parametrize("names", [300, 2000])
def test_a_large_certificate_does_not_count_as_a_part_of_the_head(
        tmp_path: Path, authority: trustme.CA, names: int) -> None:
    issued = authority.issue_cert("localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    client = authority.issue_cert(*(f"name-{number}.client.example" for number in range(names)))
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(tmp_path / "client.pem")
    with Server(tmp_path, "--https", "127.0.0.1:0,both.pem,both.pem,,ca.pem", "--gevent", "1",
                "--https-export-cert", "app", app=APP) as server:
        with secure(server, context) as sock:
            sock.sendall(b"GET /pid HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_sni_and_large_bodies_both_ways_over_https(
        secured: tuple[Server, ssl.SSLContext]) -> None:
    server, context = secured
    size = 5_000_000
    with secure(server, context, "other.example") as sock:
        sock.sendall(b"POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        sock.sendall(bytes(size))
        assert b" 200 " in sock.recv(65536)
    with secure(server, context) as sock:
        sock.sendall(b"GET /big?%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % size)
        got = b""
        while piece := sock.recv(1 << 20):
            got += piece
        assert len(got.partition(b"\r\n\r\n")[2]) == size


def test_plain_http_is_redirected_to_https(secured: tuple[Server, ssl.SSLContext]) -> None:
    server, _ = secured
    response = server.talk(b"GET /a?b HTTP/1.1\r\nHost: shop.example:80\r\n\r\n", "redirect")
    assert response.startswith(b"HTTP/1.1 301 ")
    assert b"\r\nLocation: https://shop.example:8443/a?b\r\n" in response
    assert server.talk(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "https").startswith(b"HTTP/1.1 400")


def test_what_is_not_tls_is_closed(secured: tuple[Server, ssl.SSLContext]) -> None:
    server, _ = secured
    assert server.talk(b"SSH-2.0-x\r\n", "https") == b""
    server.wait_for("no TLS; closed")


@pytest.mark.parametrize("head", [
    b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/2.0\r\n\r\n", b"HEAD /a b HTTP/1.1\r\n\r\n"])
def test_an_error_for_head_has_no_body(recorded: tuple[Recorder, Server], head: bytes) -> None:
    response = recorded[1].talk(head)
    assert response[9:12] in (b"400", b"505") and response.partition(b"\r\n\r\n")[2] == b""


def test_websockets_pass_through_tls(tmp_path: Path, authority: trustme.CA) -> None:
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with Scripted(accepting) as node:
        with Server(tmp_path, "--https", "127.0.0.1:0,cert.pem,key.pem",
                    "--http-to", f"http://{node.address}") as server, \
                secure(server, context) as sock:
            sock.sendall(WEBSOCKET)
            response = b""
            while not response.endswith(b"hello "):
                response += sock.recv(1000)
            sock.sendall(b"some octets")
            assert sock.recv(100) == b"SOME OCTETS"
            big = b"a" * 300_000
            threading.Thread(target=sock.sendall, args=(big,), daemon=True).start()
            got = 0
            while got < len(big):
                got += len(sock.recv(65536))


@pytest.mark.parametrize("sent", [
    b"", b"PROXY TCP4", pytest.param(b"PROXY UNKNOWN\r\n" + hello()[:50], id="handshake")])
def test_a_stop_does_not_wait_for_a_connection_without_a_request(
        tmp_path: Path, authority: trustme.CA, sent: bytes) -> None:
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        tmp_path / "both.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with Recorder() as node, Server(
            tmp_path, "--https", "127.0.0.1:0,both.pem,both.pem", "--http-to",
            f"http://{node.address}", "--enable-proxy-protocol", "--http-headers-timeout", "90",
            "--worker-reload-mercy", "90") as server, server.connect("https") as sock:
        sock.sendall(sent)
        with server.connect("https") as other:  # accepted and served after the first one
            other.sendall(b"PROXY UNKNOWN\r\n")
            with context.wrap_socket(other, server_hostname="localhost") as wrapped:
                wrapped.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b" 200 OK" in wrapped.recv(1000)
        assert server.stop(deadline=20) == 0
        assert sock.recv(1) == b""


def test_a_reload_uses_a_renewed_certificate(tmp_path: Path, authority: trustme.CA) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

    def renew() -> None:
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
            tmp_path / "both.pem")

    def serial(server: Server) -> str:
        with secure(server, context) as sock:
            certificate = sock.getpeercert()
            assert certificate is not None
            return str(certificate["serialNumber"])
    renew()
    with Recorder() as node:
        with Server(tmp_path, "--https", "127.0.0.1:0,both.pem,both.pem", "--http-to",
                    f"http://{node.address}") as server:
            before = serial(server)
            with secure(server, context) as kept:
                renew()
                server.send_signal(signal.SIGHUP)
                server.wait_for("ready: 1 router (generation 2)")
                wait_until(lambda: serial(server) != before)
                kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")  # the old router serves on
                assert b" 200 OK" in kept.recv(1000)
