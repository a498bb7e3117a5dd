"""Processes that the previous version of this server started, before an upgrade in place.

The upgraded master is the same process, so they are still its children. But workers use the
previous version's messages and scoreboard; only `drain` and `die` never change. So
inherited workers can serve, drain and exit: they are not respawned, and their heartbeat is
not checked. Daemons are stopped, as the new version starts its own; those with a pid file
keep running and are not among them.
"""

import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..ipc import channel
from ..ipc.scoreboard import Scoreboard
from .attached.attached import Attached
from .children import Process, Rows, Worker, kill
from .generation import DRAINING, SERVING, Generation
from .reports import AT_ONCE, is_child
from .role import Role

logger = logging.getLogger("geventuwsgi.error")

RETRY = 5.0     # seconds between requests for a new generation when no worker is left


def describe(generation: Generation) -> dict[str, Any]:
    """Return the state of a generation for the next version."""
    return {
        "number": generation.number, "role": generation.role.name,
        "grace": generation.role.grace, "serves": generation.state == SERVING,
        "template": ([generation.template.pid, generation.template.control.fileno()]
                     if generation.template is not None else None),
        "workers": [{"id": worker.id, "pid": worker.pid, "fd": worker.control.fileno(),
                     "asked_at": worker.stop_requested_at, "deadline": worker.deadline}
                    for worker in generation.all_workers()]}


def descriptors(description: dict[str, Any]) -> list[int]:
    """Return the descriptors in a result of `describe`."""
    template = description["template"]
    return ([template[1]] if template else []) + [one["fd"] for one in description["workers"]]


class InheritedGeneration(Generation):
    """A generation of the previous version.

    Args:
        described: what that version's `describe` returned.
        selector: the master's.
        short: called when one of its workers has died while no newer generation serves.
    """

    def __init__(self, described: dict[str, Any], selector: selectors.BaseSelector,
                 short: Callable[[], None]) -> None:
        workers = described["workers"]
        role = Role(described["role"], 0, (), grace=described["grace"])
        rows = Rows(Scoreboard.create(max(len(workers), 1)))
        super().__init__(described["number"], role, 0, rows, selector)
        self.state = SERVING if described["serves"] else DRAINING
        self._ever_loaded = self.ever_ready = True
        self._short = short
        self._due = 0.0
        for description in workers:
            self._adopt(description, rows)
        if described["template"]:
            pid, fd = described["template"]
            self.template = Process(pid, socket.socket(fileno=fd))
            self.template.superseded = True
            self.template.signal(signal.SIGKILL)  # no more forks

    def _adopt(self, description: dict[str, Any], rows: Rows) -> None:
        index = rows.take()
        worker = Worker(description["id"], rows.board.row(index),
                        socket.socket(fileno=description["fd"]), pid=description["pid"])
        worker.ready_at = time.monotonic()
        worker.stop_requested_at = description["asked_at"]
        worker.deadline = description["deadline"]
        if worker.stop_requested_at is not None or worker.id in self.workers:
            self.draining.append(worker)
        else:
            self.wanted.add(worker.id)
            self.workers[worker.id] = worker
            self._row_of[worker.id] = index
        self._watch(worker.control, lambda: self._read_worker(worker))

    def poll(self, now: float, awake: float) -> float:
        """Kill what is overdue; ask for a new generation if no worker is left."""
        if self.state == SERVING and not self.workers and now >= self._due:
            self._due = now + RETRY
            self._short()
        return super().poll(now, awake)

    def resize(self, count: int, now: float) -> None:
        """Ignore the request: the next generation has the configured number."""

    def _fill(self, now: float) -> None:
        """Start nothing."""

    def _read_worker(self, worker: Worker) -> None:
        """Read a pid, and the end; the rest may be messages of another version."""
        for _ in range(AT_ONCE):
            message, pid, _ = channel.receive_with_sender(worker.control)
            if message is None:
                return
            if message == b"":
                self._end_of(worker)
                return
            if message.startswith(channel.PID) and not worker.pid and is_child(pid):
                worker.pid = pid
                if worker.stop_requested_at is not None:
                    channel.send(worker.control, channel.DRAIN)

    def _worker_exited(self, worker: Worker, status: int | None) -> None:
        super()._worker_exited(worker, status)
        if self.state == SERVING:
            self._short()


class InheritedDaemons(Attached):
    """Daemons of the previous version: SIGTERM at the start, SIGKILL after the grace.

    Args:
        pids: their pids; they are children that were not reaped yet.
        grace: seconds between the two signals.
    """

    def __init__(self, pids: Iterable[int], grace: float) -> None:
        self._pids = set(pids)
        self._grace = grace
        self._deadline: float | None = None

    @property
    def done(self) -> bool:
        """Whether all have exited."""
        return not self._pids

    def start(self, now: float) -> None:
        """Send SIGTERM."""
        self._deadline = now + self._grace
        self._signal(signal.SIGTERM)

    def poll(self, now: float) -> float:
        """Send SIGKILL to those that are overdue."""
        if self._deadline is not None and self._pids and now >= self._deadline:
            self._signal(signal.SIGKILL)
            self._deadline = now + self._grace
        return now + 1.0

    def exited(self, pid: int, status: int) -> bool:
        """Record the exit of one."""
        if pid not in self._pids:
            return False
        self._pids.remove(pid)
        return True

    def stop(self, now: float) -> None:
        """Wait for them, as before."""
        self.poll(now)

    def kill(self, now: float) -> None:
        """Kill them."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for pid in self._pids:
            kill(pid, number)
