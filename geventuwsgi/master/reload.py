"""Reloads: a new generation of each role replaces the old one; of all roles, or of none.

Each attempt reads the configuration again (`renew`). The old generations serve until every
worker of the new ones is ready; only then do they drain. If anything fails (the
configuration, a socket, the code, a process), the old generations keep serving, and the
log and waiting callers get the reason.

Rules:

- A request during a reload or the first start waits for the end of that, and then loads
  the newest code; ten such requests are one. If the present reload is older than
  `ATTEMPT_TIMEOUT`, it is given up for the newer request, so that code that hangs on import
  does not block the fix.
- A worker of the old generation that dies meanwhile is respawned with the old code. A
  worker of the new one is started again if a signal killed it. If it exits with an error,
  or the template dies before it has loaded, the attempt fails.
- A stop ends the attempt.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from ..errors import GeventuwsgiError
from .console import Caller
from .generation import BOOTING, SERVING, Generation
from .role import ReloadPlan, Role

logger = logging.getLogger("geventuwsgi.error")

ATTEMPT_TIMEOUT = 30.0  # seconds until a reload in progress gives way to a newer request
LOG_INTERVAL = 10.0     # seconds between log lines about a worker that drains (chain reload)


class ChainReload:
    """A reload worker by worker, if there is not enough memory for two generations.

    The new template loads beside the old one. Then the new worker 1 starts; when it is ready,
    the old worker 1 drains; when that has exited, worker 2 follows. So there is at most one
    additional worker, and never one fewer that serves. (uWSGI stops a worker before it starts
    the new one.) The log lines are uWSGI's.
    """

    def __init__(self, old: Generation, new: Generation) -> None:
        self._old = old
        self._new = new
        self._at = 1
        self._logged = 0.0
        self._last = min(old.count, new.count)
        new.limit = 1

    @property
    def done(self) -> bool:
        """Whether all workers have been replaced."""
        return self._at > self._last

    def step(self, now: float) -> None:
        """Replace what can be replaced now."""
        while not self.done:
            if self._new.wants(self._at) and not self._new.is_ready(self._at):
                return
            if self._old.handed_over < self._at:
                logger.info("chain next victim is worker %d", self._at)
                self._logged = now
                self._old.hand_over(self._at, now)
            if self._old.has(self._at):
                if now - self._logged >= LOG_INTERVAL:
                    self._logged = now
                    logger.info("chain is still waiting for worker %d...", self._at)
                return
            self._at += 1
            self._new.limit = None if self.done else self._at

    def undo(self) -> None:
        """Have the old generation start all of its workers again."""
        self._old.handed_over = 0


class ReloadAttempt(NamedTuple):
    """A reload in progress."""

    plan: ReloadPlan
    generations: list[Generation]
    chains: list[ChainReload]
    callers: list[Caller]
    started: float


class Reloads:
    """The reloads of one instance, one at a time.

    Args:
        generations: the master's list; new generations are appended.
        start: makes a generation from (number, role, count).
        free_rows: returns how many scoreboard rows are free.
        renew: returns what to run from now on.
        took_over: called with time.monotonic() when new generations serve.
        reloading: called with True when an attempt begins, with False when it has ended.
    """

    def __init__(self, generations: list[Generation],
                 start: Callable[[int, Role, int], Generation], free_rows: Callable[[], int],
                 renew: Callable[[], ReloadPlan], took_over: Callable[[float], None],
                 reloading: Callable[[bool], None] = lambda begins: None) -> None:
        self._generations = generations
        self._start = start
        self._free_rows = free_rows
        self._renew = renew
        self._took_over = took_over
        self._reloading = reloading
        self._attempt: ReloadAttempt | None = None
        self._last = 0                      # generation number: none is used twice
        self._again = False
        self._chained = False               # the waiting request is for a chain reload
        self._waiting: list[Caller] = []    # for the result of the next attempt

    @property
    def underway(self) -> bool:
        """Whether a reload is in progress."""
        return self._attempt is not None

    def owns(self, generation: Generation) -> bool:
        """Whether a generation belongs to the reload in progress."""
        return self._attempt is not None and generation in self._attempt.generations

    def request(self, now: float, caller: Caller | None = None, *, chained: bool = False) -> None:
        """Reload now, or after the start or reload in progress.

        Args:
            now: time.monotonic().
            caller: a console caller that waits for the result.
            chained: replace worker by worker.
        """
        if caller is not None:
            self._waiting.append(caller)
        self._again = True
        self._chained = chained
        attempt = self._attempt
        if attempt is not None and now - attempt.started > ATTEMPT_TIMEOUT:
            self._fail("it has taken too long, and there is a newer request", now)
        if self._busy():
            logger.info("a reload or start is in progress; another reload will follow")
        else:
            self._begin(now)

    def check(self, now: float) -> None:
        """Finish the attempt if it has succeeded or failed; start the next one."""
        attempt = self._attempt
        if attempt is not None:
            failed = [one.failure for one in attempt.generations if one.failure is not None]
            for chain in attempt.chains if not failed else ():
                chain.step(now)
            if failed:
                self._fail(failed[0][1], now)
            elif (all(one.complete for one in attempt.generations)
                    and all(chain.done for chain in attempt.chains)):
                self._succeed(attempt, now)
        if self._again and not self._busy():
            self._begin(now)

    def give_up(self, now: float, reason: str) -> None:
        """End the attempt and what waits for it: the instance stops."""
        if self._attempt is not None:
            self._end(self._attempt, now)
            self._reply(self._attempt.callers, reason)
            self._attempt = None
        self._again = False
        self._reply(self._waiting, reason)

    def _busy(self) -> bool:
        return self._attempt is not None or any(
            one.state == BOOTING for one in self._generations)

    def _begin(self, now: float) -> None:
        callers, self._waiting = self._waiting, []
        self._again = False
        chained = self._chained
        self._reloading(True)
        try:
            plan = self._renew()
        except (GeventuwsgiError, OSError) as error:  # also a lack of descriptors
            self._refuse(str(error), callers)
            return
        except Exception as error:  # must not end the master
            logger.exception("reload failed")
            self._refuse(f"{type(error).__name__}: {error}", callers)
            return
        chained = chained or plan.chained
        counts = [self._count(role) for role in plan.roles]
        if self._free_rows() < (len(counts) if chained else sum(counts)):
            plan.discard()
            self._refuse("the scoreboard has not enough free rows for another generation: older "
                         "ones are still draining, or processes was increased by too much; try "
                         "again, or upgrade in place (SIGUSR2)", callers)
            return
        attempt = ReloadAttempt(plan, [], [], callers, now)
        self._last = number = 1 + max([self._last, *(one.number for one in self._generations)])
        for role, count in zip(plan.roles, counts):
            old = self._serving(role.name)
            if old is not None and old.role.preferred and role.alternative is not None:
                # If the code has changed its interface, this generation changes back.
                role = role.alternative._replace(alternative=role._replace(alternative=None))
            logger.info("...gracefully reloading: generation %d of %s starts beside generation %d",
                        number, role.name, old.number if old else 0)
            new = self._start(number, role, count)
            self._generations.append(new)
            attempt.generations.append(new)
            if chained and old is not None:
                attempt.chains.append(ChainReload(old, new))
        self._attempt = attempt

    def _serving(self, name: str) -> Generation | None:
        found = [one for one in self._generations
                 if one.state == SERVING and one.role.name == name]
        return found[-1] if found else None

    def _count(self, role: Role) -> int:
        """Return the number of processes of a new generation.

        The present number, as signals and load have changed it, is kept, unless the
        configuration has changed. That of an inherited generation is not known.
        """
        old, plan = self._serving(role.name), role.cheaper
        if old is None:
            return role.initial
        if (old.role.processes, old.role.cheaper) == (role.processes, plan):
            return old.count
        if plan is None:
            return role.processes
        return min(max(old.count, plan.minimum), plan.maximum)

    def _succeed(self, attempt: ReloadAttempt, now: float) -> None:
        self._attempt = None
        for one in attempt.generations:
            one.state = SERVING
        # Before the old ones drain: a removed socket must be unlinked before its last
        # listener closes it.
        attempt.plan.commit()
        # After this line the new configuration is in force, including its watched files.
        for one in attempt.generations:
            one.log_ready()
        logger.info("...gracefully killing workers...")
        for one in self._generations:
            if one.state == SERVING and one not in attempt.generations:
                one.drain(now)
        self._took_over(now)
        self._reloading(False)
        self._reply(attempt.callers)

    def _fail(self, reason: str, now: float) -> None:
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        self._end(attempt, now)
        self._refuse(reason, attempt.callers)

    def _end(self, attempt: ReloadAttempt, now: float) -> None:
        """Undo an attempt."""
        for chain in attempt.chains:
            chain.undo()
        for one in attempt.generations:
            one.failure = None
            one.kill(now)
        attempt.plan.discard()

    def _refuse(self, reason: str, callers: list[Caller]) -> None:
        serving = [one.number for one in self._generations if one.state == SERVING]
        logger.error("reload failed: %s; generation %d keeps serving", reason,
                     max(serving, default=0))
        self._reloading(False)
        self._reply(callers, reason)

    def _reply(self, callers: list[Caller], reason: str = "") -> None:
        for caller in callers:
            caller.end(1 if reason else 0, reason and f"reload failed: {reason}")
        callers.clear()
