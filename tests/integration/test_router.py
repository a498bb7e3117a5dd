"""A router without an application, over nodes of ours, of real uWSGI, and broken ones."""

import hashlib
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, alive, free_port, settled, wait_until
from tests.integration.nginx import PAUSE
from tests.router.nodes import (
    Scripted, hanging, head_of, held, node_of, our_node, real_uwsgi, responding, router,
    text_of,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A router over three nodes: ours over uwsgi, ours over HTTP, and real uWSGI."""
    base = tmp_path_factory.mktemp("mixed")
    with our_node(base / "a", "a") as ours, real_uwsgi(base / "u", "u") as real:
        with router(base / "router", "--http-to", text_of(ours.address("uwsgi")),
                    "--http-to", f"http://{text_of(ours.address('http'))}",
                    "--http-to", f"{real},weight=2", "--http-stats-server", "127.0.0.1:0",
                    "--http-var", "FROM_ROUTER=yes") as server:
            yield server


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1]) if response else 0


def test_nodes_take_turns_by_weight(mixed: Server) -> None:
    responses = [mixed.get("/") for _ in range(12)]
    assert {status(response) for response in responses} == {200}
    assert Counter(map(node_of, responses)) == {"a": 6, "u": 6}


@pytest.mark.parametrize("_", range(4))  # each node gets one
def test_variables_of_the_client(mixed: Server, _: int) -> None:
    response = mixed.get("/env?q=1",
                         "X-Forwarded-For: 9.9.9.9\r\nTE: trailers\r\nX_Y: 1\r\n").decode()
    lines = response.splitlines()
    assert "QUERY_STRING=q=1" in lines and "PATH_INFO=/env" in lines
    # loopback is in forwarded-allow-ips, so its chain is continued
    assert "HTTP_X_FORWARDED_FOR=9.9.9.9, 127.0.0.1" in lines
    assert "HTTP_X_FORWARDED_PROTO=http" in lines
    dropped = ("HTTP_TE", "HTTP_X_Y", "HTTP_CONNECTION")
    assert not [line for line in lines if line.startswith(dropped)]
    if "UWSGI_ROUTER=http" in lines:
        assert "REMOTE_ADDR=127.0.0.1" in lines and "FROM_ROUTER=yes" in lines


@pytest.mark.parametrize("_", range(4))
def test_bodies_of_every_form(mixed: Server, _: int) -> None:
    body = os.urandom(300_000)
    expected = f"{len(body)} {hashlib.sha1(body).hexdigest()}".encode()
    head = b"POST /sum HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    plain = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert mixed.talk(plain).endswith(expected)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at:at + 7000]), body[at:at + 7000])
                      for at in range(0, len(body), 7000))
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    assert mixed.talk(chunked).endswith(expected)
    small = head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert mixed.talk(small).endswith(b"3 " + hashlib.sha1(b"abc").hexdigest().encode())


def test_a_client_that_expects_100_gets_it_once(mixed: Server) -> None:
    with mixed.connect() as sock:
        sock.sendall(b"POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
                     b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        response = b""
        while piece := sock.recv(65536):
            response += piece
    assert response.startswith(b"HTTP/1.1 200") and b"100 Continue" not in response


def test_an_answer_without_length_is_chunked_and_the_connection_stays(mixed: Server) -> None:
    with mixed.connect() as sock:
        for _ in range(5):
            sock.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
            response = b""
            while not response.endswith(b"\r\n0\r\n\r\n"):
                response += sock.recv(65536)
            assert b"Transfer-Encoding: chunked\r\n" in response and b"three" in response
    old = mixed.talk(b"GET /stream HTTP/1.0\r\n\r\n")
    assert b"Transfer-Encoding" not in old and old.endswith(b"one two three")


def test_a_hundred_pipelined_requests_are_answered_in_order(mixed: Server) -> None:
    with mixed.connect() as sock:
        sock.sendall(b"".join(b"GET /n%d. HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(100)))
        sock.shutdown(socket.SHUT_WR)
        response = b""
        while piece := sock.recv(65536):
            response += piece
    at = -1
    for n in range(100):
        found = response.find(b"\r\n\r\n/n%d." % n)
        assert found > at, n
        at = found


def test_head_and_empty_answers(mixed: Server) -> None:
    with mixed.connect() as sock:
        for _ in range(4):
            sock.sendall(b"HEAD /abc HTTP/1.1\r\nHost: x\r\n\r\n")
            response = head_of(sock)
            assert response.endswith(b"\r\n\r\n") and b"Content-Length: 4" in response


def test_statistics_in_both_forms(mixed: Server) -> None:
    mixed.get("/")
    figures = json.loads(mixed.talk(b"", "statistics") or "{}")
    assert {"version", "pid", "active_sessions", "static_nodes", "subscriptions"} <= figures.keys()
    assert sum(node["hits"] for node in figures["static_nodes"]) >= 1
    assert all(node["rx"] > 0 for node in figures["static_nodes"] if node["hits"])
    text = mixed.talk(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "statistics").decode()
    assert "# TYPE geventuwsgi_router_node_requests_total counter" in text
    assert 'geventuwsgi_router_node_up{group="http-to"' in text


def resident(pid: int) -> int:
    text = Path(f"/proc/{pid}/statm").read_text()
    return int(text.split()[1]) * os.sysconf("SC_PAGESIZE")


def pid_of_router(server: Server) -> int:
    line = server.wait_for("awned geventuwsgi router 1")
    return int(line.rpartition("pid: ")[2].split(",")[0].rstrip(")"))


def test_large_bodies_do_not_accumulate_in_memory(mixed: Server) -> None:
    pid = pid_of_router(mixed)
    mixed.get("/")
    before, size = resident(pid), 100 << 20
    with mixed.connect() as sock:
        sock.sendall(b"GET /big?%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % size)
        got = len(sock.recv(1 << 10))
        # A slow reader: what accumulates has done so by then.
        assert settled(lambda: resident(pid), "the router to stop") - before < 10 << 20
        while piece := sock.recv(1 << 20):
            got += len(piece)
    assert got > size
    with mixed.connect() as sock:
        sock.sendall(b"POST /sum HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                     b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 20):
            sock.sendall(bytes(1 << 20))
        assert b" 200 " in sock.recv(65536)
    assert resident(pid) - before < 10 << 20


CHUNKED_READ = """
import uwsgi

def application(environ, start_response):
    body = b""
    while piece := uwsgi.chunked_read(5):
        body += piece
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_raw_bodies_for_the_chunked_read_of_real_uwsgi(tmp_path: Path) -> None:
    with real_uwsgi(tmp_path / "u", "u", app=CHUNKED_READ) as real:
        with router(tmp_path / "r", "--http-to", real, "--http-raw-body") as server:
            for body in (b"abc", b"x" * 200_000):
                pieces = b"".join(b"%x\r\n%s\r\n" % (len(body[at:at + 3000]), body[at:at + 3000])
                                  for at in range(0, len(body), 3000))
                response = server.talk(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                       b"Transfer-Encoding: chunked\r\n\r\n" + pieces
                                       + b"0\r\n\r\n")
                assert response.partition(b"\r\n\r\n")[2] == body


# Nodes that fail.


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scripted, Server]]:
    """A router over one node that a test scripts."""
    with Scripted(responding(OK)) as node:
        with router(tmp_path_factory.mktemp("broken"), "--http-to",
                    f"http://{node.address}") as server:
            yield node, server


def test_a_node_that_refuses_is_left_out_and_named(tmp_path: Path) -> None:
    port = free_port()
    with Scripted(responding(OK)) as good:
        with router(tmp_path, "--http-to", f"127.0.0.1:{port}",
                    "--http-to", f"http://{good.address}") as server:
            for _ in range(6):
                assert status(server.get("/")) == 200
            assert len(server.find(f"node 127.0.0.1:{port}: cannot connect")) <= 2
            assert "trying another" in server.wait_for(f"127.0.0.1:{port}")


def test_without_any_node_that_answers_it_is_502_and_back_at_once(tmp_path: Path) -> None:
    port = free_port()
    with router(tmp_path, "--http-to", f"http://127.0.0.1:{port}") as server:
        assert status(server.get("/")) == 502
        with socket.create_server(("127.0.0.1", port)) as sock:
            def serve() -> None:
                while True:
                    try:
                        peer, _ = sock.accept()
                    except OSError:
                        return
                    with peer:
                        responding(OK)(peer)
            threading.Thread(target=serve, daemon=True).start()
            assert status(server.get("/")) == 200  # a single node is not left out
            sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("response, reason", [
    (b"", "without a response"),
    (b"garbage\r\n\r\n", "not an HTTP response"),
    (b"SSH-2.0-OpenSSH\r\n", "not an HTTP response"),
    (b"HTTP/1.1 200 OK\r\nContent-Le", "within the head"),
    (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "within the head"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", "both"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "more than one"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "malformed Content-Length"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "other than chunked"),
    (b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "malformed response head"),
    (b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "malformed response head"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalfXX", "not followed"),
    (b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", "not requested"),
])
def test_invalid_responses_become_502(broken: tuple[Scripted, Server], response: bytes,
                                      reason: str) -> None:
    node, server = broken
    node.act = responding(response)
    before = len(server.find("responded with 502"))
    got = server.talk(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert status(got) == 502
    line = server.wait_for("responded with 502", before + 1)
    assert reason in line and f"node http://{node.address}: " in line
    assert alive(pid_of_router(server))


@pytest.mark.parametrize("response", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
])
def test_half_an_answer_never_looks_whole(broken: tuple[Scripted, Server],
                                          response: bytes) -> None:
    node, server = broken
    node.act = responding(response)
    before = len(server.find("cut off"))
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        got = b""
        with pytest.raises(ConnectionResetError):
            while piece := sock.recv(65536):
                got += piece
    assert not got.endswith(b"0\r\n\r\n")
    server.wait_for("cut off", before + 1)


def test_a_node_that_hangs_is_504_and_left_out(tmp_path: Path) -> None:
    with Scripted(hanging) as bad, Scripted(responding(OK)) as good:
        with router(tmp_path, "--http-to", f"http://{bad.address}", "--http-timeout", "1",
                    "--http-to", f"http://{good.address}") as server:
            assert [status(server.get("/")) for _ in range(4)].count(504) == 1
            assert "left out for 1 seconds" in server.wait_for(f"node http://{bad.address}")


def test_a_node_whose_queue_never_moves_is_a_connect_timeout(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, \
            Scripted(responding(OK)) as good:
        address = full.getsockname()
        fillers = []
        for _ in range(3):  # a queue of length 0 takes one or two
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            fillers.append(sock)
        with router(tmp_path, "--http-to", f"http://127.0.0.1:{address[1]}",
                    "--http-to", f"http://{good.address}",
                    "--http-connect-timeout", "1") as server:
            assert [status(server.get("/")) for _ in range(3)] == [200] * 3
            server.wait_for("no connection within 1 seconds")
        for sock in fillers:
            sock.close()


def test_an_early_answer_ends_an_upload(tmp_path: Path) -> None:
    response = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig"
    with Scripted(responding(response)) as node:
        with router(tmp_path, "--http-to", f"http://{node.address}") as server:
            with server.connect() as sock:
                sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")
                sock.sendall(bytes(200_000))
                got = b""
                while piece := sock.recv(65536):
                    got += piece
            assert got.startswith(b"HTTP/1.1 413 ") and got.endswith(b"big")


def test_a_client_that_disconnects_ends_its_request(tmp_path: Path) -> None:
    left = threading.Event()

    def act(peer: socket.socket) -> None:
        head_of(peer)
        peer.settimeout(15)
        if peer.recv(100) == b"":
            left.set()
    with Scripted(act) as node:
        with router(tmp_path, "--http-to", f"http://{node.address}") as server:
            with server.connect() as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                wait_until(lambda: node.seen)
            assert left.wait(10)


def test_a_full_node_has_a_queue_and_a_full_queue_means_503(tmp_path: Path) -> None:
    go = threading.Event()
    with Scripted(held(OK, go)) as node:
        with router(tmp_path, "--http-to", f"http://{node.address},connections=1",
                    "--http-queue", "1", "--http-stats-server", "127.0.0.1:0") as server:
            def waiting() -> tuple[int, int]:
                figures = json.loads(server.talk(b"", "statistics"))
                return figures["static_nodes"][0]["active"], figures["waiting"]
            first, second = server.connect(), server.connect()
            first.sendall(b"GET / HTTP/1.0\r\n\r\n")
            wait_until(lambda: waiting() == (1, 0))
            second.sendall(b"GET / HTTP/1.0\r\n\r\n")
            wait_until(lambda: waiting() == (1, 1))
            refused = server.get("/")
            assert status(refused) == 503 and b"Retry-After: 1" in refused
            go.set()
            assert b"ok" in first.recv(1000) + first.recv(1000)
            assert b" 200 " in second.recv(1000)
            first.close()
            second.close()
            assert node.seen == 2


def test_nodes_die_and_restart_under_load(tmp_path: Path) -> None:
    with real_uwsgi(tmp_path / "u", "u", "-p", "2") as real, \
            our_node(tmp_path / "a", "a") as ours, our_node(tmp_path / "b", "b") as dying:
        with router(tmp_path / "r", "--http-to", real, "--http-to",
                    text_of(ours.address("uwsgi")), "--http-to", text_of(dying.address("uwsgi")),
                    "--http-timeout", "20") as server:
            seen: Counter[str] = Counter()
            failed: list[bytes] = []
            stop = threading.Event()

            def load() -> None:
                while not stop.is_set():
                    response = server.get("/")
                    seen[node_of(response)] += 1
                    if status(response) != 200:
                        failed.append(response)
                    time.sleep(PAUSE)
            threads = [threading.Thread(target=load) for _ in range(4)]
            for thread in threads:
                thread.start()
            wait_until(lambda: seen["b"] > 20)
            ours.send_signal(signal.SIGHUP)     # restarts
            dying.send_signal(signal.SIGTERM)   # goes away, and finishes what it has
            assert dying.wait() == 0
            before = seen["a"], seen["u"]
            wait_until(lambda: seen["a"] > before[0] + 50 and seen["u"] > before[1] + 50)
            stop.set()
            for thread in threads:
                thread.join()
            assert not failed
            server.wait_for("cannot connect")


def test_a_router_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with Scripted(responding(OK)) as node:
        with router(tmp_path, "--http-to", f"http://{node.address}") as server:
            server.kill(pid_of_router(server))
            server.wait_for("DAMN ! router 1")
            assert status(server.get("/")) == 200  # it waited in the socket's queue
            server.wait_for("Respawned geventuwsgi router 1")
            assert server.stop() == 0
