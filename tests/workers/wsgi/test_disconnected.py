"""A client that goes away while the application runs is noticed and reported."""

import socket
import time

import pytest

from tests.harness import Server, wait_until
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.raw_client import HOST, connect, get, get_json, packet, request

pytestmark = pytest.mark.slow

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0",
             "--http-socket", "gone.sock", "--harakiri", "20")
UNIX = 1


def send(server: Server, path: str, protocol: str = "http", index: int = 0) -> socket.socket:
    """Send a request and wait until the application has it; return the connection."""
    before = get_json(server, "/calls").count(f"GET {path}")
    client = connect(server, protocol, index)
    client.send(packet(request(path)) if protocol == "uwsgi"
                else f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    wait_until(lambda: get_json(server, "/calls").count(f"GET {path}") > before)
    return client.sock


def noted(server: Server, *note: object) -> None:
    wait_until(lambda: [*note] in get_json(server, "/notes"), lambda: f"{note}: {server.log}")


@pytest.mark.parametrize("protocol, index, path", [
    ("http", 0, "/gone?12"), ("uwsgi", 0, "/gone?13"), ("http", UNIX, "/gone?14")])
def test_the_event_and_499(server: Server, protocol: str, index: int, path: str) -> None:
    before = len(get_json(server, "/notes"))
    start = len(server.out)
    send(server, path, protocol, index).close()
    wait_until(lambda: len(get_json(server, "/notes")) > before, "the event")
    assert get_json(server, "/notes")[before] == [False, True, True]
    line = wait_until(lambda: [one for one in server.out[start:] if f"GET {path} " in one])
    assert " 499) " in line[0], line


def test_a_half_close_counts(server: Server) -> None:
    before = len(get_json(server, "/notes"))
    sock = send(server, "/gone?11")
    sock.shutdown(socket.SHUT_WR)
    wait_until(lambda: len(get_json(server, "/notes")) > before, "the event")
    sock.settimeout(20)
    assert b"too late" in sock.recv(1000), "the response is sent nevertheless"
    sock.close()


def test_a_client_that_stays(server: Server) -> None:
    with connect(server) as client:
        start = len(server.out)
        assert client.get("/gone?1").body == b"too late"
        assert [False, False, False] in get_json(server, "/notes")
        line = wait_until(lambda: [one for one in server.out[start:] if "GET /gone?1 " in one])
        assert " 200) " in line[0]
        assert client.get("/hello").body == b"hello", "and the connection is kept"


def test_after_the_head_the_status_stays(server: Server) -> None:
    start = len(server.out)
    send(server, "/gone-later").close()
    noted(server, "stream", True)
    line = wait_until(lambda: [one for one in server.out[start:] if "/gone-later" in one])
    assert " 200) " in line[0]


def test_a_greenlet_that_outlives_its_request(server: Server) -> None:
    with connect(server) as client:
        assert client.get("/background").body == b"spawned"
    noted(server, "background", True)


def test_without_the_option_nothing_is_raised(server: Server) -> None:
    start = len(server.out)
    send(server, "/sleep-and-note?1.5").close()
    line = wait_until(lambda: [one for one in server.out[start:] if "/sleep-and-note" in one])
    assert " 499) " in line[0]
    assert not [note for note in get_json(server, "/notes") if "Cancelled" in str(note)]
    assert not server.find("cancelled")


def test_cancelled(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--cancel-on-disconnect", "--gevent", "4",
                app=APP) as server:
        send(server, "/sleep-and-note?29").close()
        noted(server, "BaseException", "RequestCancelled")
        line = server.wait_for("GET /sleep-and-note?29 =>")
        assert " 499) " in line
        server.wait_for("GET /sleep-and-note?29 cancelled, as its client is gone")
        assert not server.find("Error handling request"), server.log
        # An application that catches it continues, and it is not raised again.
        send(server, "/late").close()
        server.wait_for("GET /late =>")
        for number in range(8):  # every slot is free again
            assert get(server, "/hello").body == b"hello"
        with connect(server) as client:
            client.send(b"GET /big?20000000 HTTP/1.1\r\n" + HOST + b"\r\n")
            client.sock.shutdown(socket.SHUT_WR)
            time.sleep(1.5)  # a sweep sees it
            assert client.read_response().whole, "a half close does not cut a complete response"
        with connect(server) as client:
            client.send(b"GET /sleep-and-note?1 HTTP/1.1\r\n" + HOST + b"\r\n")
            assert client.read_response().body == b"slept", "a client that stays is served"
        assert server.stop() == 0, server.log


def test_a_client_that_leaves_the_queue_is_not_served(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--gevent", "1", "--queue-limit", "3",
                "--log-level", "debug", app=APP) as server:
        with connect(server) as first, connect(server) as other:
            assert other.get("/hello").body == b"hello"
            first.send(b"GET /wait-for?release HTTP/1.1\r\n" + HOST + b"\r\n")
            first.readline()  # it has a slot
            other.send(b"GET /left HTTP/1.1\r\n" + HOST + b"\r\n")
            server.wait_for("GET /left waits for a slot")
            other.sock.close()
            (tmp_path / "release").touch()
            first.buffered = b"HTTP/1.1 200 OK\r\n" + first.buffered
            assert first.read_response().body == b"begunended"
        assert "GET /left" not in get_json(server, "/calls")
        assert " 499) " in server.wait_for("GET /left =>")
