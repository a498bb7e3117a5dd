"""One server for each module that names one by `ARGUMENTS`, with the application of `app.py`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server

APP = Path(__file__).with_name("app.py").read_text()


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest,
           tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the module's `ARGUMENTS`, one worker unless these say otherwise."""
    arguments = getattr(request.module, "ARGUMENTS", ())
    if "--http-socket" not in arguments:
        arguments = ("--http-socket", "127.0.0.1:0", *arguments)
    with Server(tmp_path_factory.mktemp("server"), "app:application", *arguments,
                app=APP) as server:
        yield server
        assert server.stop() == 0, "\n".join(server.err)
        traces = [line for line in server.err if " failed with " in line]
        assert not traces, traces
