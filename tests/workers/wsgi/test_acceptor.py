"""One greenlet serves several requests, of one connection or of several, and they are isolated."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, wait_until
from tests.workers.wsgi.raw_client import HOST, connect, get, packet, request

APPLICATION = """
import logging
import threading
import gevent
from gevent.event import Event
from geventuwsgi.workers.wsgi import acceptor

local = threading.local()
held = []
threads = {}
made = 0
make = acceptor.greenlet


def counted(*arguments):
    global made
    made += 1
    return make(*arguments)


acceptor.greenlet = counted


def application(environ, start_response):
    me = gevent.getcurrent()
    answer = "done"
    path = environ["PATH_INFO"]
    if path == "/made":
        answer = str(made)
    elif path == "/local":
        answer = getattr(local, "user", "none")
        local.user = "alice"
    elif path == "/attribute":
        answer = getattr(me, "user", "none")
        me.user = "alice"
    elif path == "/thread":
        answer = getattr(threading.current_thread(), "user", "none")
        threading.current_thread().user = "alice"
    elif path == "/stored-thread":
        answer = threads.get(threading.current_thread(), "none")
        threads[threading.current_thread()] = "alice"
    elif path == "/log":
        logging.getLogger("app").error("a line")    # with the name of the thread
    elif path == "/timer":
        gevent.Timeout(0.05).start()
    elif path == "/timer-after-event":
        # An event resumes with one reference less than a watcher.
        event = Event()
        gevent.get_hub().loop.run_callback(event.set)
        event.wait()
        gevent.Timeout(0.05).start()
    elif path == "/hold":
        held.append(me)
    elif path == "/kill":
        for one in held:
            gevent.kill(one, ValueError("for another request"))
    elif path == "/sleep":
        gevent.sleep(0.1)
    elif path == "/switch":
        gevent.sleep(0.001)
        gevent.sleep(0)
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer.encode()]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    place: Path = tmp_path_factory.mktemp("acceptor")
    with Server(place, "app:application", "--http-socket", "127.0.0.1:0", "--gevent", "100",
                "--socket", "127.0.0.1:0", "--workers", "1", app=APPLICATION) as server:
        yield server
        assert "Traceback" not in server.log


class Clients:
    """Send requests over the uwsgi protocol, or over HTTP on new connections or on one."""

    def __init__(self, server: Server, kind: str) -> None:
        self.server, self.kind = server, kind
        self.client = connect(server) if kind == "kept" else None

    def get(self, path: str) -> bytes:
        if self.client is not None:
            return self.client.get(path).body
        if self.kind == "http":
            return get(self.server, path, "Connection: close").body
        with connect(self.server, "uwsgi") as client:
            client.send(packet(request(path)))
            return client.read_response().body


@pytest.fixture(params=["uwsgi", "http", "kept"])
def clients(request: pytest.FixtureRequest, server: Server) -> Iterator[Clients]:
    clients = Clients(server, request.param)
    yield clients
    if clients.client is not None:
        clients.client.sock.close()


def greenlets_for(clients: Clients, path: str) -> int:
    """Return how many greenlets three requests needed."""
    before = int(clients.get("/made"))
    assert [clients.get(path) for _ in range(3)] == [b"done"] * 3
    return int(clients.get("/made")) - before


@pytest.mark.parametrize("path", ["/", "/switch", "/log"])
def test_a_greenlet_serves_the_next_request(clients: Clients, path: str) -> None:
    wait_until(lambda: greenlets_for(clients, path) == 0, "a greenlet that is used again")


@pytest.mark.parametrize("path", ["/local", "/attribute", "/thread", "/stored-thread"])
def test_what_is_stored_for_a_greenlet_ends_with_its_request(clients: Clients, path: str) -> None:
    assert {clients.get(path) for _ in range(10)} == {b"none"}


@pytest.mark.parametrize("path", ["/timer", "/timer-after-event"])
def test_a_timer_left_running_hits_no_other_request(clients: Clients, path: str) -> None:
    for _ in range(3):
        assert clients.get(path) == b"done"
        assert clients.get("/sleep") == b"done"


def test_a_timer_left_running_does_not_close_an_idle_connection(server: Server) -> None:
    with connect(server) as client:
        assert client.get("/timer").body == client.get("/timer-after-event").body == b"done"
        assert get(server, "/sleep", "Connection: close").body == b"done"
        assert client.get("/").body == b"done"


@pytest.mark.parametrize("path", ["/timer", "/timer-after-event"])
def test_pipelined_requests_do_not_share_what_is_left_running(server: Server, path: str) -> None:
    with connect(server) as client:
        client.send(b"".join(b"GET %b HTTP/1.1\r\n%b\r\n" % (one, HOST)
                             for one in (path.encode(), b"/sleep", path.encode(), b"/sleep")))
        assert [client.read_response().body for _ in range(4)] == [b"done"] * 4


def test_a_greenlet_with_a_reference_is_not_used_again(clients: Clients) -> None:
    assert clients.get("/hold") == b"done" and clients.get("/kill") == b"done"
    assert all(clients.get("/sleep") == b"done" for _ in range(3))
