"""The example deployment of `conf/`: one server per module, with nginx in front.

The server is started as in the README, `geventuwsgi -c app.ini`, from a copy of
`conf/app.ini` whose ports the kernel chooses. The tests' own application is mounted beside
the example at /probe, and once more under wsgiref's validator at /valid.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.harness import Server
from tests.integration.nginx import CONF, Nginx

PROBE = Path(__file__).with_name("probe.py")
MOUNTS = """
socket = %dapp.sock
chmod-socket = 666
mount = /probe=probe.py
mount = /valid=probe.py:validated
manage-script-name = true
"""

# The ways to use nginx: its file in `conf/`, the index of the socket, and changes to the file.
UNBUFFERED = {"http": "uwsgi_buffering off; uwsgi_request_buffering off;"
                      "proxy_buffering off; proxy_request_buffering off;"}
PROXIES = {
    "uwsgi-tcp": ("uwsgi", 0, {}),
    "uwsgi-unix": ("uwsgi", 1, {}),
    "uwsgi-unbuffered": ("uwsgi", 1, UNBUFFERED),
    "http11": ("http", 0, {}),
    "http10": ("http", 0, {"edit": (("proxy_http_version 1.1;", "proxy_http_version 1.0;"),)}),
    "http-unbuffered": ("http", 0, UNBUFFERED),
}


def example_ini(more: str = "") -> str:
    """Return the text of conf/app.ini with `more`; the kernel chooses the ports."""
    text = (CONF / "app.ini").read_text()
    for old in ("127.0.0.1:8000", "127.0.0.1:3031"):
        assert old in text
        text = text.replace(old, "127.0.0.1:0")
    return text + more


def copy_applications(directory: Path) -> Path:
    """Copy the applications into a directory, and open that to all users."""
    directory.chmod(0o755)
    shutil.copy(CONF / "example_app.py", directory)
    shutil.copy(PROBE, directory)
    return directory


@pytest.fixture(scope="module")
def place(open_root, request):
    """The directory of a module's server, with the applications."""
    directory = open_root / request.module.__name__.rpartition(".")[2]
    directory.mkdir()
    return copy_applications(directory)


@pytest.fixture
def directory(open_path):
    """The directory of one test, with the applications."""
    return copy_applications(open_path)


@pytest.fixture(scope="module")
def server(place):
    """The example deployment, with the tests' application."""
    with Server(place, ini=example_ini(MOUNTS)) as started:
        yield started
        assert started.stop() == 0


def backend(server: Server, kind: str, index: int) -> str:
    """Return a listener's address in nginx's syntax."""
    address = server.address(kind, index)
    return f"unix:{address}" if isinstance(address, str) else "%s:%d" % address


@pytest.fixture(scope="module")
def nginx_of(server, place):
    """A function that returns the nginx of a name in PROXIES, started once per module."""
    started: dict[str, Nginx] = {}

    def find(name: str) -> Nginx:
        if name not in started:
            kind, index, changes = PROXIES[name]
            started[name] = Nginx(place / name, kind, backend(server, kind, index),
                                  **changes).start()
        return started[name]
    yield find
    for nginx in started.values():
        nginx.__exit__()


def readable(path: str) -> bool:
    """Whether all users can read a file and enter the directories above it."""
    at = Path(path).resolve()
    return bool(os.stat(at).st_mode & 0o004) and all(
        os.stat(parent).st_mode & 0o001 for parent in at.parents)
