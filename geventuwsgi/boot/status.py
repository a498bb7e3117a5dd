"""The command `--status`: how an instance is, for people and for scripts.

The master reports (`StatusCommand`), the process of the command prints (`show_status`). The exit
statuses are those of Nagios plugins: 0 fine, 1 degraded, 2 down, 3 unknown. `stats` knows less
than the master: neither its state nor which processes keep dying.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import GeventuwsgiError, NoAnswer
from ..ipc.scoreboard import Scoreboard
from ..master import console_client
from ..master.console import Caller
from ..master.generation import DRAINING, Generation
from ..master.master import Master
from ..monitor import uwsgi_json
from ..monitor.figures import Instance
from ..system import probe

FINE, DEGRADED, DOWN, UNKNOWN = range(4)
TIMEOUT = 10.0      # seconds for an answer
_WORDS = ("OK", "DEGRADED", "DOWN", "UNKNOWN")
# Title, key, and how a value is shown.
_COLUMNS: Sequence[tuple[str, str, Callable[[int], str]]] = (
    ("worker", "id", str), ("pid", "pid", str), ("generation", "generation", str),
    ("state", "state", str), ("requests", "requests", str), ("busy", "in_progress", str),
    ("connections", "connections", str), ("exceptions", "exceptions", str),
    ("harakiris", "harakiri_count", str), ("average ms", "avg_rt", lambda us: f"{us / 1000:.1f}"),
    ("MB", "rss", lambda octets: f"{octets / 1048576:.1f}"),
    ("CPU s", "cpu_time", lambda us: f"{us / 1e6:.1f}"),
    ("up s", "last_spawn", lambda at: str(int(time.time() - at) if at else 0)))


class StatusCommand:
    """The console's command `status`.

    Args:
        instance: returns what the statistics take from the configuration.
        board: the scoreboard.
        master: the master.
    """

    def __init__(self, instance: Callable[[], Instance], board: Scoreboard,
                 master: Master) -> None:
        self._instance = instance
        self._board = board
        self._master = master

    def __call__(self, caller: Caller, arguments: Sequence[str]) -> None:
        """Send the statistics in JSON, with `status`, `state` and `problems`."""
        found = uwsgi_json.snapshot(self._instance(), self._board, cores=False)
        problems = [*_of_roles(self._master.generations), *_of_sockets(found["sockets"])]
        state = self._master.state
        status = (DOWN if not self._master.healthy else
                  DEGRADED if problems or state in ("paused", "stopping") else FINE)
        caller.write(json.dumps({"status": status, "state": state, "problems": problems, **found}))
        caller.end()


def _of_roles(generations: Iterable[Generation]) -> Iterable[str]:
    """Yield what is wrong with the processes."""
    for generation in generations:
        if generation.state == DRAINING:
            continue
        name = generation.role.name
        for number, failures in sorted(generation.failing.items()):
            yield f"{name} {number} has died {failures} times in a row"
        for worker in generation.workers.values():
            if worker.stacks_at is not None:
                yield f"{name} {worker.id} (pid: {worker.pid}) is stuck"


def _of_sockets(sockets: Iterable[dict[str, Any]]) -> Iterable[str]:
    """Yield the sockets whose listen queue is full."""
    for one in sockets:
        if 0 < one["max_queue"] <= one["queue"]:
            yield f"the listen queue of {one['name']} is full ({one['queue']})"


def text(report: dict[str, Any]) -> str:
    """Return the report of a master as a table; its first line says it all."""
    workers = report["workers"]
    ready = sum(worker["state"] == "ready" for worker in workers)
    busy = sum(worker["in_progress"] for worker in workers)
    lines = [f"{_WORDS[report['status']]}: {report['state']} (pid: {report['pid']}), {ready} of "
             f"{len(workers)} workers ready, {busy} request{'s' * (busy != 1)} in progress"]
    lines += [f"! {problem}" for problem in report["problems"]]
    lines += [f"{one['proto']} {one['name']}: {one['queue']} of {one['max_queue']} in the queue"
              for one in report["sockets"]]
    rows = [[title for title, _, _ in _COLUMNS]]
    rows += [[show(worker[key]) for _, key, show in _COLUMNS] for worker in workers]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
    return "\n".join(lines) + "\n"


def show_status(name: str, in_json: bool, write: Callable[[str], object]) -> int:
    """Print how an instance is; return the exit status.

    Args:
        name: its pid file, or the address of its `stats`.
        in_json: print all figures as JSON.
        write: prints.
    """
    try:
        report = _ask(name)
    except GeventuwsgiError as error:
        status = UNKNOWN if isinstance(error, NoAnswer) else DOWN
        write(json.dumps({"status": status, "problems": [str(error)]}) + "\n" if in_json
              else f"{_WORDS[status]}: {error}\n")
        return status
    write(json.dumps(report, indent=2) + "\n" if in_json else text(report))
    status = report["status"]
    return status


def _ask(name: str) -> dict[str, Any]:
    """Return the report of a master.

    Raises:
        GeventuwsgiError: there is no master, or it does not answer.
    """
    pieces: list[str] = []
    if os.path.isfile(name):
        console_client.call(name, ("status",), pieces.append, timeout=TIMEOUT)
        found: dict[str, Any] = json.loads("".join(pieces))
        return found
    probe.read_all(name, TIMEOUT, pieces.append)
    document = "".join(pieces)
    if document.startswith("HTTP/"):
        document = document.partition("\r\n\r\n")[2]
    try:
        found = json.loads(document)
        ready = any(worker["state"] == "ready" for worker in found["workers"])
        paused = ready and all(worker["status"] in ("pause", "cheap")
                               for worker in found["workers"])
        problems = list(_of_sockets(found["sockets"]))
    except (ValueError, KeyError, TypeError):
        raise GeventuwsgiError(f"{name} does not send the statistics of geventuwsgi") from None
    status = DOWN if not ready else DEGRADED if paused or problems else FINE
    state = "paused" if paused else "ready" if ready else "no worker is ready"
    return {"status": status, "state": state, "problems": problems, **found}
