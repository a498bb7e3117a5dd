"""The attached daemons of an instance, and which of them a reload changes."""

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

PIDFILE_INTERVAL = 1.0      # seconds between two checks of a pid file


class Daemons(Attached):
    """All daemons of an instance.

    Args:
        specs: the daemons.
        context: their default environment, user and directory.
        grace: seconds between a daemon's stop signal and SIGKILL.

    Attributes:
        exit_status: 0 when a control daemon has exited.
    """

    def __init__(self, specs: Sequence[DaemonSpec], context: ProgramContext,
                 grace: float) -> None:
        self.exit_status: int | None = None
        self._context = context
        self._grace = grace
        self._daemons = [Daemon(spec, context) for spec in specs]
        self._started_by_reload: list[Daemon] = []      # added by the present reload
        self._waiting: list[Daemon] = []    # of these: started when the removed ones have exited
        self._removed: list[Daemon] = []    # removed by a reload
        self._stopping = False
        self._check_due = math.inf          # after `start`

    def replace(self, specs: Sequence[DaemonSpec], context: ProgramContext, grace: float,
                now: float) -> None:
        """Apply a new configuration.

        Daemons that are no longer in it are stopped. New ones are started after that, as
        they may need the same port. The others do not change until `reloaded`.
        """
        self._grace, self._context = grace, context
        before = self._daemons
        self._daemons, self._started_by_reload = [], []
        for spec in specs:
            known = next((one for one in before if one.is_for(spec, context)), None)
            if known is None:
                known = Daemon(spec, context)
                self._started_by_reload.append(known)
            else:
                before.remove(known)
            self._daemons.append(known)
        for daemon in before:
            daemon.drain(now, grace)
        self._removed += before
        self._waiting = list(self._started_by_reload)

    def watch(self, watch: Watch) -> None:
        """Watch the files that restart a daemon when they are touched."""
        for daemon in self._daemons:
            for path in daemon.spec.touch:
                watch.add(path, partial(self._touched, daemon),
                          f'reloading daemon "{daemon.spec.command}" !!!')

    def start(self, now: float) -> None:
        """Start them all."""
        self._check_due = now + PIDFILE_INTERVAL
        for daemon in self._daemons:
            daemon.start(now)

    def poll(self, now: float) -> float:
        """Poll all daemons, and check the pid files if it is time."""
        if now >= self._check_due and not self._stopping:
            self._check_due = now + PIDFILE_INTERVAL
            for daemon in self._daemons:
                if daemon not in self._waiting:
                    daemon.check(now)
        self._removed = [daemon for daemon in self._removed if not daemon.done]
        while self._waiting and not self._removed:
            self._waiting.pop(0).start(now)
        return min((daemon.poll(now) for daemon in self._all), default=now + 1.0)

    def exited(self, pid: int, status: int) -> bool:
        """Record the exit of one."""
        for daemon in self._all:
            if daemon.is_process(pid):
                if daemon.controls:
                    logger.warning('daemon "%s" (pid: %d) exited, %s: the instance stops',
                                   daemon.spec.command, pid, program.describe_status(status))
                    daemon.stopping = True
                    self.exit_status = 0
                daemon.exited(pid, status, time.monotonic())
                return True
        return False

    def reloaded(self, now: float) -> None:
        """Signal or restart all daemons, except those that this reload has started."""
        for daemon in self._daemons:
            if daemon not in self._started_by_reload:
                daemon.reloaded(now, self._grace)
        self._started_by_reload = []

    def stop(self, now: float) -> None:
        """Stop the dumb ones."""
        self._stopping = True
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
        """Whether all dumb ones have exited."""
        return all(daemon.done for daemon in self._all)

    @property
    def pids(self) -> list[int]:
        """The processes of the dumb ones."""
        return [daemon.pid for daemon in self._all if daemon.pid and not daemon.smart]

    @property
    def _all(self) -> list[Daemon]:
        return self._daemons + self._removed

    def _touched(self, daemon: Daemon) -> None:
        daemon.restart(time.monotonic(), daemon.spec.stop_signal, self._grace)
