"""Workers that an earlier version of this server started, before it was upgraded in place.

Their master is the same process, so they are children of it still; but what they speak
is an older protocol, and their scoreboard has an older form. Two words of the control
socket never change: `drain` and `die`. So these workers serve, drain and die, and that is
all: none is started in their place, and nobody looks at their heartbeat.
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
from .role import Role

logger = logging.getLogger("geventuwsgi.error")

AGAIN = 5.0     # seconds between attempts to start a generation where nobody serves any more


def describe(generation: Generation) -> dict[str, Any]:
    """Return what the next version has to know of a generation."""
    return {
        "number": generation.number, "role": generation.role.name,
        "grace": generation.role.grace, "serves": generation.state == SERVING,
        "template": ([generation.template.pid, generation.template.control.fileno()]
                     if generation.template is not None else None),
        "workers": [{"id": worker.id, "pid": worker.pid, "fd": worker.control.fileno(),
                     "asked_at": worker.asked_at, "deadline": worker.deadline}
                    for worker in generation.everybody()]}


def descriptors(description: dict[str, Any]) -> list[int]:
    """Return the descriptors in what `describe` returned."""
    template = description["template"]
    return ([template[1]] if template else []) + [one["fd"] for one in description["workers"]]


class InheritedGeneration(Generation):
    """A generation of the version before.

    Args:
        described: what that version said of it (`describe`).
        selector: where control sockets are watched.
        short: called when one of its workers has died while no newer generation serves.
    """

    def __init__(self, described: dict[str, Any], selector: selectors.BaseSelector,
                 short: Callable[[], None]) -> None:
        workers = described["workers"]
        role = Role(described["role"], 0, (), grace=described["grace"])
        rows = Rows(Scoreboard.create(max(len(workers), 1)))
        super().__init__(described["number"], role, 0, rows, selector)
        self.state = SERVING if described["serves"] else DRAINING
        self._ever_loaded = self.proven = True
        self._short = short
        self._due = 0.0
        for told in workers:
            self._adopt(told, rows)
        if described["template"]:
            pid, fd = described["template"]
            self.template = Process(pid, socket.socket(fileno=fd))
            self.template.superseded = True
            self.template.signal(signal.SIGKILL)  # it is to fork nothing any more

    def _adopt(self, told: dict[str, Any], rows: Rows) -> None:
        index = rows.take()
        worker = Worker(told["id"], rows.board.row(index), socket.socket(fileno=told["fd"]))
        worker.pid = told["pid"]
        worker.ready_at = time.monotonic()
        worker.asked_at, worker.deadline = told["asked_at"], told["deadline"]
        if worker.asked_at is not None or worker.id in self.workers:
            self.leaving.append(worker)
        else:
            self.wanted.add(worker.id)
            self.workers[worker.id] = worker
            self._row_of[worker.id] = index
        self._watch(worker.control, lambda: self._hear_worker(worker))

    def poll(self, now: float, awake: float) -> float:
        """End what is overdue; where nobody serves any more ask for a new generation."""
        if self.state == SERVING and not self.workers and now >= self._due:
            self._due = now + AGAIN
            self._short()
        return super().poll(now, awake)

    def resize(self, count: int, now: float) -> None:
        """Stay as it is: the next generation has the number of the configuration."""

    def _fill(self, now: float) -> None:
        """Start nothing."""

    def _obey(self, worker: Worker, message: bytes) -> None:
        if message.startswith(b"pid "):
            worker.pid = int(message[4:])
            if worker.asked_at is not None:
                channel.send(worker.control, channel.DRAIN)

    def _worker_gone(self, worker: Worker, status: int | None) -> None:
        super()._worker_gone(worker, status)
        if self.state == SERVING:
            self._short()


# Daemons that the version before had attached (an upgrade in place): they are ended.
#
# The new version starts its own, as a reload does; what has a pid file lives on and is not
# here.

class InheritedDaemons(Attached):
    """Children to be ended: SIGTERM at once, SIGKILL after a while. An `Attached`.

    Args:
        pids: theirs; they are children of this process that nobody has reaped.
        grace: seconds between the two.
    """

    def __init__(self, pids: Iterable[int], grace: float) -> None:
        self._pids = set(pids)
        self._grace = grace
        self._deadline: float | None = None

    @property
    def done(self) -> bool:
        """Whether none is left."""
        return not self._pids

    def start(self, now: float) -> None:
        """Ask them to end."""
        self._deadline = now + self._grace
        self._signal(signal.SIGTERM)

    def poll(self, now: float) -> float:
        """Kill those that do not."""
        if self._deadline is not None and self._pids and now >= self._deadline:
            self._signal(signal.SIGKILL)
            self._deadline = now + self._grace
        return now + 1.0

    def exited(self, pid: int, status: int) -> bool:
        """Take note of the end of one."""
        if pid not in self._pids:
            return False
        self._pids.remove(pid)
        return True

    def stop(self, now: float) -> None:
        """Go on as before, until they are gone."""
        self.poll(now)

    def kill(self, now: float) -> None:
        """End them at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        for pid in self._pids:
            kill(pid, number)
