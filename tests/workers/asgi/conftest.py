"""One server for each module that names one by `ARGUMENTS`, on each event loop."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import Server

HERE = Path(__file__).parent
# One file: what the second imports is defined in the first.
APP = ((HERE / "app.py").read_text() + "\n\n" + (HERE / "sockets.py").read_text()
       .replace("from tests.workers.asgi.app import SOCKETS, STARTED, query, report\n", ""))


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest,
           tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the module's `ARGUMENTS`, one worker unless these say otherwise."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    arguments = getattr(request.module, "ARGUMENTS", ())
    with Server(tmp_path_factory.mktemp("server"), "--asgi", "app:app", "--asgi-loop",
                request.param, *arguments, app=APP) as server:
        yield server
        assert server.stop() == 0, "\n".join(server.err)
        server.wait_for("APP shutdown")


@pytest.fixture(scope="module")
def contexts(authority: Authority) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The TLS contexts of server and client."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority.directory / "here.crt", authority.directory / "here.key")
    return server, authority.client()
