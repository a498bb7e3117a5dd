"""HTTPS: data other than a handshake, handshakes that fail or stall, clients that leave."""

import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import Server, installed
from tests.tls import VERSIONS, break_a_record, dial, fails, hello, leave_in_the_middle, refused
from tests.workers.wsgi.conftest import OPTIONAL, REQUIRED
from tests.workers.wsgi.raw_client import RawClient

pytestmark = pytest.mark.slow


# Data other than a handshake

@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
                                      b"POST / HTTP/1.0\r\nContent-Length: 100000\r\n\r\n"
                                      + b"x" * 100_000, b"OPTIONS * HTTP/1.1\r\n\r\n"])
def test_plain_http_gets_an_error(https: Server, request_: bytes) -> None:
    with RawClient(https.connect("https")) as client:
        client.send(request_)
        response = client.read_response()
        assert response.status == 400 and response.whole
        assert b"speaks HTTPS" in response.body
        assert client.closed()
        refused(https, client.name, "plain HTTP on an HTTPS port")


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"SSH-2.0-OpenSSH_9\r\n", b"\xff",
                                     b"\x80\x2e\x01\x00\x02" + b"x" * 41])
def test_garbage_is_closed(https: Server, garbage: bytes) -> None:
    with RawClient(https.connect("https")) as client:
        client.send(garbage)
        assert client.closed()
        refused(https, client.name, "no TLS; closed")


@pytest.mark.parametrize("garbage", [
    b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff" + b"x" * 100,
    b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"])
def test_what_only_looks_like_tls(https: Server, garbage: bytes) -> None:
    with RawClient(https.connect("https")) as client:
        client.send(garbage)
        assert client.read_to_end()[:1] == b"\x15", "an alert"
        refused(https, client.name, "the TLS handshake failed")


@pytest.mark.parametrize("name", [b"\xff" * 9, b"a\0b......", b"." * 9, b"[::1]:443"])
def test_invalid_host_names(https: Server, authority: Authority, name: bytes) -> None:
    assert b"localhost" in hello()
    with RawClient(https.connect("https")) as client:
        client.send(hello().replace(b"localhost", name))
        assert client.read(1) in (b"\x15", b"\x16")
    with dial(https, authority.client()) as other:
        assert other.get("/hello").body == b"hello"


@pytest.mark.parametrize("half", [True, False])
def test_a_handshake_that_stalls(https: Server, authority: Authority, half: bool) -> None:
    data = hello()
    with RawClient(https.connect("https")) as client:
        client.send(data[:len(data) // 2] if half else data)
        with dial(https, authority.client()) as other:  # the stalled one delays no other
            assert other.get("/hello").body == b"hello"
        client.read_to_end()
        refused(https, client.name, "no TLS handshake within 1 seconds")


def test_a_head_that_trickles_in_within_one_record(https: Server, authority: Authority) -> None:
    """The deadline is of the head: a record whose bytes come one by one does not extend it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with RawClient(https.connect("https")) as client:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                client.send(outgoing.read())
                incoming.write(client.sock.recv(65536))
        tls.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 5000)
        record = outgoing.read()
        began = time.monotonic()
        for at in range(len(record)):
            client.send(record[at:at + 1])
            if time.monotonic() - began > 60:
                break
            time.sleep(0.05)
            try:
                if not client.sock.recv(65536, socket.MSG_DONTWAIT | socket.MSG_PEEK):
                    break
                client.sock.recv(65536)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                break
        assert time.monotonic() - began < 50


def test_renegotiation_is_refused(https: Server, authority: Authority) -> None:
    """openssl's client requests it with the key R."""
    host, port = https.address("https")
    done = subprocess.run([installed("openssl"), "s_client", "-connect", f"{host}:{port}",
                           "-tls1_2", "-CAfile", str(authority.pem)],
                          input="R\n", capture_output=True, text=True, timeout=20)
    assert "no renegotiation" in done.stdout + done.stderr


@pytest.mark.parametrize("reset", [False, True])
def test_clients_that_leave_in_the_middle(https: Server, authority: Authority,
                                          reset: bool) -> None:
    leave_in_the_middle(https, authority, reset)
    with dial(https, authority.client()) as client:
        assert client.get("/hello").body == b"hello"


def test_a_broken_record_ends_the_connection(https: Server, authority: Authority) -> None:
    break_a_record(https, authority)


@pytest.mark.parametrize("version", VERSIONS)
def test_clients_that_are_rejected(https: Server, authority: Authority, tmp_path: Path,
                                   version: ssl.TLSVersion) -> None:
    line = refused(https, fails(https, authority.client(only=version), REQUIRED), "handshake")
    assert "peer did not return a certificate" in line
    expired = authority.issue("old", "me@localhost", expired=True)
    unknown = Authority(tmp_path).issue("unknown", "me@localhost")
    for index in (OPTIONAL, REQUIRED):
        line = refused(https, fails(https, authority.client(expired, version), index),
                       "handshake")
        assert "certificate has expired" in line
        refused(https, fails(https, authority.client(unknown, version), index),
                "certificate verify failed")


def test_a_client_that_does_not_trust_us(https: Server, tmp_path: Path) -> None:
    context = Authority(tmp_path).client()
    assert "unknown ca" in refused(https, fails(https, context, 0), "handshake failed")
