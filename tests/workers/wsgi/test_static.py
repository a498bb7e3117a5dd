"""Static files of a live server: before the application, without a slot, over both protocols."""

import os
from pathlib import Path

import pytest

from tests.harness import GEVENTUWSGI, Program, Server, wait_until
from tests.workers.wsgi.raw_client import connect, get, packet, request

APP = Path(__file__).with_name("app.py").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    place: Path = tmp_path_factory.mktemp("static")
    (place / "files").mkdir()
    (place / "files" / "a.txt").write_text("a file")
    (place / "files" / "large").write_bytes(os.urandom(1 << 16) * 300)
    (place / "files" / "link").symlink_to("/etc/passwd")
    with Server(place, "app:application", "--http-socket", "127.0.0.1:0",
                "--socket", "127.0.0.1:0", "--workers", "1", "--gevent", "1",
                "--static-map", "/static=files", "--static-expires", "txt$ 3600",
                "--static-map", "/hello=files/a.txt", app=APP) as server:
        yield server


def test_a_file_comes_before_the_application(server: Server) -> None:
    with connect(server) as client:
        response = client.get("/static/a.txt")
        assert response.status == 200 and response.body == b"a file"
        assert response.headers["content-type"] == "text/plain" and "expires" in response.headers
        etag = response.headers["etag"]
        again = client.get("/static/a.txt", f"If-None-Match: {etag}")
        assert again.status == 304 and again.body == b""
        part = client.get("/static/a.txt", "Range: bytes=2-")
        assert part.status == 206 and part.body == b"file"
        assert client.get("/static/a.txt", "Range: bytes=99-").status == 416
        head = client.get("/static/a.txt", method="HEAD")
        assert head.status == 200 and head.headers["content-length"] == "6"
        assert client.get("/hello").body == b"a file"
        assert client.get("/hello", method="POST").body == b"hello"
        assert client.get("/static/none").body == b"hello"
        assert client.get("/static/link").body == b"hello"
    wait_until(lambda: "app: -1|req: -1/1]" in server.log and "via sendfile()" in server.log,
               "the request line of a file")
    server.wait_for("/etc/passwd is not under")


def test_over_uwsgi(server: Server) -> None:
    with connect(server, "uwsgi") as client:
        client.send(packet(request("/static/a.txt")))
        response = client.read_response()
        assert response.body == b"a file" and client.closed()


def test_a_slow_reader_of_a_file_needs_no_slot(server: Server) -> None:
    with connect(server) as slow:
        slow.send(b"GET /static/large HTTP/1.1\r\nHost: a\r\n\r\n")
        assert slow.receive()
        assert get(server, "/environ").status == 200
        assert len(slow.read_response().body) == 300 << 16


@pytest.mark.parametrize("option, text", [
    ("static-map", "static=files"), ("static-map", "/static"), ("static-expires", "txt$"),
    ("static-expires", "( 5"), ("static-expires-type", "text/css 5"), ("static-gzip", "*"),
    ("file-serve-mode", "apache")])
def test_a_broken_option_is_named(tmp_path: Path, option: str, text: str) -> None:
    with Program(*GEVENTUWSGI, "--http-socket", "127.0.0.1:0", f"--{option}", text,
                 "app:application", cwd=tmp_path) as program:
        assert program.wait() == 2  # usage
        assert f"--{option}" in program.log and "Traceback" not in program.log
