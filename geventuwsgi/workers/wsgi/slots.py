"""Application slots, and the sweeper that checks the deadlines of a worker.

Rules:

- Only a request inside the application holds a slot. Open connections have a limit of
  their own, `worker-connections`.
- Deadlines are numbers on the connections, and one timer per worker compares them a few
  times a second. No timer is armed per request.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from time import monotonic
from typing import Any, Protocol

from gevent.event import AsyncResult

from ...errors import Overloaded
from ...net.deadlines import SWEEP


# Requests that may wait for native threads without `queue-limit`: enough to share the cost of a
# wake-up and to answer health checks, few enough as they are lost if a request ends the process.
AHEAD = 64
_LOW = AHEAD // 2   # connections are accepted again


class Slots:
    """The application slots of a worker (`gevent = N`; uWSGI calls them cores).

    Args:
        count: the number of requests that may be inside the application at once.
        freed: called when a slot becomes free and no request waits for it.
        limit: the number of requests that may wait for one (`queue-limit`); 0 means no limit.

    Attributes:
        free: the numbers of the free slots (for native threads only how many); empty while a
            request waits.
        wanted: a slot has to be given back by `give`, as a request waits for one or the
            acceptors paused for lack of one. Otherwise appending to `free` is enough.
        lost: the number of slots that will never be given back.
    """

    __slots__ = ("count", "limit", "lost", "wanted", "free", "_waiting", "_freed")

    def __init__(self, count: int, freed: Callable[[], None], limit: int = 0) -> None:
        self.count = count
        self.limit = limit
        self.lost = 0
        self.wanted = False
        self.free = list(range(count - 1, -1, -1))
        self._waiting: deque[AsyncResult] = deque()
        self._freed = freed

    @property
    def busy(self) -> int:
        return self.count - len(self.free)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next request has neither a slot nor a place to wait for one."""
        return not self.free and 0 < self.limit <= len(self._waiting)

    def take(self) -> int:
        """Return the number of a free slot, and wait for one if necessary.

        Raises:
            Overloaded: the queue is full.
        """
        if self.free:
            return self.free.pop()
        if self.full:
            raise Overloaded
        turn = AsyncResult()
        self._waiting.append(turn)
        self.wanted = True
        try:
            core: int = turn.get()
        except BaseException:
            if turn.ready():
                self.give(turn.value)
            else:
                self._waiting.remove(turn)
            raise
        return core

    def give(self, core: int) -> None:
        """Give a slot back, to the request that has waited longest if any waits."""
        if self._waiting:
            self._waiting.popleft().set(core)
            return
        self.free.append(core)
        self.wanted = False
        self._freed()

    def lose(self) -> None:
        """Count a slot as lost: its request neither ends nor can be ended."""
        self.lost += 1


class ThreadSlots(Slots):
    """The slots of native threads. A request without a free one waits in the threads' queue.

    Attributes:
        queued: the number of requests that wait.
        ahead: how many more requests may be accepted than there are free slots, if any are.
    """

    __slots__ = ("queued",)

    def __init__(self, count: int, freed: Callable[[], None], limit: int = 0) -> None:
        super().__init__(count, freed, limit)
        self.queued = 0

    @property
    def ahead(self) -> int:
        return AHEAD - self.queued

    @property
    def waiting(self) -> int:
        return self.queued

    @property
    def full(self) -> bool:
        return not self.free and 0 < self.limit <= self.queued

    def begin(self) -> None:
        """A request was put into the queue."""
        if self.free:
            self.free.pop()
        else:
            self.queued += 1

    def end(self) -> None:
        """A request has left its thread."""
        if self.queued:
            self.queued -= 1
        else:
            self.free.append(0)
        if self.wanted and (self.queued <= _LOW if not self.limit else self.free):
            self.wanted = False
            self._freed()


class Swept(Protocol):
    """What the sweeper needs of a connection."""

    stream: Any
    began: float

    def expire(self) -> None: ...


class OverdueCheck(Protocol):
    """A check of the requests that have been running for more than `age` seconds."""

    age: float

    def check(self, connections: list[Any], now: float) -> None: ...


class Sweeper:
    """Check all deadlines of a worker every `SWEEP` seconds.

    It runs on the hub and therefore never switches into a greenlet itself: `throw` from
    there would not come back. It queues a callback, which checks again before it acts.

    Args:
        loop: the hub's loop.
        connections: the open connections; the live collection, not a copy.
        long_requests: checks those whose request has been running for a while.
        each_time: called after each sweep with the monotonic time in seconds.
    """

    def __init__(self, loop: Any, connections: Collection[Swept], long_requests: OverdueCheck,
                 each_time: Iterable[Callable[[float], None]]) -> None:
        self._loop = loop
        self._connections = connections
        self._long_requests = long_requests
        self._each_time = tuple(each_time)
        self._timer = loop.timer(SWEEP, SWEEP)

    def start(self) -> None:
        self._timer.start(self._sweep)

    def stop(self) -> None:
        self._timer.close()

    def _sweep(self) -> None:
        now = monotonic()
        later = self._loop.run_callback
        since = now - self._long_requests.age
        running = []
        for connection in tuple(self._connections):
            if connection.stream.deadline <= now:
                later(connection.expire)
            if connection.began <= since:
                running.append(connection)
        if running:
            self._long_requests.check(running, now)
        for call in self._each_time:
            call(now)
