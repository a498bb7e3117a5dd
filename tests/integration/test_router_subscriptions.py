"""Subscriptions both ways: nodes of ours and of real uWSGI, routers of ours and of real uWSGI."""

import contextlib
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from geventuwsgi.protocol import subscription
from geventuwsgi.protocol.subscription import Announcement
from geventuwsgi.router.senders import of_this_machine
from tests.harness import Program, Server, free_port, reference_uwsgi, wait_until
from tests.integration.test_router import pid_of_router, status
from tests.net.test_signature import pem_of
from tests.router.nodes import APP, Scripted, node_of, responding, router

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def announce(port: int, key: str, address: str, **more: object) -> None:
    announcement = Announcement(False, key, address)._replace(**more)  # type: ignore[arg-type]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(subscription.encode(announcement), ("127.0.0.1", port))


def get(server: Server, host: str, path: str = "/") -> bytes:
    return server.talk(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Server, int]]:
    """A router that nodes subscribe to. No node expires because a test is slow."""
    port = free_port(socket.SOCK_DGRAM)
    with router(tmp_path / "router", "--http-subscription-server", f"127.0.0.1:{port}",
                "--http-stats-server", "127.0.0.1:0", "--subscription-tolerance", "60",
                "--http-processes", "2") as server:
        yield server, port


def test_keys_wildcards_weights_and_leaving(served: tuple[Server, int]) -> None:
    server, port = served
    assert status(get(server, "a.example")) == 503
    with Scripted(responding(OK)) as one, Scripted(responding(OK)) as two:
        announce(port, "a.example", one.address, weight=3)
        announce(port, "a.example", two.address)
        announce(port, "*.wild.example", one.address)
        server.wait_for("new node: ", 3)
        # what one router process has received the other knows
        assert all(status(get(server, "x.wild.example")) == 200 for _ in range(8))
        one.seen = two.seen = 0
        for host in ("a.example", "A.example:8080"):
            assert status(get(server, host)) == 200
        assert status(get(server, "wild.example")) == 503
        announce(port, "a.example", one.address, leaves=True)
        server.wait_for("removing node")
        wait_until(lambda: not any(
            one.address in line["name"] for line in nodes_of(server, "a.example")))


def nodes_of(server: Server, key: str) -> list[dict[str, object]]:
    figures = json.loads(server.talk(b"", "statistics"))
    return [node for one in figures["subscriptions"] if one["key"] == key for node in one["nodes"]]


def test_a_subscription_expires(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    with Scripted(responding(OK)) as node, router(
            tmp_path, "--http-subscription-server", f"127.0.0.1:{port}",
            "--subscription-tolerance", "1", "--http-processes", "2") as server:
        announce(port, "a.example", node.address)
        server.wait_for("no announce received in 1 seconds")
        wait_until(lambda: status(get(server, "a.example")) == 503)


def test_nodes_survive_a_reload_and_a_crash(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    with Scripted(responding(OK)) as node, router(
            tmp_path, "--http-subscription-server", f"127.0.0.1:{port}",
            "--subscription-tolerance", "60") as server:
        announce(port, "a.example", node.address)
        wait_until(lambda: status(get(server, "a.example")) == 200)
        server.send_signal(signal.SIGHUP)
        server.wait_for("router 1 buried")
        assert status(get(server, "a.example")) == 200
        server.kill(pid_of_router(server))
        assert status(get(server, "a.example")) == 200


def test_invalid_announcements_change_nothing(served: tuple[Server, int]) -> None:
    server, port = served
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for data in (b"", b"garbage", b"\xe0\xff\xff\x00", b"\xe0" * 5000):
            sock.sendto(data, ("127.0.0.1", port))
    server.wait_for("announcement from 127.0.0.1")
    for address in ("nonsense:x:y", "3031", "fd://3"):
        announce(port, "a.example", address)
        assert status(get(server, "a.example")) == 503


def test_fallback_key_and_parents(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    with Scripted(responding(OK)) as node, router(
            tmp_path, "--http-subscription-server", f"127.0.0.1:{port}",
            "--subscription-tolerance", "60", "--subscription-dotsplit",
            "--http-subscription-fallback-key", "rest") as server:
        announce(port, "example.com", node.address)
        wait_until(lambda: status(get(server, "a.b.example.com")) == 200)
        assert status(get(server, "other.org")) == 503
        announce(port, "rest", node.address)
        wait_until(lambda: status(get(server, "other.org")) == 200)


def test_signed_announcements_only(tmp_path: Path) -> None:
    """A node with the key serves through reloads, and leaves; one without it never does."""
    private, public = pem_of(rsa.generate_private_key(65537, 2048))
    for name, data in (("private.pem", private), ("a.example.pem", public)):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "node").mkdir()
    port = free_port(socket.SOCK_DGRAM)
    with Scripted(responding(OK)) as other, router(
            tmp_path / "router", "--http-subscription-server", f"127.0.0.1:{port}",
            "--subscriptions-sign-check", f"SHA256:{tmp_path}",
            "--subscription-tolerance", "60") as server:
        announce(port, "a.example", other.address)
        server.wait_for("rejected: it is not signed")
        with Server(tmp_path / "node", "--uwsgi-socket", "127.0.0.1:0", "--subscribe2",
                    f"server=127.0.0.1:{port},key=a.example,sign=SHA256:{tmp_path}/private.pem",
                    "--subscribe-freq", "1", "app", app=APP, env={"NODE": "ours"}) as node:
            wait_until(lambda: node_of(get(server, "a.example")) == "ours")
            node.send_signal(signal.SIGHUP)
            node.wait_for("worker 1 buried")
            assert node_of(get(server, "a.example")) == "ours"
            assert not server.find("not newer")
            assert node.stop() == 0
        wait_until(lambda: status(get(server, "a.example")) == 503)


@pytest.mark.parametrize("line, reason", [
    ("subscribe2 = server=127.0.0.1:1,key=a,sign=SHA256:/none.pem",
     "app.ini:5: subscribe2: /none.pem: No such file or directory"),
    ("subscribe-to = 127.0.0.1:1:a,0,SHA256:app.py",
     "app.ini:5: subscribe-to: app.py: no private key without a passphrase"),
    ("subscribe-to = 127.0.0.1:1:a,0,MD4:app.py", "is not of the form DIGEST:PATH"),
    ("http = 127.0.0.1:0\nhttp-subscription-server = 127.0.0.1:0\n"
     "subscriptions-sign-check = SHA256:/none",
     "app.ini:7: subscriptions-sign-check: /none is not a directory")])
def test_keys_that_are_not_there(tmp_path: Path, line: str, reason: str) -> None:
    ini = f"[uwsgi]\nwsgi-file = app.py\nprocesses = 1\nsocket = 127.0.0.1:0\n{line}\n"
    with Server(tmp_path, ini=ini, app=APP, ready=False) as server:
        assert server.wait() == 1
        assert server.find(reason), server.log


def test_our_instances_subscribe_and_leave(served: tuple[Server, int], tmp_path: Path) -> None:
    server, port = served
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener, \
            contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(20)
        node = stack.enter_context(Server(
            tmp_path, "--uwsgi-socket", "127.0.0.1:0", "--subscribe-to",
            f"127.0.0.1:{port}:a.example", "--subscribe2",
            f"server=127.0.0.1:{port},key=b.example,weight=2", "--subscribe-to",
            f"127.0.0.1:{listener.getsockname()[1]}:c.example", "--subscribe-freq", "1",
            "--disable-logging", "app", app=APP, env={"NODE": "ours"}))
        wait_until(lambda: node_of(get(server, "a.example")) == "ours")
        wait_until(lambda: status(get(server, "b.example")) == 200)
        lines = get(server, "a.example", "/env").decode().splitlines()
        assert "REMOTE_ADDR=127.0.0.1" in lines and "HTTP_HOST=a.example" in lines
        node.send_signal(signal.SIGHUP)
        node.wait_for("worker 1 buried")
        listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while listener.recv(4096):
                pass
        listener.settimeout(20)
        assert subscription.parse(listener.recv(4096)).key == "c.example"  # it keeps announcing
        assert status(get(server, "a.example")) == 200
        assert node.stop() == 0
        server.wait_for("removing node", 2)
        wait_until(lambda: status(get(server, "a.example")) == 503)


def test_real_uwsgi_subscribes_to_our_router(served: tuple[Server, int], tmp_path: Path) -> None:
    server, port = served
    (tmp_path / "app.py").write_text(APP)
    with Program(reference_uwsgi(), "--master", "--socket", "127.0.0.1:0", "--wsgi-file",
                 "app.py", "--die-on-term", "--subscribe-to", f"127.0.0.1:{port}:real.example",
                 "--subscribe-freq", "1", "--disable-logging", cwd=tmp_path,
                 env={"NODE": "real", "PYTHONPATH": ""}) as node:
        wait_until(lambda: node_of(get(server, "real.example")) == "real")
        node.stop()
        server.wait_for("removing node")
        wait_until(lambda: status(get(server, "real.example")) == 503)


def test_our_instance_subscribes_to_a_router_of_real_uwsgi(tmp_path: Path) -> None:
    port, datagrams = free_port(), free_port(socket.SOCK_DGRAM)
    with Program(reference_uwsgi(), "--master", "--http", f"127.0.0.1:{port}",
                 "--http-subscription-server", f"127.0.0.1:{datagrams}", "--die-on-term",
                 cwd=tmp_path, env={"PYTHONPATH": ""}) as theirs:
        theirs.wait_for("spawned uWSGI http 1")
        with Server(tmp_path, "--uwsgi-socket", "127.0.0.1:0", "--subscribe-to",
                    f"127.0.0.1:{datagrams}:a.example", "--subscribe-freq", "1",
                    "--disable-logging", "app", app=APP, env={"NODE": "ours"}) as node:
            def response() -> bytes:
                try:
                    with socket.create_connection(("127.0.0.1", port), 5) as sock:
                        sock.sendall(b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n")
                        return sock.recv(10000)
                except OSError:
                    return b""
            wait_until(lambda: node_of(response()) == "ours")
            node.stop()
            theirs.wait_for("a.example => marking")


def test_an_instance_without_a_uwsgi_socket_has_nothing_to_announce(tmp_path: Path) -> None:
    with Server(tmp_path, "--http-socket", "127.0.0.1:0", "--subscribe-to",
                "127.0.0.1:1:a.example", "app", app=APP, ready=False) as server:
        assert server.wait() == 2
        server.wait_for("there is no uwsgi socket to announce")


def test_announcements_from_other_machines_are_rejected() -> None:
    assert of_this_machine(("127.0.0.1", 1)) and of_this_machine(("::1", 1, 0, 0))
    assert of_this_machine(("::ffff:127.0.0.1", 1, 0, 0)) and of_this_machine("/tmp/x")
    assert not of_this_machine(("192.0.2.1", 1)) and not of_this_machine(("10.0.0.1", 1))
