"""Reloads: a new generation of each role beside the old one, all of them or none.

What is to run is asked for anew each time (`renew`), so that a changed configuration
counts. The old generations serve until every worker of the new ones is ready, and drain
only then. What fails on the way (the configuration, a socket, the code, a process) ends
the attempt: the old generations serve on, the log and whoever waits are told why.

What happens when they meet:

- A request while a reload is on its way, or while the first start is, waits for its end
  and then has the newest code loaded once more; ten requests are one. If the reload on
  its way is older than `PATIENCE`, it is given up for the newer request: code that hangs
  while it is imported must not keep its correction out.
- A worker of the old generation that dies meanwhile is respawned with the old code. One
  of the new generation that is killed by a signal is started again; one that ends with
  an error, or a template that dies before it has loaded, ends the attempt.
- A stop ends the attempt and whoever waits for it.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from ..errors import GeventuwsgiError
from .console import Caller
from .generation import BOOTING, SERVING, Generation
from .role import ReloadPlan, Role

logger = logging.getLogger("geventuwsgi.error")

PATIENCE = 30.0     # seconds until a reload that loads and loads gives way to a newer request


# A chain reload: worker by worker, where memory is too short for two generations.
#
# The new template loads beside the old one. Then the new worker 1 is started; when it is
# ready the old worker 1 drains; when that is gone the next one follows. So there is never
# more than one worker above the number, and never one less that serves.
#
# uWSGI's words in the log. There the worker ends before its successor starts.

TELL_EVERY = 10.0   # seconds between lines about a worker that is waited for


class ChainReload:
    """One generation that hands over to another."""

    def __init__(self, old: Generation, new: Generation) -> None:
        self._old = old
        self._new = new
        self._at = 1
        self._told = 0.0
        self._last = min(old.count, new.count)
        new.limit = 1

    @property
    def done(self) -> bool:
        """Whether nothing is left to be handed over one by one."""
        return self._at > self._last

    def step(self, now: float) -> None:
        """Go on as far as it goes now."""
        while not self.done:
            if self._new.wants(self._at) and not self._new.is_ready(self._at):
                return
            if self._old.handed_over < self._at:
                logger.info("chain next victim is worker %d", self._at)
                self._told = now
                self._old.hand_over(self._at, now)
            if self._old.has(self._at):
                if now - self._told >= TELL_EVERY:
                    self._told = now
                    logger.info("chain is still waiting for worker %d...", self._at)
                return
            self._at += 1
            self._new.limit = None if self.done else self._at

    def undo(self) -> None:
        """Let the old generation have all its workers again."""
        self._old.handed_over = 0


class ReloadAttempt(NamedTuple):
    """A reload on its way."""

    renewal: ReloadPlan
    generations: list[Generation]
    chains: list[ChainReload]
    callers: list[Caller]
    started: float


class Reloads:
    """The reloads of one instance, one at a time.

    Args:
        generations: the master's list, which is added to.
        start: makes a generation of (number, role, count).
        room: tells how many scoreboard rows are free.
        renew: returns what is to run from now on.
        took_over: called with time.monotonic() when new generations serve.
        reloading: called with True when an attempt begins, with False when it has ended.
    """

    def __init__(self, generations: list[Generation],
                 start: Callable[[int, Role, int], Generation], room: Callable[[], int],
                 renew: Callable[[], ReloadPlan], took_over: Callable[[float], None],
                 reloading: Callable[[bool], None] = lambda begins: None) -> None:
        self._generations = generations
        self._start = start
        self._room = room
        self._renew = renew
        self._took_over = took_over
        self._reloading = reloading
        self._present: ReloadAttempt | None = None
        self._last = 0                      # the greatest number: none is used twice
        self._again = False
        self._chained = False               # the waiting request wants a chain
        self._waiting: list[Caller] = []    # for the next attempt

    @property
    def underway(self) -> bool:
        """Whether a reload is on its way."""
        return self._present is not None

    def owns(self, generation: Generation) -> bool:
        """Whether a generation belongs to the reload on its way."""
        return self._present is not None and generation in self._present.generations

    def request(self, now: float, caller: Caller | None = None, *, chained: bool = False) -> None:
        """Reload now, or once what is on its way has ended.

        Args:
            now: time.monotonic().
            caller: who wants to be told how it ends.
            chained: replace worker by worker, for little memory.
        """
        if caller is not None:
            self._waiting.append(caller)
        self._again = True
        self._chained = chained
        present = self._present
        if present is not None and now - present.started > PATIENCE:
            self._fail("it has taken too long, and a newer request takes its place", now)
        if self._busy():
            logger.info("a reload is on its way; another one follows it")
        else:
            self._begin(now)

    def judge(self, now: float) -> None:
        """Draw the conclusions of this turn."""
        present = self._present
        if present is not None:
            failed = [one.failure for one in present.generations if one.failure is not None]
            for chain in present.chains if not failed else ():
                chain.step(now)
            if failed:
                self._fail(failed[0][1], now)
            elif (all(one.complete for one in present.generations)
                    and all(chain.done for chain in present.chains)):
                self._succeed(present, now)
        if self._again and not self._busy():
            self._begin(now)

    def give_up(self, now: float, reason: str) -> None:
        """End what is on its way or waits: the instance stops."""
        if self._present is not None:
            self._end(self._present, now)
            self._answer(self._present.callers, reason)
            self._present = None
        self._again = False
        self._answer(self._waiting, reason)

    def _busy(self) -> bool:
        return self._present is not None or any(
            one.state == BOOTING for one in self._generations)

    def _begin(self, now: float) -> None:
        callers, self._waiting = self._waiting, []
        self._again = False
        chained = self._chained
        self._reloading(True)
        try:
            renewal = self._renew()
        except (GeventuwsgiError, OSError) as error:  # as when descriptors are used up
            self._refuse(str(error), callers)
            return
        except Exception as error:  # whatever it is, the master lives on
            logger.exception("reload failed")
            self._refuse(f"{type(error).__name__}: {error}", callers)
            return
        chained = chained or renewal.chained
        counts = [self._count(role) for role in renewal.roles]
        if self._room() < (len(counts) if chained else sum(counts)):
            renewal.discard()
            self._refuse("no room on the scoreboard for another generation: older ones are still "
                         "draining, or processes grew by too much; try again, or upgrade in "
                         "place (SIGUSR2)", callers)
            return
        attempt = ReloadAttempt(renewal, [], [], callers, now)
        self._last = number = 1 + max([self._last, *(one.number for one in self._generations)])
        for role, count in zip(renewal.roles, counts):
            old = self._serving(role.name)
            logger.info("...gracefully reloading: generation %d of %s starts beside generation %d",
                        number, role.name, old.number if old else 0)
            new = self._start(number, role, count)
            self._generations.append(new)
            attempt.generations.append(new)
            if chained and old is not None:
                attempt.chains.append(ChainReload(old, new))
        self._present = attempt

    def _serving(self, name: str) -> Generation | None:
        found = [one for one in self._generations
                 if one.state == SERVING and one.role.name == name]
        return found[-1] if found else None

    def _count(self, role: Role) -> int:
        """How many there are to be: what signals and load made of the number stands.

        Unless the configuration has another number and the load may not change it. Of a
        generation that an upgrade in place adopted the configuration is not known.
        """
        old, plan = self._serving(role.name), role.cheaper
        if old is None:
            return role.initial
        if (old.role.processes, old.role.cheaper) == (role.processes, plan):
            return old.count
        if plan is None:
            return role.processes
        return min(max(old.count, plan.minimum), plan.maximum)

    def _succeed(self, present: ReloadAttempt, now: float) -> None:
        self._present = None
        for one in present.generations:
            one.state = SERVING
        # Before the old ones drain: a socket that is gone must not be connected to any more
        # when the last one that accepts from it closes it.
        present.renewal.commit()
        # Whoever reads this finds the new configuration in force, its watched files included.
        for one in present.generations:
            logger.info("ready: %d %s%s (generation %d)", one.count, one.role.name,
                        "s" if one.count != 1 else "", one.number)
        logger.info("...gracefully killing workers...")
        for one in self._generations:
            if one.state == SERVING and one not in present.generations:
                one.drain(now)
        self._took_over(now)
        self._reloading(False)
        self._answer(present.callers)

    def _fail(self, reason: str, now: float) -> None:
        present, self._present = self._present, None
        assert present is not None
        self._end(present, now)
        self._refuse(reason, present.callers)

    def _end(self, present: ReloadAttempt, now: float) -> None:
        """Take an attempt back."""
        for chain in present.chains:
            chain.undo()
        for one in present.generations:
            one.failure = None
            one.kill(now)
        present.renewal.discard()

    def _refuse(self, reason: str, callers: list[Caller]) -> None:
        serving = [one.number for one in self._generations if one.state == SERVING]
        logger.error("reload failed: %s; generation %d serves on", reason,
                     max(serving, default=0))
        self._reloading(False)
        self._answer(callers, reason)

    def _answer(self, callers: list[Caller], reason: str = "") -> None:
        for caller in callers:
            caller.end(1 if reason else 0, reason and f"reload failed: {reason}")
        callers.clear()
