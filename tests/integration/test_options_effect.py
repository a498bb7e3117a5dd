"""What an option does to a running server: one server for as many options as go together."""

import json
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness import Server
from tests.integration.packets import packet, split

RESPONSES_APP = """
import io, json

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise LookupError(environ["QUERY_STRING"])
    if path == "/buffer":
        start_response("200 OK", [("Content-Length", "4")])
        return [bytearray(b"ab"), memoryview(b"cd")]
    if path == "/gzip":
        start_response("200 OK", [("uWSGI-Encoding", "gzip"), ("Content-Length", "3")])
        return [b"zip"]
    if path == "/missing":
        start_response("404 Not Found", [("Content-Length", "2")])
        return [b"no"]
    environ["wsgi.input"].read()
    body = json.dumps([environ["SERVER_NAME"], sorted(environ)]).encode()
    start_response("200 OK", [("X-User", "alice"), ("X-Pulled", "1"), ("X-Powered-By", "us"),
                              ("Content-Length", str(len(body)))])
    return [body]
"""
RESPONSES = """[uwsgi]
http-socket = 127.0.0.1:0
socket = 127.0.0.1:0
wsgi-file = app.py
processes = 1
del-header = X-Powered-By
rem-header = Server
collect-header = X-User REMOTE_USER
pull-header = X-Pulled PULLED
catch-exceptions = true
reload-on-exception-repr = LookupError: replace
wsgi-accept-buffer = true
wsgi-disable-file-wrapper = true
disable-sendfile = true
static-map = /file=%dfile.txt
static-map = /absent=%dabsent
error-page-404 = %dnone.html
error-page-404 = %d404.html
error-page = 400=%d404.html
http-auto-gzip = true
http-server-name-as-http-host = true
route = ^/nofile static:%dnofile
error-route-status = ^404$ addheader:X-Error: ${uwsgi[status]}
response-route = ^/secret return:403
final-route-status = ^403$ donotlog:
chunked-input-timeout = 1
log-format = %(method) %(uri) %(user) %(status) %(via)
"""
PLAIN_APP = """
import mmap, threading

meeting = threading.Barrier(2)  # of gevent: two requests of one worker are wanted
maps = []

def application(environ, start_response):
    body = str(environ["wsgi.multithread"]).encode()
    if environ["PATH_INFO"] == "/meet":
        body = b"met %d" % (meeting.wait(60) in (0, 1))
    elif environ["PATH_INFO"] == "/grow":
        maps.append(mmap.mmap(-1, 4 << 30, prot=mmap.PROT_READ))  # no memory, only addresses
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

def other(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"other"]
"""
PLAIN = """[uwsgi]
http-socket = 127.0.0.1:0
listen = 7
vhost = true
mount = 127.0.0.1|=app:application
mount = elsewhere|=app:other
processes = 1
threads = 2
http-keepalive = 0
reload-on-as = 4000
min-worker-lifetime = 0
logformat = the line of %(method) %(uri)
"""


@pytest.fixture(scope="module")
def responses(tmp_path_factory: pytest.TempPathFactory):
    """A server that does much to responses."""
    directory = tmp_path_factory.mktemp("responses")
    (directory / "404.html").write_text("<p>nothing</p>")
    (directory / "file.txt").write_text("file")
    with Server(directory, app=RESPONSES_APP, ini=RESPONSES) as server:
        yield server


def test_fields_of_responses(responses: Server) -> None:
    """del-header, rem-header, collect-header, pull-header, http-server-name-as-http-host,
    wsgi-disable-file-wrapper."""
    status, fields, body = split(responses.get("/fields"))
    assert status == "200 OK" and "x-user: alice" in fields
    for name in ("x-pulled", "x-powered-by", "server:"):
        assert name not in fields
    name, keys = json.loads(body)
    assert name == "test" and "wsgi.file_wrapper" not in keys
    responses.wait_for("GET /fields alice 200")
    answer = responses.talk(packet("/", "", "nginx"), "uwsgi")
    assert json.loads(split(answer)[2])[0] == "nginx"


def test_what_responses_are_made_of(responses: Server) -> None:
    """wsgi-accept-buffer, http-auto-gzip, disable-sendfile."""
    assert split(responses.get("/buffer"))[2] == b"abcd"
    _, fields, body = split(responses.get("/gzip", "Accept-Encoding: gzip\r\n"))
    assert "content-encoding: gzip" in fields and "uwsgi-encoding" not in fields
    assert body.startswith(b"\x1f\x8b") or b"\r\n\x1f\x8b" in body
    assert split(responses.get("/gzip"))[2] == b"zip"
    assert split(responses.get("/file"))[2] == b"file"
    assert "sendfile" not in responses.wait_for("GET /file ")


def test_pages_and_later_rules(responses: Server) -> None:
    """error-page-404, error-page, error-route, response-route, final-route."""
    assert split(responses.get("/nofile"))[::2] == ("404 Not Found", b"<p>nothing</p>")
    status, fields, body = split(responses.get("/missing"))
    assert (status, body) == ("404 Not Found", b"no") and "x-error: 404" in fields
    assert split(responses.get("/secret"))[::2] == ("403 Forbidden", b"Forbidden")
    assert split(responses.talk(b"GET /\r\n\r\n"))[::2] == ("400 Bad Request", b"<p>nothing</p>")
    responses.get("/last")
    responses.wait_for("GET /last ")
    assert not responses.find("GET /secret")


def test_a_chunked_body_that_stands_still(responses: Server) -> None:
    """chunked-input-timeout: far below socket-timeout, which is 30 seconds."""
    with responses.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        while sock.recv(65536):
            pass
    responses.wait_for("no progress of the request body for 1 seconds")


def test_exceptions(responses: Server) -> None:
    """catch-exceptions, reload-on-exception-repr. The last of this server."""
    before = responses.spawned()[1]
    status, fields, body = split(responses.get("/raise?no"))
    assert status == "500 Internal Server Error" and "text/plain" in fields
    assert body.startswith(b"GET /raise?no\n\nTraceback") and b"LookupError: no" in body
    responses.get("/raise?replace")
    responses.wait_for("raised LookupError (reload-on-exception)")
    responses.wait_for("Respawned geventuwsgi worker 1")
    assert responses.spawned()[1] != before


ASGI = """
async def application(scope, receive, send):
    if scope["type"] == "http":
        raise LookupError("asgi")
"""


def test_exceptions_of_asgi_applications(tmp_path: Path) -> None:
    """catch-exceptions, reload-on-exception, error-page."""
    (tmp_path / "400.html").write_text("<p>bad</p>")
    with Server(tmp_path, "--asgi", "app:application", "--catch-exceptions",
                "--reload-on-exception", "--error-page-400", "400.html", "--workers", "1",
                app=ASGI) as server:
        status, _, body = split(server.get("/x"))
        assert status == "500 Internal Server Error" and b"LookupError: asgi" in body
        assert b"geventuwsgi" not in body.replace(str(tmp_path).encode(), b"")
        server.wait_for("Respawned geventuwsgi worker 1")
        assert split(server.talk(b"GET\r\n\r\n"))[2] == b"<p>bad</p>"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory):
    """A server of a file as people have them, with a socket of ours beside."""
    directory = tmp_path_factory.mktemp("plain")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        ini = PLAIN + f"http-socket = fd://{sock.fileno()}\n"
        with Server(directory, app=PLAIN_APP, ini=ini, pass_fds=(sock.fileno(),)) as server:
            server.handed = sock
            yield server


def test_listen(plain: Server) -> None:
    """The kernel reports the length of a queue in tcpi_sacked."""
    info = plain.handed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    assert int.from_bytes(info[28:32], sys.byteorder) == 7


def test_threads_are_slots(plain: Server) -> None:
    with ThreadPoolExecutor() as pool:
        assert [*pool.map(plain.body, ("/meet", "/meet"))] == [b"met 1", b"met 1"]
    assert plain.body() == b"True"


def test_vhost_is_by_the_name_of_the_server(plain: Server) -> None:
    """Whatever the Host field says: SERVER_NAME is what the socket is bound to."""
    answer = plain.talk(b"GET / HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"True")


def test_http_keepalive_off(plain: Server) -> None:
    """Neither side asked for the end of the connection."""
    answer = plain.talk(b"GET /once HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"Connection: close\r\n" in answer
    assert plain.wait_for("/once") == "the line of GET /once"  # logformat


def test_reload_on_as(plain: Server) -> None:
    """The last of this server, whose worker it replaces."""
    plain.get("/grow")
    plain.wait_for("(reload-on-as)")
    plain.wait_for("Respawned geventuwsgi worker 1")


def test_strict(tmp_path: Path) -> None:
    (tmp_path / "strict.ini").write_text(
        "[uwsgi]\nstrict = true\nhttp-socket = :0\nmodule = app\nvaccum = true\n")
    with Server(tmp_path, "--ini", "strict.ini", ready=False) as server:
        assert server.wait() == 1
    server.wait_for("strict.ini:5: vaccum: there is no such option; did you mean vacuum?")


LASTING_APP = """
import os
import gevent

def background():
    while not os.path.exists("go"):
        gevent.sleep(0.05)
    open("done", "w").close()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/spawn":
        gevent.spawn(background)
        start_response("200 OK", [("Content-Length", "7")])
        return [b"spawned"]
    start_response("200 OK", [("Content-Length", str(1 << 30))])
    return iter([b" " * 65536] * (1 << 14))
"""


def test_a_client_that_does_not_read_and_a_greenlet_that_lasts(tmp_path: Path) -> None:
    """socket-send-timeout, far below socket-timeout; gevent-wait-for-hub."""
    with Server(tmp_path, "app", "--http-socket", "127.0.0.1:0", "--socket-send-timeout", "1",
                "--gevent-wait-for-hub", "--workers", "1", app=LASTING_APP) as server:
        with server.connect() as sock:
            sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            server.wait_for("GET /large: the peer made no progress in time; closed")
        assert server.body("/spawn") == b"spawned"
        server.send_signal(signal.SIGTERM)
        server.wait_for("worker 1 waits for 1 greenlet of the application")
        assert not (tmp_path / "done").exists()
        (tmp_path / "go").touch()
        assert server.wait() == 0 and (tmp_path / "done").exists()


def test_a_page_of_the_router(tmp_path: Path) -> None:
    """error-page-502, where no node answers."""
    (tmp_path / "502.html").write_text("<p>later</p>")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        with Server(tmp_path, "--http", "127.0.0.1:0", "--http-to", address,
                    "--error-page-502", "502.html") as server:
            assert split(server.get("/"))[::2] == ("502 Bad Gateway", b"<p>later</p>")


FILES_APP = """
import io, os

class File(io.FileIO):
    def close(self):
        if not self.closed:
            with open("closed", "ab") as file:
                file.write(b".")
        super().close()

def application(environ, start_response):
    if environ["PATH_INFO"] == "/small":
        start_response("200 OK", [("Content-Length", "5")])
        return [b"small"]
    start_response("200 OK", [("Content-Length", str(os.path.getsize("large")))])
    return environ["wsgi.file_wrapper"](File("large"))
"""


def test_a_file_for_a_slow_client_takes_no_slot(tmp_path: Path) -> None:
    """offload-threads: the worker takes one request at a time, and serves on."""
    with open(tmp_path / "large", "wb") as file:
        file.truncate(64 << 20)
    with Server(tmp_path, app=FILES_APP, ini="[uwsgi]\nhttp-socket = 127.0.0.1:0\nmodule = app\n"
                "offload-threads = 2\nprocesses = 1\n") as server:
        with server.connect() as sock:
            sock.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
            assert server.body("/small") == b"small"
            assert (tmp_path / "closed").read_bytes() == b"."
            size = 15
            while piece := sock.recv(1 << 20):
                size += len(piece)
        assert size > 64 << 20 and "via sendfile()" in server.wait_for("GET /large ")
        assert (tmp_path / "closed").read_bytes() == b"."
