"""Harakiri ends a request, not the worker; only what cannot be ended costs the worker."""

import threading
import time
from functools import partial

import pytest

from tests.harness import Server, wait_until
from tests.parallel import in_parallel
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.wire import HOST, connect, get, packet, request

pytestmark = pytest.mark.slow

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0", "--harakiri", "1",
             "--harakiri-path", "/wait-for=0", "--disable-logging")


def a_504_and_the_worker_lives(server: Server, path: str) -> None:
    worker = get(server, "/pid").body
    began = time.monotonic()
    with connect(server) as doomed:
        doomed.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        answer = doomed.answer()
        assert answer.status == 504 and answer.headers["connection"] == "close"
        assert time.monotonic() - began > 0.9 and doomed.closed()
    assert get(server, "/pid").body == worker

    def told() -> bool:
        _, _, behind = "\n".join(server.err).partition(f" - GET {path} since")
        block = behind.partition("HARAKIRI ON")[0]
        return "gevent.sleep(" in block or ".wait()" in block
    wait_until(told, "the stack of the greenlet")
    assert f"*** HARAKIRI ON WORKER 1 (pid: {int(worker)}) ***" in server.log


def behind_the_head_the_connection_is_cut(server: Server) -> None:
    with connect(server) as wire:
        answer = wire.get("/sleep-later?30")
        assert answer.status == 200 and not answer.whole and wire.ended


def over_uwsgi(server: Server) -> None:
    with connect(server, "uwsgi") as wire:
        wire.send(packet(request("/sleep?31")))
        assert wire.answer().status == 504 and wire.closed()


def a_kept_connection_counts_each_request_anew(server: Server) -> None:
    with connect(server) as wire:
        for _ in range(4):
            assert wire.get("/sleep?0.3").body == b"slept"


def waiting_for_a_client_inside_the_application_counts(server: Server) -> None:
    with connect(server) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\nx")
        assert wire.answer().status == 504


def test_harakiri(server: Server) -> None:
    """Of many requests at a time, while one that has no limit is unharmed."""
    with connect(server) as other:
        other.send(b"GET /wait-for?door HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        other.line()  # it is inside
        in_parallel([*(partial(a_504_and_the_worker_lives, server, path)
                       for path in ("/sleep?30", "/broad", "/late", "/hold?never")),
                     *(partial(check, server) for check in (
                         behind_the_head_the_connection_is_cut, over_uwsgi,
                         a_kept_connection_counts_each_request_anew,
                         waiting_for_a_client_inside_the_application_counts))])
        (server.directory / "door").touch()
        assert other.rest().endswith(b"5\r\nended\r\n0\r\n\r\n")
    assert 'app.py", line' in server.log and not server.find("Error handling request")


def test_waiting_for_a_slot_does_not(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--harakiri", "1", "--gevent", "1",
                "--disable-logging", app=APP) as server:
        wires = [connect(server) for _ in range(4)]
        for wire in wires:
            wire.send(b"GET /sleep?0.4 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        for wire in wires:
            with wire:
                assert wire.answer().body == b"slept"


def test_a_request_that_cannot_be_ended_costs_the_worker_only(tmp_path) -> None:
    """It is given a second for its limit, and another one to obey."""
    with Server(tmp_path, "app:application", "--harakiri", "1", "--harakiri-graceful-timeout", "1",
                "--gevent", "10", "--processes", "2", "--disable-logging", app=APP) as server:
        with connect(server) as doomed:
            worker = int(doomed.get("/pid").body)
            other = next(pid for pid in server.workers() if pid != worker)
            began = time.monotonic()
            doomed.send(b"GET /immortal HTTP/1.1\r\n" + HOST + b"\r\n")
            assert doomed.answer().status == 504 and doomed.closed()
            assert time.monotonic() - began > 1.9
        server.wait_for("ignores its harakiri; the connection is cut")
        server.wait_for("is replaced: a request ignores its harakiri and keeps its slot")
        server.wait_for("Respawned uWSGI worker")
        wait_until(lambda: len(server.workers()) == 2 and worker not in server.workers())
        assert other in server.workers() and get(server, "/hello").body == b"hello"
        server.wait_for("immortal caught Harakiri")
        assert server.stop() == 0, server.log


def test_a_blocked_hub_is_told_and_replaced(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--worker-timeout", "1", "--processes", "2",
                "--disable-logging", app=APP) as server:
        with connect(server) as doomed:
            worker = int(doomed.get("/pid").body)
            doomed.send(b"GET /busy HTTP/1.1\r\n" + HOST + b"\r\n")
            served = threading.Thread(target=lambda: [get(server, "/hello") for _ in range(3)])
            served.start()
            assert doomed.rest() == b""
            served.join(20)
        server.wait_for("Respawned uWSGI worker")
        wait_until(lambda: len(server.workers()) == 2 and worker not in server.workers())
        told = "\n".join(server.err)
        assert 'app.py", line' in told and "in busy" in told, told
        assert "GET /busy" in told, "the request is named"
        assert get(server, "/hello").body == b"hello" and server.stop() == 0
