"""What the scoreboard and the listening sockets say at one moment, as plain numbers."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..ipc import scoreboard
from ..ipc.scoreboard import Row, Scoreboard
from ..net import listen_queue
from ..net.listener import Listener

SILENT_NS = 5 * 10 ** 9     # a worker whose last heartbeat is older does not respond


class Instance(NamedTuple):
    """What does not change while the monitor runs.

    Attributes:
        master: its pid.
        workers: how many there are to be.
        mountpoints: of the applications, in the order of the configuration.
        directory: that of the applications, "" if it was not set.
        listeners: sockets of clients, which are only looked at.
    """

    master: int
    workers: int
    mountpoints: tuple[str, ...]
    directory: str
    listeners: Sequence[Listener]


class Queue(NamedTuple):
    """The queue of one listening socket: connections that wait, and how many may."""

    listener: Listener
    waiting: int
    maximum: int


def queues(listeners: Sequence[Listener]) -> Iterator[Queue]:
    """Yield the queue of each socket; one that cannot be read counts as empty."""
    for listener in listeners:
        yield Queue(listener, *(listen_queue.measure(listener.socket) or (0, 0)))


def workers(board: Scoreboard) -> dict[int, list[Row]]:
    """Return the rows of workers by number, the newest process of each number first.

    A row whose process has died is included, until the next one takes it.
    """
    found: dict[int, list[Row]] = {}
    for index in range(1, len(board) + 1):
        row = board.row(index)
        number = row.cells[scoreboard.WORKER]
        if number and row.cells[scoreboard.ROLE] == scoreboard.ROLE_WORKER:
            found.setdefault(number, []).append(row)
    for rows in found.values():
        rows.sort(key=lambda row: (row.cells[scoreboard.GENERATION],
                                   row.cells[scoreboard.STARTED]), reverse=True)
    return found


def checks(board: Scoreboard, readiness: bool, stopping: bool) -> dict[str, bool]:
    """Return which checks of the workers pass, by name.

    Args:
        board: the scoreboard.
        readiness: also check whether they accept requests.
        stopping: a stop is near.
    """
    since = time.monotonic_ns() - SILENT_NS
    live = [row.cells for rows in workers(board).values() for row in rows
            if row.cells[scoreboard.PID] and row.cells[scoreboard.HEARTBEAT_NS] > since]
    found = {"a worker responds": bool(live)}
    if readiness:
        found["a worker accepts"] = any(
            cells[scoreboard.STATE] == scoreboard.STATE_READY and cells[scoreboard.ACCEPTING]
            for cells in live)
        found["no stop is near"] = not stopping
    return found


def status_of(row: Row | None) -> str:
    """Return the state of a worker in uWSGI's words: idle, busy, pause or cheap."""
    if row is None or not row.cells[scoreboard.PID]:
        return "cheap"
    if row.cells[scoreboard.IN_PROGRESS]:
        return "busy"
    paused = row.cells[scoreboard.STATE] == scoreboard.STATE_READY \
        and not row.cells[scoreboard.ACCEPTING]
    return "pause" if paused else "idle"
