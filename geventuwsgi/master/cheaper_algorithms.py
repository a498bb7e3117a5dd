"""How many workers there should be: the plan, and uWSGI's cheaper algorithms.

Pure decisions: once a second an algorithm gets a `Load` and returns how many workers to
start (above 0) or to stop (below 0). Bounds and memory limits are applied by `cheaper`.
"""

import logging
from typing import NamedTuple, Protocol

from .load import Load

logger = logging.getLogger("geventuwsgi.error")

FULL = 0.9      # of all slots are in use: there is none for the next request
HEADROOM = 0.75     # of the remaining slots are in use at most, when a worker is stopped
CALM = 3.0      # seconds of calm before `backlog` stops a worker: its overload is not a time
BETWEEN = 3     # cycles between minimum and maximum after which busyness waits as from the start


class Busyness(NamedTuple):
    """The settings of the algorithm `busyness`, with uWSGI's names."""

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
    """The plan of a role: the bounds of its number, and the algorithm.

    Attributes:
        minimum: `cheaper`.
        maximum: `processes`.
        initial: workers at the first start, and at the end of cheap mode.
        asleep: start with none; the first connection starts `initial` (`cheap`).
        step: how many are started at a time.
        overload: seconds of full load, or of calm; for `backlog`, waiting connections.
        algorithm: "spare", "spare2", "backlog", "busyness" or "manual".
        spare_time: seconds that `spare2` keeps a spare worker.
        soft_memory: bytes of all workers above which none is started; 0 = no limit.
        hard_memory: bytes above which workers are stopped; 0 = no limit.
        idle: seconds without a request until all are stopped; 0 = never.
        end: stop the instance then.
        busyness: the settings of that algorithm.
        period: seconds between two decisions; one second in uWSGI's master.
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
    """Decides how many workers to start or to stop."""

    def decide(self, load: Load) -> int:
        """Return the difference; the caller applies the bounds."""


class Stopwatch:
    """Measures for how long a condition has held."""

    def __init__(self) -> None:
        self._at: float | None = None

    def held(self, true: bool, now: float) -> float:
        """Return for how many seconds it has been true; -1 if it is false."""
        if not true:
            self._at = None
            return -1.0
        if self._at is None:
            self._at = now
        return now - self._at

    def restart(self) -> None:
        """Start again from 0."""
        self._at = None


def fits_without_one(load: Load) -> bool:
    """Whether the present load would fit into one worker fewer."""
    return load.ready > 1 and load.busy <= HEADROOM * (load.slots - load.slots / load.ready)


class Spare:
    """Starts workers when no slot was free for `overload` seconds; stops one when one was spare."""

    def __init__(self, plan: Cheaper) -> None:
        self._plan = plan
        self._full = Stopwatch()
        self._calm = Stopwatch()

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
    """Keeps `cheaper` idle workers: starts them at once, stops surplus ones after `spare_time`."""

    def __init__(self, plan: Cheaper) -> None:
        self._plan = plan
        self._surplus = Stopwatch()

    def decide(self, load: Load) -> int:
        wanted = self._plan.minimum
        idle = load.idle_workers
        # A worker with a few requests in its many slots still counts as idle.
        lacking = wanted - int(idle + 1 - HEADROOM)
        surplus = self._surplus.held(lacking < 0, load.at)
        if lacking > 0:
            return min(lacking, self._plan.step)
        if surplus >= self._plan.spare_time:
            self._surplus.restart()
            return -1
        return 0


class Backlog:
    """Starts workers while more than `cheaper-overload` connections wait."""

    def __init__(self, plan: Cheaper) -> None:
        self._plan = plan
        self._calm = Stopwatch()

    def decide(self, load: Load) -> int:
        calm = not load.backlog and fits_without_one(load)
        if self._calm.held(calm, load.at) >= CALM:
            self._calm.restart()
            return -1
        return self._plan.step if load.backlog > self._plan.overload else 0


class Manual:
    """Leaves the number to signals."""

    def __init__(self, plan: Cheaper) -> None:
        pass

    def decide(self, load: Load) -> int:
        return 0


class BusynessAlgorithm:
    """Keeps the share of slots in use between a minimum and a maximum, as uWSGI's busyness.

    A cycle lasts `cheaper-overload` seconds. If its mean is above the maximum, workers are
    started; if it is below the minimum for as many cycles as the multiplier says, one is
    stopped. If workers have to be started soon after a stop, the multiplier increases by
    the penalty, so that a load that goes up and down does not keep starting and stopping
    workers. Waiting connections start emergency workers, which are stopped sooner. The log
    lines are uWSGI's.
    """

    def __init__(self, plan: Cheaper) -> None:
        self._plan = plan
        self._numbers = numbers = plan.busyness
        self._multiplier = numbers.multiplier
        self._samples: list[float] = []
        self._cycle: float | None = None    # when the present one started
        self._next_stop = 0.0
        self._last_stop: float | None = None
        self._stopping = False              # the last action was to stop a worker
        self._between = 0
        self._emergency = 0
        self._waiting = Stopwatch()
        logger.info("[busyness] settings: min=%g%%, max=%g%%, overload=%g, multiplier=%d, "
                    "respawn penalty=%d", numbers.minimum, numbers.maximum, plan.overload,
                    numbers.multiplier, numbers.penalty)

    def decide(self, load: Load) -> int:
        if self._cycle is None:
            self._cycle = load.at
            self._postpone(load.at)
        self._samples.append(load.busyness)
        waits = self._waiting.held(load.backlog > 0, load.at) >= self._numbers.backlog_nonzero
        over = load.at - self._cycle >= self._plan.overload
        mean = sum(self._samples) / len(self._samples)
        if over:
            self._cycle = load.at
            self._samples.clear()
            if self._numbers.verbose:
                logger.info("[busyness] %gs average busyness of %d worker(s) is at %d%%",
                            self._plan.overload, load.ready, mean)
            if mean > self._numbers.maximum:
                return self._more(load, mean)
        if (load.backlog > self._numbers.backlog_alert or waits) \
                and load.wanted < self._plan.maximum:
            return self._emergencies(load)
        if over and mean < self._numbers.minimum:
            return self._fewer(load, mean)
        if over:
            self._neither(load)
        return 0

    def _more(self, load: Load, mean: float) -> int:
        self._between = 0
        more = min(self._plan.step, self._plan.maximum - load.wanted)
        if more <= 0:
            return 0
        self._stopping = False
        soon = self._plan.overload * self._multiplier
        if self._last_stop is not None and load.at - self._last_stop <= soon:
            self._multiplier += self._numbers.penalty
            logger.info("[busyness] worker(s) respawned too fast, increasing cheaper multiplier "
                        "to %d (+%d)", self._multiplier, self._numbers.penalty)
        else:
            self._relax()
        self._postpone(load.at)
        logger.info("[busyness] %gs average busyness is at %d%%, will spawn %d new worker(s)",
                    self._plan.overload, mean, more)
        return more

    def _emergencies(self, load: Load) -> int:
        self._multiplier = self._numbers.multiplier
        self._stopping = False
        more = min(self._numbers.backlog_step, self._plan.maximum - load.wanted)
        self._emergency += more
        self._waiting.restart()
        self._postpone(load.at)
        logger.info("[busyness] %d requests in listen queue, spawning %d emergency worker(s) "
                    "(%d)!", load.backlog, more, self._emergency)
        return more

    def _fewer(self, load: Load, mean: float) -> int:
        self._between = 0
        if load.wanted <= self._plan.minimum:
            return 0
        if load.at < self._next_stop:
            if self._numbers.verbose:
                logger.info("[busyness] need to wait %d more second(s) to cheap worker",
                            self._next_stop - load.at)
            return 0
        if self._stopping:
            self._relax()
        self._stopping = True
        self._last_stop = load.at
        self._emergency = max(self._emergency - 1, 0)
        self._postpone(load.at)
        logger.info("[busyness] %gs average busyness is at %d%%, cheap one of %d running workers",
                    self._plan.overload, mean, load.ready)
        return -1

    def _neither(self, load: Load) -> None:
        """Between minimum and maximum: a few such cycles delay the next stop."""
        self._emergency = max(self._emergency - 1, 0)
        self._between += 1
        if self._between >= BETWEEN:
            self._postpone(load.at)
        else:
            self._next_stop += self._plan.overload

    def _postpone(self, now: float) -> None:
        cycles = self._numbers.backlog_multiplier if self._emergency else self._multiplier
        self._next_stop = now + self._plan.overload * cycles

    def _relax(self) -> None:
        if self._multiplier > self._numbers.multiplier:
            self._multiplier -= 1
            logger.info("[busyness] decreasing cheaper multiplier to %d", self._multiplier)
