"""Errands: the hooks that the master has done by others while it looks after its children.

`hook-master-start`, what follows the touch of a file, and `hook-as-user-atexit`. Each is
a short-lived child, for nothing may block the master, and with the rights of the
application's user, for the master alone keeps root.

Called in the master only.
"""

import logging
import os
import signal
import time
from collections.abc import Sequence

from ...errors import HookError
from ...system import program
from ...system.program import ProgramContext
from . import hooks
from .attached import Attached
from .hooks import Hook

logger = logging.getLogger("geventuwsgi.error")


class HookRun:
    """Some hooks that are done one after another; the process of the present one."""

    def __init__(self, waiting: Sequence[Hook], fatal: bool) -> None:
        self.waiting = list(waiting)
        self.fatal = fatal
        self.pid = 0
        self.deadline: float | None = None


class HookRunner(Attached):
    """All errands of an instance; an `Attached` of the master.

    Args:
        start: the hooks of master-start; one that fails ends the instance.
        end: the hooks of as-user-atexit.
        conditions: what they run under.
        grace: seconds that an errand gets once the instance ends.

    Attributes:
        verdict: see `Attached`.
    """

    def __init__(self, start: Sequence[Hook], end: Sequence[Hook], conditions: ProgramContext,
                 grace: float) -> None:
        self.exit_status: int | None = None
        self._start = tuple(start)
        self.replace(end, conditions, grace)
        self._errands: list[HookRun] = []
        self._ending = False

    def replace(self, end: Sequence[Hook], conditions: ProgramContext, grace: float) -> None:
        """Take on what a new configuration says; see the class."""
        self._end = tuple(end)
        self._conditions = conditions
        self._grace = grace

    def send(self, waiting: Sequence[Hook], *, fatal: bool = False) -> None:
        """Have some hooks done.

        Args:
            waiting: the hooks.
            fatal: whether the instance ends if one fails; else only the log says so.
        """
        errand = HookRun(waiting, fatal)
        self._errands.append(errand)
        self._next(errand)

    def start(self, now: float) -> None:
        """Do what is to be done when the master starts."""
        if self._start:
            self.send(self._start, fatal=True)

    def poll(self, now: float) -> float:
        """Kill what is overdue."""
        for errand in self._errands:
            if errand.deadline is not None and now >= errand.deadline:
                logger.warning("%s is taking too much time and is killed", errand.waiting[0].place)
                errand.waiting[1:] = []
                errand.deadline = None
                _kill(errand.pid)
        return min((errand.deadline for errand in self._errands if errand.deadline is not None),
                   default=now + 1.0)

    def exited(self, pid: int, status: int) -> bool:
        """Judge the hook whose process this was, and go on to the next one."""
        errand = next((errand for errand in self._errands if errand.pid == pid), None)
        if errand is None:
            return False
        hook = errand.waiting.pop(0)
        try:
            if hook.is_program or status < 0:
                hooks.check(hook, status)
            elif status:
                raise HookError("")  # its process has logged why
        except HookError as error:
            self._failed(errand, str(error))
        self._next(errand)
        return True

    def stop(self, now: float) -> None:
        """Do what is to be done at the end; errands on their way get the grace."""
        if self._ending:
            return
        self._ending = True
        if self._end:
            self.send(self._end)
        for errand in self._errands:
            errand.deadline = now + self._grace

    def kill(self, now: float) -> None:
        """Kill the errands on their way."""
        for errand in self._errands:
            errand.deadline = now

    @property
    def done(self) -> bool:
        """Whether none is on its way."""
        return not self._errands

    def _next(self, errand: HookRun) -> None:
        """Start the next hook of an errand, or forget the errand."""
        errand.pid = 0
        while errand.waiting and not errand.pid:
            hook = errand.waiting[0]
            hook.announce()
            try:
                errand.pid = self._begin(hook)
            except OSError as error:
                errand.waiting.pop(0)
                self._failed(errand, str(hook.failed(error.strerror or str(error))))
        if not errand.waiting:
            self._errands.remove(errand)
        elif self._ending:
            errand.deadline = time.monotonic() + self._grace

    def _begin(self, hook: Hook) -> int:
        conditions = self._conditions
        if hook.is_program:
            return program.start(program.argv_of(hook.argument, conditions.environ.get("PATH")),
                                 conditions, session=True)

        def task() -> None:
            os.setsid()
            if conditions.directory:
                os.chdir(conditions.directory)
            program.assume(conditions)
            try:
                hooks.act(hook)
            except HookError as error:
                logger.error("%s", error)
                os._exit(1)
        return program.fork(task, waits=False)

    def _failed(self, errand: HookRun, why: str) -> None:
        if why:
            logger.error("%s", why)
        if errand.fatal:
            errand.waiting.clear()
            self.exit_status = 1
            logger.critical("FATAL hook failed, destroying instance")


def _kill(pid: int) -> None:
    """Kill an errand's process, which was not reaped yet, and its group."""
    if pid:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(pid, signal.SIGKILL)  # it has not got as far as its own group
