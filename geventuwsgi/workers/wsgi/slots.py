"""What a worker takes on, and how long it waits: slots, deadlines, and the sweeper.

The rules of this room: two limits and not one. A slot is taken by a request inside the
application only; an open connection counts against `worker-connections`. Deadlines are
numbers on the connections, and one timer per worker looks at them a few times a second;
nothing here is armed per request.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from time import monotonic
from typing import Any, Protocol

from gevent.event import AsyncResult

from ...errors import Overloaded
from ...net.deadlines import SWEEP


class Slots:
    """The application slots of a worker (`gevent = N`; uWSGI calls them cores).

    Args:
        count: how many requests may be inside the application at once.
        freed: called when a slot becomes free that nobody waited for.
        limit: how many may wait for one (`queue-limit`), 0 = any number.

    Attributes:
        free: the numbers of the free slots; empty while anybody waits.
        wanted: a slot has to be handed back by `give`, as somebody waits for it, or
            stopped taking connections for want of one. Else appending to `free` is enough.
        lost: slots that will never be given back.
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
        """Return the number of a free slot, after waiting for one if need be.

        Raises:
            Overloaded: as many wait as may.
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
        """Hand a slot back, to whoever waits longest."""
        if self._waiting:
            self._waiting.popleft().set(core)
            return
        self.free.append(core)
        self.wanted = False
        self._freed()

    def lose(self) -> None:
        """Count a slot whose request can neither end nor be ended as gone for good."""
        self.lost += 1


class Swept(Protocol):
    """What the sweeper looks at."""

    stream: Any
    began: float

    def expire(self) -> None: ...


class OverdueCheck(Protocol):
    """Who looks after requests that have been running for more than `age` seconds."""

    age: float

    def look(self, connections: list[Any], now: float) -> None: ...


class Sweeper:
    """One look at every deadline of a worker, `SWEEP` seconds apart.

    It runs on the hub and therefore never switches into a greenlet itself: `throw` from
    there would not come back. It queues a callback, which looks again before it acts.

    Args:
        loop: the hub's loop.
        connections: the open connections; the collection itself, as it changes.
        overtime: is shown those whose request has been running for a while.
        each_time: called after each sweep with the monotonic time in seconds.
    """

    def __init__(self, loop: Any, connections: Collection[Swept], overtime: OverdueCheck,
                 each_time: Iterable[Callable[[float], None]]) -> None:
        self._loop = loop
        self._connections = connections
        self._overtime = overtime
        self._each_time = tuple(each_time)
        self._timer = loop.timer(SWEEP, SWEEP)

    def start(self) -> None:
        self._timer.start(self._sweep)

    def stop(self) -> None:
        self._timer.close()

    def _sweep(self) -> None:
        now = monotonic()
        later = self._loop.run_callback
        since = now - self._overtime.age
        running = []
        for connection in tuple(self._connections):
            if connection.stream.deadline <= now:
                later(connection.expire)
            if connection.began <= since:
                running.append(connection)
        if running:
            self._overtime.look(running, now)
        for call in self._each_time:
            call(now)
