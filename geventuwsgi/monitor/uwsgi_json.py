"""Statistics in the JSON of uWSGI's stats server, which uwsgitop and exporters read.

The keys and their order are those of uWSGI 2.0.30 without its optional parts; ours follow them
(`responses`; `generation`, `state` and more of a worker). Slots have no numbers here: as many
`cores` as there are requests in progress are `in_request`, and the first core has the counters of
its worker. Variables of requests (`vars`) are never shown: they contain cookies and passwords.
"""

import itertools
import json
import os
from collections.abc import Sequence
from typing import Any

from .. import __version__
from ..ipc import scoreboard
from ..ipc.scoreboard import Row, Scoreboard
from ..system.kernel import current_directory
from .figures import Instance, queues, status_of, workers

_LOCKS = ("user 0", "signal", "filemon", "timer", "rbtimer", "cron", "rpc", "snmp")
MOST_CORES = 20_000     # of a worker, which any process of the application can write
_STATES = {scoreboard.STATE_BOOTING: "booting", scoreboard.STATE_READY: "ready",
           scoreboard.STATE_DRAINING: "draining"}


def dump(snapshot: dict[str, Any], minified: bool) -> bytes:
    """Format a snapshot, indented by tabs as uWSGI does, or without blanks."""
    if minified:
        return json.dumps(snapshot, separators=(",", ":")).encode()
    return json.dumps(snapshot, indent="\t", separators=(",", ":")).encode()


def snapshot(instance: Instance, board: Scoreboard, cores: bool) -> dict[str, Any]:
    """Return the statistics as of now.

    Args:
        instance: what does not change.
        board: the scoreboard.
        cores: whether to list the cores of each worker.
    """
    sockets: list[dict[str, Any]] = [
        {"name": one.listener.address.text, "proto": one.listener.protocol,
         "queue": one.waiting, "max_queue": one.maximum, "shared": 0, "can_offload": 0}
        for one in queues(instance.listeners)]
    waiting = sum(one["queue"] for one in sockets)
    running = workers(board)
    responses = dict.fromkeys(scoreboard.STATUSES, 0)
    for status, cell in zip(itertools.cycle(scoreboard.STATUSES), scoreboard.RESPONSES):
        responses[status] += board.total(cell)
    numbers = sorted({*range(1, instance.workers + 1), *running})
    return {
        "version": __version__, "listen_queue": waiting, "listen_queue_errors": 0,
        "signal_queue": 0, "load": waiting, "pid": instance.master, "uid": os.getuid(),
        "gid": os.getgid(), "cwd": current_directory(), "locks": [{name: 0} for name in _LOCKS],
        "sockets": sockets,
        "workers": [_worker(number, running.get(number, ()), instance, cores)
                    for number in numbers],
        "responses": responses}


def _worker(number: int, rows: Sequence[Row], instance: Instance, cores: bool) -> dict[str, Any]:
    """Return the statistics of one number: of its newest process, with the counters of all."""
    cells = rows[0].cells if rows else [0] * scoreboard.CELLS
    counters = {field: sum(row.cells[field] for row in rows) for field in scoreboard.COUNTERS}
    requests = counters[scoreboard.REQUESTS]
    running_time = counters[scoreboard.RESPONSE_TIME_US]
    found: dict[str, Any] = {
        "id": number, "pid": cells[scoreboard.PID], "accepting": cells[scoreboard.ACCEPTING],
        "requests": requests, "delta_requests": cells[scoreboard.PROCESS_REQUESTS],
        "exceptions": counters[scoreboard.EXCEPTIONS],
        "harakiri_count": counters[scoreboard.HARAKIRIS], "signals": 0, "signal_queue": 0,
        "status": status_of(rows[0] if rows else None), "rss": cells[scoreboard.RSS],
        "vsz": cells[scoreboard.VSZ], "running_time": running_time,
        "last_spawn": cells[scoreboard.STARTED],
        "respawn_count": counters[scoreboard.RESPAWNS] + bool(rows),
        "tx": counters[scoreboard.BYTES_SENT], "avg_rt": running_time // max(requests, 1),
        "apps": _applications(cells, instance) if rows else []}
    if cores:
        busy = cells[scoreboard.IN_PROGRESS]
        found["cores"] = [_core(index, requests if index == 0 else 0, index < busy)
                          for index in range(min(cells[scoreboard.CORES], MOST_CORES))]
    return {**found, "generation": cells[scoreboard.GENERATION],
            "state": _STATES.get(cells[scoreboard.STATE], "stopped"),
            "connections": cells[scoreboard.CONNECTIONS],
            "in_progress": cells[scoreboard.IN_PROGRESS], "cpu_time": cells[scoreboard.CPU_US]}


def _applications(cells: Sequence[int], instance: Instance) -> list[dict[str, Any]]:
    """Return the statistics of the applications, each as its worker process counts it."""
    single = len(instance.mountpoints) == 1
    return [{"id": index, "modifier1": 0, "mountpoint": mountpoint,
             "startup_time": cells[scoreboard.LOADED_S], "requests": cells[field],
             "exceptions": cells[scoreboard.EXCEPTIONS] if single else 0,
             "chdir": instance.directory}
            for index, (mountpoint, field) in enumerate(
                zip(instance.mountpoints, scoreboard.APP_REQUESTS))]


def _core(index: int, requests: int, busy: bool) -> dict[str, Any]:
    return {"id": index, "requests": requests, "static_requests": 0, "routed_requests": 0,
            "offloaded_requests": 0, "write_errors": 0, "read_errors": 0,
            "in_request": int(busy), "vars": [], "req_info": {}}
