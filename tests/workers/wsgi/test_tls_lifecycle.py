"""HTTPS through reloads, stops, worker deaths, upgrades and starts that fail."""

import signal
import socket
import ssl
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import Server, wait_until
from tests.tls import dial, environ, hello
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.raw_client import RawClient

pytestmark = pytest.mark.slow


def start(directory: Path, *arguments: str) -> Server:
    return Server(directory, "app:application", "--certfile", "here.crt", "--keyfile", "here.key",
                  "--bind", "127.0.0.1:0", *arguments, app=APP)


def test_renewed_certificates_come_with_a_reload(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old-"), Authority(tmp_path, "new-")
    old.issue("here", "localhost")
    with start(tmp_path, "--processes", "2") as server:
        with dial(server, old.client()) as client:
            assert client.get("/hello").body == b"hello"
            new.issue("here", "localhost")
            server.send_signal(signal.SIGHUP)
            server.wait_for("ready: 2 workers (generation 2)")
            # Kept open during the reload, until its worker drains and sends Connection: close.
            wait_until(lambda: client.get("/hello").headers.get("connection") == "close")
            assert client.closed()
        with dial(server, new.client()) as client:
            assert client.get("/hello").body == b"hello"
        (tmp_path / "here.key").write_text("broken")
        server.send_signal(signal.SIGHUP)
        server.wait_for("here.key holds no private key")
        with dial(server, new.client()) as client:
            assert client.get("/hello").body == b"hello"
        assert server.stop() == 0


def test_workers_share_the_key_of_tickets(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    context = authority.client(only=ssl.TLSVersion.TLSv1_2)
    with start(tmp_path, "--processes", "2") as server:
        with dial(server, context) as client:
            first = client.get("/pid").body
            session = client.sock.session

        def elsewhere() -> bool:
            with dial(server, context, session=session) as client:
                assert client.sock.session_reused
                return client.get("/pid").body != first
        wait_until(elsewhere, "a connection to the other worker")
        assert server.stop() == 0


def test_a_stop_in_the_middle_of_handshakes(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    with start(tmp_path) as server:  # a handshake may take longer than the test waits
        with server.connect("https") as silent, server.connect("https") as half:
            half.sendall(hello()[:50])
            with dial(server, authority.client()) as client:
                assert client.get("/hello").body == b"hello"
                assert server.stop() == 0
                assert client.closed()
            assert silent.recv(1) == half.recv(1) == b""


def test_a_worker_killed_in_the_middle(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    with start(tmp_path) as server:
        with dial(server, authority.client()) as client:
            client.send(b"GET /endless HTTP/1.1\r\nHost: test\r\n\r\n")
            client.read(100_000)
            server.kill(server.workers()[0])
            with pytest.raises((ssl.SSLError, ConnectionResetError)):
                while client.sock.recv(65536):
                    pass
        server.wait_for("Respawned geventuwsgi worker 1")
        with dial(server, authority.client()) as wire:
            assert wire.get("/hello").body == b"hello"


def test_harakiri_sends_a_504_through_tls(tmp_path: Path) -> None:
    """By the application that ends, and by the hub for one that ignores it."""
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    with start(tmp_path, "--harakiri", "1", "--harakiri-graceful-timeout", "1") as server:
        with dial(server, authority.client()) as client, dial(server, authority.client()) as other:
            other.send(b"GET /ignore-harakiri HTTP/1.1\r\nHost: test\r\n\r\n")
            assert client.get("/sleep?30").status == 504
            assert other.read_response().status == 504  # sent by the hub, which must not block


def test_a_proxy_header_comes_before_the_handshake(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    with start(tmp_path, "--enable-proxy-protocol") as server:
        sock = server.connect("https")
        sock.sendall(b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n")
        with RawClient(authority.client().wrap_socket(sock, server_hostname="localhost")) as client:
            found = environ(client)
        assert (found["REMOTE_ADDR"], found["wsgi.url_scheme"]) == ("203.0.113.7", "https")


def test_a_unix_socket(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("here", "localhost")
    with Server(tmp_path, "app:application", "--https-socket",
                f"{tmp_path}/s,here.crt,here.key", app=APP) as server:
        with dial(server, authority.client()) as client:
            assert environ(client)["HTTPS"] == "on"


@pytest.mark.parametrize("line, words", [
    ("https-socket = 127.0.0.1:0,none.crt,here.key",
     "app.ini:3: https-socket: cannot read the certificate none.crt: No such file"),
    ("https-socket = 127.0.0.1:0,here.crt,other.key",
     "app.ini:3: https-socket: the private key other.key does not belong to"),
    ("https-socket = 127.0.0.1:0,here.crt,here.key,,!here.key",
     "here.key holds no certificate of an authority"),
])
def test_a_start_that_fails(authority: Authority, tmp_path: Path, line: str,
                            words: str) -> None:
    for file in ("here.crt", "here.key", "other.key"):
        (tmp_path / file).write_bytes((authority.directory / file).read_bytes())
    with Server(tmp_path, app=APP, ini=f"[uwsgi]\nmodule = app\n{line}\n", ready=False) as server:
        assert server.wait() == 1
        server.wait_for(words)


def test_an_upgrade_and_sockets_that_change_places(tmp_path: Path) -> None:
    """Each socket keeps the certificate of its own line, in any order."""
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
