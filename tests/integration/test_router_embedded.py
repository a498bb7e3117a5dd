"""A router in front of the workers of its own instance: kept connections, reloads, crashes."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from geventuwsgi.protocol import client_line
from tests.harness import Server, alive, children, wait_until
from tests.integration.nginx import PAUSE
from tests.integration.test_router import pid_of_router, status
from tests.router.nodes import APP

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"].endswith("shutdown"):
                return
    names = [name for name, _ in scope["headers"]]
    out = repr((scope["client"][0], scope["scheme"], b"geventuwsgi-client" in names)).encode()
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(out)).encode())]})
    await send({"type": "http.response.body", "body": out})
"""


@pytest.fixture(scope="module")
def one_slot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Three workers that take one request at a time, which is why there is a router."""
    with Server(tmp_path_factory.mktemp("slots"), "--http", "127.0.0.1:0", "-p", "3",
                "--gevent", "1", "app", app=APP, ready=False) as server:
        server.wait_for("ready: ", 2)
        yield server


def test_a_request_names_its_client(one_slot: Server) -> None:
    for _ in range(3):  # the head that comes again is not parsed again
        lines = one_slot.get("/env", "X-Forwarded-Proto: https\r\n").decode().splitlines()
        assert "REMOTE_ADDR=127.0.0.1" in lines
        assert f"SERVER_PORT={one_slot.port}" in lines
        assert "wsgi.url_scheme=https" in lines  # loopback is trusted
        assert not [line for line in lines if "GEVENTUWSGI_CLIENT" in line]


HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 80\r\n"
BINARY = (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c" + bytes((192, 0, 2, 7, 192, 0, 2, 1))
          + b"\x04\xd2\x00\x50")
ENV = b"GET /env HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("slots", ["1", "5"])
@pytest.mark.parametrize("option", ["--http-enable-proxy-protocol", "--enable-proxy-protocol"])
def test_the_proxy_protocol_of_http(tmp_path: Path, slots: str, option: str) -> None:
    """With a router and without one; on http-socket the header needs enable-proxy-protocol."""
    with Server(tmp_path, "--http", "127.0.0.1:0", "--http-socket", "127.0.0.1:0", "--gevent",
                slots, option, "app", app=APP) as server:
        for header in (HEADER, BINARY):
            response = server.talk(header + ENV)
            assert status(response) == 200 and b"\nREMOTE_ADDR=192.0.2.7\n" in response
            response = server.talk(header + ENV, index=1)
            if option == "--enable-proxy-protocol":
                assert b"\nREMOTE_ADDR=192.0.2.7\n" in response
            else:
                assert status(response) == 400
        for index in (0, 1):    # a health probe
            response = server.talk(ENV, index=index)
            assert status(response) == 200 and b"\nREMOTE_ADDR=127.0.0.1\n" in response


def test_what_the_router_adds_does_not_count(tmp_path: Path) -> None:
    with Server(tmp_path, "--http", "127.0.0.1:0", "--gevent", "1", "--limit-request-fields",
                "100", "--http-var", "A=" + "x" * 9000, "app", app=APP) as server:
        for count, expected in ((99, 200), (100, 200), (101, 431)):
            head = ENV[:-2] + b"".join(b"X-%d: 1\r\n" % number for number in range(count - 2))
            assert status(server.talk(head + b"\r\n")) == expected, count
        whole = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 8000) for number in range(8))
        for size, expected in ((65536, 200), (65537, 431)):
            head = ENV[:-2] + whole + b"Z: "
            head += b"z" * (size - len(head) - 4) + b"\r\n\r\n"
            assert status(server.talk(head)) == expected, size


class HeldRequest:
    """A request that stays in a worker until it is released, on a connection of its own or not."""

    def __init__(self, server: Server, name: str, sock: socket.socket | None = None) -> None:
        self.path = server.directory / name
        self.sock = sock or server.connect()
        self.sock.sendall(b"GET /hold?%s HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode())
        pid = self.path.with_suffix(".pid")
        wait_until(pid.exists, lambda: f"the request {name} to begin\n{server.log}")
        self.pid = pid.read_bytes()

    def release(self) -> None:
        self.path.with_suffix(".release").touch()
        assert self.sock.recv(1000).endswith(b"\r\n\r\n" + self.pid)


def test_slow_requests_do_not_hold_up_others(one_slot: Server) -> None:
    """Each worker has one slot: two of three are busy, and the third takes all that comes."""
    slow = [HeldRequest(one_slot, name) for name in ("first", "second")]
    assert len({held.pid for held in slow}) == 2
    assert all(status(one_slot.get("/")) == 200 for _ in range(20))
    for held in slow:
        held.release()
        held.sock.close()


def test_a_client_that_stays_is_tied_to_no_worker(one_slot: Server) -> None:
    """Its worker is busy with another's request when it asks again."""
    client = HeldRequest(one_slot, "client")
    others = [HeldRequest(one_slot, name) for name in ("left", "right")]
    client.release()
    taken = HeldRequest(one_slot, "taken")
    assert taken.pid == client.pid, "the only free one"
    others[0].release()
    again = HeldRequest(one_slot, "again", client.sock)
    assert again.pid == others[0].pid != client.pid
    for held in (again, taken, others[1]):
        held.release()
    for held in (client, taken, *others):
        held.sock.close()


def test_killed_workers_and_routers_are_replaced(one_slot: Server) -> None:
    for pid in one_slot.workers():
        one_slot.kill(pid)
    assert status(one_slot.get("/")) == 200
    one_slot.kill(pid_of_router(one_slot))
    assert status(one_slot.get("/")) == 200


def test_reloads_and_numbers_that_change_cost_no_request(one_slot: Server) -> None:
    failed: list[bytes] = []
    stop = threading.Event()

    def load() -> None:
        with contextlib.ExitStack() as stack:
            sock = None
            while not stop.is_set():
                if sock is None:
                    sock = stack.enter_context(one_slot.connect())
                sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
                try:
                    response = sock.recv(1000)
                except OSError as error:
                    response = repr(error).encode()
                if b" 200 OK" not in response:
                    failed.append(response)
                if b"Connection: close" in response or b" 200 OK" not in response:
                    sock = None
    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    before = len(one_slot.find("gracefully killing workers"))
    one_slot.send_signal(signal.SIGHUP)
    one_slot.wait_for("gracefully killing workers", before + 1)
    one_slot.send_signal(signal.SIGTTOU)
    one_slot.wait_for("2 workers from now on")
    one_slot.wait_for("router 1 buried")
    one_slot.send_signal(signal.SIGTTIN)
    one_slot.wait_for("3 workers from now on")
    assert not one_slot.find("2 routers from now on")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed


def test_routers_share_workers_that_have_no_connection_left(tmp_path: Path) -> None:
    """A router that a reload replaces needs workers until its clients have gone."""
    with Server(tmp_path, "--http", "127.0.0.1:0", "--gevent", "1", "app", app=APP,
                ready=False) as server, contextlib.ExitStack() as stack:
        server.wait_for("ready: ", 2)
        first, second, third = (stack.enter_context(socket.socket(socket.AF_UNIX))
                                for _ in range(3))
        name = "\0" + private_socket(server)[1:]
        client = client_line.encode(client_line.ClientLine("", "", "http", "", "80")).encode()
        request = b"GET /%s HTTP/1.1\r\n" + client + b"\r\nHost: x\r\n\r\n"
        for sock in first, second:  # both stay
            sock.connect(name)
            sock.settimeout(20)
            sock.sendall(request % b"a")
            assert sock.recv(1000).endswith(b"/a")
        first.sendall(request % b"slow?1")
        second.sendall(request % b"b")
        third.connect(name)
        third.settimeout(20)
        third.sendall(request % b"c")  # there is not even a slot free
        responses = [sock.recv(1000) for sock in (first, second, third)]
        assert [response[-2:] for response in responses] == [b"ow", b"/b", b"/c"]


def private_socket(server: Server) -> str:
    """Return the address between the router and the workers of a server, "@" for its NUL."""
    held = {os.readlink(f"/proc/{server.pid}/fd/{fd}")
            for fd in os.listdir(f"/proc/{server.pid}/fd")}
    with open("/proc/net/unix") as file:
        return next(words[7] for words in map(str.split, file)
                    if f"socket:[{words[6]}]" in held and "@geventuwsgi-router/" in words[-1])


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
def test_other_users_cannot_name_a_client(tmp_path: Path) -> None:
    """Another user finds the socket's name in /proc/net/unix, and gets nothing from it."""
    with Server(tmp_path, "--http", "127.0.0.1:0", "--http-router", "app", app=APP,
                ready=False) as server:
        server.wait_for("ready: ", 2)
        refused_as_another_user(private_socket(server))
        server.wait_for("a process of user 65534 connected")


def refused_as_another_user(name: str) -> None:
    script = ("import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
              f"s.settimeout(10); s.connect({chr(0)!r} + {name[1:]!r});"
              "s.sendall(b'GET /env HTTP/1.1\\r\\nGeventuwsgi-Client: 6.6.6.6 1 https 1\\r\\n"
              "Host: x\\r\\n\\r\\n'); print(s.recv(100))")
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "200" not in result.stdout


def test_two_routers_and_an_asgi_application(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(ASGI)
    with Server(tmp_path, "--http", "127.0.0.1:0", "--http-router", "--http-processes", "2",
                "--interface", "asgi", "app:app", ready=False) as server:
        server.wait_for("ready: ", 2)
        server.wait_for("awned geventuwsgi router 2")
        for _ in range(4):
            assert server.body("/") == b"('127.0.0.1', 'http', False)"


def test_the_uwsgi_section_of_an_old_file(tmp_path: Path) -> None:
    """`http` and nothing else of the router: uWSGI's own quick start, one request at a time."""
    ini = "[uwsgi]\nhttp = 127.0.0.1:0\nmaster = true\nprocesses = 2\nwsgi-file = app.py\n"
    with Server(tmp_path, ini=ini, app=APP, ready=False) as server:
        server.wait_for("ready: ", 2)
        assert status(server.get("/")) == 200
        master = server.pid
        assert len(children(master)) == 5  # two templates, two workers, one router
        assert server.stop() == 0
        wait_until(lambda: not alive(master))


def test_workers_with_many_slots_have_no_router(tmp_path: Path) -> None:
    with Server(tmp_path, "--http", "127.0.0.1:0", "app", app=APP) as server:
        assert not server.find("router")
        assert status(server.get("/")) == 200


@pytest.mark.parametrize("option", ["--http-var=X_FROM=router", "--http-stats-server=127.0.0.1:0"])
def test_an_option_of_the_router_starts_one(tmp_path: Path, option: str) -> None:
    with Server(tmp_path, "--http", "127.0.0.1:0", option, "app", app=APP, ready=False) as server:
        server.wait_for("ready: 1 router")
        server.wait_for("ready: ", 2)
        assert (b"X_FROM=router" in server.get("/env")) == ("var" in option)
    with Server(tmp_path, "--http", "127.0.0.1:0", option, "--http-router=false", "app", app=APP,
                ready=False) as server:
        assert server.wait() in (1, 2)
        server.wait_for("it needs a router, and http-router is false")


def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with Server(tmp_path, "--http", f"127.0.0.1:{port}", "--http-to", "127.0.0.1:1",
                    ready=False) as server:
            assert server.wait() == 1
            server.wait_for("address already in use")


def test_an_upgrade_and_a_stop_cost_no_request(tmp_path: Path) -> None:
    """The router is gone before its workers are, and both versions use one socket between."""
    with Server(tmp_path, "--http", "127.0.0.1:0", "--http-router", "-p", "2",
                "--http-subscription-server", "@subscriptions-" + tmp_path.name,
                "--disable-logging", "app", app=APP, ready=False) as server:
        server.wait_for("ready: ", 2)
        wrong: list[bytes] = []
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                with contextlib.suppress(ConnectionRefusedError), server.connect() as sock:
                    while not stop.is_set():
                        try:
                            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n"
                                         b"Content-Length: 1\r\n\r\na")
                            response = sock.recv(1000)
                        except ConnectionError:
                            break  # it was closed while it was idle
                        if response and b" 200 OK" not in response:
                            wrong.append(response)
                        if not response or b"Connection: close" in response:
                            break
                        time.sleep(PAUSE)
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        server.send_signal(signal.SIGUSR2)
        server.wait_for("after an upgrade")
        server.wait_for("ready: ", 4)
        wait_until(lambda: len(server.find("buried after")) >= 3)
        assert server.stop() == 0
        stop.set()
        for thread in threads:
            thread.join()
        assert not wrong and not server.find("[ERROR]")
