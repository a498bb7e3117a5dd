"""Kills, reloads, stops and harakiris with native threads, in both models: only the requests that
they are meant for fail."""

import contextlib
import http.client
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.harness import Server, alive, wait_until
from tests.integration.load import Load

HERE = Path(__file__).parent
INI = """
[uwsgi]
http-socket = 127.0.0.1:0
module = native_chaos_app:application
master = true
disable-logging = true
"""
MODES = {"main": INI, "threads": INI + "threads = 4\n"}
PIECE = 262144  # octets
both = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def served(open_path, mode):
    """A function that starts a server with more lines."""
    shutil.copy(HERE / "native_chaos_app.py", open_path)
    started: list[Server] = []

    def start(lines: str = "processes = 1\n") -> Server:
        started.append(Server(open_path, ini=MODES[mode] + lines).start())
        return started[-1]
    yield start
    for server in started:
        server.__exit__()


class Asking:
    """A request in a thread of its own."""

    def __init__(self, server: Server, path: str) -> None:
        self.response = b""
        self.duration = 0.0
        self._thread = threading.Thread(target=self._ask, args=(server, path), daemon=True)
        self._thread.start()

    def _ask(self, server: Server, path: str) -> None:
        begun = time.monotonic()
        try:
            self.response = server.get(path)
        except OSError as error:
            self.response = repr(error).encode()
        self.duration = time.monotonic() - begun

    def result(self) -> bytes:
        """Wait for the response; return its status, or the error."""
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.response.partition(b"\r\n")[0].removeprefix(b"HTTP/1.1 ")


def appears(server: Server, name: str) -> str:
    """Wait for a file of the application; return its text."""
    path = server.directory / name
    wait_until(path.exists, lambda: f"{name}\n{server.log}")
    return path.read_text()


def refuses(server: Server) -> bool:
    """Whether the server accepts no connections any more."""
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False


@both
def test_kill(served):
    """One of two workers is killed under load: what it had fails, nothing else."""
    server = served("processes = 2\n")
    with Load(server, kept=2, closed=2) as load:
        load.wait_for(200)
        server.kill(server.workers()[0])
        server.wait_for("Respawned")
        failed = len(load.failures)
        load.wait_for(load.count + 200)
    assert failed <= 4
    assert len(load.failures) == failed, load.failures
    assert server.stop() == 0


@both
def test_reload(served):
    """Reloads under load lose no request."""
    server = served("processes = 2\n")
    with Load(server, kept=2, closed=2) as load:
        for number in range(2, 5):
            load.wait_for(load.count + 100)
            server.send_signal(signal.SIGHUP)
            server.wait_for(f"ready: 2 workers (generation {number})")
        load.wait_for(load.count + 100)
    assert load.failures == []
    assert server.stop() == 0


@both
def test_reload_between_head_and_end(served):
    """A connection is not closed after a response that has kept it: a thread makes the head of a
    short response too before the hub sends it."""
    server = served()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/held?a")
        response = connection.getresponse()
        assert not response.will_close
        appears(server, "a.begun")
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: 1 worker (generation 2)")
        (server.directory / "a").touch()
        assert response.read() == b"ab"
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
    assert server.stop() == 0


@both
def test_stop(served, mode):
    """SIGTERM lets the requests in progress end."""
    server = served()
    names = ["a"] if mode == "main" else ["a", "b", "c", "d"]
    asking = [Asking(server, f"/wait?{name}") for name in names]
    for name in names:
        appears(server, f"{name}.begun")
    server.send_signal(signal.SIGTERM)
    wait_until(lambda: refuses(server), "the end of the listening socket")
    for name in names:
        (server.directory / name).touch()
    assert [one.result() for one in asking] == [b"200 OK"] * len(names)
    assert server.wait() == 0


@both
def test_stop_with_a_stuck_thread(served):
    """A thread that never ends delays a stop by the mercy, no longer."""
    server = served("worker-reload-mercy = 2\n")
    Asking(server, "/stuck")
    appears(server, "stuck.begun")
    begun = time.monotonic()
    server.stop()
    assert 1.5 < time.monotonic() - begun < 6


@both
@pytest.mark.parametrize("path", ["compute", "sleep", "stuck"])
def test_harakiri(served, path):
    """The client has its 504 at once. A request that goes on costs the worker: one in C code, and
    a call that blocks in another thread than the main thread."""
    server = served("harakiri = 1\nharakiri-graceful-timeout = 1\n")
    worker, = server.workers()
    asking = Asking(server, f"/{path}?20")
    in_main_thread = appears(server, f"{path}.begun") == "True"
    assert asking.result() == b"504 Gateway Timeout"
    assert asking.duration < 2.5
    if path == "compute" or path == "sleep" and in_main_thread:
        assert appears(server, f"{path}.ended") == "Harakiri"
        assert server.body("/pid") == str(worker).encode()
        assert not server.find("ignores its harakiri")
    else:
        server.wait_for("ignores its harakiri")
        server.wait_for("Respawned")
        wait_until(lambda: not alive(worker), f"the end of {worker}\n{server.log}")
        assert server.body("/") == b"hello"
    server.wait_for("HARAKIRI")
    assert server.stop() == 0


@pytest.mark.parametrize("mode", ["threads"])
def test_harakiri_and_others(served):
    """The worker is replaced after its other requests, which get their responses."""
    server = served("harakiri = 2\nharakiri-graceful-timeout = 1\n")
    worker, = server.workers()
    stuck = Asking(server, "/stuck")
    appears(server, "stuck.begun")
    assert stuck.result() == b"504 Gateway Timeout"
    other = Asking(server, "/wait?a")
    assert appears(server, "a.begun") == str(worker)
    server.wait_for("ignores its harakiri")
    assert alive(worker)
    (server.directory / "a").touch()
    assert other.result() == b"200 OK"
    wait_until(lambda: not alive(worker), f"the end of {worker}\n{server.log}")
    assert server.body("/") == b"hello"
    assert server.stop() == 0


@both
@pytest.mark.parametrize("path", ["compute", "sleep"])
def test_disconnect(served, mode, path):
    """cancel-on-disconnect ends what Python runs, and a sleep in the main thread."""
    server = served("cancel-on-disconnect = true\n")
    seconds = 20 if (path, mode) != ("sleep", "threads") else 2
    with server.connect() as sock:
        sock.sendall(f"GET /{path}?{seconds} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        appears(server, f"{path}.begun")
    begun = time.monotonic()
    assert appears(server, f"{path}.ended") == "RequestCancelled"
    assert time.monotonic() - begun < 4
    server.wait_for("cancelled")
    assert server.body("/") == b"hello"
    assert server.stop() == 0


@both
@pytest.mark.parametrize("how", ["return", "exit", "raise"])
def test_forked_child_leaves_the_application(served, mode, how):
    """A child that does not end by os._exit is no server: the worker goes on alone."""
    server = served("worker-reload-mercy = 2\n")
    try:
        for path, text in ((f"/fork?{how}", b"parent"), *[("/", b"hello")] * 8):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=3)
            with contextlib.closing(connection):
                connection.request("GET", path)
                assert connection.getresponse().read() == text
        child = int(appears(server, "fork.child"))
        wait_until(lambda: not alive(child), f"the end of {child}", 3)
        assert server.stop() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(appears(server, "fork.child")), signal.SIGKILL)


def peak(pid: int) -> int:
    """Return the largest resident size of a process, in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) // 1024


@both
def test_memory(served):
    """200 MB up and down."""
    server = served()
    worker, = server.workers()

    def upload(octets: int) -> None:
        with server.connect() as sock:
            sock.sendall(b"POST /upload HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
                         b"Content-Length: %d\r\n\r\n" % octets)
            for _ in range(octets // PIECE):
                sock.sendall(b"u" * PIECE)
            response = b""
            while piece := sock.recv(65536):
                response += piece
        assert response.endswith(b"\r\n\r\n%d" % octets)

    def download(count: int) -> None:
        with server.connect() as sock:
            sock.sendall(b"GET /pieces?%d HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
                         % count)
            received = 0
            while piece := sock.recv(1 << 20):
                received += len(piece)
        assert count * PIECE < received < count * PIECE + 1000

    upload(20 * PIECE)
    download(20)
    before = peak(worker)
    upload(800 * PIECE)
    download(800)
    assert peak(worker) - before < 10
    assert server.stop() == 0


@both
@pytest.mark.parametrize("path", ["/whole?80", "/file"])
def test_slow_readers(served, path):
    """A response in one piece and a file need no thread while slow clients read them."""
    server = served()
    (server.directory / "large").write_bytes(b"f" * 80 * PIECE)
    socks = [server.connect() for _ in range(6)]
    for sock in socks:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        assert sock.recv(10)
    for _ in range(3):
        assert server.body("/") == b"hello"
    for sock in socks:
        with sock:
            received = 10
            while piece := sock.recv(1 << 20):
                received += len(piece)
        assert received > 80 * PIECE
    assert server.stop() == 0


@both
def test_health_check_meanwhile(served):
    """The hub responds by a rule while all threads compute."""
    server = served("route = ^/healthz$ return:204\n")
    asking = Asking(server, "/compute?1.5")
    appears(server, "compute.begun")
    delays: list[float] = []
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        begun = time.monotonic()
        assert server.get("/healthz").startswith(b"HTTP/1.1 204")
        delays.append(time.monotonic() - begun)
    assert asking.result() == b"200 OK"
    assert sorted(delays)[len(delays) // 2] < 0.02
    assert max(delays) < 0.2
    assert server.stop() == 0
