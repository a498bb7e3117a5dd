"""HTTPS, live: requests as over plain HTTP, and what goes wrong before the first one."""

import json
import os
import random
import signal
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.authority import Authority
from tests.harness import Server, installed, wait_until
from tests.server.conftest import APP
from tests.server.wire import BEHIND, Wire

INI = """\
[geventuwsgi]
module = app:application
https-socket = 127.0.0.1:0,here.crt,here.key
https-socket = 127.0.0.1:0,here.crt,here.key,,ca.pem
https = 127.0.0.1:0,here.crt,here.key,ECDHE+AESGCM,!ca.pem
sni = other.test other.crt,other.key
https-export-cert = true
http-headers-timeout = 1
forwarded-allow-ips = 127.0.0.1
disable-logging = true
"""
OPTIONAL, REQUIRED = 1, 2
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("tls"))
    made.issue("here", "localhost")
    made.issue("other", "other.test")
    return made


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Server]:
    with Server(authority.directory, app=APP, ini=INI) as server:
        yield server
        assert server.stop() == 0, "\n".join(server.err)
        assert not server.find(" failed with ") and not server.find("an error of this server")


def dial(server: Server, client: ssl.SSLContext, index: int = 0, name: str = "localhost",
         **options: Any) -> Wire:
    """Connect; the end of the connection has to be told (close_notify), or it is an error."""
    return Wire(client.wrap_socket(server.connect("https", index), server_hostname=name,
                                   suppress_ragged_eofs=False, **options))


def refused(server: Server, name: str, words: str) -> str:
    """Wait for the line that says why a connection was refused."""
    return wait_until(lambda: [line for line in server.find(f"{name}: ") if words in line],
                      lambda: f"{words} in {server.find(name)}", 5)[0]


# Requests

@pytest.mark.parametrize("version", VERSIONS)
def test_requests_on_one_connection(server: Server, authority: Authority,
                                    version: ssl.TLSVersion) -> None:
    with dial(server, authority.client(only=version)) as wire:
        assert wire.get("/hello").body == b"hello"
        wire.send(b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n" * 3)
        assert [wire.answer().body for _ in range(3)] == [b"hello"] * 3
        body = random.Random(1).randbytes(3_000_000)
        wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 3000000\r\n\r\n")
        wire.send(body)
        assert wire.answer().body == body
        wire.send(b"POST /size HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
                  + b"10000\r\n" + body[:65536] + b"\r\n0\r\n\r\n")
        assert json.loads(wire.answer().body)[0] == 65536
        assert len(wire.get("/big?10000000").body) == 10_000_000
        assert wire.get("/stream").body == b"onetwo"
        assert wire.get("/hello", method="HEAD").status == 200
        assert wire.get("/hello", "Connection: close").body == b"hello"
        assert wire.closed()


@pytest.mark.parametrize("cut", [1, 5, 6, 300])
def test_bytes_that_trickle_in(server: Server, authority: Authority, cut: int) -> None:
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

    with server.connect("https") as raw:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pump(tls.do_handshake)
        tls.write(b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := pump(lambda: tls.read(65536)):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"hello")


def test_a_file(server: Server, authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1_000_001))
    with dial(server, authority.client()) as wire:
        assert wire.get(f"/file?{path}").body == path.read_bytes()
        assert wire.get("/memory-file").body == b"from memory"
        assert wire.get("/hello").body == b"hello"


def test_a_body_that_the_end_ends(server: Server, authority: Authority) -> None:
    """close_notify tells a whole body from one that was cut."""
    with dial(server, authority.client()) as wire:
        wire.send(b"GET /stream HTTP/1.0\r\n\r\n")
        assert wire.rest().endswith(b"\r\n\r\nonetwo")
    with dial(server, authority.client()) as wire:
        wire.send(b"GET /error-later HTTP/1.0\r\n\r\n")
        with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
            while wire.sock.recv(65536):
                pass


def test_a_slow_reader_gets_all_of_it_and_the_farewell(server: Server,
                                                       authority: Authority) -> None:
    with dial(server, authority.client()) as wire:
        wire.send(b"GET /big?9000000 HTTP/1.0\r\n\r\n")
        time.sleep(0.3)  # both buffers fill; the server has to wait with its farewell too
        assert len(wire.rest().partition(b"\r\n\r\n")[2]) == 9_000_000


def test_a_refused_body_is_answered_before_the_end(server: Server, authority: Authority) -> None:
    with dial(server, authority.client()) as wire:
        wire.send(b"POST /first?3 HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n"
                  + b"x" * 300_000)
        assert wire.answer().body == b"xxx"
    with dial(server, authority.client()) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + BEHIND)
        assert wire.answer().status == 400
        assert wire.closed()


# What the application sees

def environ(wire: Wire, *fields: str) -> dict[str, str]:
    return json.loads(wire.get("/environ", *fields).body)


def test_environ(server: Server, authority: Authority) -> None:
    with dial(server, authority.client()) as wire:
        found = environ(wire)
        assert (found["wsgi.url_scheme"], found["REQUEST_SCHEME"], found["HTTPS"]) == (
            "https", "https", "on")
        assert found["SERVER_PORT"] == str(server.address("https")[1])
        assert "HTTPS_DN" not in found
        found = environ(wire, "Https-Dn: /CN=root", "X-Forwarded-Proto: http")
        assert found["wsgi.url_scheme"] == "http" and "HTTPS" not in found
        assert "HTTPS_DN" not in found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("index", [OPTIONAL, REQUIRED])
def test_client_certificates(server: Server, authority: Authority, index: int,
                             version: ssl.TLSVersion) -> None:
    mine = authority.issue("me", "me@localhost", common_name="me")
    with dial(server, authority.client(mine, only=version), index) as wire:
        for _ in range(3):
            found = environ(wire)
            assert found["HTTPS_DN"].endswith("/CN=me")
            assert ssl.PEM_cert_to_DER_cert(found["HTTPS_CC"]) == ssl.PEM_cert_to_DER_cert(
                Path(mine[0]).read_text().partition("END CERT")[0] + "END CERTIFICATE-----\n")


def test_a_session_that_is_resumed_keeps_the_clients_name(server: Server,
                                                          authority: Authority) -> None:
    client = authority.client(authority.issue("me", "me@localhost", common_name="me"),
                              only=ssl.TLSVersion.TLSv1_3)
    with dial(server, client, REQUIRED) as wire:
        first = environ(wire)["HTTPS_DN"]
        session = wire.sock.session
    with dial(server, client, REQUIRED, session=session) as wire:
        assert environ(wire)["HTTPS_DN"] == first
        assert wire.sock.session_reused


def test_without_a_certificate_where_none_is_needed(server: Server, authority: Authority) -> None:
    with dial(server, authority.client(), OPTIONAL) as wire:
        assert "HTTPS_DN" not in environ(wire)


def fails(server: Server, client: ssl.SSLContext, index: int, name: str = "localhost") -> str:
    """Fail to get an answer; return the server's name of the connection."""
    sock = server.connect("https", index)
    ours = Wire(sock).name
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        with client.wrap_socket(sock, server_hostname=name) as secure:
            secure.sendall(b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            while secure.recv(100):  # in TLS 1.3 the client learns it only here
                pass
    return ours


@pytest.mark.parametrize("version", VERSIONS)
def test_clients_that_are_turned_away(server: Server, authority: Authority, tmp_path: Path,
                                      version: ssl.TLSVersion) -> None:
    line = refused(server, fails(server, authority.client(only=version), REQUIRED), "handshake")
    assert "peer did not return a certificate" in line
    expired = authority.issue("old", "me@localhost", expired=True)
    stranger = Authority(tmp_path).issue("stranger", "me@localhost")
    for index in (OPTIONAL, REQUIRED):
        line = refused(server, fails(server, authority.client(expired, version), index),
                       "handshake")
        assert "certificate has expired" in line
        refused(server, fails(server, authority.client(stranger, version), index),
                "certificate verify failed")


def test_a_client_that_does_not_trust_us(server: Server, tmp_path: Path) -> None:
    client = Authority(tmp_path).client()
    assert "unknown ca" in refused(server, fails(server, client, 0), "handshake failed")


def test_host_names_choose_certificates(server: Server, authority: Authority) -> None:
    for index in (0, OPTIONAL):
        with dial(server, authority.client(), index, name="other.test") as wire:
            assert wire.sock.getpeercert()["subjectAltName"] == (("DNS", "other.test"),)
            assert environ(wire)["HTTPS"] == "on"
    fails(server, authority.client(), 0, name="third.test")
    refused(server, fails(server, authority.client(), REQUIRED, name="other.test"),
            "did not return a certificate")


def test_alpn_and_ciphers(server: Server, authority: Authority) -> None:
    client = authority.client(authority.issue("me", "me@localhost"),
                              only=ssl.TLSVersion.TLSv1_2)
    client.set_alpn_protocols(["h2", "http/1.1"])
    with dial(server, client, REQUIRED) as wire:
        assert wire.sock.selected_alpn_protocol() == "http/1.1"
        assert "GCM" in wire.sock.cipher()[0]
    client.set_ciphers("ECDHE+CHACHA20")
    refused(server, fails(server, client, REQUIRED), "no shared cipher")


# Before the handshake, and instead of it

@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\nHost: test\r\n\r\n",
                                      b"POST / HTTP/1.0\r\nContent-Length: 100000\r\n\r\n"
                                      + b"x" * 100_000, b"OPTIONS * HTTP/1.1\r\n\r\n"])
def test_plain_http_is_told(server: Server, request_: bytes) -> None:
    with Wire(server.connect("https")) as wire:
        wire.send(request_)
        answer = wire.answer()
        assert answer.status == 400 and answer.whole
        assert b"speaks HTTPS" in answer.body
        assert wire.closed()
        refused(server, wire.name, "plain HTTP on an HTTPS port")


@pytest.mark.parametrize("garbage", [b"\0" * 100, b"SSH-2.0-OpenSSH_9\r\n", b"\xff",
                                     b"\x80\x2e\x01\x00\x02" + b"x" * 41])
def test_garbage_is_closed(server: Server, garbage: bytes) -> None:
    with Wire(server.connect("https")) as wire:
        wire.send(garbage)
        assert wire.closed()
        refused(server, wire.name, "no TLS; closed")


@pytest.mark.parametrize("garbage", [
    b"\x16\x03\x01\x00\x05hello", b"\x16\x03\x01\xff\xff" + b"x" * 100,
    b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"])
def test_what_only_looks_like_tls(server: Server, garbage: bytes) -> None:
    with Wire(server.connect("https")) as wire:
        wire.send(garbage)
        assert wire.rest()[:1] == b"\x15", "an alert"
        refused(server, wire.name, "the TLS handshake failed")


def hello() -> bytes:
    """A ClientHello."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing,
                                                server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("name", [b"\xff" * 9, b"a\0b......", b"." * 9, b"[::1]:443"])
def test_host_names_that_are_none(server: Server, authority: Authority, name: bytes) -> None:
    assert b"localhost" in hello()
    with Wire(server.connect("https")) as wire:
        wire.send(hello().replace(b"localhost", name))
        assert wire.take(1) in (b"\x15", b"\x16")
    with dial(server, authority.client()) as other:
        assert other.get("/hello").body == b"hello"


@pytest.mark.parametrize("half", [True, False])
def test_a_handshake_that_stalls(server: Server, authority: Authority, half: bool) -> None:
    data = hello()
    with Wire(server.connect("https")) as wire:
        wire.send(data[:len(data) // 2] if half else data)
        with dial(server, authority.client()) as other:  # it holds up nobody
            assert other.get("/hello").body == b"hello"
        wire.rest()
        refused(server, wire.name, "no TLS handshake within 1 seconds")


def test_a_head_that_trickles_in_within_one_record(server: Server, authority: Authority) -> None:
    """The deadline is of the head: a record whose bytes come one by one does not extend it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with Wire(server.connect("https")) as wire:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                wire.send(outgoing.read())
                incoming.write(wire.sock.recv(65536))
        tls.write(b"GET / HTTP/1.1\r\nX: " + b"x" * 5000)
        record = outgoing.read()
        began = time.monotonic()
        for at in range(len(record)):
            wire.send(record[at:at + 1])
            if time.monotonic() - began > 5:
                break
            time.sleep(0.05)
            try:
                if not wire.sock.recv(65536, socket.MSG_DONTWAIT | socket.MSG_PEEK):
                    break
                wire.sock.recv(65536)
            except BlockingIOError:
                continue
            except ConnectionResetError:
                break
        assert time.monotonic() - began < 4


@pytest.mark.parametrize("reset", [False, True])
def test_clients_that_leave_in_the_middle(server: Server, authority: Authority,
                                          reset: bool) -> None:
    data = hello()
    for size in (0, 1, 5, 100, len(data)):
        with server.connect("https") as sock:
            sock.sendall(data[:size])
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with dial(server, authority.client()) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n" + b"x" * 9)
    with dial(server, authority.client()) as wire:
        wire.send(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
        wire.take(100_000)
    with dial(server, authority.client()) as wire:
        assert wire.get("/hello").body == b"hello"


def test_a_client_that_leaves_the_application_is_noticed(server: Server,
                                                         authority: Authority) -> None:
    with dial(server, authority.client()) as leaving, dial(server, authority.client()) as asking:
        leaving.send(b"GET /gone?19 HTTP/1.1\r\nHost: test\r\n\r\n")
        wait_until(lambda: "GET /gone?19" in json.loads(asking.get("/calls").body))
        leaving.sock.close()
        wait_until(lambda: [False, True, True] in json.loads(asking.get("/told").body), "it", 10)


def test_a_broken_record_ends_the_connection(server: Server, authority: Authority) -> None:
    with dial(server, authority.client()) as wire:
        assert wire.get("/hello").body == b"hello"
        raw = socket.socket(fileno=os.dup(wire.sock.fileno()))
        raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with pytest.raises(ssl.SSLError, match="(?i)bad record mac"):
            wire.sock.recv(100)
        raw.close()


def test_renegotiation_is_refused(server: Server, authority: Authority) -> None:
    """Asked for by openssl's client, which has a key for it (R)."""
    host, port = server.address("https")
    done = subprocess.run([installed("openssl"), "s_client", "-connect", f"{host}:{port}",
                           "-tls1_2", "-CAfile", str(authority.pem)],
                          input="R\n", capture_output=True, text=True, timeout=20)
    assert "no renegotiation" in done.stdout + done.stderr


# Around requests

def test_a_connection_that_is_handed_over(server: Server, authority: Authority) -> None:
    with dial(server, authority.client()) as wire:
        answer = wire.get("/upgrade?gunicorn.socket", "Upgrade: echo", "Connection: Upgrade")
        assert answer.status == 101
        for text in (b"one", b"t" * 100_000):
            wire.send(text)
            assert wire.take(len(text)) == text.upper()
        wire.sock.unwrap()  # which waits for the farewell of the other side
    with dial(server, authority.client()) as wire:
        wire.send(b"GET /upgrade-and-raise HTTP/1.1\r\nHost: test\r\n\r\n")
        assert wire.rest() == b"mine"
    with dial(server, authority.client()) as wire:
        assert wire.get("/upgrade", "Upgrade: echo", "Connection: Upgrade").status == 101
    with dial(server, authority.client()) as wire:
        assert wire.get("/hello").body == b"hello"


def start(directory: Path, *arguments: str) -> Server:
    return Server(directory, "app:application", "--certfile", "here.crt", "--keyfile", "here.key",
                  "--bind", "127.0.0.1:0", *arguments, app=APP)


def test_renewed_certificates_come_with_a_reload(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old-"), Authority(tmp_path, "new-")
    old.issue("here", "localhost")
    with start(tmp_path, "--processes", "2") as server:
        with dial(server, old.client()) as wire:
            assert wire.get("/hello").body == b"hello"
            new.issue("here", "localhost")
            server.send_signal(signal.SIGHUP)
            server.wait_for("ready: 2 workers (generation 2)")
            # Kept open through the reload, until its worker drains and says so.
            wait_until(lambda: wire.get("/hello").headers.get("connection") == "close")
            assert wire.closed()
        with dial(server, new.client()) as wire:
            assert wire.get("/hello").body == b"hello"
        (tmp_path / "here.key").write_text("broken")
        server.send_signal(signal.SIGHUP)
        server.wait_for("here.key holds no private key")
        with dial(server, new.client()) as wire:
            assert wire.get("/hello").body == b"hello"
        assert server.stop() == 0


def test_workers_share_the_key_of_tickets(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    client = authority.client(only=ssl.TLSVersion.TLSv1_2)
    with start(tmp_path, "--processes", "2") as server:
        with dial(server, client) as wire:
            first = wire.get("/pid").body
            session = wire.sock.session

        def elsewhere() -> bool:
            with dial(server, client, session=session) as wire:
                assert wire.sock.session_reused
                return wire.get("/pid").body != first
        wait_until(elsewhere, "a connection to the other worker")
        assert server.stop() == 0


def test_a_stop_in_the_middle_of_handshakes(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    with start(tmp_path) as server:  # a handshake may take longer than the test waits
        with server.connect("https") as silent, server.connect("https") as half:
            half.sendall(hello()[:50])
            with dial(server, authority.client()) as wire:
                assert wire.get("/hello").body == b"hello"
                assert server.stop() == 0
                assert wire.closed()
            assert silent.recv(1) == half.recv(1) == b""


def test_a_worker_killed_in_the_middle(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    with start(tmp_path) as server:
        with dial(server, authority.client()) as wire:
            wire.send(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
            wire.take(100_000)
            server.kill(server.workers()[0])
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                while wire.sock.recv(65536):
                    pass
        server.wait_for("Respawned uWSGI worker 1")
        with dial(server, authority.client()) as wire:
            assert wire.get("/hello").body == b"hello"


def test_harakiri_is_answered_through_tls(tmp_path: Path) -> None:
    """Takes the 5 s that an application is given to obey."""
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    with start(tmp_path, "--harakiri", "1") as server:
        with dial(server, authority.client()) as wire, dial(server, authority.client()) as other:
            other.send(b"GET /immortal HTTP/1.1\r\nHost: test\r\n\r\n")
            assert wire.get("/sleep?30").status == 504
            assert other.answer().status == 504  # given up by the hub, which may not wait


def test_a_proxy_header_stands_before_the_handshake(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    with start(tmp_path, "--enable-proxy-protocol") as server:
        sock = server.connect("https")
        sock.sendall(b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n")
        with Wire(authority.client().wrap_socket(sock, server_hostname="localhost")) as wire:
            found = environ(wire)
        assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"]) == ("203.0.113.7", "https")


def test_a_unix_socket(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    with Server(tmp_path, "app:application", "--https-socket",
                f"{tmp_path}/s,here.crt,here.key", app=APP) as server:
        with dial(server, authority.client()) as wire:
            assert environ(wire)["HTTPS"] == "on"


@pytest.mark.parametrize("line, words", [
    ("https-socket = 127.0.0.1:0,none.crt,here.key",
     "app.ini:3: https-socket: cannot read the certificate none.crt: No such file"),
    ("https-socket = 127.0.0.1:0,here.crt,other.key",
     "app.ini:3: https-socket: the private key other.key does not belong to"),
    ("https-socket = 127.0.0.1:0,here.crt,here.key,,!here.key",
     "here.key holds no certificate of an authority"),
])
def test_a_start_that_cannot_be(authority: Authority, tmp_path: Path, line: str,
                                words: str) -> None:
    for file in ("here.crt", "here.key", "other.key"):
        (tmp_path / file).write_bytes((authority.directory / file).read_bytes())
    with Server(tmp_path, app=APP, ini=f"[uwsgi]\nmodule = app\n{line}\n", ready=False) as server:
        assert server.wait() == 1
        assert server.find(words)


def test_an_upgrade_and_sockets_that_change_places(tmp_path: Path) -> None:
    """Each socket keeps the certificate of its own line, whatever the order."""
    authority = Authority(tmp_path)
    for name in ("one", "two"):
        authority.issue(name, "localhost", common_name=name)
    lines = [f"https-socket = {tmp_path}/{name}.sock,{name}.crt,{name}.key\n"
             for name in ("one", "two")]
    ini = "[geventuwsgi]\nmodule = app:application\nhttp-socket = 127.0.0.1:0\n"
    with Server(tmp_path, app=APP, ini=ini + lines[0] + lines[1]) as server:
        def names() -> list[str]:
            found = []
            for name in ("one", "two"):
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.connect(f"{tmp_path}/{name}.sock")
                    with authority.client().wrap_socket(sock, server_hostname="localhost") as tls:
                        subject = tls.getpeercert()["subject"]
                        found.append(dict(part[0] for part in subject)["commonName"])
            return found
        assert names() == ["one", "two"]
        (tmp_path / "app.ini").write_text(ini + lines[1] + lines[0])
        server.send_signal(signal.SIGUSR2)
        server.wait_for("ready: ", count=2)
        assert names() == ["one", "two"]
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: ", count=3)
        assert names() == ["one", "two"]
        assert server.stop() == 0
