"""Fifty reloads and a few killings under load: `python -m benchmarks.soak`.

Reloads: over all protocols no request may fail, long responses included; no process and no
descriptor may be left over, and the master's memory has to stay flat.

Killings: at random moments all workers, or the template and all workers, get SIGKILL.
Requests may fail only on connections that the killed had; the time until the next answer is
measured with a connection that is opened right after.
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
from benchmarks.peers import GEVENTUWSGI, free_port
from geventuwsgi.master import console_client

HOUSE = Path(__file__).resolve().parent.parent
WORKERS = 2
LONG = 20           # seconds that a long response takes
RECOVERY = 2.0      # seconds until the next answer, beside the application's load time
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
gevent = 100
pidfile = server.pid
disable-logging = true
logto = server.log
"""


class Server:
    """The server under test, and what /proc tells of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        (directory / "app.py").write_text(APP)
        (directory / "app.ini").write_text(INI.format(port=self.port, workers=WORKERS))
        self.process = subprocess.Popen(
            [*GEVENTUWSGI, "-c", "app.ini"], cwd=directory,
            env={**os.environ, "PYTHONPATH": str(HOUSE)}, stdin=subprocess.DEVNULL)
        wait(lambda: "ready: " in self.log(), "the start")

    def log(self) -> str:
        """Return what the server has logged."""
        path = self.directory / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def children(self) -> list[int]:
        """Return the pids of its template and workers."""
        pid = self.process.pid
        return [int(text) for text in
                Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def workers(self) -> list[int]:
        """Return the pids of those that were forked, which is not the template."""
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
    return b"template" in line or b"boot.playing" in line


def wait(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it is not in time.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


def reloads(server: Server, number: int) -> bool:
    """Reload again and again under load; print figures and tell whether all is well."""
    pid_file = str(server.directory / "server.pid")
    uwsgi = str(server.directory / "uwsgi.sock")
    console_client.call(pid_file, ["reload"], print)  # what is loaded once is loaded
    wait(lambda: len(server.children()) == WORKERS + 1, "the end of the first workers")
    fds, before = server.descriptors(), server.memory()
    began = time.monotonic()
    with Load(("127.0.0.1", server.port), uwsgi, kept=3, closed=2, packets=2, long=2) as load:
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


def killings(server: Server, number: int) -> bool:
    """Kill at random moments under load; print figures and tell whether all is well."""
    slowest = 0.0
    load = Load(("127.0.0.1", server.port), str(server.directory / "uwsgi.sock"), kept=3,
                closed=2, packets=2)
    threads = 7
    with load:
        for index in range(number):
            time.sleep(random.uniform(1.2, 2.0))  # an early death is throttled
            victims = server.workers() if index % 2 else server.children()
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            with connect(("127.0.0.1", server.port)) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = sock.recv(100)
            took = time.monotonic() - began
            slowest = max(slowest, took if answer.startswith(b"HTTP/1.1 200") else 1e9)
        wait(lambda: len(server.children()) == WORKERS + 1, "all workers")
    print(f"{number} times all workers killed, every other time the template too, under "
          f"{load.count} requests: {len(load.failures)} failed, at most {threads} a time are "
          f"open; the next answer took {slowest:.2f} s at most")
    return len(load.failures) <= threads * number and slowest <= RECOVERY + 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both; exit status 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--reloads", type=int, default=50, help="default: %(default)s")
    parser.add_argument("--kills", type=int, default=10, help="default: %(default)s")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory))
        try:
            well = reloads(server, given.reloads)
            well = killings(server, given.kills) and well
            family = server.children()
            console_client.call(str(server.directory / "server.pid"), ["stop"], print,
                                until_gone=False)
            server.process.wait(60)
            left = [pid for pid in family if os.path.exists(f"/proc/{pid}")]
            print(f"stopped with status {server.process.returncode}; "
                  f"left over: {left or 'nothing'}")
            return int(not well or bool(left) or server.process.returncode != 0)
        finally:
            server.process.kill()
            server.process.wait()


if __name__ == "__main__":
    sys.exit(main())
