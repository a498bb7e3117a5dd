"""Run scenarios and print the table: `python -m benchmarks --help`."""

import argparse
import os
import platform
import resource
import sys
import time
from importlib import metadata

from benchmarks import asgi, https, peers, router
from benchmarks.clients import LoadError
from benchmarks.measure import LOAD_CORE
from benchmarks.scenarios import OURS, Row, Run
from benchmarks.scenarios import SCENARIOS as WSGI_SCENARIOS

DISTRIBUTIONS = {"geventuwsgi": "geventuwsgi", "gunicorn": "gunicorn", "uwsgi": "pyuwsgi",
                 "pywsgi": "gevent", "uvicorn": "uvicorn", "granian": "granian"}
SCENARIOS = {**WSGI_SCENARIOS, "asgi": asgi.http, "websocket": asgi.websocket,
             "https": https.https, "router": router.router}


def check_limits(row: Row) -> str:
    """Return for each limit of a row the value reached, and whether it is within the limit."""
    ours = row.values.get(OURS)
    words = []
    for limit in row.limits:
        if ours is None:
            continue
        reference = 1.0 if limit.peer is None else row.values.get(limit.peer)
        if reference is None:
            continue
        reached = ours / reference
        against = row.unit if limit.peer is None else f"of {limit.peer}"
        word = "ok" if reached <= limit.factor else "MISSED"
        words.append(f"{reached:.2f} <= {limit.factor:.2f} {against}: {word}")
    return "; ".join(words)


def line(row: Row, names: tuple[str, ...]) -> str:
    """Format one row: the value of each peer, and in parentheses its ratio to ours."""
    ours = row.values.get(OURS)
    cells = []
    for name in names:
        value = row.values.get(name)
        text = "-" if value is None else f"{value:.1f}"
        if value is not None and ours is not None and name != OURS and ours > 0:
            text += f" ({value / ours:.1f}x)"
        cells.append(f"{text:>16}")
    return f"{row.label:34} {row.unit:10} {' '.join(cells)}   {check_limits(row)}"


def main() -> int:
    """Run the scenarios of the command line; return 1 if a limit was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("scenario", nargs="*", help=f"of {', '.join(SCENARIOS)}; default all")
    parser.add_argument("--peers", default=",".join(peers.COMMANDS), help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=4, help="per measurement: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="per peer: %(default)s")
    arguments = parser.parse_args()
    names = tuple(arguments.peers.split(","))
    if wrong := {*names} - {*peers.COMMANDS} | {*arguments.scenario} - {*SCENARIOS}:
        parser.error(f"unknown: {', '.join(sorted(wrong))}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.sched_setaffinity(0, {LOAD_CORE})

    run = Run(names, min(arguments.seconds, 60), arguments.rounds)
    print(f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d %H:%M')}, "
          + ", ".join(f"{name}: {version(name)}" for name in names))
    print(f"{'':45} " + " ".join(f"{name:>16}" for name in names), flush=True)
    missed = False
    for scenario in arguments.scenario or SCENARIOS:
        try:
            for row in SCENARIOS[scenario](run):
                print(line(row, names), flush=True)
                missed |= "MISSED" in check_limits(row)
        except LoadError as error:
            run.notes.append(f"{scenario}: {error}")
    for note in run.notes:
        print("note:", note)
    return 1 if missed or run.notes else 0


def version(name: str) -> str:
    """Return the name and version of a peer's distribution."""
    try:
        return f"{DISTRIBUTIONS[name]} {metadata.version(DISTRIBUTIONS[name])}"
    except metadata.PackageNotFoundError:
        return f"{DISTRIBUTIONS[name]} (of this directory)"


if __name__ == "__main__":
    sys.exit(main())
