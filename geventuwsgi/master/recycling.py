"""Which workers are due for replacement: after requests, a lifetime, or for their memory.

The master checks the scoreboard twice a second and marks workers as due; their generation
replaces them one by one, starting the replacement first. Only the evil limits kill. For
these the master measures the memory itself: a worker whose hub is blocked does not publish.
"""

import logging
import signal
from collections.abc import Iterable
from typing import NamedTuple

from ..ipc.scoreboard import PAGE
from .children import Worker

logger = logging.getLogger("geventuwsgi.error")

CHECK_INTERVAL = 0.5          # seconds between two checks of requests, age and memory
GROWTH = 0.25           # allowed to a worker that exceeds a limit from its start,
MOST_DOUBLED = 4        # doubled each time that this does not help, this often at most
SHARE = 4               # one worker in four, but always one, drains after its replacement


class Recycling(NamedTuple):
    """The limits of one worker; 0 = none. Times in seconds, memory in bytes.

    Attributes:
        max_requests: requests, plus `max_requests_delta` for each worker after the first,
            plus a random number up to `max_requests_jitter`.
        min_lifetime: no worker is replaced for requests or memory before this age.
        max_lifetime: age, plus `max_lifetime_delta` for each worker after the first.
        rss: resident memory; `address_space` is virtual memory.
        evil_rss: resident memory at which the worker is killed; `evil_as` is virtual.
        evil_every: time between two measurements of the evil limits.
    """

    max_requests: int = 0
    max_requests_delta: int = 0
    max_requests_jitter: int = 0
    min_lifetime: float = 10.0
    max_lifetime: float = 0.0
    max_lifetime_delta: float = 0.0
    rss: int = 0
    address_space: int = 0
    evil_rss: int = 0
    evil_as: int = 0
    evil_every: float = 3.0

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return bool(self.max_requests or self.max_lifetime or self.rss or self.address_space
                    or self.evil_rss or self.evil_as)


class Recycler:
    """Marks the workers of one generation that are due for replacement.

    Args:
        limits: of each worker.
    """

    def __init__(self, limits: Recycling) -> None:
        self.limits = limits
        self._due = 0.0
        self._evil_due = 0.0
        self._warned: set[str] = set()
        self._in_vain: dict[tuple[str, int], int] = {}  # replacements, by option and number

    def review(self, workers: Iterable[Worker], now: float) -> float:
        """Mark the workers that are due; return when to be called again."""
        if now < self._due:
            return self._due
        self._due = now + CHECK_INTERVAL
        limits = self.limits
        serving = [worker for worker in workers if worker.ready_at is not None]
        for worker in serving:
            if not any(worker.first_memory):  # it had not published it when it became ready
                worker.first_memory = worker.memory
            if not worker.due_for_replacement:
                worker.due_for_replacement = self._reason(worker, now - (worker.ready_at or now))
        if (limits.evil_rss or limits.evil_as) and now >= self._evil_due:
            self._evil_due = now + limits.evil_every
            for worker in serving:
                self._evil(worker)
        return self._due

    def _reason(self, worker: Worker, age: float) -> str:
        """Return why a worker is due for replacement, "" if it is not."""
        limits = self.limits
        lifetime = limits.max_lifetime + (worker.id - 1) * limits.max_lifetime_delta
        if limits.max_lifetime and age >= lifetime:
            logger.info("worker %d lifetime reached, it was running for %d second(s)",
                        worker.id, age)
            return f"it ran for {age:.0f} seconds (max-worker-lifetime)"
        if age < limits.min_lifetime:
            return ""
        if limits.max_requests and worker.requests >= limits.max_requests + self._spread(worker):
            return f"it served {worker.requests} requests (max-requests)"
        (resident, virtual), first = worker.memory, worker.first_memory
        return (self._too_much(worker, "reload-on-rss", resident, limits.rss, first[0])
                or self._too_much(worker, "reload-on-as", virtual, limits.address_space, first[1]))

    def _spread(self, worker: Worker) -> int:
        """Return how many requests to add to the limit, so that the workers differ."""
        limits = self.limits
        return ((worker.id - 1) * limits.max_requests_delta
                + round(worker.jitter * limits.max_requests_jitter))

    def _too_much(self, worker: Worker, option: str, used: int, limit: int,
                  at_first: int) -> str:
        """Return the reason if memory is over a limit, "" if it is not.

        If a worker is over it from its start, so is each replacement, and replacing would
        never end. Such a worker must grow by a quarter first, its replacement by a half, the
        next one to twice its size, and so on up to five times.
        """
        if not limit or used < limit:
            return ""
        if at_first >= limit:
            times = self._in_vain.get((option, worker.id), 0)
            allowed = int(at_first * (1 + GROWTH * 2 ** times))
            if option not in self._warned:
                self._warned.add(option)
                logger.warning("%s is %d MB, but a worker uses %d MB when it starts: it is "
                               "replaced when it has grown to %d MB", option, limit >> 20,
                               at_first >> 20, allowed >> 20)
            if used < allowed:
                return ""
            self._in_vain[option, worker.id] = min(times + 1, MOST_DOUBLED)
        return f"it uses {used >> 20} MB ({option})"

    def _evil(self, worker: Worker) -> None:
        """Kill a worker that is over an evil limit."""
        virtual, resident = measure(worker.pid)
        limits = self.limits
        first_resident, first_virtual = worker.first_memory
        for name, used, limit, first in (
                ("RSS", resident, limits.evil_rss, first_resident),
                ("ADDRESS SPACE", virtual, limits.evil_as, first_virtual)):
            option = "evil-reload-on-rss" if name == "RSS" else "evil-reload-on-as"
            if self._too_much(worker, option, used, limit, first):
                logger.error("*** EVIL RELOAD ON WORKER %d %s: %d (pid: %d) ***", worker.id,
                             name, used, worker.pid)
                worker.signal(signal.SIGKILL)
                return


def next_to_replace(workers: Iterable[Worker], draining: Iterable[Worker],
                    count: int) -> Worker | None:
    """Return the worker to replace next, the oldest that is due; None if there is none now.

    Only a share of a generation drains after a replacement at a time: those are additional
    processes, and it takes time until a new worker's caches are filled.

    Args:
        workers: those with a number.
        draining: those that drain.
        count: the wanted number of workers.
    """
    due = [worker for worker in workers if worker.due_for_replacement]
    under_way = sum(bool(worker.due_for_replacement) for worker in draining)
    if not due or under_way >= max(1, count // SHARE):
        return None
    return min(due, key=lambda worker: worker.started)


def measure(pid: int) -> tuple[int, int]:
    """Return virtual and resident bytes of a process (proc(5), statm); zeros if it has gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = file.read().split()
    except OSError:
        return 0, 0
    return int(pages[0]) * PAGE, int(pages[1]) * PAGE
