"""Runs hooks in child processes, so that they do not block the master.

These are `hook-master-start`, `hook-as-user-atexit` and the hooks of touched files. They run
as the application's user.
"""

import logging
import os
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
    """Hooks that run one after another, and the process of the present one."""

    def __init__(self, waiting: Sequence[Hook], fatal: bool) -> None:
        self.waiting = list(waiting)
        self.fatal = fatal
        self.pid = 0
        self.deadline: float | None = None


class HookRunner(Attached):
    """The hooks of an instance that run in child processes.

    Args:
        start: the hooks of master-start; if one fails, the instance stops.
        end: the hooks of as-user-atexit.
        context: environment, user and directory.
        grace: seconds until hooks are killed when the instance stops.
    """

    def __init__(self, start: Sequence[Hook], end: Sequence[Hook], context: ProgramContext,
                 grace: float) -> None:
        self.exit_status: int | None = None
        self._start = tuple(start)
        self.replace(end, context, grace)
        self._runs: list[HookRun] = []
        self._stopping = False

    def replace(self, end: Sequence[Hook], context: ProgramContext, grace: float) -> None:
        """Apply a new configuration; see the class."""
        self._end = tuple(end)
        self._context = context
        self._grace = grace

    def send(self, waiting: Sequence[Hook], *, fatal: bool = False) -> None:
        """Start some hooks.

        Args:
            waiting: the hooks.
            fatal: whether the instance stops if one fails; otherwise this is only logged.
        """
        run = HookRun(waiting, fatal)
        self._runs.append(run)
        self._next(run)

    def start(self, now: float) -> None:
        """Start the hooks of master-start."""
        if self._start:
            self.send(self._start, fatal=True)

    def poll(self, now: float) -> float:
        """Kill hooks that are overdue."""
        for run in self._runs:
            if run.deadline is not None and now >= run.deadline:
                logger.warning("%s is taking too much time, killing it", run.waiting[0].place)
                run.waiting[1:] = []
                run.deadline = None
                program.kill_group(run.pid)
        return min((run.deadline for run in self._runs if run.deadline is not None),
                   default=now + 1.0)

    def exited(self, pid: int, status: int) -> bool:
        """Check how a hook ended, and start the next one."""
        run = next((run for run in self._runs if run.pid == pid), None)
        if run is None:
            return False
        hook = run.waiting.pop(0)
        try:
            if hook.is_program or status < 0:
                hooks.check(hook, status)
            elif status:
                raise HookError("")  # its process has logged why
        except HookError as error:
            self._failed(run, str(error))
        self._next(run)
        return True

    def stop(self, now: float) -> None:
        """Start the hooks of as-user-atexit; kill all after the grace."""
        if self._stopping:
            return
        self._stopping = True
        if self._end:
            self.send(self._end)
        for run in self._runs:
            run.deadline = now + self._grace

    def kill(self, now: float) -> None:
        """Kill the present hooks."""
        for run in self._runs:
            run.deadline = now

    @property
    def done(self) -> bool:
        """Whether no hook is running."""
        return not self._runs

    def _next(self, run: HookRun) -> None:
        """Start the next hook of a run, or remove the run."""
        run.pid = 0
        while run.waiting and not run.pid:
            hook = run.waiting[0]
            hook.announce()
            try:
                run.pid = self._begin(hook)
            except OSError as error:
                run.waiting.pop(0)
                self._failed(run, str(hook.failed(error.strerror or str(error))))
        if not run.waiting:
            self._runs.remove(run)
        elif self._stopping:
            run.deadline = time.monotonic() + self._grace

    def _begin(self, hook: Hook) -> int:
        context = self._context
        if hook.is_program:
            return program.start(program.argv_of(hook.argument, context.environ.get("PATH")),
                                 context, session=True)

        def task() -> None:
            os.setsid()
            if context.directory:
                os.chdir(context.directory)
            program.assume(context)
            try:
                hooks.act(hook)
            except HookError as error:
                logger.error("%s", error)
                os._exit(1)
        return program.fork(task, waits=False)

    def _failed(self, run: HookRun, why: str) -> None:
        if why:
            logger.error("%s", why)
        if run.fatal:
            run.waiting.clear()
            self.exit_status = 1
            logger.critical("FATAL hook failed, destroying instance")
