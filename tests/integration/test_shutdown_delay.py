"""shutdown-delay, and the notifications to a service manager."""

import os
import signal
import socket
import time

import pytest

from geventuwsgi.master.attached.systemd import ServiceManager
from tests.harness import Server, wait_until
from tests.integration.test_reload import APP, INI

ASGI = """
async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"one"})
"""
DELAYED = "shutdown in 600 seconds; readiness checks get 503 until then"


@pytest.mark.parametrize("app, more", [(APP, ""), (ASGI, "interface = asgi\n")])
def test_readiness_checks_fail_before_the_stop(tmp_path, app, more):
    """Other requests are served. A worker that dies is replaced, and its checks fail too."""
    with Server(tmp_path, ini=f"{INI}{more}shutdown-delay = 600\n"
                "readiness-path = /ready,/also\n", app=app) as server:
        assert b" 200 " in server.get("/ready")
        server.send_signal(signal.SIGTERM)
        server.wait_for(DELAYED)
        wait_until(lambda: b" 503 " in server.get("/ready?now"), "a failing check")
        assert b" 503 " in server.get("/also") and server.get("/").endswith(b"one")
        server.kill(server.workers()[0])
        server.wait_for("Respawned geventuwsgi worker 1")
        wait_until(lambda: b" 503 " in server.get("/ready"), "a failing check again")
        server.send_signal(signal.SIGHUP)
        server.wait_for("no reload: the server is stopping")
        server.send_signal(signal.SIGUSR2)
        server.wait_for("no upgrade: the server is stopping")
        server.send_signal(signal.SIGTERM)  # again: at once
        assert server.wait(25) == 0
        assert not server.find("gracefully reloading")


def test_the_delay_ends(tmp_path):
    with Server(tmp_path, ini=INI + "shutdown-delay = 1\n", app=APP) as server:
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        server.wait_for("shutdown in 1 seconds")
        wait_until(lambda: b" 503 " in server.get("/readyz"), "a failing check")
        assert server.wait() == 0
        assert time.monotonic() - began >= 1.0
        server.wait_for("graceful shutdown triggered")


@pytest.fixture
def manager(tmp_path):
    """A service manager's socket; each call returns the next message."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(20)

        def receive():
            return dict(line.split("=", 1) for line in sock.recv(4096).decode().split("\n"))
        yield receive


def test_notifications_to_systemd(tmp_path, manager):
    """READY when the workers are; RELOADING and READY around a reload, even one that fails."""
    app = APP.replace("    start_response", "    import os\n"
                      "    assert not [n for n in os.environ if n[:5] in ('NOTIF', 'WATCH')]\n"
                      "    start_response")
    with Server(tmp_path, ini=INI, app=app, env={
            "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000000"}) as server:
        message = manager()
        while "READY" not in message:
            assert message == {"WATCHDOG": "1"}
            message = manager()
        assert message["READY"] == "1" and message["MAINPID"] == str(server.pid)
        assert server.get().endswith(b"one")
        for text in (INI, INI + "xml = x\n"):
            (tmp_path / "app.ini").write_text(text)
            server.send_signal(signal.SIGHUP)
            messages = [manager(), manager()]
            messages = [one for one in messages if "WATCHDOG" not in one]
            while len(messages) < 2:
                messages.append(manager())
            assert messages[0]["RELOADING"] == "1"
            assert 0 < int(messages[0]["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            assert messages[1]["READY"] == "1"
        server.send_signal(signal.SIGTERM)
        assert manager() == {"STOPPING": "1"}
        assert server.wait() == 0


def test_watchdog_messages_only_while_workers_serve(tmp_path, manager):
    healthy = [True]
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000"}
    service = ServiceManager(environ, os.getpid(), lambda: healthy[0])
    assert service.poll(100.0) == 102.0
    assert manager() == {"WATCHDOG": "1"}
    healthy[0] = False
    assert service.poll(102.0) == 104.0
    healthy[0] = True
    service.stopping()
    assert manager() == {"STOPPING": "1"}
    other = ServiceManager({**environ, "WATCHDOG_PID": "1"}, os.getpid(), lambda: True)
    assert other.poll(100.0) == 160.0


def test_a_service_manager_that_is_gone_is_logged(tmp_path, caplog):
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "none")}, 1, lambda: True).ready("x")
    assert "cannot notify the service manager of 'READY=1'" in caplog.text
