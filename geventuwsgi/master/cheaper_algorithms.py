"""How many workers there should be: the plan, and uWSGI's algorithms but `busyness`.

The rules of this room: pure decisions. An algorithm sees a `Load` a second and answers
with how many workers to start (above 0), or to stop (below). Bounds, memory and the doing
of it are the adapter's.
"""

from typing import NamedTuple, Protocol

from .load import Load

FULL = 0.9      # of all slots in use: nobody is left to take the next request
ROOM = 0.75     # of the slots that would be left, at most in use, when a worker is stopped
CALM = 3.0      # seconds of calm before `backlog`, whose overload is no time, stops a worker


class Busyness(NamedTuple):
    """The numbers of the algorithm `busyness`, as uWSGI names them."""

    maximum: float = 50.0
    minimum: float = 25.0
    multiplier: int = 10
    penalty: int = 2
    verbose: bool = False
    backlog_alert: int = 33
    backlog_multiplier: int = 3
    backlog_step: int = 1
    backlog_nonzero: float = 60.0


class Cheaper(NamedTuple):
    """Between which numbers the workers change, and by what.

    Attributes:
        minimum: `cheaper`.
        maximum: `processes`.
        initial: how many the first start has, and the end of cheap mode.
        asleep: start with none; the first connection starts `initial` (`cheap`).
        step: how many are started at a time.
        overload: seconds of all busy, or all calm; for `backlog` connections that wait.
        algorithm: "spare", "spare2", "backlog", "busyness" or "manual".
        spare_time: seconds that a spare worker of `spare2` is kept.
        soft_memory: bytes of all workers above which none is started; 0 = no limit.
        hard_memory: above which they become fewer.
        idle: seconds without a request until all are stopped; 0 = never.
        end: end the instance then.
        busyness: the numbers of that algorithm.
        period: seconds between two looks; uWSGI's master has one a second.
    """

    minimum: int
    maximum: int
    initial: int
    step: int = 1
    overload: float = 3.0
    algorithm: str = "spare"
    spare_time: float = 10.0
    soft_memory: int = 0
    hard_memory: int = 0
    idle: float = 0.0
    end: bool = False
    asleep: bool = False
    busyness: Busyness = Busyness()
    period: float = 1.0


class Algorithm(Protocol):
    """Decides how many workers more or fewer there should be."""

    def decide(self, load: Load) -> int:
        """Return a difference; the adapter keeps it within the bounds."""


class Since:
    """For how long something has been so."""

    def __init__(self) -> None:
        self._at: float | None = None

    def held(self, true: bool, now: float) -> float:
        """Return for how many seconds it has been true; -1 if it is not."""
        if not true:
            self._at = None
            return -1.0
        if self._at is None:
            self._at = now
        return now - self._at

    def restart(self) -> None:
        """Count anew."""
        self._at = None


def fits_without_one(load: Load) -> bool:
    """Whether all that goes on would find room if there were one worker less."""
    return load.ready > 1 and load.busy <= ROOM * (load.slots - load.slots / load.ready)


class Spare:
    """More when no slot was free for the whole time, one fewer when a worker was to spare."""

    def __init__(self, plan: Cheaper) -> None:
        self._plan = plan
        self._full = Since()
        self._calm = Since()

    def decide(self, load: Load) -> int:
        full = load.slots > 0 and load.busy >= FULL * load.slots
        if self._full.held(full, load.at) >= self._plan.overload:
            self._full.restart()
            return self._plan.step
        if self._calm.held(not full and fits_without_one(load), load.at) >= self._plan.overload:
            self._calm.restart()
            return -1
        return 0


class Spare2:
    """As many idle workers as `cheaper` says, at once; those beyond stop after a time."""

    def __init__(self, plan: Cheaper) -> None:
        self._plan = plan
        self._surplus = Since()

    def decide(self, load: Load) -> int:
        wanted = self._plan.minimum
        idle = load.idle_workers
        # A whole idle worker counts; a few requests on one of many slots leave it so.
        lacking = wanted - int(idle + 1 - ROOM)
        surplus = self._surplus.held(lacking < 0, load.at)
        if lacking > 0:
            return min(lacking, self._plan.step)
        if surplus >= self._plan.spare_time:
            self._surplus.restart()
            return -1
        return 0


class Backlog:
    """More while more than `cheaper-overload` connections wait."""

    def __init__(self, plan: Cheaper) -> None:
        self._plan = plan
        self._calm = Since()

    def decide(self, load: Load) -> int:
        calm = not load.backlog and fits_without_one(load)
        if self._calm.held(calm, load.at) >= CALM:
            self._calm.restart()
            return -1
        return self._plan.step if load.backlog > self._plan.overload else 0


class Manual:
    """Signals alone change the number."""

    def __init__(self, plan: Cheaper) -> None:
        pass

    def decide(self, load: Load) -> int:
        return 0
