"""Static files of an ASGI worker: before the application, as in WSGI workers."""

import gzip
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import Server, wait_until
from tests.tls import dial
from tests.workers.asgi.conftest import APP
from tests.workers.wsgi.raw_client import connect, get, packet, request

pytestmark = pytest.mark.slow

INI = """\
[uwsgi]
asgi = app:app
asgi-loop = %s
http-socket = 127.0.0.1:0
socket = 127.0.0.1:0
https-socket = 127.0.0.1:0,here.crt,here.key
static-map = /static=files
static-map = /hello=files/a.txt
static-map2 = /files=.
check-static-docroot = true
static-index = index.html
static-skip-ext = .py
static-expires = txt$ 3600
static-gzip-ext = .css
root-path = /cut
"""


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(authority: Authority, request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    files = authority.directory / "files"
    files.mkdir(exist_ok=True)
    (files / "a.txt").write_text("a file")
    (files / "tea é.txt").write_text("tea")
    (files / "empty").write_text("")
    (files / "a.py").write_text("secret")
    (files / "index.html").write_text("an index")
    (files / "a.css").write_text("a { }")
    (files / "a.css.gz").write_bytes(gzip.compress(b"a { }"))
    (files / "large").write_bytes(os.urandom(1 << 16) * 300)
    if not (files / "link").is_symlink():
        (files / "link").symlink_to("/etc/passwd")
    app = APP.replace('scope["path"].strip', 'scope["path"].removeprefix("/cut").strip')
    with Server(authority.directory, app=app, ini=INI % request.param) as server:
        yield server
        assert server.stop() == 0


def test_a_file_comes_before_the_application(server: Server) -> None:
    with connect(server) as client:
        response = client.get("/static/a.txt")
        assert response.status == 200 and response.body == b"a file"
        assert response.headers["content-type"] == "text/plain" and "expires" in response.headers
        etag = response.headers["etag"]
        again = client.get("/static/a.txt", f"If-None-Match: \"x\"\r\nIf-None-Match: {etag}")
        assert again.status == 304 and again.body == b""
        assert client.get("/static/a.txt", 'If-Match: "x"').status == 412
        part = client.get("/static/a.txt", "Range: bytes=2-3")
        assert part.status == 206 and part.body == b"fi"
        assert part.headers["content-range"] == "bytes 2-3/6"
        assert client.get("/static/a.txt", "Range: bytes=99-").status == 416
        head = client.get("/static/a.txt", method="HEAD")
        assert head.status == 200 and head.headers["content-length"] == "6"
        assert client.get("/static/empty").headers["content-length"] == "0"
        assert client.get("/static/tea%20%C3%A9.txt").body == b"tea"
        assert client.get("/static/").body == client.get("/files").body == b"an index"
        assert client.get("/hello").body == b"a file"
    wait_until(lambda: "app: -1|req: -1/1]" in server.log and "via sendfile()" in server.log,
               "the request line of a file")


def test_the_compressed_variant(server: Server) -> None:
    plain, packed = get(server, "/static/a.css"), get(server, "/static/a.css",
                                                      "Accept-Encoding: gzip")
    assert plain.body == gzip.decompress(packed.body) == b"a { }"
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(("path", "method"), [
    ("/hello", "POST"), ("/static/none", "GET"), ("/static/link", "GET"), ("/static/a.py", "GET"),
    ("/static/..%2f..%2fetc/passwd", "GET"), ("/static/%00", "GET"), ("/static/%FF", "GET")])
def test_what_the_application_gets(server: Server, path: str, method: str) -> None:
    with connect(server) as client:
        answer = client.get(path, method=method)
        assert answer.body == (b"Hello, world!" if path == "/hello" else b"missing")
    if "link" in path:
        server.wait_for("/etc/passwd is not under")


def test_over_uwsgi(server: Server) -> None:
    with connect(server, "uwsgi") as client:
        client.send(packet(request("/static/a.txt", SCRIPT_NAME="/below")))
        assert client.read_response().body == b"a file" and client.closed()
    with connect(server, "uwsgi") as client:
        client.send(packet(request("/a.txt", DOCUMENT_ROOT=str(server.directory / "files"))))
        assert client.read_response().body == b"a file" and client.closed()


def test_over_tls(server: Server, authority: Authority) -> None:
    with dial(server, authority.client()) as wire:
        assert wire.get("/static/large").body == (server.directory / "files/large").read_bytes()
        assert wire.get("/static/large", "Range: bytes=-7").body == (
            server.directory / "files/large").read_bytes()[-7:]


@pytest.mark.parametrize("tls", [False, True])
def test_a_slow_reader_delays_no_other(server: Server, authority: Authority, tls: bool) -> None:
    slow = dial(server, authority.client()) if tls else connect(server)
    with slow:
        slow.send(b"GET /static/large HTTP/1.1\r\nHost: a\r\n\r\n")
        assert slow.receive()
        for _ in range(3):
            assert get(server, "/static/a.txt").body == b"a file"
            assert get(server, "/absent").status == 404
        assert slow.read_response().body == (server.directory / "files/large").read_bytes()


def test_a_client_that_leaves_is_no_error(server: Server) -> None:
    [pid] = server.workers()
    for _ in range(5):
        with connect(server) as client:
            client.send(b"GET /static/large HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.receive()
    large = str(server.directory / "files/large")
    wait_until(lambda: large not in [os.readlink(entry) for entry in
                                     Path(f"/proc/{pid}/fd").iterdir() if entry.exists()],
               "the files to be closed", 20)
    assert not server.find("Traceback") and not server.find("Error handling")


def test_a_file_that_becomes_shorter(server: Server) -> None:
    file = server.directory / "files/shrinks"
    file.write_bytes(b"x" * 20_000_000)
    with connect(server) as client:
        client.send(b"GET /static/shrinks HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.receive()
        os.truncate(file, 1_000_000)
        assert not client.read_response().whole
    server.wait_for("bytes early")
    assert not server.find("Error handling")


def test_a_stop_lets_a_file_end(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(1 << 16) * 300)
    with Server(tmp_path, "--asgi", "app:app", "--static-map", "/large=large",
                app=APP) as server, connect(server) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.receive()
        server.send_signal(signal.SIGTERM)
        server.wait_for("graceful")
        assert client.read_response().body == (tmp_path / "large").read_bytes()
        assert server.wait() == 0


def test_a_web_server_in_front_sends_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a file")
    with Server(tmp_path, "--asgi", "app:app", "--check-static", ".", "--file-serve-mode",
                "x-sendfile", app=APP) as server:
        answer = get(server, "/a.txt")
        assert answer.headers["x-sendfile"] == str(tmp_path / "a.txt") and answer.body == b""
        assert json.loads(get(server, "/scope").body)["path"] == "/scope"


def test_auto_serves_files_too(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a file")
    with Server(tmp_path, "app:app", "--static-map", "/a=a.txt", app=APP) as server:
        assert get(server, "/a").body == b"a file"
        assert not server.find("has no effect")
