"""The monitor: statistics of a whole instance in uWSGI's JSON and for Prometheus."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness import (
    Server, Program, alive, children, free_port, reference_uwsgi, wait_until,
)

APP = """
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


INI = """
[uwsgi]
http-socket = 127.0.0.1:0
socket = app.sock
wsgi-file = app.py
processes = 2
gevent = 4
stats = stats.sock
stats = 127.0.0.1:0
metrics = 127.0.0.1:0
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server for one test, which may reload or kill it."""
    with Server(tmp_path, ready=False, app=APP, ini=INI) as server:
        server.wait_for("ready: ", 2)
        yield server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all tests of this file may only read from."""
    with Server(tmp_path_factory.mktemp("shared"), ready=False, app=APP, ini=INI) as server:
        server.wait_for("ready: ", 2)
        yield server


def bare(server: Server, index: int = 0) -> bytes:
    """Return what a socket of `stats` sends without a request."""
    with server.connect("stats", index) as sock:
        return b"".join(iter(lambda: sock.recv(65536), b""))


def stats(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bare(server))
    return found


def served(server: Server) -> int:
    return sum(worker["requests"] for worker in stats(server)["workers"])


def metrics(server: Server, path: str = "/metrics") -> str:
    host, port = server.address("metrics")
    with urllib.request.urlopen(f"http://{host}:{port}{path}") as response:
        return str(response.read().decode())


def metric(server: Server, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", metrics(server), re.MULTILINE)
    assert found is not None, name
    return float(found[1])


def monitor(server: Server) -> int:
    return int(re.findall(r"pawned geventuwsgi monitor 1 \((?:new )?pid: (\d+)", server.log)[-1])


def test_requests_of_all_workers(server: Server) -> None:
    for _ in range(7):
        server.get()
    wait_until(lambda: served(server) == 7, "the workers have published their counters")
    found = stats(server)
    assert found["pid"] == server.pid
    assert {worker["pid"] for worker in found["workers"]} == set(server.workers())
    assert [(one["proto"], one["max_queue"] > 0) for one in found["sockets"]] == [
        ("http", True), ("uwsgi", True)]
    assert sum(worker["apps"][0]["requests"] for worker in found["workers"]) == 7
    assert metric(server, "geventuwsgi_requests_total") == 7


def test_the_forms_of_stats(shared: Server) -> None:
    assert json.loads(bare(shared, 1))["pid"] == shared.pid
    host, port = shared.address("stats", 1)
    with urllib.request.urlopen(f"http://{host}:{port}/") as response:
        assert response.headers["Content-Type"] == "application/json"
        assert json.loads(response.read())["pid"] == shared.pid
    assert json.loads(metrics(shared, "/"))["pid"] == shared.pid


def test_the_options_of_stats(tmp_path: Path) -> None:
    with Server(tmp_path, ready=False, app=APP, ini="""
[uwsgi]
http-socket = 127.0.0.1:0
wsgi-file = app.py
stats = 127.0.0.1:0
stats-http = true
stats-minified = true
stats-no-cores = true
""") as server:
        server.wait_for("ready: ", 2)
        head, _, text = bare(server).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        assert b"\n" not in text and b": " not in text
        assert "cores" not in json.loads(text)["workers"][0]


@pytest.mark.parametrize("request_, status", [
    (b"GET /nowhere HTTP/1.1\r\n\r\n", b"404"), (b"POST / HTTP/1.1\r\n\r\n", b"405"),
    (b"\x16\x03\x01\r\n\r\n", b"405"), (b"GET " + b"a" * 20000, b"404"), (b"\n\n", b"405"),
    (b"HEAD /metrics HTTP/1.0\r\n\r\n", b"200"), (b"GET /metrics?x=1\n\n", b"200")])
def test_requests_of_any_kind(shared: Server, request_: bytes, status: bytes) -> None:
    response = shared.talk(request_, "metrics")
    assert response.split()[1] == status
    assert request_.startswith(b"HEAD") == response.endswith(b"\r\n\r\n")


def test_a_reload_keeps_the_sums(server: Server) -> None:
    for _ in range(5):
        server.get()
    wait_until(lambda: metric(server, "geventuwsgi_requests_total") == 5, "the sum")
    server.send_signal(signal.SIGHUP)
    server.wait_for("ready: 2 workers (generation 2)")
    assert metric(server, "geventuwsgi_requests_total") == 5
    server.get()
    wait_until(lambda: metric(server, "geventuwsgi_requests_total") == 6, "the sum")
    wait_until(lambda: {worker["generation"] for worker in stats(server)["workers"]} == {2},
               "the new workers are shown")


def test_a_monitor_that_dies_is_replaced(server: Server) -> None:
    server.get()
    wait_until(lambda: metric(server, "geventuwsgi_requests_total") == 1, "the sum")
    pid = monitor(server)
    server.kill(pid)
    server.wait_for("Respawned geventuwsgi monitor 1 ")
    assert metric(server, "geventuwsgi_requests_total") == 1
    assert monitor(server) != pid
    assert server.get().endswith(b"ok")


def test_a_stop_closes_its_sockets(server: Server) -> None:
    address = server.address("metrics")
    pids = children(server.pid)
    assert server.stop() == 0
    assert not any(map(alive, pids))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_silent_client_delays_no_other(shared: Server) -> None:
    with shared.connect("metrics") as silent:
        silent.send(b"GET ")
        assert "geventuwsgi_requests_total" in metrics(shared)


def test_uwsgitop_shows_the_workers(shared: Server) -> None:
    shared.get()
    wait_until(lambda: served(shared) >= 1, "the worker has published it")
    host, port = shared.address("stats", 1)
    command = [os.path.join(os.path.dirname(sys.executable), "uwsgitop"), f"{host}:{port}"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs,
                          env={**os.environ, "TERM": "xterm", "LINES": "30",
                               "COLUMNS": "120"}) as top:
        os.close(theirs)
        shown = b""

        def complete() -> bool:
            nonlocal shown
            shown += os.read(ours, 65536)
            return all(str(pid).encode() in shown for pid in shared.workers())

        wait_until(complete, "uwsgitop has shown each worker")
        os.write(ours, b"q")
        top.wait(10)
        assert top.returncode == 0, shown
    os.close(ours)


def test_the_keys_are_those_of_uwsgi(shared: Server, tmp_path: Path) -> None:
    path = tmp_path / "real.sock"
    with Program(reference_uwsgi(), "--master", "--processes", "2", "--threads", "4",
                 "--socket", str(tmp_path / "u.sock"), "--wsgi-file",
                 str(shared.directory / "app.py"),
                 "--stats", str(path), cwd=tmp_path) as real:
        real.wait_for("spawned uWSGI worker 2")

        def answer() -> dict[str, Any] | None:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
                text = b"".join(iter(lambda: sock.recv(65536), b""))
            return json.loads(text) if text else None

        theirs = wait_until(answer, "uWSGI answers")
    assert_has_keys(stats(shared), theirs, "")


def assert_has_keys(ours: Any, theirs: Any, place: str) -> None:
    """Assert that each key of theirs is here with the same type; ours may have more."""
    assert type(ours) is type(theirs), place
    if isinstance(theirs, dict):
        names = [name for name in ours if name in theirs]
        assert names == list(theirs), place
        for name in theirs:
            assert_has_keys(ours[name], theirs[name], f"{place}.{name}")
    elif isinstance(theirs, list) and theirs:
        assert ours, place
        assert_has_keys(ours[0], theirs[0], f"{place}[0]")


@pytest.mark.parametrize("line, message", [
    ("stats = 127.0.0.1:{port}", "app.ini:6: stats: cannot bind 127.0.0.1:{port}"),
    ("metrics = 127.0.0.1:{port}", "app.ini:6: metrics: cannot bind 127.0.0.1:{port}"),
    ("stats = 127.0.0.1:99999", "app.ini:6: stats: "),
    ("stats =", "app.ini:6: stats: ")])
def test_an_address_that_cannot_be_used(tmp_path: Path, line: str, message: str) -> None:
    port = free_port()
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", port))
        sock.listen()
        with Server(tmp_path, ready=False, app=APP, ini=f"""
[uwsgi]
http-socket = 127.0.0.1:0
wsgi-file = app.py
processes = 1
{line.format(port=port)}
""") as server:
            assert server.wait() == 1
            assert message.format(port=port) in server.log
            assert "Traceback" not in server.log


def test_a_reload_adds_and_removes_the_monitor(server: Server) -> None:
    ini = server.directory / "app.ini"
    text = ini.read_text()
    host, port = server.address("metrics")
    ini.write_text("\n".join(line for line in text.splitlines()
                             if not line.startswith(("stats", "metrics"))))
    server.send_signal(signal.SIGHUP)
    server.wait_for("ready: 2 workers (generation 2)")
    wait_until(lambda: refused((host, port)), "the sockets are closed")
    assert not (server.directory / "stats.sock").exists()
    ini.write_text(text.replace("metrics = 127.0.0.1:0", f"metrics = {host}:{port}"))
    server.send_signal(signal.SIGHUP)
    server.wait_for("ready: 1 monitor (generation 3)")
    wait_until(lambda: not refused((host, port)), "the sockets are open again")
    assert json.loads(metrics(server, "/"))["pid"] == server.pid


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return True
    return False
