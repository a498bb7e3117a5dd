"""HTTPS with real programs: nginx, curl, openssl and http.client; reloads under load."""

import hashlib
import http.client
import json
import os
import signal
import subprocess
import time

import pytest

from tests.certificates import Authority
from tests.harness import DEADLINE, ROOT, Server, installed
from tests.integration.conftest import MOUNTS, example_ini
from tests.integration.nginx import PAUSE, Clients, Nginx
from tests.integration.test_start import as_root, readable_interpreter

HTTPS = "https-socket = 127.0.0.1:0,%dhere.crt,%dhere.key\n"


@pytest.fixture(scope="module")
def authority(place):
    made = Authority(place)
    made.issue("here", "localhost", "127.0.0.1")
    return made


@pytest.fixture(scope="module")
def server(place, authority):
    """The example deployment with HTTPS, HTTP and uwsgi."""
    with Server(place, ini=example_ini(MOUNTS + HTTPS)) as started:
        yield started
        assert started.stop() == 0


@pytest.fixture(scope="module", params=["1.0", "1.1"])
def nginx(server, place, authority, request):
    """nginx that connects by HTTPS, and checks the server's certificate."""
    verify = (f"proxy_ssl_trusted_certificate {authority.pem}; proxy_ssl_verify on;"
              "proxy_ssl_name localhost; proxy_ssl_server_name on;"
              "proxy_ssl_protocols TLSv1.2 TLSv1.3;")
    with Nginx(place / f"nginx-{request.param}", "http", "%s:%d" % server.address("https"),
               location=verify,
               edit=(("proxy_pass http://", "proxy_pass https://"),
                     ("proxy_http_version 1.1", f"proxy_http_version {request.param}"))
               ) as nginx:
        yield nginx
        assert not nginx.errors


def test_through_nginx(nginx):
    body = os.urandom(5_000_000)
    for _ in range(5):
        assert nginx.ask("/probe/who").status == 200
    answer = nginx.ask("/probe/digest", "POST", body)
    assert answer.body.decode() == f"{len(body)} {hashlib.sha256(body).hexdigest()}"
    assert nginx.ask("/probe/ignore", "POST", body).body == b"ignored"
    seen = json.loads(nginx.ask("/probe/variables").body)
    assert seen["wsgi.url_scheme"] == "http", "nginx is trusted, and its client spoke HTTP"
    seen = json.loads(nginx.ask("/valid/variables", headers={"X": "y"}).body)
    assert "HTTPS" not in seen


def curl(server, authority, *arguments, ca=None):
    port = server.address("https")[1]
    done = subprocess.run(
        [installed("curl"), "-sS", "--cacert", str(ca or authority.pem), *arguments[:-1],
         f"https://localhost:{port}{arguments[-1]}"], capture_output=True, timeout=DEADLINE)
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("version", ["--tlsv1.2", "--tlsv1.3"])
def test_curl(server, authority, version, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(os.urandom(3_000_000))
    expected = f"3000000 {hashlib.sha256(big.read_bytes()).hexdigest()}".encode()
    limit = ["--tls-max", "1.2"] if version == "--tlsv1.2" else []
    code, out, err = curl(server, authority, version, *limit, "-T", str(big), "-X", "POST",
                          "/probe/digest")
    assert (code, out) == (0, expected), err
    code, out, err = curl(server, authority, version, *limit, "-H",
                          "Transfer-Encoding: chunked", "-T", str(big), "-X", "POST",
                          "/probe/digest")
    assert (code, out) == (0, expected), err


def test_a_client_that_wants_small_records(server, authority):
    """max_fragment_length, RFC 6066 section 4."""
    host, port = server.address("https")
    done = subprocess.run(
        [installed("openssl"), "s_client", "-connect", f"{host}:{port}", "-maxfraglen", "512",
         "-CAfile", str(authority.pem), "-quiet", "-ign_eof"],
        input=b"GET /probe/large?1 HTTP/1.0\r\n\r\n", capture_output=True, timeout=DEADLINE)
    assert len(done.stdout.partition(b"\r\n\r\n")[2]) == 1 << 20, done.stderr


PASSPHRASE = """
import os

async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": repr(os.environ.get("SECRET")).encode()})

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [repr(os.environ.get("SECRET")).encode()]
"""


@pytest.mark.parametrize("place", ["env:SECRET", "file:secret"])
@pytest.mark.parametrize("option, more", [
    ("https-socket", "module = app:wsgi\n"), ("https-socket", "asgi = app:asgi\n"),
    ("https", "module = app:wsgi\nhttp-router = true\n")])
def test_a_key_with_a_passphrase(tmp_path, option, more, place):
    """Also after a reload with a new key; a wrong passphrase keeps the old workers."""
    authority = Authority(tmp_path)
    (tmp_path / "secret").write_text("geheim\n")

    def issue(passphrase):
        _, key = authority.issue("here", "localhost", "127.0.0.1")
        authority.encrypt(key, passphrase)
    issue("geheim")
    ini = (f"[uwsgi]\n{option} = 127.0.0.1:0,here.crt,here.key\n{more}"
           f"ssl-keyfile-password = {place}\n")
    with Server(tmp_path, ini=ini, app=PASSPHRASE, env={"SECRET": "geheim"},
                start_new_session=True) as server:
        def serves():
            code, out, err = curl(server, authority, "/")
            assert (code, out) == (0, b"None" if place == "env:SECRET" else b"'geheim'"), err
        serves()
        issue("geheim")
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: ", 2)
        serves()
        issue("another")
        server.send_signal(signal.SIGHUP)
        line = server.wait_for(f"the passphrase in {place} does not open the private key here.key")
        assert "app.ini:" in line and "ssl-keyfile-password" in line
        serves()
        assert server.stop() == 0


def test_curl_with_another_authority(server, authority, tmp_path):
    code, _, err = curl(server, authority, "/probe/who", ca=Authority(tmp_path).pem)
    assert code == 60, err  # CURLE_PEER_FAILED_VERIFICATION


def test_http_client_reuses_the_connection(server, authority):
    client = http.client.HTTPSConnection("localhost", server.address("https")[1],
                                         context=authority.client(), timeout=DEADLINE)
    pids = set()
    for _ in range(20):
        client.request("GET", "/probe/who")
        pids.add(client.getresponse().read().split()[0])
    assert len(pids) == 1
    client.close()


class TlsClients(Clients):
    """Clients over TLS, each on a persistent connection."""

    def __init__(self, port, context, clients):
        super().__init__(clients)
        self.port, self.context = port, context
        self.count, self.failures = 0, []

    def _run(self):
        client = http.client.HTTPSConnection("localhost", self.port, context=self.context,
                                             timeout=DEADLINE)
        while not self._stop.is_set():
            try:
                client.request("POST", "/probe/digest", b"x" * 1000)
                response = client.getresponse()
                response.read()
                assert response.status == 200
                self.count += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures.append(repr(error))
                client.close()
            time.sleep(PAUSE)
        client.close()


def test_reloads_lose_no_request(directory):
    """Three reloads under load, with new certificates of the same authority."""
    authority = Authority(directory)
    authority.issue("here", "localhost")
    with Server(directory, ini=example_ini(MOUNTS + HTTPS)) as server:
        with TlsClients(server.address("https")[1], authority.client(), 4) as clients:
            for generation in (2, 3, 4):
                clients.wait_for(50)
                authority.issue("here", "localhost")
                server.send_signal(signal.SIGHUP)
                server.wait_for(f"(generation {generation})")
            clients.wait_for(50)
        assert not clients.failures
        assert server.stop() == 0


def test_a_killed_worker_loses_only_its_connections(directory):
    authority = Authority(directory)
    authority.issue("here", "localhost")
    with Server(directory, ini=example_ini(MOUNTS + HTTPS)) as server:
        with TlsClients(server.address("https")[1], authority.client(), 4) as clients:
            clients.wait_for(50)
            server.kill(server.workers()[0])
            server.wait_for("Respawned")
            clients.wait_for(100)
        assert len(clients.failures) <= 4
        assert server.stop() == 0


@pytest.mark.root
@as_root
def test_keys_that_only_root_can_read(directory):
    python, packages = readable_interpreter()
    authority = Authority(directory)
    key = authority.issue("here", "localhost")[1]
    server = Server(directory, "--https-socket", "127.0.0.1:0,here.crt,here.key", "--uid", "nobody",
                    "--gid", "nogroup", "--wsgi-file", "probe.py",
                    env={"PYTHONPATH": f"{ROOT}:{packages}"})
    server.argv = (python, *server.argv[1:])
    with server:
        for generation in (2, 3):
            code, out, err = curl(server, authority, "/who")
            assert out.split()[1:] == [b"65534", b"65534"], err
            server.send_signal(signal.SIGHUP)
            server.wait_for(f"(generation {generation})")
        os.chmod(key, 0)  # root can still read it
        assert server.stop() == 0


def test_many_handshakes_at_once(server, authority):
    """A burst of new connections, half of which never complete their handshake."""
    port = server.address("https")[1]
    context = authority.client()
    stalled = [server.connect("https") for _ in range(100)]
    for sock in stalled[::2]:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    for _ in range(100):
        client = http.client.HTTPSConnection("localhost", port, context=context, timeout=DEADLINE)
        client.request("GET", "/probe/who")
        assert client.getresponse().status == 200
        client.close()
    for sock in stalled:
        sock.close()


def test_a_session_of_openssl_is_resumed(server, authority, tmp_path):
    host, port = server.address("https")
    command = [installed("openssl"), "s_client", "-connect", f"{host}:{port}", "-CAfile",
               str(authority.pem), "-tls1_2"]
    path = str(tmp_path / "session")
    request = "GET /probe/who HTTP/1.0\r\n\r\n"
    first = subprocess.run([*command, "-sess_out", path, "-ign_eof"], input=request,
                           capture_output=True, text=True, timeout=DEADLINE)
    assert "New, TLSv1.2" in first.stdout and "Verify return code: 0" in first.stdout
    for _ in range(6):  # in any worker
        again = subprocess.run([*command, "-sess_in", path, "-ign_eof"], input=request,
                               capture_output=True, text=True, timeout=DEADLINE)
        assert "Reused, TLSv1.2" in again.stdout
