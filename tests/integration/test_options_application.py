"""What options on applications and Python do, alone and beside real uWSGI."""

import json
import socket
from pathlib import Path

import pytest

from tests.harness import Program, Server, reference_uwsgi
from tests.integration.packets import packet, split

APP = """
import json, os, sys, threading
import helper, zork

STACK = threading.stack_size(64 * 1024)  # asking sets it
threading.stack_size(STACK)

def application(environ, start_response):
    seen = {"argv": sys.argv, "zork": zork.__name__, "helper": helper.VALUE,
            "shared": getattr(sys, "shared_in", 0), "pid": os.getpid(),
            "stack": STACK, "here": __name__,
            **{name: value for name, value in environ.items() if isinstance(value, str)}}
    body = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Type", "application/json"),
                              ("Content-Length", str(len(body)))])
    return [body]

def other(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"other"]
"""

HOSTS = """[uwsgi]
http-socket = 127.0.0.1:0
vhost-host = true
mount = one.test|=app:application
worker-mount = one.test|/other=app:other
manage-script-name = true
pyargv = --flag value
pymodule-alias = zork=json.decoder
post-pymodule-alias = helper=lib/real.py
shared-import = first
shared-import = not_there
threads-stack-size = 512
lazy-apps = true
no-default-app = true
"""
SCRIPT_NAME = """[uwsgi]
http-socket = 127.0.0.1:0
module = app:other
mount = /x=app:application
ignore-script-name = true
route-run = setscriptname:/x
"""
BOTH_APP = """
import sys
import zork

def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise LookupError("reason")
    body = repr([__name__[-3:], sys.argv, zork.__name__, "wsgi.file_wrapper" in environ,
                 environ.get("SCRIPT_NAME", "")]).encode()
    start_response("200 OK", [("X-Gone", "1"), ("X-Kept", "1"), ("Content-Length", str(len(body)))])
    return [body]

def other(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"other"]
"""
BOTH = """[uwsgi]
%s
wsgi-file = app.py
mount = /x=app:other
single-interpreter = true
master = true
need-app = true
die-on-term = true
no-orphans = true
pyargv = --flag "a value"
pymodule-alias = zork=json.decoder
rem-header = X-Gone
add-header = X-Added: yes
wsgi-disable-file-wrapper = true
catch-exceptions = true
%s
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory):
    """Applications by host, and a Python that is set up in many ways."""
    directory = tmp_path_factory.mktemp("hosts")
    (directory / "lib").mkdir()
    (directory / "lib" / "real.py").write_text("VALUE = 'from the file'\n")
    (directory / "first.py").write_text("import os, sys\nsys.shared_in = os.getpid()\n")
    with Server(directory, app=APP, ini=HOSTS) as server:
        yield server


def variables(server: Server, path: str = "/", host: str = "one.test") -> dict[str, object]:
    answer = server.talk(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                         .encode())
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def test_applications_of_a_host(hosts: Server) -> None:
    """vhost-host, worker-mount, no-default-app."""
    assert variables(hosts)["SCRIPT_NAME"] == ""
    assert variables(hosts, host="ONE.test:80")["PATH_INFO"] == "/"
    request = b"GET /other/x HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
    assert hosts.talk(request % b"one.test").endswith(b"other")
    assert hosts.talk(request % b"two.test").startswith(b"HTTP/1.1 500 ")
    hosts.wait_for("no python application found for /other/x")


def test_python_as_it_is_set_up(hosts: Server) -> None:
    """pyargv, pymodule-alias, shared-import, threads-stack-size."""
    found = variables(hosts)
    assert found["argv"] == ["uwsgi", "--flag", "value"]
    assert (found["zork"], found["helper"]) == ("json.decoder", "from the file")
    assert found["stack"] == 512 * 1024
    # Once, in the process that forks the workers, although each loads the application.
    assert found["shared"] == hosts.template() != found["pid"]
    hosts.wait_for("shared-import = not_there: no module named 'not_there'")


def test_ignore_script_name(tmp_path: Path) -> None:
    """A web server may send SCRIPT_NAME for its own reasons."""
    (tmp_path / "zork.py").write_text("")
    (tmp_path / "helper.py").write_text("VALUE = 1\n")
    with Server(tmp_path, app=APP, ini=SCRIPT_NAME) as server:
        assert server.body() == b"other"


def test_pecan(tmp_path: Path) -> None:
    """The application is what Pecan's own deploy makes of the file."""
    package = tmp_path / "pecan"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "deploy.py").write_text(
        "import app\n"
        "def deploy(path):\n    assert open(path).read() == 'x'\n    return app.other\n")
    (tmp_path / "config.py").write_text("x")
    with Server(tmp_path, "--pecan", "config.py", "--processes", "1",
                app=APP.replace("import helper, zork", "")) as server:
        assert server.body() == b"other"


@pytest.mark.parametrize("more", [
    "no-default-app = true", "ignore-script-name = true",
    "vhost = true\nmount = a.test|/y=app:other\nmount = a.test|=app:application"])
def test_as_real_uwsgi_does(tmp_path: Path, more: str) -> None:
    """The same file read by both, and the same packets sent to both."""
    (tmp_path / "app.py").write_text(BOTH_APP)
    (tmp_path / "their.ini").write_text(BOTH % (f"socket = {tmp_path}/their.sock", more))
    theirs = Program(reference_uwsgi(), "--ini", "their.ini", cwd=tmp_path)
    with theirs, Server(tmp_path, ini=BOTH % (f"socket = {tmp_path}/ours.sock", more)):
        theirs.wait_for("spawned uWSGI worker 1")
        for path, script, host in (
                ("/", "", "a.test"), ("/", "/x", "a.test"), ("/", "/unknown", "a.test"),
                ("/", "/y", "a.test"), ("/", "/y", "b.test"), ("/raise", "", "a.test")):
            ours, other = (exchanged(tmp_path / name, packet(path, script, host))
                           for name in ("ours.sock", "their.sock"))
            assert ours == other, (path, script, host)


def exchanged(path: Path, data: bytes) -> tuple[str, list[str], bytes]:
    """Return what is to be the same: status, the fields of options, and the body of a 200."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(str(path))
        sock.sendall(data)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    status, fields, body = split(answer)
    kept = sorted(line for line in fields.split("\r\n") if line.startswith("x-"))
    if status.startswith("200"):
        return status, kept, body
    return status, [], b"reason" if b"LookupError" in body and b"reason" in body else b""
