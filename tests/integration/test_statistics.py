"""The monitor: statistics of a whole instance in uWSGI's JSON and for Prometheus."""

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from geventuwsgi.boot.status import show_status
from tests.harness import (
    GEVENTUWSGI, ROOT, Program, Server, alive, children, free_port, missing, reference_uwsgi,
    wait_until,
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


ASGI_APP = """
import asyncio
async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    assert scope["type"] == "http"
    if scope["path"] == "/slow":
        await asyncio.sleep(0.03)
    status = 200 if scope["method"] == "GET" else 404
    await send({"type": "http.response.start", "status": status,
                "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
WSGI_APP = """
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.03)
    status = "200 OK" if environ["REQUEST_METHOD"] == "GET" else "404 Not Found"
    start_response(status, [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.parametrize("mode", ["gevent = 4", "threads = 2", "asgi = app:application"])
def test_durations_and_statuses(tmp_path: Path, mode: str) -> None:
    of_asgi = mode.startswith("asgi")
    application = mode if of_asgi else f"{mode}\nmodule = app"
    with Server(tmp_path, app=ASGI_APP if of_asgi else WSGI_APP, ready=False, ini=f"""
[uwsgi]
http-socket = 127.0.0.1:0
metrics = 127.0.0.1:0
lifespan = off
{application}
""") as server:
        server.wait_for("ready: ", 2)
        if of_asgi:
            with server.connect() as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: "
                             b"Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                             b"dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
                assert sock.recv(100).startswith(b"HTTP/1.1 101 ")
        server.get("/slow")
        server.get("/")
        server.talk(b"BREW / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        name = "geventuwsgi_request_duration_seconds"
        wait_until(lambda: metric(server, f"{name}_count") == 3, "all are counted")
        assert metric(server, rf'{name}_bucket{{le="0.025"}}') == 2
        assert 0.03 <= metric(server, f"{name}_sum") < 10
        found = dict(re.findall(r'^geventuwsgi_responses_total\{method="(\w+)",status="(\w+)"\}',
                                metrics(server), re.MULTILINE))
        assert found == {"GET": "2xx", "other": "4xx"}
        assert bool(re.search('method="GET",status="1xx"} 1.0', metrics(server))) is of_asgi


def check(server: Server, path: str, accept: str = "*/*") -> tuple[int, str]:
    response = server.talk(f"GET {path} HTTP/1.1\r\nAccept: {accept}\r\n\r\n".encode(), "metrics")
    head, _, body = response.decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


def test_health_and_readiness(tmp_path: Path) -> None:
    with Server(tmp_path, app=APP, ini=INI + "shutdown-delay = 60\npidfile = run.pid\n",
                ready=False) as server:
        server.wait_for("ready: ", 2)
        assert check(server, "/healthz") == check(server, "/readyz") == (200, "ok\n")
        subprocess.run([*GEVENTUWSGI, "--pause", "run.pid"], cwd=tmp_path, check=True,
                       env={**os.environ, "PYTHONPATH": str(ROOT)})
        wait_until(lambda: check(server, "/readyz") == (503, "failed: a worker accepts\n"),
                   "a pause is noticed")
        assert check(server, "/healthz")[0] == 200
        subprocess.run([*GEVENTUWSGI, "--resume", "run.pid"], cwd=tmp_path, check=True,
                       env={**os.environ, "PYTHONPATH": str(ROOT)})
        wait_until(lambda: check(server, "/readyz")[0] == 200, "so is its end")
        for pid in server.workers():
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: check(server, "/healthz") == (503, "failed: a worker responds\n"),
                   "no worker responds", 15)
        for pid in server.workers():
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: check(server, "/healthz")[0] == 200, "they do again")
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: check(server, "/readyz") == (503, "failed: no stop is near\n"),
                   "the stop is known")
        status, body = check(server, "/readyz", "application/json")
        assert (status, json.loads(body)) == (503, {
            "a worker responds": True, "a worker accepts": True, "no stop is near": False})
        assert check(server, "/healthz")[0] == 200
        server.send_signal(signal.SIGTERM)


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


def test_an_upgrade_keeps_the_sums(server: Server) -> None:
    for _ in range(5):
        server.get()
    wait_until(lambda: metric(server, "geventuwsgi_requests_total") == 5, "the sum")
    server.send_signal(signal.SIGUSR2)
    server.wait_for("after an upgrade")
    server.wait_for("ready: 2 workers (generation 2)")
    found = wait_until(lambda: metrics(server), "the new monitor answers")
    assert "geventuwsgi_requests_total 5.0" in found
    assert 'method="GET",status="2xx"} 5.0' in found
    assert 'geventuwsgi_request_duration_seconds_bucket{le="+Inf"} 5.0' in found


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


def run_status(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*GEVENTUWSGI, "--status", *arguments], cwd=directory, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)


@pytest.fixture
def named(tmp_path: Path) -> Iterator[Server]:
    """A server with a pid file, whose second worker dies at the start while a file exists."""
    with Server(tmp_path, ini=INI + "pidfile = run.pid\nlazy-apps = true\n", ready=False, app="""
import os, uwsgi
if uwsgi.worker_id() == 2 and os.path.exists("broken"):
    os._exit(1)
""" + APP) as server:
        server.wait_for("ready: ", 2)
        yield server


def test_status(named: Server) -> None:
    host, port = named.address("stats", 1)
    named.get()
    for name in ("run.pid", f"{host}:{port}", "stats.sock"):
        result = run_status(named.directory, name)
        assert (result.returncode, result.stderr) == (0, "")
        first, *rest = result.stdout.splitlines()
        assert first == (f"OK: ready (pid: {named.pid}), 2 of 2 workers ready, 0 requests in "
                         "progress")
        assert [line.split()[1] for line in rest[-2:]] == [str(pid) for pid in named.workers()]
        assert len({len(line) for line in rest[-3:]}) == 1
        for order in ((name, "--format", "json"), (name, "--format=json")):
            found = json.loads(run_status(named.directory, *order).stdout)
            assert (found["status"], found["state"], found["problems"]) == (0, "ready", [])
            assert len(found["workers"]) == 2


def test_status_of_a_paused_server(named: Server) -> None:
    subprocess.run([*GEVENTUWSGI, "--pause", "run.pid"], cwd=named.directory, check=True,
                   env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert run_status(named.directory, "run.pid").returncode == 1
    result = wait_until(
        lambda: (found := run_status(named.directory, "stats.sock")).returncode == 1 and found,
        "the pause is known")
    assert result.stdout.startswith("DEGRADED: paused")


def test_status_after_the_directory_is_gone(tmp_path: Path) -> None:
    release = tmp_path / "release"
    release.mkdir()
    with Server(release, app=APP, ini=INI.replace("stats.sock", f"{tmp_path}/stats.sock")
                + f"pidfile = {tmp_path}/run.pid\n", ready=False) as server:
        server.wait_for("ready: ", 2)
        shutil.rmtree(release)
        for name in ("run.pid", "stats.sock"):
            assert run_status(tmp_path, name).returncode == 0
        assert json.loads(run_status(tmp_path, "run.pid", "--format=json").stdout)["cwd"] == ""
        assert server.get().endswith(b"ok")


def test_status_for_another_user(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        missing("root")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        pid_file = os.path.join(directory, "run.pid")
        with Server(tmp_path, "app", "--pidfile", pid_file, app=APP):
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                status = 99
                try:
                    os.setgid(65534)
                    os.setuid(65534)
                    status = show_status(pid_file, False,
                                         lambda text: os.write(writer, text.encode()))
                finally:
                    os._exit(status)
            os.close(writer)
            with open(reader) as output:
                text = output.read()
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert text == "UNKNOWN: uid 65534 may not control a server of uid 0\n"


def test_sockets_of_a_router(tmp_path: Path) -> None:
    with Server(tmp_path, app=APP, ready=False, ini="""
[uwsgi]
http = 127.0.0.1:0
wsgi-file = app.py
stats = 127.0.0.1:0
http-stats-server = 127.0.0.1:0
""") as server:
        server.wait_for("ready: ", 3)
        assert [one["name"] for one in stats(server)["sockets"]] == [
            "%s:%d" % server.address("http")]   # type: ignore[str-format]


def test_status_of_workers_that_keep_dying(named: Server) -> None:
    (named.directory / "broken").touch()
    named.kill(named.workers()[1])
    result = wait_until(
        lambda: (found := run_status(named.directory, "run.pid")).returncode == 1 and found,
        "it is noticed that the worker keeps dying")
    assert result.stdout.startswith("DEGRADED: ready")
    assert "! worker 2 has died " in result.stdout
    (named.directory / "broken").unlink()
    wait_until(lambda: run_status(named.directory, "run.pid").returncode == 0,
               "the worker is there again")


def test_status_of_a_full_queue(tmp_path: Path) -> None:
    with Server(tmp_path, ini=INI + "pidfile = run.pid\nlisten = 1\n", app=APP,
                ready=False) as server:
        server.wait_for("ready: ", 2)
        for pid in server.workers():
            os.kill(pid, signal.SIGSTOP)
        waiting = [server.connect() for _ in range(2)]
        assert run_status(server.directory, "run.pid").returncode == 1
        result = run_status(server.directory, "stats.sock")
        assert result.returncode == 1 and "is full (2)" in result.stdout
        for pid in server.workers():
            os.kill(pid, signal.SIGCONT)
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize("name, reason", [
    ("stale.pid", "is stale"), ("nowhere.pid", "nowhere.pid"), ("a:b:c", "a:b:c")])
def test_status_of_a_server_that_is_gone(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "stale.pid").write_text("1\n")
    result = run_status(tmp_path, name)
    assert (result.returncode, result.stderr) == (2, "")
    assert result.stdout.startswith("DOWN: ") and reason in result.stdout
    found = json.loads(run_status(tmp_path, name, "--format", "json").stdout)
    assert found["status"] == 2 and reason in found["problems"][0]


@pytest.mark.parametrize("document", [b"{}", b"", b"[1]", b'{"workers": [1], "sockets": []}'])
def test_status_of_another_program(tmp_path: Path, document: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, ThreadPoolExecutor(1) as pool:
        other.settimeout(30)
        result = pool.submit(run_status, tmp_path, "127.0.0.1:%d" % other.getsockname()[1])
        with other.accept()[0] as sock:
            sock.sendall(document)
        assert result.result().returncode == 2
        assert "does not send the statistics" in result.result().stdout


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return True
    return False
