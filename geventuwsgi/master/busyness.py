"""uWSGI's algorithm `busyness`, with slots in use in the place of busy workers.

Every `cheaper-overload` seconds the mean is looked at: above the maximum workers are
started; below the minimum for so many cycles (the multiplier) one is stopped. A stop that
had to be taken back makes the multiplier grow by the penalty, so that a load that swings
stops swinging workers. Workers are also started as an emergency when connections wait,
and those are stopped again sooner. The log has uWSGI's words.
"""

import logging

from .cheaper_algorithms import Cheaper, Since
from .load import Load

logger = logging.getLogger("geventuwsgi.error")

BETWEEN = 3     # cycles between minimum and maximum after which calm has to begin anew


class BusynessAlgorithm:
    """See the module's text."""

    def __init__(self, plan: Cheaper) -> None:
        self._plan = plan
        self._numbers = numbers = plan.busyness
        self._multiplier = numbers.multiplier
        self._samples: list[float] = []
        self._cycle: float | None = None    # when the present one began
        self._next_stop = 0.0
        self._last_stop: float | None = None
        self._stopping = False              # the last thing done was to stop a worker
        self._between = 0
        self._emergency = 0
        self._waiting = Since()
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
        """Between minimum and maximum: a few such cycles only delay the next stop."""
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
