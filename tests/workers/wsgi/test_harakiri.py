"""Harakiri ends a request, not the worker; only what cannot be ended costs the worker."""

import threading
import time
from functools import partial

import pytest

from tests.harness import Server, wait_until
from tests.parallel import in_parallel
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.raw_client import HOST, connect, get, packet, request

pytestmark = pytest.mark.slow

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0", "--harakiri", "1",
             "--harakiri-path", "/wait-for=0", "--disable-logging")


def a_504_and_the_worker_lives(server: Server, path: str) -> None:
    worker = get(server, "/pid").body
    began = time.monotonic()
    with connect(server) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        response = client.read_response()
        assert response.status == 504 and response.headers["connection"] == "close"
        assert time.monotonic() - began > 0.9 and client.closed()
    assert get(server, "/pid").body == worker

    def has_stack() -> bool:
        _, _, rest = "\n".join(server.err).partition(f" - GET {path} since")
        block = rest.partition("HARAKIRI ON")[0]
        return "gevent.sleep(" in block or ".wait()" in block
    wait_until(has_stack, "the stack of the greenlet")
    assert f"*** HARAKIRI ON WORKER 1 (pid: {int(worker)}) ***" in server.log


def after_the_head_the_connection_is_cut(server: Server) -> None:
    with connect(server) as client:
        response = client.get("/sleep-later?30")
        assert response.status == 200 and not response.whole and client.ended


def over_uwsgi(server: Server) -> None:
    with connect(server, "uwsgi") as client:
        client.send(packet(request("/sleep?31")))
        assert client.read_response().status == 504 and client.closed()


def each_request_of_a_connection_has_its_own_limit(server: Server) -> None:
    with connect(server) as client:
        for _ in range(4):
            assert client.get("/sleep?0.3").body == b"slept"


def waiting_for_a_client_inside_the_application_counts(server: Server) -> None:
    with connect(server) as client:
        client.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\nx")
        assert client.read_response().status == 504


def test_harakiri(server: Server) -> None:
    """Of several requests at once; one without a limit is not affected."""
    with connect(server) as other:
        other.send(b"GET /wait-for?release HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        other.readline()  # it has a slot
        in_parallel([*(partial(a_504_and_the_worker_lives, server, path)
                    for path in ("/sleep?30", "/broad", "/late", "/hold?never")),
                     *(partial(check, server) for check in (
                      after_the_head_the_connection_is_cut, over_uwsgi,
                      each_request_of_a_connection_has_its_own_limit,
                      waiting_for_a_client_inside_the_application_counts))])
        (server.directory / "release").touch()
        assert other.read_to_end().endswith(b"5\r\nended\r\n0\r\n\r\n")
    assert 'app.py", line' in server.log and not server.find("Error handling request")


def test_waiting_for_a_slot_does_not(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--harakiri", "1", "--gevent", "1",
                "--disable-logging", app=APP) as server:
        clients = [connect(server) for _ in range(4)]
        for client in clients:
            client.send(b"GET /sleep?0.4 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        for client in clients:
            with client:
                assert client.read_response().body == b"slept"


def test_a_request_that_cannot_be_ended_costs_the_worker_only(tmp_path) -> None:
    """After a second for its limit and another one for the grace period."""
    with Server(tmp_path, "app:application", "--harakiri", "1", "--harakiri-graceful-timeout", "1",
                "--gevent", "10", "--processes", "2", "--disable-logging", app=APP) as server:
        with connect(server) as client:
            worker = int(client.get("/pid").body)
            other = next(pid for pid in server.workers() if pid != worker)
            began = time.monotonic()
            client.send(b"GET /ignore-harakiri HTTP/1.1\r\n" + HOST + b"\r\n")
            assert client.read_response().status == 504 and client.closed()
            assert time.monotonic() - began > 1.9
        server.wait_for("ignores its harakiri; the connection is cut")
        server.wait_for("is replaced: a request ignores its harakiri and keeps its slot")
        server.wait_for("Respawned geventuwsgi worker")
        wait_until(lambda: len(server.workers()) == 2 and worker not in server.workers())
        assert other in server.workers() and get(server, "/hello").body == b"hello"
        server.wait_for("caught and ignored Harakiri")
        assert server.stop() == 0, server.log


def test_a_blocked_hub_is_logged_and_replaced(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--worker-timeout", "1", "--processes", "2",
                "--disable-logging", app=APP) as server:
        with connect(server) as client:
            worker = int(client.get("/pid").body)
            client.send(b"GET /busy HTTP/1.1\r\n" + HOST + b"\r\n")
            served = threading.Thread(target=lambda: [get(server, "/hello") for _ in range(3)])
            served.start()
            assert client.read_to_end() == b""
            served.join(20)
        server.wait_for("Respawned geventuwsgi worker")
        wait_until(lambda: len(server.workers()) == 2 and worker not in server.workers())
        log = "\n".join(server.err)
        assert 'app.py", line' in log and "in busy" in log, log
        assert "GET /busy" in log, "the request is named"
        assert get(server, "/hello").body == b"hello" and server.stop() == 0
