"""--stacks, py-tracebacker and block-warning, with the hub blocked or not."""

import contextlib
import itertools
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from tests.harness import Program, Server, alive, wait_until
from tests.workers.wsgi.conftest import APP
from tests.workers.wsgi.raw_client import HOST, RawClient, connect, get, get_json

pytestmark = pytest.mark.slow

ARGUMENTS = ("--http-socket", "127.0.0.1:0", "--pidfile", "pid", "--py-tracebacker", "tb",
             "--block-warning", "200", "--disable-logging")
numbers = itertools.count()
LOGGED = [0.0]  # when a stack of a blocked hub was logged: at most one a second is


def stacks(server: Server, status: int = 0) -> str:
    """Return what `--stacks` prints."""
    with Program(sys.executable, "-m", "geventuwsgi", "--stacks", "pid",
                 cwd=server.directory) as program:
        assert program.wait() == status, program.log
        return "\n".join((*program.out, *program.err))


def traced(server: Server, number: int = 1) -> str:
    """Return what a tracebacker's socket sends."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(server.directory / f"tb{number}"))
        return b"".join(iter(lambda: sock.recv(65536), b"")).decode()


@pytest.fixture
def asleep(server: Server) -> Iterator[str]:
    """A request that waits; its name in the stacks."""
    with connect(server) as client:
        name = f"asleep{next(numbers)}"
        client.send(f"GET /hold?{name} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        wait_until(lambda: f"GET /hold?{name}" in get_json(server, "/calls"))
        yield f"request GET /hold?{name} from {client.name} on core "
        get(server, f"/release?{name}")
        assert client.read_response().body == b"held"


def test_stacks_of_requests_and_of_their_greenlets(server: Server, asleep: str) -> None:
    get(server, "/spawn")
    with connect(server) as idle:
        idle.get("/hello")
        report = stacks(server)
    assert re.search(r"^worker 1 \(pid: \d+\)$", report, re.M)
    assert asleep in report and "in hold\n" in report and "running for" in report
    found = re.search(r"^Greenlet at 0x[0-9a-f]+:\n(.*\n)*?.*in sleep_in_background", report, re.M)
    assert found, report
    assert "1 other connections: they wait for a request or for a slot" in report
    assert "blocked" not in report
    first = report[report.index(asleep):].splitlines()[1]
    assert 'app.py", line' in first, "the application's frames, without the server's"


@contextlib.contextmanager
def blocked(server: Server, kind: str) -> Iterator[RawClient]:
    """Block the hub, in Python or in C, until the end of the block."""
    file = server.directory / f"file{next(numbers)}"
    path = f"/{kind}-until?{file.name}"
    if kind == "in-c":
        os.mkfifo(file)
    time.sleep(max(0, LOGGED[-1] + 1 - time.monotonic()))  # and this one is to be logged
    with connect(server) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        server.wait_for(f"by request GET {path}")
        yield client
        with open(file, "wb"):
            assert client.read_response().status == 200, "the request was not affected"
        server.wait_for("runs again, after", len(LOGGED))
        LOGGED.append(time.monotonic())


@pytest.mark.parametrize("kind", ["busy", "in-c"])
def test_a_blocked_worker(server: Server, asleep: str, kind: str) -> None:
    """It is logged, and --stacks and the tracebacker show where it is."""
    start = len(server.err)
    with blocked(server, kind) as client:
        report = stacks(server)
        assert f"request GET /{kind}-until?" in report and f"from {client.name} on core" in report
        assert "keeping the hub blocked" in report
        assert asleep in report and "in hold\n" in report, report
        assert f"in {kind.replace('-', '_')}_until\n" in report
        assert f"GET /{kind}-until?" in traced(server)
    check_warning(server, start, f"/{kind}-until?", f"{kind.replace('-', '_')}_until")


def check_warning(server: Server, start: int, path: str, function: str) -> None:
    """Check what the log says about a hub that was blocked once."""
    report = "\n".join(server.err[start:])
    found = re.search(r"\[WARNING\] the hub of worker 1 \(pid: \d+\) is blocked for (\d+) "
                      r"milliseconds by request GET " + re.escape(path) + r"\S* from 127.0.0.1",
                      report)
    assert found and int(found[1]) >= 200, report
    assert f"in {function}" in report and 'app.py", line' in report
    assert report.count("is blocked for") == 1
    after = re.search(r"runs again, after (\d+) milliseconds", report)
    assert after and int(after[1]) >= int(found[1])


def test_a_worker_blocked_with_the_lock_is_logged(server: Server) -> None:
    time.sleep(max(0, LOGGED[-1] + 1 - time.monotonic()))
    start = len(server.err)
    get(server, "/with-the-lock?40000000")
    wait_until(lambda: [one for one in server.err[start:] if "runs again, after" in one])
    check_warning(server, start, "/with-the-lock?40000000", "with_the_lock")


def computed(pid: int) -> int:
    """Return the CPU time of a process in hundredths of a second."""
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[11])


def test_stacks_where_no_signal_is_handled(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--pidfile", "pid", "--processes", "2", app=APP,
                ) as server:
        with connect(server) as client:
            busy = int(client.get("/pid").body)
            client.send(b"GET /with-the-lock?2000000000 HTTP/1.1\r\n" + HOST + b"\r\n")
            before = computed(busy)
            wait_until(lambda: computed(busy) > before + 10, "it computes")
            report = stacks(server, 1)
            assert re.search(rf"^worker \d \(pid: {busy}\) does not answer: code in C",
                             report, re.M)
            assert "1 workers did not answer" in report
            other = next(pid for pid in server.workers() if pid != busy)
            assert re.search(rf"^worker \d \(pid: {other}\)$", report, re.M), "the other one did"
            server.wait_for("in with_the_lock")
        server.send_signal(signal.SIGQUIT)
        assert server.wait() == 0


def test_a_worker_that_dies_during_the_request(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--pidfile", "pid", "--processes", "2", app=APP,
                ) as server:
        stopped, other = server.workers()
        server.kill(stopped, signal.SIGSTOP)
        with Program(sys.executable, "-m", "geventuwsgi", "--stacks", "pid",
                     cwd=tmp_path) as program:
            program.wait_for(f"(pid: {other})")
            server.kill(stopped)
            assert program.wait() == 1
        program.wait_for(f"(pid: {stopped}) ended")
        program.wait_for("1 workers did not answer")
        wait_until(lambda: len(server.workers()) == 2)
        assert "did not answer" not in stacks(server)
        assert server.stop() == 0, server.log


def test_stacks_bad_input(server: Server) -> None:
    for name, text, message in (("none", None, "cannot read the pid file"),
                                ("text", "here", "holds no process id"),
                                ("other", "1", "")):
        path = server.directory / name
        if text is not None:
            path.write_text(text)
        with Program(sys.executable, "-m", "geventuwsgi", "--stacks", str(path)) as program:
            assert program.wait() == 1
            assert program.err[0].startswith("geventuwsgi: error: ") and message in program.err[0]


def test_tracebacker(server: Server, asleep: str) -> None:
    report = traced(server)
    assert report.startswith("*** uWSGI Python tracebacker output ***\n\n")
    assert re.search(r"^thread_id = uWSGIWorker1Core\d+ GET /hold\?asleep\d+ filename = \S*app.py "
                     r"lineno = \d+ function = application line = return function\(", report, re.M)
    server.wait_for("python tracebacker for worker 1 available on ")


def test_tracebacker_survives_its_clients(server: Server) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(server.directory / "tb1"))
    assert traced(server).startswith("*** uWSGI")


def test_tracebacker_sockets_of_generations(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--py-tracebacker", "tb", "--processes", "2",
                app=APP) as server:
        assert traced(server, 1) and traced(server, 2)
        before = (tmp_path / "tb1").stat().st_ino
        old = server.workers()
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: ", 2)
        wait_until(lambda: not any(map(alive, old)), "the end of the old workers")
        assert traced(server, 1) and traced(server, 2), "the old removed no file of the new"
        assert (tmp_path / "tb1").stat().st_ino != before
        assert server.stop() == 0
        assert not (tmp_path / "tb1").exists()


def test_tracebacker_that_cannot_listen(tmp_path) -> None:
    with Server(tmp_path, "app:application", "--py-tracebacker", "missing/tb", app=APP) as server:
        server.wait_for("py-tracebacker: cannot listen on ")
        assert get(server, "/hello").body == b"hello"


def test_no_warning_without_a_block(server: Server) -> None:
    start = len(server.err)
    get(server, "/sleep?0.4")
    get(server, "/busy?0.05")
    assert not [one for one in server.err[start:] if "blocked" in one]
