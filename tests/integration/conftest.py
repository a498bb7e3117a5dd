"""The example deployment of `conf/`, running: a server once per module, nginx in front.

The server is started as the README says, `geventuwsgi -c app.ini`, from a copy of
`conf/app.ini` whose ports the kernel chooses. The tests' own application is mounted
beside the example at /probe, and once more under wsgiref's validator at /valid.
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

# How nginx may stand in front: its file, the socket it uses, and what is changed.
UNBUFFERED = {"http": "uwsgi_buffering off; uwsgi_request_buffering off;"
                      "proxy_buffering off; proxy_request_buffering off;"}
FRONTS = {
    "uwsgi-tcp": ("uwsgi", 0, {}),
    "uwsgi-unix": ("uwsgi", 1, {}),
    "uwsgi-unbuffered": ("uwsgi", 1, UNBUFFERED),
    "http11": ("http", 0, {}),
    "http10": ("http", 0, {"edit": (("proxy_http_version 1.1;", "proxy_http_version 1.0;"),)}),
    "http-unbuffered": ("http", 0, UNBUFFERED),
}


def example_ini(more: str = "") -> str:
    """Return the text of conf/app.ini with ports of the kernel's choice, and `more`."""
    text = (CONF / "app.ini").read_text()
    for old in ("127.0.0.1:8000", "127.0.0.1:3031"):
        assert old in text
        text = text.replace(old, "127.0.0.1:0")
    return text + more


def furnish(directory: Path) -> Path:
    """Put the applications into a directory that everybody may enter."""
    directory.chmod(0o755)
    shutil.copy(CONF / "example_app.py", directory)
    shutil.copy(PROBE, directory)
    return directory


@pytest.fixture(scope="module")
def place(open_root, request):
    """The directory of a module's server, with the applications in it."""
    directory = open_root / request.module.__name__.rpartition(".")[2]
    directory.mkdir()
    return furnish(directory)


@pytest.fixture
def directory(open_path):
    """The directory of one test, with the applications in it."""
    return furnish(open_path)


@pytest.fixture(scope="module")
def server(place):
    """The example deployment, with the trials mounted."""
    with Server(place, ini=example_ini(MOUNTS)) as started:
        yield started
        assert started.stop() == 0


def backend(server: Server, kind: str, index: int) -> str:
    """Say a listener's address as nginx does."""
    address = server.address(kind, index)
    return f"unix:{address}" if isinstance(address, str) else "%s:%d" % address


@pytest.fixture(scope="module")
def fronts(server, place):
    """A function that returns the nginx of this name, started once per module."""
    started: dict[str, Nginx] = {}

    def front(name: str) -> Nginx:
        if name not in started:
            kind, index, changes = FRONTS[name]
            started[name] = Nginx(place / name, kind, backend(server, kind, index),
                                  **changes).start()
        return started[name]
    yield front
    for nginx in started.values():
        nginx.__exit__()


def readable(path: str) -> bool:
    """Whether every user may read a file and pass the directories above it."""
    at = Path(path).resolve()
    return bool(os.stat(at).st_mode & 0o004) and all(
        os.stat(parent).st_mode & 0o001 for parent in at.parents)
