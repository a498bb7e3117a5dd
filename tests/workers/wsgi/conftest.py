"""A server for each test module, with its `ARGUMENTS` and the application of `app.py`.

A module with `THREADS` has its tests run twice: in greenlets, and in so many native threads.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import Server

APP = Path(__file__).with_name("app.py").read_text()
HTTPS = """\
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
# The indices of the sockets.
OPTIONAL, REQUIRED = 1, 2


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    threads = getattr(metafunc.module, "THREADS", 0)
    if threads and "server" in metafunc.fixturenames:
        metafunc.parametrize("server", [(), ("--threads", str(threads))], indirect=True,
                             scope="module", ids=["greenlets", "threads"])


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest,
           tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the module's `ARGUMENTS`, one worker unless these say otherwise."""
    arguments = (*getattr(request.module, "ARGUMENTS", ()), *getattr(request, "param", ()))
    if "--http-socket" not in arguments:
        arguments = ("--http-socket", "127.0.0.1:0", *arguments)
    with Server(tmp_path_factory.mktemp("server"), "app:application", *arguments,
                app=APP) as server:
        yield server
        assert server.stop() == 0, "\n".join(server.err)
        traces = [line for line in server.err if " failed with " in line]
        assert not traces, traces


@pytest.fixture(scope="module")
def https(authority: Authority) -> Iterator[Server]:
    """A server with three HTTPS sockets: no, optional and required client certificates."""
    with Server(authority.directory, app=APP, ini=HTTPS) as server:
        yield server
        assert server.stop() == 0, "\n".join(server.err)
        assert not server.find(" failed with ") and not server.find("an internal error")
