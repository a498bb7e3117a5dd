"""Requests in native threads: what they cost beside uWSGI without gevent and gunicorn's gthread.

    python -m benchmarks.concurrency
    python -m benchmarks.concurrency hello new --rounds 8

The servers of a row run side by side and are measured in turns; a ratio is the median of the
ratios of the rounds.
"""

import argparse
import contextlib
import socket
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import clients, measure, peers
from benchmarks.peers import GEVENTUWSGI, SCRIPTS, Server, Wanted
from benchmarks.scenarios import GIB, IDLE, Load, _wrk, cpu_per_request

HELLO, SLEEP = Wanted("benchmarks.apps:hello"), Wanted("benchmarks.apps:sleep")
SPIN = Wanted("benchmarks.apps:spin")
PACKETS = Wanted("benchmarks.apps:hello", protocol="uwsgi")
THREADS = 8
CLOSE = {"Connection": "close"}


def ours(threads: int) -> Callable[[Wanted], list[str]]:
    """Return the command of geventuwsgi with native threads; 1: the main thread."""
    return lambda wanted: [
        *GEVENTUWSGI, wanted.application, "--bind", f"127.0.0.1:{wanted.port}", "--protocol",
        wanted.protocol, "--threads", str(threads), "--worker-connections", "20000",
        "--disable-logging"]


def uwsgi(threads: int) -> Callable[[Wanted], list[str]]:
    """Return uWSGI's command, without gevent."""
    return lambda wanted: [
        str(SCRIPTS / "pyuwsgi"), "--http-socket" if wanted.protocol == "http" else "--socket",
        f"127.0.0.1:{wanted.port}", "--module", wanted.application, "--master", "--listen", "1024",
        "--threads", str(threads), "--need-app", "--die-on-term", "--disable-logging"]


def gthread(wanted: Wanted) -> list[str]:
    """Return gunicorn's command, with its gthread worker."""
    return [sys.executable, "-m", "gunicorn", wanted.application, "-k", "gthread", "--threads",
            str(THREADS), "-b", f"127.0.0.1:{wanted.port}", "--worker-connections", "20000",
            "--keep-alive", "75", "--log-level", "warning"]


def _packets(server: Server, seconds: float) -> int:
    return clients.new_connections(server.address, clients.NGINX_PACKET, seconds)


class Comparison(NamedTuple):
    """What is measured: our command, a peer's, their loads, and the largest ratio wanted."""

    label: str
    wanted: Wanted
    command: Callable[[Wanted], list[str]]
    load: Load
    peer: str
    peer_command: Callable[[Wanted], list[str]]
    peer_load: Load
    limit: float


COMPARISONS = {
    "hello": Comparison("main thread, kept connections", HELLO, ours(1), _wrk(), "uwsgi",
                        uwsgi(1), _wrk(), 1.3),
    "new": Comparison("main thread, new connections", HELLO, ours(1), _wrk(headers=CLOSE), "uwsgi",
                      uwsgi(1), _wrk(headers=CLOSE), 2.2),
    "uwsgi": Comparison("main thread, uwsgi protocol", PACKETS, ours(1), _packets, "uwsgi",
                        uwsgi(1), _packets, 2.2),
    "threads": Comparison(f"{THREADS} threads, kept connections", HELLO, ours(THREADS), _wrk(),
                          "gunicorn", gthread, _wrk(), 0.5),
}


def compare(one: Comparison, rounds: int, seconds: float) -> None:
    """Measure and print one row."""
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(peers.running("geventuwsgi", one.wanted, one.command))
        peer = stack.enter_context(peers.running(one.peer, one.wanted, one.peer_command))
        for server, load in ((mine, one.load), (peer, one.peer_load)):
            load(server, 1)
        pairs = [(cpu_per_request(mine, one.load, seconds),
                  cpu_per_request(peer, one.peer_load, seconds)) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{one.label:32} {statistics.median(a for a, _ in pairs):7.1f} us   {one.peer:9}"
          f"{statistics.median(b for _, b in pairs):7.1f} us   {ratio:5.2f}   "
          f"wanted {one.limit:g}{'' if ratio <= one.limit else '   MISSED'}", flush=True)


def sleeping(rounds: int, seconds: int) -> None:
    """Print how close threads come to what sleeping requests allow."""
    ideal = THREADS / 0.010
    with peers.running("geventuwsgi", SLEEP, ours(THREADS)) as server:
        best = max(_wrk()(server, seconds) / seconds for _ in range(rounds))
    print(f"{THREADS} threads, 10 ms sleep: {best / ideal:.3f} of {ideal:.0f} requests a second   "
          f"wanted 0.95", flush=True)


def health(rounds: int, seconds: int) -> None:
    """Print how long a health check takes while a request computes in the main thread."""
    slowest = 0.0
    command = ours(1)
    with peers.running("geventuwsgi", SPIN, lambda wanted: [
            *command(wanted), "--route", "^/healthz$ return:200"]) as server:
        for _ in range(rounds):
            with socket.create_connection(server.address) as busy:
                busy.sendall(b"GET /?1 HTTP/1.1\r\nHost: a\r\n\r\n")
                time.sleep(0.1)
                for _ in range(8):
                    began = time.monotonic()
                    with socket.create_connection(server.address) as check:
                        check.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                        if b" 200 " not in check.recv(1000):
                            raise clients.LoadError("the health check failed")
                    slowest = max(slowest, time.monotonic() - began)
                busy.recv(1000)
    print(f"slowest health check beside a request that computes: {1000 * slowest:.1f} ms   "
          f"wanted 20{'' if slowest <= 0.02 else '   MISSED'}", flush=True)


def big(rounds: int, seconds: int) -> None:
    """Print how much the memory grows while 1 GiB goes up and down."""
    for threads in (1, THREADS):
        for name, transfer in (("upload", clients.upload), ("download", clients.download)):
            wanted = Wanted(f"benchmarks.apps:{name}")
            with peers.running("geventuwsgi", wanted, ours(threads)) as server:
                measure.reset_peak(server.pid)
                before = measure.peak_kb(server.pid)
                transfer(server.address, GIB)
                grown = (measure.peak_kb(server.pid) - before) / 1024
            print(f"1 GiB {name}, threads = {threads}: memory grows by {grown:.1f} MB   "
                  f"wanted 10{'' if grown <= 10 else '   MISSED'}", flush=True)


def idle(rounds: int, seconds: int) -> None:
    """Print what an idle connection costs, with native threads and with greenlets."""
    for label, command in (("main thread", ours(1)), ("greenlets", peers.geventuwsgi)):
        with peers.running("geventuwsgi", HELLO, command) as server:
            _wrk()(server, 1)
            before = sum(map(measure.pss_kb, measure.tree(server.pid)))
            connections = clients.IdleConnections(server.address, IDLE)
            after = sum(map(measure.pss_kb, measure.tree(server.pid)))
            connections.close()
        print(f"an idle connection, {label}: {(after - before) / IDLE:.2f} KB", flush=True)


OTHERS = {"sleep": sleeping, "health": health, "big": big, "idle": idle}


def main() -> None:
    """Run the comparisons that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", default=[*COMPARISONS, *OTHERS])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    for name in arguments.names:
        if name in OTHERS:
            OTHERS[name](arguments.rounds, arguments.seconds)
        else:
            compare(COMPARISONS[name], arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
