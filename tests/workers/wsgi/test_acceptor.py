"""One greenlet serves several connections, one after the other, and they are isolated."""

from pathlib import Path

import pytest

from tests.harness import Server, wait_until
from tests.workers.wsgi.raw_client import connect, get, packet, request

APPLICATION = """
import threading
import gevent

local = threading.local()
held = []


def application(environ, start_response):
    me = gevent.getcurrent()
    me.connections = getattr(me, "connections", 0) + 1
    answer = str(me.connections)
    path = environ["PATH_INFO"]
    if path == "/local":
        answer = getattr(local, "user", "none")
        local.user = "alice"
    elif path == "/timer":
        gevent.Timeout(0.05).start()
    elif path == "/hold":
        held.append(me)
    elif path == "/kill":
        answer = str(len(held))
        for one in held:
            gevent.kill(one)
    elif path == "/sleep":
        gevent.sleep(0.1)
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer.encode()]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    place: Path = tmp_path_factory.mktemp("acceptor")
    (place / "app.py").write_text(APPLICATION)
    with Server(place, "app:application", "--http-socket", "127.0.0.1:0",
                "--socket", "127.0.0.1:0", "--workers", "1") as server:
        yield server
        assert "Traceback" not in server.log


def send_uwsgi(server: Server, path: str) -> bytes:
    with connect(server, "uwsgi") as client:
        client.send(packet(request(path)))
        return client.read_response().body


def send_http(server: Server, path: str) -> bytes:
    return get(server, path, "Connection: close").body


@pytest.mark.parametrize("send", [send_uwsgi, send_http])
def test_a_greenlet_serves_the_next_connection(server: Server, send) -> None:
    wait_until(lambda: int(send(server, "/")) > 3, "a greenlet that is used again")


@pytest.mark.parametrize("send", [send_uwsgi, send_http])
def test_thread_locals_end_with_their_connection(server: Server, send) -> None:
    assert {send(server, "/local") for _ in range(10)} == {b"none"}


@pytest.mark.parametrize("send", [send_uwsgi, send_http])
def test_a_timer_left_running_hits_no_other_connection(server: Server, send) -> None:
    for _ in range(3):
        send(server, "/timer")
        assert send(server, "/sleep").isdigit()


@pytest.mark.parametrize("send", [send_uwsgi, send_http])
def test_a_greenlet_with_a_reference_is_not_used_again(server: Server, send) -> None:
    first = send(server, "/hold")
    assert first.isdigit() and send(server, "/kill") >= b"1"
    assert all(send(server, "/sleep").isdigit() for _ in range(3))
