"""The commands of the README and docs, each executed.

A command that names a port runs in its own network namespace with only a loopback interface, so
that it can be used unchanged. Where namespaces are not allowed the port is replaced by 0.
"""

import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import threading

import pytest

from tests.harness import GEVENTUWSGI, ROOT, Server, wait_until
from tests.integration.conftest import example_ini
from tests.integration.nginx import CONF, ask

CLONE_NEWNET = 0x40000000
# Bring the loopback interface up, then execute the command.
LAUNCHER = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    fcntl.ioctl(control, 0x8914, struct.pack("16sh", b"lo", 0x41))  # SIOCSIFFLAGS, IFF_UP
os.execv(sys.argv[1], sys.argv[1:])
"""
APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]
app = application
"""


def own_network():
    """Whether this process may create and enter a network namespace."""
    return os.geteuid() == 0 and subprocess.run(
        ["unshare", "--net", "true"], capture_output=True).returncode == 0


OWN_NETWORK = own_network()


class Command(Server):
    """A command line, with its ports in its own network namespace."""

    def __init__(self, directory, line, **named):
        words = shlex.split(line)
        assert words[0] == "geventuwsgi" or words[:3] == ["python", "-m", "geventuwsgi"]
        super().__init__(directory, "--bind", "not used", **named)
        argv = ([*GEVENTUWSGI, *words[1:]] if words[0] == "geventuwsgi"
                else [sys.executable, *words[1:]])
        if OWN_NETWORK:
            argv = ["unshare", "--net", sys.executable, "-c", LAUNCHER, *argv]
        else:
            argv = [re.sub(r":80[08]0$", ":0", word) for word in argv]
        self.argv = argv

    def ask(self, *arguments, protocol="http", **named):
        """Make a request within its network namespace."""
        return within(self.pid, lambda: ask(self.address(protocol), *arguments, **named))

    def exchange(self, data, protocol):
        """Send bytes within its network namespace; return all data received."""
        return within(self.pid, lambda: self.talk(data, protocol))


def within(pid, call):
    """Call a function in the network namespace of a process, in a thread of its own."""
    results, errors = [], []

    def run():
        try:
            if OWN_NETWORK:
                with open(f"/proc/{pid}/ns/net") as file:
                    libc = ctypes.CDLL(None, use_errno=True)
                    assert libc.setns(file.fileno(), CLONE_NEWNET) == 0, ctypes.get_errno()
            results.append(call())
        except BaseException as error:
            errors.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


@pytest.fixture
def shop(directory):
    """A directory with app.py and the package shop."""
    (directory / "app.py").write_text(APP)
    (directory / "shop").mkdir()
    (directory / "shop" / "__init__.py").write_text("")
    (directory / "shop" / "wsgi.py").write_text(APP)
    return directory


def packet(**variables):
    """Return a uwsgi packet."""
    block = b"".join(len(text).to_bytes(2, "little") + text.encode()
                     for pair in variables.items() for text in pair)
    return b"\0" + len(block).to_bytes(2, "little") + b"\0" + block


GET = packet(REQUEST_METHOD="GET", PATH_INFO="/", SERVER_NAME="x", SERVER_PORT="80")


def test_the_ini_file(shop):
    """In the project's directory, as in the README."""
    command = Command(shop, "geventuwsgi -c conf/app.ini")
    if OWN_NETWORK:
        command.cwd = ROOT
    else:
        (shop / "conf").mkdir()
        (shop / "conf" / "app.ini").write_text(example_ini())
        (shop / "conf" / "example_app.py").write_text((CONF / "example_app.py").read_text())
    with command as server:
        assert b"It works" in server.ask("/").body
        assert b"It works" in server.exchange(GET, "uwsgi")
        server.wait_for("getting INI configuration from conf/app.ini")
        server.wait_for("2 workers, each with 100 greenlets, standard library patched")
        server.wait_for("Listening at: http://127.0.0.1:")
        if OWN_NETWORK:
            server.wait_for("Listening at: http://127.0.0.1:8000 (")
            server.wait_for("Listening at: uwsgi://127.0.0.1:3031 (")
        loaded = server.wait_for("application example_app.py:application loaded in ")
        assert re.search(r"loaded in \d+ ms$", loaded)
        line = server.wait_for("GET / => generated")
        assert re.search(r"^\[pid: \d+\|app: 0\|req: \d+/\d+\] 127\.0\.0\.1 \(\) \{\d+ vars in \d+ "
                         r"bytes\} \[.*\] GET / => generated \d+ bytes in \d+ msecs "
                         r"\(HTTP/1\.1 200\) \d+ headers in \d+ bytes "
                         r"\(\d+ switches on core \d+\)$", line)
        assert server.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("line, workers", [
    ("geventuwsgi --http-socket 127.0.0.1:8080 --wsgi-file app.py --callable application "
     "--processes 4", 4),
    ("geventuwsgi shop.wsgi:application --bind 127.0.0.1:8000 --workers 4", 4),
])
def test_http(shop, line, workers):
    with Command(shop, line) as server:
        assert server.ask("/").body == b"hello"
        assert len(server.workers()) == workers
        if OWN_NETWORK:
            assert server.find("Listening at: http://" + re.search(r"127\S+", line)[0] + " (")
        assert server.stop() == 0


def test_a_unix_socket(shop):
    line = "geventuwsgi --socket /run/app.sock --chmod-socket=660 --module shop.wsgi:application"
    with Command(shop, line.replace("/run/", f"{shop}/")) as server:
        assert (shop / "app.sock").stat().st_mode & 0o777 == 0o660
        response = server.talk(GET, "uwsgi")
        assert response.startswith(b"HTTP/1.1 200 OK\r\n")
        assert response.endswith(b"\r\n\r\nhello")
        assert server.stop() == 0


def test_uwsgi_from_allowed_addresses_only(shop):
    """Our own address is not allowed, and the log says so."""
    line = ("geventuwsgi shop.wsgi:application --protocol uwsgi --bind 127.0.0.1:8000 "
            "--uwsgi-allow-from 10.0.0.1,10.0.0.2")
    with Command(shop, line) as server:
        assert b"hello" not in server.exchange(GET, "uwsgi")
        server.wait_for("Forbidden uWSGI request from IP 127.0.0.1")
        assert server.stop() == 0
    with Command(shop, line + ",127.0.0.0/8") as server:
        assert b"hello" in server.exchange(GET, "uwsgi")
        assert server.stop() == 0


@pytest.mark.skipif(not OWN_NETWORK, reason="needs port 8000: a network of its own (root)")
@pytest.mark.root
def test_a_development_run(shop):
    """One worker, HTTP on 127.0.0.1:8000, Ctrl-C."""
    with Command(shop, "python -m geventuwsgi app:app", start_new_session=True) as server:
        assert server.address() == ("127.0.0.1", 8000)
        assert server.ask("/").body == b"hello"
        assert server.find("1 worker with ") and len(server.workers()) == 1
        assert server.wait_for("GET / 200 5 B")
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait() == 0
        wait_until(lambda: not server.workers(), "the worker's end")


def test_logging_off(shop):
    """disable-logging: no request lines, all others."""
    with Command(shop, "geventuwsgi app:app --bind 127.0.0.1:8000 --disable-logging") as server:
        for _ in range(5):
            assert server.ask("/").status == 200
        assert server.stop() == 0
        assert server.out == [] and server.find("goodbye")
