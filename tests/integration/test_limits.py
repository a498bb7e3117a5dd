"""Limits and configuration mistakes behind nginx: the status of each, and its log line."""

import socket

import pytest

from tests.harness import Server
from tests.integration.conftest import MOUNTS, backend, example_ini
from tests.integration.nginx import Nginx, ask

LIMITS = """
harakiri = 1
limit-post = 100000
buffer-size = 8192
http-headers-timeout = 1
socket-timeout = 1
"""
WIDE = "large_client_header_buffers 8 256k;"


@pytest.fixture(scope="module")
def server(place):
    """The example deployment with small limits (the last line of a name counts)."""
    text = example_ini(MOUNTS).replace("harakiri = 60\n", "")
    with Server(place, ini=text + LIMITS) as started:
        yield started
        assert started.stop() == 0


@pytest.fixture(scope="module", params=["uwsgi", "http"])
def nginx(server, place, request):
    """nginx that accepts larger heads than the server."""
    kind = request.param
    with Nginx(place / f"nginx-{kind}", kind, backend(server, kind, 0), http=WIDE) as started:
        yield started


def test_harakiri_ends_the_request_and_not_the_worker(nginx, server):
    workers = server.workers()
    before = len(server.find("HARAKIRI ON WORKER"))
    assert nginx.ask("/probe/wait?never").status == 504
    server.wait_for("HARAKIRI ON WORKER", before + 1)
    assert server.find("in wait_for") and server.find("GET /probe/wait?never")
    assert nginx.ask("/probe/who").status == 200
    assert server.workers() == workers


def test_a_stream_that_exceeds_harakiri_is_cut(nginx, server):
    """It never looks complete: there is no last chunk."""
    with socket.create_connection(nginx.address, 10) as client:
        client.sendall(b"GET /probe/events?never HTTP/1.1\r\nHost: x\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(65536), b""))
    assert b"data: first" in received and b"data: second" not in received
    assert b"Transfer-Encoding: chunked" in received and not received.endswith(b"0\r\n\r\n")


def test_a_body_over_the_limit(nginx, server):
    before = len(server.find("limit-post is 100000"))
    assert nginx.ask("/probe/digest", "POST", b"x" * 100001).status == 413
    server.wait_for("limit-post is 100000", before + 1)
    assert nginx.ask("/probe/digest", "POST", b"x" * 100000).status == 200


@pytest.mark.parametrize("size, status", [(4000, 200), (9000, 431), (60000, 431)])
def test_a_head_over_the_limit(nginx, size, status):
    """buffer-size is the limit of a packet, and of a field over HTTP."""
    assert nginx.ask("/probe/who", headers={"Cookie": "x" * size}).status == status


def test_a_head_that_no_packet_can_hold(server, place):
    """nginx itself rejects what does not fit in 65,535 bytes; the server is not affected."""
    with Nginx(place / "wide", "uwsgi", backend(server, "uwsgi", 0), http=WIDE) as nginx:
        status = nginx.ask("/probe/who", headers={"Cookie": "x" * 70000}).status
        assert status >= 400
        assert nginx.ask("/probe/who").status == 200


def test_proxy_pass_to_a_uwsgi_socket(server, place):
    """The log names this common mistake."""
    with Nginx(place / "mistake1", "http", backend(server, "uwsgi", 0)) as nginx:
        assert nginx.ask("/").status == 502
        server.wait_for("proxy_pass instead of uwsgi_pass")


def test_uwsgi_pass_to_an_http_socket(server, place):
    before = len(server.err)
    with Nginx(place / "mistake2", "uwsgi", backend(server, "http", 0)) as nginx:
        assert nginx.ask("/").status in (400, 502)
    lines = "\n".join(server.err[before:])
    assert "uwsgi_pass instead of proxy_pass" in lines, lines


def test_a_slow_head_and_a_slow_body_are_ended(server):
    """Without nginx, which would wait for them itself."""
    with server.connect() as head, server.connect() as body, server.connect("uwsgi") as packet:
        head.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        body.sendall(b"POST /probe/digest HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx")
        packet.sendall(b"\0\x10\0\0x")
        for sock, status in ((head, b" 408 "), (body, b" 408 ")):
            assert status in sock.recv(1000)[:20]
        packet.recv(1000)
        assert ask(server.address(), "/probe/who").status == 200
