"""How busy the workers are, in application slots, and how much there is to do.

The rules of this room: slots and not workers are counted. A gevent worker with one
request of a hundred is one hundredth busy; to uWSGI it is wholly busy, which is why its
cheaper never scales a gevent server down.

A worker says a few times a second how many requests are inside its application. That
alone would lie: where requests compute and never wait, the hub runs between them only,
and finds none. So a worker is as busy as the greatest of these says:

- the requests in progress, as last told;
- the time that requests spent in the application since the last look, over that time
  (the mean number in progress, by Little's law);
- its share of a processor, as that part of its slots: with it used up no slot is free;
- all of it, if its hub has not run for a second.
"""

from collections.abc import Iterable
from typing import NamedTuple

from ..ipc import scoreboard
from .children import Worker

BLOCKED = 1.0   # seconds without heartbeat until a worker counts as wholly busy


class Load(NamedTuple):
    """What the workers of one generation had to do at one moment.

    Attributes:
        at: time.monotonic().
        wanted: how many workers there are to be.
        ready: how many serve.
        busy: slots in use, with fractions.
        slots: slots of those that serve.
        backlog: connections that wait to be accepted, in the longest queue.
        resident: bytes of memory, of all together.
        requests: how many they have served, all together; only changes count.
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
        """Slots in use in percent."""
        return 100.0 * self.busy / self.slots if self.slots else 0.0

    @property
    def idle_workers(self) -> float:
        """Free slots, in workers."""
        return (self.slots - self.busy) * self.ready / self.slots if self.slots else 0.0


class LoadMeter:
    """Measures the load; it remembers what each worker had told at the last look."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, int, int]] = {}

    def measure(self, workers: Iterable[Worker], count: int, backlog: int, now: float) -> Load:
        """Return the load of these workers.

        Args:
            workers: those in charge; who is not ready yet counts nothing.
            count: how many there are to be.
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
            told = now, cells[scoreboard.RESPONSE_TIME_US], cells[scoreboard.CPU_US]
            self._last[worker.pid] = told
            busy += _busy(cells, cores, last.get(worker.pid, told), told)
            slots += cores
            resident += cells[scoreboard.RSS]
            requests += cells[scoreboard.REQUESTS]
            in_progress += cells[scoreboard.IN_PROGRESS]
        return Load(now, count, len(serving), busy, slots, backlog, resident, requests,
                    in_progress)


def _busy(cells: memoryview, cores: int, before: tuple[float, int, int],
          told: tuple[float, int, int]) -> float:
    """Return how many slots of one worker are in use."""
    now = told[0]
    if now - cells[scoreboard.HEARTBEAT_NS] / 1e9 > BLOCKED:
        return cores
    passed = (now - before[0]) * 1e6
    found = float(cells[scoreboard.IN_PROGRESS])
    if passed > 0:
        found = max(found, (told[1] - before[1]) / passed, (told[2] - before[2]) / passed * cores)
    return min(found, cores)
