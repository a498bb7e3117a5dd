"""Harakiri ends a request, not the worker; only what cannot be ended costs the worker."""

import threading
import time

import pytest

from tests.harness import Server, wait_until
from tests.server.conftest import APP
from tests.server.wire import HOST, connect, get, packet, request

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--socket", "127.0.0.1:0", "--harakiri", "1",
             "--disable-logging")


@pytest.mark.parametrize("path", ["/sleep?30", "/broad", "/late", "/hold?never"])
def test_504_and_the_worker_lives(server: Server, path: str) -> None:
    worker = get(server, "/pid").body
    start = len(server.err)
    with connect(server) as doomed, connect(server) as other:
        doomed.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        other.send(b"GET /sleep?0.9 HTTP/1.1\r\n" + HOST + b"\r\n")
        began = time.monotonic()
        answer = doomed.answer()
        assert answer.status == 504 and answer.headers["connection"] == "close"
        assert 0.9 < time.monotonic() - began < 3 and doomed.closed()
        assert other.answer().body == b"slept", "others are unharmed"
    assert get(server, "/pid").body == worker
    wait_until(lambda: any("gevent.sleep(" in line or ".wait()" in line
                           for line in server.err[start:]), "the stack of the greenlet")
    told = "\n".join(server.err[start:])
    assert f"*** HARAKIRI ON WORKER 1 (pid: {int(worker)}) ***" in told
    assert f"127.0.0.1 - GET {path} since" in told and 'app.py", line' in told
    assert "Error handling request" not in told


def test_behind_the_head_the_connection_is_cut(server: Server) -> None:
    with connect(server) as wire:
        answer = wire.get("/sleep-later?30")
        assert answer.status == 200 and not answer.whole and wire.ended


def test_over_uwsgi(server: Server) -> None:
    with connect(server, "uwsgi") as wire:
        wire.send(packet(request("/sleep?30")))
        assert wire.answer().status == 504 and wire.closed()


def test_a_kept_connection_counts_each_request_anew(server: Server) -> None:
    with connect(server) as wire:
        for _ in range(3):
            assert wire.get("/sleep?0.6").body == b"slept"


def test_waiting_for_a_client_inside_the_application_counts(server: Server) -> None:
    with connect(server) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\nx")
        assert wire.answer().status == 504


def test_waiting_for_a_slot_does_not(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--harakiri", "1", "--gevent", "1",
                "--disable-logging", app=APP) as server:
        wires = [connect(server) for _ in range(4)]
        for wire in wires:
            wire.send(b"GET /sleep?0.6 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        for wire in wires:
            with wire:
                assert wire.answer().body == b"slept"


def test_a_request_that_cannot_be_ended_costs_the_worker_only(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--harakiri", "1", "--gevent", "10", "--processes",
                "2", "--disable-logging", app=APP) as server:
        with connect(server) as doomed:
            worker = int(doomed.get("/pid").body)
            other = next(pid for pid in server.workers() if pid != worker)
            doomed.send(b"GET /immortal HTTP/1.1\r\n" + HOST + b"\r\n")
            assert doomed.answer().status == 504 and doomed.closed()
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
