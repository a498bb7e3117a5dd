"""The attached daemons of an instance, and which of them a reload changes.

Called in the master only.
"""

import logging
import math
import time
from collections.abc import Sequence
from functools import partial

from ...system import program
from ...system.program import ProgramContext
from .attached import Attached
from .daemon import Daemon, DaemonSpec
from .file_watch import Watch

logger = logging.getLogger("geventuwsgi.error")

CHECKED = 1.0        # seconds between two looks at a pid file


class Daemons(Attached):
    """All daemons of an instance; an `Attached` of the master.

    Args:
        orders: the daemons.
        conditions: what they run under, unless an order says otherwise.
        grace: seconds between a daemon's stop signal and SIGKILL.

    Attributes:
        verdict: see `Attached`; 0 when a control daemon ended.
    """

    def __init__(self, orders: Sequence[DaemonSpec], conditions: ProgramContext,
                 grace: float) -> None:
        self.exit_status: int | None = None
        self._conditions = conditions
        self._grace = grace
        self._daemons = [Daemon(order, conditions) for order in orders]
        self._fresh: list[Daemon] = []      # that came with the present reload
        self._waiting: list[Daemon] = []    # of these, who start when the leaving are gone
        self._leaving: list[Daemon] = []    # that a reload did away with
        self._ending = False
        self._check_due = math.inf          # not before they are started

    def replace(self, orders: Sequence[DaemonSpec], conditions: ProgramContext, grace: float,
                now: float) -> None:
        """Take on the daemons of a new configuration.

        Those that are gone from it end, new ones are started after them, for they may want
        the same port; the others stay who they are until `reloaded`.
        """
        self._grace, self._conditions = grace, conditions
        before = self._daemons
        self._daemons, self._fresh = [], []
        for order in orders:
            known = next((one for one in before if one.is_for(order, conditions)), None)
            if known is None:
                known = Daemon(order, conditions)
                self._fresh.append(known)
            else:
                before.remove(known)
            self._daemons.append(known)
        for daemon in before:
            daemon.drain(now, grace)
        self._leaving += before
        self._waiting = list(self._fresh)

    def watch(self, watch: Watch) -> None:
        """Have the files watched whose touch starts a daemon anew."""
        for daemon in self._daemons:
            for path in daemon.order.touch:
                watch.add(path, partial(self._touched, daemon),
                          f'reloading daemon "{daemon.order.command}" !!!')

    def start(self, now: float) -> None:
        """Start them all."""
        self._check_due = now + CHECKED
        for daemon in self._daemons:
            daemon.start(now)

    def poll(self, now: float) -> float:
        """Look after each."""
        if now >= self._check_due and not self._ending:
            self._check_due = now + CHECKED
            for daemon in self._daemons:
                if daemon not in self._waiting:
                    daemon.check(now)
        self._leaving = [daemon for daemon in self._leaving if not daemon.done]
        while self._waiting and not self._leaving:
            self._waiting.pop(0).start(now)
        return min((daemon.poll(now) for daemon in self._all), default=now + 1.0)

    def exited(self, pid: int, status: int) -> bool:
        """Take note of the end of one."""
        for daemon in self._all:
            if daemon.is_process(pid):
                if daemon.controls:
                    logger.warning('daemon "%s" (pid: %d) ended, %s: the instance ends with it',
                                   daemon.order.command, pid, program.describe_status(status))
                    daemon.dismissed = True
                    self.exit_status = 0
                daemon.ended(pid, status, time.monotonic())
                return True
        return False

    def reloaded(self, now: float) -> None:
        """Tell each of a reload, but those that were started with it."""
        for daemon in self._daemons:
            if daemon not in self._fresh:
                daemon.reloaded(now, self._grace)
        self._fresh = []

    def stop(self, now: float) -> None:
        """Have the dumb ones end."""
        self._ending = True
        self._waiting.clear()
        for daemon in self._daemons:
            daemon.drain(now, self._grace)

    def kill(self, now: float) -> None:
        """Kill the dumb ones."""
        self.stop(now)
        for daemon in self._all:
            if daemon.deadline is not None:
                daemon.deadline = now

    @property
    def done(self) -> bool:
        """Whether no dumb one is left."""
        return all(daemon.done for daemon in self._all)

    @property
    def pids(self) -> list[int]:
        """The processes of the dumb ones; the smart ones live on by themselves."""
        return [daemon.pid for daemon in self._all if daemon.pid and not daemon.smart]

    @property
    def _all(self) -> list[Daemon]:
        return self._daemons + self._leaving

    def _touched(self, daemon: Daemon) -> None:
        daemon.restart(time.monotonic(), daemon.order.stop_signal, self._grace)
