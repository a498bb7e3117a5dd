"""This checkout beside another one: did a change make anything dearer?

    git worktree add ../before REVISION
    python -m benchmarks.before ../before

Both run with this interpreter, side by side, and are measured in alternating pairs. A row gives
the median CPU time per request of each and the median of the ratios of the pairs; the spread of
the ratios (quartiles) is the noise.
"""

import argparse
import contextlib
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import clients, peers
from benchmarks.asgi import _post
from benchmarks.measure import LOAD_CORE
from benchmarks.peers import GEVENTUWSGI, Server, Wanted
from benchmarks.scenarios import Load, _wrk, cpu_per_request

HELLO, ASGI_HELLO = Wanted("benchmarks.apps:hello"), Wanted("benchmarks.asgi_apps:hello",
                                                            interface="asgi")


def _https(server: Server, seconds: float) -> int:
    return clients.wrk(server.address, seconds, 64, None, scheme="https")


def _packets(server: Server, seconds: float) -> int:
    return clients.new_connections(server.address, clients.NGINX_PACKET, seconds)


def _router(wanted: Wanted) -> list[str]:
    return [*GEVENTUWSGI, wanted.application, "--http", f"127.0.0.1:{wanted.port}",
            "--http-router", "--disable-logging"]


SCENARIOS: dict[str, tuple[Wanted, Load]] = {
    "hello": (HELLO, _wrk()),
    "varying": (HELLO, _wrk(headers=clients.BROWSER, script=clients.VARYING)),
    "post": (Wanted("benchmarks.apps:upload"), _wrk(script=_post(1024))),
    "new": (HELLO, _wrk(headers={"Connection": "close"})),
    "uwsgi": (Wanted("benchmarks.apps:hello", protocol="uwsgi"), _packets),
    "asgi": (ASGI_HELLO, _wrk()),
    "asgi-varying": (ASGI_HELLO, _wrk(headers=clients.BROWSER, script=clients.VARYING)),
    "https": (Wanted("benchmarks.apps:hello", protocol="https"), _https),
    "asgi-https": (Wanted("benchmarks.asgi_apps:hello", protocol="https", interface="asgi"),
                   _https),
    "router": (HELLO, _wrk()),
}


@contextlib.contextmanager
def both(name: str, wanted: Wanted, other: Path) -> Iterator[tuple[Server, Server]]:
    """Start the server of this checkout and that of the other."""
    command = _router if name == "router" else None
    with peers.running("geventuwsgi", wanted, command) as now, \
            peers.running("geventuwsgi", wanted, command, other) as before:
        yield now, before


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.before")
    parser.add_argument("other", type=Path, help="the root of the other checkout")
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; default all")
    parser.add_argument("--seconds", type=int, default=1, help="per measurement: %(default)s")
    parser.add_argument("--pairs", type=int, default=10, help="per scenario: %(default)s")
    arguments = parser.parse_args()
    if wrong := {*arguments.scenario} - {*SCENARIOS}:
        parser.error(f"unknown: {', '.join(sorted(wrong))}")
    os.sched_setaffinity(0, {LOAD_CORE})
    print(f"{'us of CPU per request':22} {'now':>8} {'before':>8} {'ratio':>8}   quartiles")
    for name in arguments.scenario or SCENARIOS:
        wanted, load = SCENARIOS[name]
        pairs = []
        with both(name, wanted, arguments.other.resolve()) as servers:
            for server in servers:
                load(server, 1)
            for turn in range(min(arguments.pairs, 100)):
                order = servers if turn % 2 else servers[::-1]
                found = {id(one): cpu_per_request(one, load, arguments.seconds) for one in order}
                pairs.append(tuple(found[id(one)] for one in servers))
        ratios = [now / before for now, before in pairs]
        low, median, high = statistics.quantiles(ratios, n=4)
        now, before = (statistics.median(values) for values in zip(*pairs))
        print(f"{name:22} {now:8.1f} {before:8.1f} {median:8.3f}   {low:.3f} to {high:.3f}",
              flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
