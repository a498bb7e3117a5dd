"""Adapts the number of workers to the load (`cheaper`, `idle`).

Runs once a second for each role that has a plan: it measures the load, asks the algorithm,
applies the bounds and the memory limits, and resizes the generation. A surplus worker
drains, so no request is lost.

During a reload the number does not decrease, and the new generation grows together with the
old one; during a chain reload the number does not change. A new generation starts with as
many workers as the old one has.
"""

import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence

from .cheaper_algorithms import (
    Algorithm, Backlog, BusynessAlgorithm, Cheaper, Manual, Spare, Spare2,
)
from .generation import BOOTING, SERVING, Generation
from .load import Load, LoadMeter

logger = logging.getLogger("geventuwsgi.error")

ALGORITHMS: dict[str, Callable[[Cheaper], Algorithm]] = {
    "spare": Spare, "spare2": Spare2, "backlog": Backlog, "busyness": BusynessAlgorithm,
    "manual": Manual}


class Adapters:
    """The adapters of all roles that have a plan.

    Args:
        selector: the master's; the data of a key is the callback.

    Attributes:
        over: whether the instance is to stop because it is idle (`die-on-idle`).
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._scalers: dict[str, Adapter] = {}
        self.over = False

    def poll(self, generations: Sequence[Generation], now: float) -> float:
        """Adapt what is due; return when to be called again."""
        due = now + 1.0
        for generation in generations:
            plan = generation.role.cheaper
            if plan is None or generation.state != SERVING:
                continue
            adapter = self._scalers.get(generation.role.name)
            if adapter is None or adapter.plan != plan or adapter.generation is not generation:
                if adapter is not None:
                    adapter.close()
                adapter = Adapter(plan, generation, self._selector)
                self._scalers[generation.role.name] = adapter
            booting = [one for one in generations if one.state == BOOTING
                       and one.role.name == generation.role.name]
            due = min(due, adapter.poll(booting, now))
            self.over = self.over or adapter.over
        return due

    def sleep(self, now: float) -> bool:
        """Stop all workers until a connection arrives; return False if there is no plan."""
        found = [one for one in self._scalers.values()
                 if one.generation.state == SERVING and not one.plan.end]
        for adapter in found:
            adapter.sleep(now)
        return bool(found)

    def close(self) -> None:
        """Close the watched sockets: the instance stops."""
        for adapter in self._scalers.values():
            adapter.close()
        self._scalers.clear()


class Adapter:
    """The number of workers of one generation."""

    def __init__(self, plan: Cheaper, generation: Generation,
                 selector: selectors.BaseSelector) -> None:
        self.plan = plan
        self.generation = generation
        self.over = False
        self._algorithm = ALGORITHMS[plan.algorithm](plan)
        self._meter = LoadMeter()
        self._selector = selector
        self._due = 0.0
        self._served = -1               # requests, at the last change
        self._active: float | None = None
        self._count = generation.count
        self._watched: list[socket.socket] = []
        self._memory_logged = ""

    def poll(self, booting: Sequence[Generation], now: float) -> float:
        """Adapt if it is time; return when to be called again.

        Args:
            booting: newer generations of the same role that do not serve yet.
            now: time.monotonic().
        """
        if now < self._due:
            return self._due
        self._due = now + self.plan.period
        generation = self.generation
        if generation.count != self._count:     # a signal changed it: continue from there
            self._count = generation.count
            self._algorithm = ALGORITHMS[self.plan.algorithm](self.plan)
        if not generation.count:
            self._watch()
            return self._due
        load = self._meter.measure(generation.workers.values(), generation.count,
                                   generation.role.backlog(), now)
        if self._idle(load) and not booting:
            self._go_cheap(now)
        else:
            self._change(load, booting, now)
        return self._due

    def close(self) -> None:
        """Close the watched sockets."""
        for sock in self._watched:
            self._selector.unregister(sock)
            sock.close()
        self._watched.clear()

    # The number of workers

    def _change(self, load: Load, booting: Sequence[Generation], now: float) -> None:
        generation, plan = self.generation, self.plan
        if any(one.limit is not None for one in booting):
            return
        difference = self._bounded(self._algorithm.decide(load), load)
        if not difference or (difference < 0 and booting):
            return
        count = generation.count + difference
        logger.info("%d %s%s from now on: %.1f of %d slots in use, %d connections wait (%s)",
                    count, generation.role.name, "s" if count != 1 else "", load.busy, load.slots,
                    load.backlog, plan.algorithm)
        self._resize(count, booting, now)

    def _bounded(self, difference: int, load: Load) -> int:
        """Apply the bounds and the memory limits."""
        plan = self.plan
        if plan.hard_memory and load.resident >= plan.hard_memory and load.wanted > plan.minimum:
            self._log_memory("cheaper-rss-limit-hard", load)
            return -1
        if difference <= 0:
            return max(difference, min(plan.minimum - load.wanted, 0))
        if plan.soft_memory and load.resident >= plan.soft_memory:
            self._log_memory("cheaper-rss-limit-soft", load)
            return 0
        self._memory_logged = ""
        if load.ready < load.wanted:
            return 0  # those that are booting may be enough
        return max(min(difference, plan.maximum - load.wanted), 0)

    def _log_memory(self, option: str, load: Load) -> None:
        if self._memory_logged != option:
            self._memory_logged = option
            logger.warning("the workers use %d MB: %s is reached, %s", load.resident >> 20, option,
                           "one is stopped" if "hard" in option else "no more are started")

    def _resize(self, count: int, booting: Sequence[Generation], now: float) -> None:
        self.generation.resize(count, now)
        self._count = count
        for one in booting:
            if one.count < count:
                one.resize(count, now)

    # Cheap mode: no workers

    def _idle(self, load: Load) -> bool:
        """Whether there has been no request for `idle` seconds."""
        if not self.plan.idle:
            return False
        if load.requests != self._served or load.in_progress or load.backlog or not load.ready:
            self._served, self._active = load.requests, load.at
        return load.at - (self._active or load.at) >= self.plan.idle

    def sleep(self, now: float) -> None:
        """Stop all workers until a connection arrives."""
        self._resize(0, (), now)
        self._watch()

    def _go_cheap(self, now: float) -> None:
        logger.info("workers have been inactive for more than %g seconds", self.plan.idle)
        if self.plan.end:
            self.over = True
            return
        self.sleep(now)

    def _watch(self) -> None:
        """Wait for a connection; it starts the workers again."""
        if self._watched:
            return
        logger.info("cheap mode enabled: waiting for socket connection...")
        for fd in self.generation.role.sockets:
            # A descriptor of our own: the listener may be closed independently.
            try:
                sock = socket.socket(fileno=os.dup(fd))
            except OSError as error:
                self._wake(f"the sockets cannot be watched ({error.strerror})")
                return
            self._watched.append(sock)
            self._selector.register(sock, selectors.EVENT_READ, self._wake)

    def _wake(self, why: str = "a connection arrived") -> None:
        self.close()
        self._active = None
        self._due = 0.0
        if not self.generation.count and self.generation.state == SERVING:
            logger.info("%s: leaving cheap mode", why)
            self._count = self.plan.initial
            self.generation.resize(self._count, time.monotonic())
