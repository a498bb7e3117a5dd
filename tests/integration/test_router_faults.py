"""Faults: clients that disconnect, missing descriptors, a stop, failing nodes."""

import json
import os
import resource
import socket
import sys
import threading
from pathlib import Path

from tests.harness import Program, Server, children, wait_until
from tests.integration.test_router import OK, status
from tests.integration.test_router_client import WEBSOCKET, accepting
from tests.router.nodes import (
    APP, Scripted, hanging, head_of, held, our_node, router, responding, text_of,
)


def figures(server: Server) -> dict[str, object]:
    response: dict[str, object] = json.loads(server.talk(b"", "statistics"))
    return response


def test_a_client_that_leaves_the_queue_reaches_no_node(tmp_path: Path) -> None:
    go = threading.Event()
    with Scripted(held(OK, go)) as node:
        with router(tmp_path, "--http-to", f"http://{node.address},connections=1",
                    "--http-stats-server", "127.0.0.1:0") as server:
            first, second = server.connect(), server.connect()
            first.sendall(b"GET / HTTP/1.0\r\n\r\n")
            wait_until(lambda: node.seen)
            second.sendall(b"GET / HTTP/1.0\r\n\r\n")
            wait_until(lambda: figures(server)["waiting"] == 1)
            second.close()
            wait_until(lambda: figures(server)["waiting"] == 0)
            go.set()
            assert b" 200 " in first.recv(1000)
            first.close()
            wait_until(lambda: figures(server)["active_sessions"] == 0)
            assert status(server.get("/")) == 200 and node.seen == 2


def test_a_client_that_disconnects_after_a_large_upload_ends_its_request(tmp_path: Path) -> None:
    left = threading.Event()

    def act(peer: socket.socket) -> None:
        got = len(head_of(peer).partition(b"\r\n\r\n")[2])
        peer.settimeout(15)
        while got < 200_000:
            got += len(peer.recv(65536))
        if peer.recv(100) == b"":
            left.set()
    with Scripted(act) as node:
        with router(tmp_path, "--http-to", f"http://{node.address}") as server:
            with server.connect() as sock:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n"
                             + bytes(200_000))
                wait_until(lambda: node.seen)
            assert left.wait(10)


def test_without_descriptors_it_is_503(tmp_path: Path) -> None:
    with Scripted(responding(OK)) as node:
        with router(tmp_path, "--http-to", f"http://{node.address}") as server:
            assert status(server.get("/")) == 200
            own = next(pid for pid in children(server.pid)
                       if f"router 1 (pid: {pid}," in server.log)
            before = len(os.listdir(f"/proc/{own}/fd"))
            with server.connect() as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")  # accepted, with slots left
                wait_until(lambda: len(os.listdir(f"/proc/{own}/fd")) > before)
                resource.prlimit(own, resource.RLIMIT_NOFILE, (3, 4096))
                sock.sendall(b"\r\n")
                assert status(sock.recv(1000)) == 503
            server.wait_for("the router failed: [Errno 24] Too many open files")
            resource.prlimit(own, resource.RLIMIT_NOFILE, (1024, 4096))
            assert status(server.get("/")) == 200


def test_a_stop_ends_tunnels(tmp_path: Path) -> None:
    with Scripted(accepting) as node:
        with router(tmp_path, "--http-to", f"http://{node.address}",
                    "--worker-reload-mercy", "60") as server, server.connect() as sock:
            sock.sendall(WEBSOCKET)
            response = b""
            while not response.endswith(b"hello "):
                response += sock.recv(1000)
            assert server.stop() == 0  # long before worker-reload-mercy
            assert sock.recv(100) == b""


def test_the_stacks_of_a_router(tmp_path: Path) -> None:
    with Scripted(hanging) as node:
        with router(tmp_path, "--http-to", f"http://{node.address}",
                    "--pidfile", "pid") as server, server.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until(lambda: node.seen)
            with Program(sys.executable, "-m", "geventuwsgi", "--stacks", "pid",
                         cwd=tmp_path) as client:
                assert client.wait() == 0
                assert client.find("1 connections, 1 requests") and client.find("exchange.py")


def test_added_fields_come_once(tmp_path: Path) -> None:
    added = ("--add-header", "X-One: 1", "--add-header", "X-Two: 2")
    with Server(tmp_path, "--http", "127.0.0.1:0", "--http-router", *added, "app", app=APP,
                ready=False) as server:
        server.wait_for("ready: ", 2)
        response = server.get("/")
        assert response.count(b"X-One: 1\r\n") == response.count(b"X-Two: 2\r\n") == 1


def test_an_added_server_or_connection_field_is_sent_once_through_the_router(
        tmp_path: Path) -> None:
    with our_node(tmp_path / "n", "n") as node, \
            router(tmp_path, "--http-to", text_of(node.address("uwsgi")),
                   "--add-header", "Server: mine", "--add-header", "Connection: close") as server:
        response = server.get("/")
        assert response.lower().count(b"\r\nserver: ") == 1 and b"\r\nServer: mine" in response
        assert response.lower().count(b"\r\nconnection: close\r\n") == 1
    with Server(tmp_path, "--http", "127.0.0.1:0", "--http-router", "--add-header", "Server: mine",
                "--add-header", "Connection: close", "app", app=APP, ready=False) as server:
        server.wait_for("ready: ", 2)
        response = server.get("/")
        assert response.lower().count(b"\r\nserver: ") == 1 and b"\r\nServer: mine" in response
        assert response.lower().count(b"\r\nconnection: close\r\n") == 1


def test_added_fields_come_from_a_router_alone_too(tmp_path: Path) -> None:
    with our_node(tmp_path / "n", "n") as node, \
            router(tmp_path, "--http-to", text_of(node.address("uwsgi")),
                   "--add-header", "X-One: 1") as server:
        assert server.get("/").count(b"X-One: 1\r\n") == 1


def test_the_metrics_show_that_a_node_is_down(tmp_path: Path) -> None:
    with Scripted(hanging) as node:
        with router(tmp_path, "--http-to", f"http://{node.address}", "--http-timeout", "1",
                    "--http-gracetime", "1", "--http-stats-server", "127.0.0.1:0") as server:
            def up() -> bytes:
                text = server.talk(b"GET /metrics HTTP/1.0\r\n\r\n", "statistics")
                return next(line for line in text.splitlines()
                            if line.startswith(b"geventuwsgi_router_node_up{"))[-1:]
            assert up() == b"1"
            assert status(server.get("/")) == 504
            assert up() == b"0"
            wait_until(lambda: figures(server)["static_nodes"][0]["grace"] == 0)  # type: ignore
            assert up() == b"0"  # due, and not yet back
