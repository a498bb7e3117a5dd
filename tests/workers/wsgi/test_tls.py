"""HTTPS: requests as over plain HTTP, and what the application sees of TLS."""

import json
import os
import random
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Authority
from tests.harness import Server, wait_until
from tests.tls import VERSIONS, dial, environ, fails, refused
from tests.workers.wsgi.conftest import OPTIONAL, REQUIRED
from tests.workers.wsgi.raw_client import NEXT_REQUEST

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("version", VERSIONS)
def test_requests_on_one_connection(https: Server, authority: Authority,
                                    version: ssl.TLSVersion) -> None:
    with dial(https, authority.client(only=version)) as client:
        assert client.get("/hello").body == b"hello"
        client.send(b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n" * 3)
        assert [client.read_response().body for _ in range(3)] == [b"hello"] * 3
        body = random.Random(1).randbytes(3_000_000)
        client.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3000000\r\n\r\n")
        client.send(body)
        assert client.read_response().body == body
        client.send(b"POST /size HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + b"10000\r\n" + body[:65536] + b"\r\n0\r\n\r\n")
        assert json.loads(client.read_response().body)[0] == 65536
        assert len(client.get("/big?10000000").body) == 10_000_000
        assert client.get("/stream").body == b"onetwo"
        assert client.get("/hello", method="HEAD").status == 200
        assert client.get("/hello", "Connection: close").body == b"hello"
        assert client.closed()


@pytest.mark.parametrize("cut", [1, 5, 6, 300])
def test_bytes_that_trickle_in(https: Server, authority: Authority, cut: int) -> None:
    """The handshake and a request, cut anywhere."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")

    def pump(call: Any) -> Any:
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                pass
            finally:
                data = outgoing.read()
                for at in range(0, len(data), cut):
                    raw.sendall(data[at:at + cut])
            incoming.write(raw.recv(65536))

    with https.connect("https") as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pump(tls.do_handshake)
        tls.write(b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        response = b""
        while piece := pump(lambda: tls.read(65536)):
            response += piece
    assert response.startswith(b"HTTP/1.1 200 OK\r\n") and response.endswith(b"hello")


def test_a_file(https: Server, authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1_000_001))
    with dial(https, authority.client()) as client:
        assert client.get(f"/file?{path}").body == path.read_bytes()
        assert client.get("/memory-file").body == b"from memory"
        assert client.get("/hello").body == b"hello"


def test_a_body_that_the_end_ends(https: Server, authority: Authority) -> None:
    """close_notify distinguishes a complete body from one that was cut."""
    with dial(https, authority.client()) as client:
        client.send(b"GET /stream HTTP/1.0\r\n\r\n")
        assert client.read_to_end().endswith(b"\r\n\r\nonetwo")
    with dial(https, authority.client()) as client:
        client.send(b"GET /error-later HTTP/1.0\r\n\r\n")
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            while client.sock.recv(65536):
                pass


def test_a_slow_reader_gets_all_of_it_and_close_notify(https: Server,
                                                       authority: Authority) -> None:
    with dial(https, authority.client()) as client:
        client.send(b"GET /big?9000000 HTTP/1.0\r\n\r\n")
        time.sleep(0.3)  # both buffers fill; close_notify has to wait too
        assert len(client.read_to_end().partition(b"\r\n\r\n")[2]) == 9_000_000


def test_a_rejected_body_gets_a_response_at_once(https: Server, authority: Authority) -> None:
    with dial(https, authority.client()) as client:
        client.send(b"POST /first?3 HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n"
                    + b"x" * 300_000)
        assert client.read_response().body == b"xxx"
    with dial(https, authority.client()) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + NEXT_REQUEST)
        assert client.read_response().status == 400
        assert client.closed()


# What the application sees

def test_environ(https: Server, authority: Authority) -> None:
    with dial(https, authority.client()) as client:
        found = environ(client)
        assert (found["wsgi.url_scheme"], found["REQUEST_SCHEME"], found["HTTPS"]) == (
            "https", "https", "on")
        assert found["SERVER_PORT"] == str(https.address("https")[1])
        assert "HTTPS_DN" not in found
        found = environ(client, "Https-Dn: /CN=root", "X-Forwarded-Proto: http")
        assert found["wsgi.url_scheme"] == "http" and "HTTPS" not in found
        assert "HTTPS_DN" not in found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("index", [OPTIONAL, REQUIRED])
def test_client_certificates(https: Server, authority: Authority, index: int,
                             version: ssl.TLSVersion) -> None:
    mine = authority.issue("me", "me@localhost", common_name="me")
    with dial(https, authority.client(mine, only=version), index) as client:
        for _ in range(3):
            found = environ(client)
            assert found["HTTPS_DN"].endswith("/CN=me")
            assert ssl.PEM_cert_to_DER_cert(found["HTTPS_CC"]) == ssl.PEM_cert_to_DER_cert(
                Path(mine[0]).read_text().partition("END CERT")[0] + "END CERTIFICATE-----\n")


def test_a_resumed_session_keeps_the_name_of_the_client(https: Server,
                                                        authority: Authority) -> None:
    context = authority.client(authority.issue("me", "me@localhost", common_name="me"),
                               only=ssl.TLSVersion.TLSv1_3)
    with dial(https, context, REQUIRED) as client:
        first = environ(client)["HTTPS_DN"]
        session = client.sock.session
    with dial(https, context, REQUIRED, session=session) as client:
        assert environ(client)["HTTPS_DN"] == first
        assert client.sock.session_reused


def test_without_a_certificate_where_none_is_needed(https: Server, authority: Authority) -> None:
    with dial(https, authority.client(), OPTIONAL) as client:
        assert "HTTPS_DN" not in environ(client)


def test_host_names_choose_certificates(https: Server, authority: Authority) -> None:
    for index in (0, OPTIONAL):
        with dial(https, authority.client(), index, name="other.test") as client:
            assert client.sock.getpeercert()["subjectAltName"] == (("DNS", "other.test"),)
            assert environ(client)["HTTPS"] == "on"
    fails(https, authority.client(), 0, name="third.test")
    refused(https, fails(https, authority.client(), REQUIRED, name="other.test"),
            "did not return a certificate")


def test_alpn_and_ciphers(https: Server, authority: Authority) -> None:
    context = authority.client(authority.issue("me", "me@localhost"),
                               only=ssl.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with dial(https, context, REQUIRED) as client:
        assert client.sock.selected_alpn_protocol() == "http/1.1"
        assert "GCM" in client.sock.cipher()[0]
    context.set_ciphers("ECDHE+CHACHA20")
    refused(https, fails(https, context, REQUIRED), "no shared cipher")


def test_a_client_that_leaves_the_application_is_noticed(https: Server,
                                                         authority: Authority) -> None:
    with dial(https, authority.client()) as leaving, dial(https, authority.client()) as asking:
        leaving.send(b"GET /gone?19 HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until(lambda: "GET /gone?19" in json.loads(asking.get("/calls").body))
        leaving.sock.close()
        wait_until(lambda: [False, True, True] in json.loads(asking.get("/notes").body), "it")


def test_a_connection_that_is_handed_over(https: Server, authority: Authority) -> None:
    with dial(https, authority.client()) as client:
        response = client.get("/upgrade?gunicorn.socket", "Upgrade: echo", "Connection: Upgrade")
        assert response.status == 101
        for text in (b"one", b"t" * 100_000):
            client.send(text)
            assert client.read(len(text)) == text.upper()
        client.sock.unwrap()  # which waits for the other side's close_notify
    with dial(https, authority.client()) as client:
        client.send(b"GET /upgrade-and-raise HTTP/1.1\r\nHost: test\r\n\r\n")
        assert client.read_to_end() == b"mine"
    with dial(https, authority.client()) as client:
        assert client.get("/upgrade", "Upgrade: echo", "Connection: Upgrade").status == 101
    with dial(https, authority.client()) as client:
        assert client.get("/hello").body == b"hello"
