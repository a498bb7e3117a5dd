"""Hostile HTTP and invalid uwsgi packets: the tables of the WSGI tests, for ASGI."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server
from tests.workers.wsgi import test_hostile as http
from tests.workers.wsgi import test_uwsgi as uwsgi
from tests.workers.wsgi.raw_client import connect, get_json, packet, request, wait_for_rejection

APP = Path(__file__).with_name("recorder.py").read_text()


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest,
           tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the limits of the tables."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    with Server(tmp_path_factory.mktemp("server"), "--asgi", "app:app", "--asgi-loop",
                request.param, "--http-socket", "127.0.0.1:0", *http.ARGUMENTS,
                "--socket", "127.0.0.1:0", "--buffer-size", "8192", "--limit-post", "100000",
                app=APP) as server:
        yield server
        assert server.stop() == 0, "\n".join(server.err)
        assert not server.find("Traceback")


test_heads = http.test_heads
test_a_good_request_before_it_is_served = http.test_a_good_request_before_it_is_served
test_connections_that_vanish = http.test_connections_that_vanish
test_bytes_that_killed_workers = http.test_bytes_that_killed_workers
test_rejected_packets = uwsgi.test_rejected_packets
test_truncated_packets = uwsgi.test_truncated_packets


@pytest.mark.parametrize("path, status", [("/echo", 400), ("/quiet", 400), ("/hello", 200)])
@pytest.mark.parametrize("body", [row[1] for row in http.BODIES],
                         ids=[row[0] for row in http.BODIES])
def test_chunked_bodies(server: Server, body: bytes, path: str, status: int) -> None:
    """What an application sends after http.disconnect is discarded, unlike with WSGI."""
    http.test_chunked_bodies(server, body, path, status)


@pytest.mark.parametrize("path", ["/echo", "/quiet", "/size", "/hello"])
@pytest.mark.parametrize("data", http.CUT_SHORT)
def test_truncated_bodies(server: Server, data: bytes, path: str) -> None:
    bodies = get_json(server, "/bodies")
    with connect(server) as wire:
        wire.send(data.replace(b"/echo", path.encode()))
        wire.sock.shutdown(1)
        # An application that does not read the body can answer.
        assert wire.read_response().status == (200 if path == "/hello" else 400)
        assert wire.closed()  # no second response follows the first
        if not http.is_left(data, path):
            wait_for_rejection(server, wire, "the connection ended inside the request body")
    assert get_json(server, "/bodies") == bodies


@pytest.mark.parametrize("field", ["X_Forwarded_For: 6.6.6.6", "X-Forwarded_For: 6.6.6.6",
                                   "Content_Length: 66", "Transfer_Encoding: chunked"])
def test_fields_that_never_reach_the_application(server: Server, field: str) -> None:
    with connect(server) as wire:
        assert json.loads(wire.get("/headers", field).body) == [["host", "test"]]


def test_very_many_small_chunks_take_linear_time(server: Server) -> None:
    with connect(server) as wire:
        wire.send(http.CHUNKED + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
        assert wire.read_response().body == b"x" * 100_000


def test_an_unread_body_is_no_packet_and_causes_no_reset(server: Server) -> None:
    with connect(server, "uwsgi") as wire:
        wire.send(packet(request("/hello", "POST", CONTENT_LENGTH="90000"),
                         packet(request("/smuggled")) * 400))
        assert wire.read_response().body == b"hello" and wire.closed() and not wire.reset
    assert not any("smuggled" in call for call in get_json(server, "/calls"))
