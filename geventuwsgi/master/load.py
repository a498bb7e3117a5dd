"""The load of the workers, measured in application slots.

A gevent worker with one request and a hundred slots is busy to one hundredth. uWSGI counts
it as busy, which is why its cheaper never scales a gevent server down.

A worker publishes a few times a second how many requests are inside its application. That is
not enough: if requests compute and never wait, the hub runs only between them, and counts
none. So the slots in use are the maximum of

- the requests in progress, as last published;
- the time that requests spent in the application since the last measurement, divided by
  the time passed (the mean number in progress, by Little's law);
- the share of a CPU that the worker uses, of its slots: at 100 % no slot is free;
- all slots, if its hub has not run for a second.
"""

from collections.abc import Iterable
from typing import NamedTuple

from ..ipc import scoreboard
from .children import Worker

BLOCKED = 1.0   # seconds without a heartbeat until all slots of a worker count as in use


class Load(NamedTuple):
    """The load of a generation at one moment.

    Attributes:
        at: time.monotonic().
        wanted: the wanted number of workers.
        ready: how many are ready.
        busy: slots in use, with fractions.
        slots: slots of the workers that are ready.
        backlog: connections that wait to be accepted, in the longest queue.
        resident: bytes of memory of all workers.
        requests: how many they have served; only changes are meaningful.
        in_progress: requests inside the application.
    """

    at: float
    wanted: int
    ready: int
    busy: float = 0.0
    slots: int = 0
    backlog: int = 0
    resident: int = 0
    requests: int = 0
    in_progress: int = 0

    @property
    def busyness(self) -> float:
        """Percentage of slots in use."""
        return 100.0 * self.busy / self.slots if self.slots else 0.0

    @property
    def idle_workers(self) -> float:
        """Free slots, as a number of workers."""
        return (self.slots - self.busy) * self.ready / self.slots if self.slots else 0.0


class LoadMeter:
    """Measures the load, compared with the last measurement."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, int, int]] = {}

    def measure(self, workers: Iterable[Worker], count: int, backlog: int, now: float) -> Load:
        """Return the load of these workers.

        Args:
            workers: those with a number; the ones that are not ready are left out.
            count: the wanted number.
            backlog: connections that wait.
            now: time.monotonic().
        """
        serving = [worker for worker in workers if worker.ready]
        last, self._last = self._last, {}
        busy = 0.0
        slots = resident = requests = in_progress = 0
        for worker in serving:
            cells = worker.row.cells
            cores = max(cells[scoreboard.CORES], 1)
            present = now, cells[scoreboard.RESPONSE_TIME_US], cells[scoreboard.CPU_US]
            self._last[worker.pid] = present
            busy += _busy(cells, cores, last.get(worker.pid, present), present)
            slots += cores
            resident += cells[scoreboard.RSS]
            requests += cells[scoreboard.REQUESTS]
            in_progress += cells[scoreboard.IN_PROGRESS]
        return Load(now, count, len(serving), busy, slots, backlog, resident, requests,
                    in_progress)


def _busy(cells: memoryview, cores: int, before: tuple[float, int, int],
          present: tuple[float, int, int]) -> float:
    """Return how many slots of one worker are in use."""
    now = present[0]
    if now - cells[scoreboard.HEARTBEAT_NS] / 1e9 > BLOCKED:
        return cores
    passed = (now - before[0]) * 1e6
    found = float(cells[scoreboard.IN_PROGRESS])
    if passed > 0:
        found = max(found, (present[1] - before[1]) / passed,
                    (present[2] - before[2]) / passed * cores)
    return min(found, cores)
