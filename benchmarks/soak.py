"""Fifty reloads and some kills under load: `python -m benchmarks.soak`.

Reloads: no request of any protocol may fail, including slow responses; no process or descriptor
may be left over, and the memory of the master must not grow.

Kills: at random times all workers, or the template and all workers, get SIGKILL. Requests may
fail only on connections of the killed processes; the time until the next response is measured
with a connection that is opened immediately afterwards.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.load import Load, connect
from benchmarks.peers import GEVENTUWSGI, PROJECT, free_port
from geventuwsgi.master import console_client

WORKERS = 2
LONG = 20           # seconds that a long response takes
RECOVERY = 2.0      # seconds until the next response, without the application's load time
APP = """
import time

def application(environ, start_response):
    environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/long":
        start_response("200 OK", [("Content-Length", "2000")])
        return slowly()
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]

def slowly():
    for _ in range(200):
        time.sleep(%r)
        yield b"0123456789"
""" % (LONG / 200)
INI = """[uwsgi]
module = app
http-socket = 127.0.0.1:{port}
socket = uwsgi.sock
processes = {workers}
{mode}
pidfile = server.pid
disable-logging = true
logto = server.log
"""


class Server:
    """The server under test, with its figures from /proc."""

    def __init__(self, directory: Path, mode: str) -> None:
        self.directory = directory
        self.port = free_port()
        (directory / "app.py").write_text(APP)
        (directory / "app.ini").write_text(INI.format(
            port=self.port, workers=WORKERS, mode=mode))
        self.process = subprocess.Popen(
            [*GEVENTUWSGI, "-c", "app.ini"], cwd=directory,
            env={**os.environ, "PYTHONPATH": str(PROJECT)}, stdin=subprocess.DEVNULL)
        wait(lambda: "ready: " in self.log(), "the start")

    def log(self) -> str:
        """Return the log of the server."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def children(self) -> list[int]:
        """Return the pids of its template and workers."""
        pid = self.process.pid
        return [int(text) for text in
                Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def workers(self) -> list[int]:
        """Return the pids of its workers."""
        return [pid for pid in self.children() if not _is_template(pid)]

    def descriptors(self) -> int:
        """Return how many descriptors the master has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self) -> int:
        """Return the master's resident KB."""
        text = Path(f"/proc/{self.process.pid}/statm").read_text()
        return int(text.split()[1]) * os.sysconf("SC_PAGESIZE") // 1024


def _is_template(pid: int) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"template" in line or b"boot.worker_process" in line


def wait(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait until a condition is true.

    Raises:
        TimeoutError: it is not true in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


def reloads(server: Server, number: int, long: int) -> bool:
    """Reload repeatedly under load; print figures and return whether it passed."""
    pid_file = str(server.directory / "server.pid")
    uwsgi = str(server.directory / "uwsgi.sock")
    # A first reload, which loads more modules into the master.
    console_client.call(pid_file, ["reload"], print)
    wait(lambda: len(server.children()) == WORKERS + 1, "the end of the first workers")
    fds, before = server.descriptors(), server.memory()
    began = time.monotonic()
    with Load(("127.0.0.1", server.port), uwsgi, kept=3, closed=2, packets=2, long=long) as load:
        for _ in range(number):
            console_client.call(pid_file, ["reload"], print)
            time.sleep(random.uniform(0.0, 0.3))
        took = time.monotonic() - began
        wait(lambda: len(server.children()) == WORKERS + 1, "the end of the old workers", 120)
    wait(lambda: server.descriptors() <= fds, "the end of the connections")
    after = server.memory()
    for failure in load.failures:
        print("  ", failure)
    print(f"{number} reloads in {took:.1f} s under {load.count} requests: {len(load.failures)} "
          f"failed; master {before} -> {after} KB, {fds} -> {server.descriptors()} descriptors, "
          f"{len(server.children())} children")
    return not load.failures and after - before < 1024


def kills(server: Server, number: int) -> bool:
    """Kill processes at random times under load; print figures and return whether it passed."""
    slowest = 0.0
    load = Load(("127.0.0.1", server.port), str(server.directory / "uwsgi.sock"), kept=3,
                closed=2, packets=2)
    threads = 7
    with load:
        for index in range(number):
            time.sleep(random.uniform(1.2, 2.0))  # an early death is throttled
            killed = server.workers() if index % 2 else server.children()
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            with connect(("127.0.0.1", server.port)) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                response = sock.recv(100)
            took = time.monotonic() - began
            slowest = max(slowest, took if response.startswith(b"HTTP/1.1 200") else 1e9)
        wait(lambda: len(server.children()) == WORKERS + 1, "all workers")
    print(f"{number} times all workers killed, every other time the template too, under "
          f"{load.count} requests: {len(load.failures)} failed, at most {threads} a time are "
          f"open; the next response took {slowest:.2f} s at most")
    return len(load.failures) <= threads * number and slowest <= RECOVERY + 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both; return 1 if one has failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--reloads", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--mode", default="gevent = 100", help="the line of the configuration "
                        "that says how requests run; default: %(default)s")
    parser.add_argument("--kills", type=int, default=10, help="default: %(default)s")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory), given.mode)
        try:
            # A long response keeps the only thread of a worker from all other requests.
            passed = reloads(server, given.reloads, 0 if given.mode == "threads = 1" else 2)
            passed = kills(server, given.kills) and passed
            pids = server.children()
            console_client.call(str(server.directory / "server.pid"), ["stop"], print,
                                until_gone=False)
            server.process.wait(60)
            left = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
            print(f"stopped with status {server.process.returncode}; "
                  f"left over: {left or 'nothing'}")
            return int(not passed or bool(left) or server.process.returncode != 0)
        finally:
            server.process.kill()
            server.process.wait()


if __name__ == "__main__":
    sys.exit(main())
