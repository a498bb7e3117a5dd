"""The scheduled commands of an instance (`cron`, `cron2`, `unique-cron`).

A command runs in the first second of each minute that its line names, in local time. uWSGI runs it
sixty seconds after its last run instead, and once at the start. A minute is dealt with once,
whatever the configuration was before: a reload or an upgrade in place runs nothing twice. If the
machine was suspended, the minutes that have passed are left out.

A stop does not end a command that runs, as under uWSGI; the service manager may.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...system import program
from ...system.program import ProgramContext
from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

_SET_BACK = 2       # minutes: a clock that is set back further counts from there


class CronSpec(NamedTuple):
    """A scheduled command.

    Attributes:
        place: the line that set it, for messages.
        command: for /bin/sh.
        minute, hour, day, month, week: when it runs; -1 = any, -N = each that N divides. If
            both `day` and `week` are given, either is enough.
        unique: it does not run while its last process does.
        harakiri: seconds after which it is killed; 0 = never.
    """

    place: str
    command: str
    minute: int
    hour: int
    day: int
    month: int
    week: int
    unique: bool = False
    harakiri: int = 0

    def is_due(self, moment: time.struct_time) -> bool:
        """Whether it runs in this minute of local time."""
        weekday = (moment.tm_wday + 1) % 7      # 0 = Sunday
        week = 0 if self.week == 7 else self.week
        day = _matches(self.day, moment.tm_mday), _matches(week, weekday)
        either = self.day >= 0 and week >= 0
        return (_matches(self.minute, moment.tm_min) and _matches(self.hour, moment.tm_hour)
                and _matches(self.month, moment.tm_mon) and (any(day) if either else all(day)))


def _matches(field: int, value: int) -> bool:
    return value == field if field >= 0 else value % -field == 0


class CronRun(NamedTuple):
    """A process of a scheduled command.

    Attributes:
        command: as in its line.
        began: time.monotonic(), which an upgrade in place does not change.
        deadline: the same, when it is killed; 0.0 = never.
    """

    command: str
    began: float
    deadline: float


class Crons(Attached):
    """The scheduled commands of an instance, and their processes.

    Args:
        specs: the commands.
        context: environment, user and directory.
        handed_over: what `hand_over` of the previous version returned.
    """

    def __init__(self, specs: Sequence[CronSpec], context: ProgramContext,
                 handed_over: Mapping[str, Any] | None = None) -> None:
        handed = handed_over or {}
        self._minute: int = handed.get("minute", 0)     # the last that was dealt with
        self._runs: dict[int, CronRun] = {
            pid: CronRun(*run) for pid, *run in handed.get("runs", ())}    # by pid
        self._specs: tuple[CronSpec, ...] = ()
        self._started = self._stopping = False
        self.replace(specs, context)

    def replace(self, specs: Sequence[CronSpec], context: ProgramContext) -> None:
        """Apply a new configuration; commands that run go on."""
        before, self._specs = self._specs, tuple(specs)
        self._context = context
        if self._started and not before:
            self._minute = int(time.time() // 60)   # without commands no minute was dealt with
        for spec in self._specs:
            if spec not in before:
                logger.info('[uwsgi-cron] command "%s" registered as cron task', spec.command)

    def hand_over(self) -> dict[str, Any]:
        """Return the state for the next version of this server."""
        return {"minute": self._minute if self._specs else 0,
                "runs": [(pid, *run) for pid, run in self._runs.items()]}

    def start(self, now: float) -> None:
        """Run commands from the next minute on."""
        self._started = True
        self._minute = self._minute or int(time.time() // 60)

    def poll(self, now: float) -> float:
        """Run what is due, and kill what is overdue."""
        for pid, run in self._runs.items():
            if run.deadline and now >= run.deadline:
                logger.error('*** HARAKIRI: [uwsgi-cron] command "%s" (pid %d) has run for %d '
                             "seconds, killing it", run.command, pid, now - run.began)
                self._runs[pid] = run._replace(deadline=0.0)
                program.kill_group(pid)
        due = [run.deadline for run in self._runs.values() if run.deadline]
        if not self._started or self._stopping or not self._specs:
            return min(due, default=now + 3600.0)
        seconds = time.time()
        minute = int(seconds // 60)
        if minute > self._minute:
            self._minute = minute
            moment = time.localtime(seconds)
            for spec in self._specs:
                if spec.is_due(moment):
                    self._run(spec, now)
        elif minute <= self._minute - _SET_BACK:
            self._minute = minute
        return min([now + 60.0 - seconds % 60.0, *due])

    def _run(self, spec: CronSpec, now: float) -> None:
        if spec.unique and any(run.command == spec.command for run in self._runs.values()):
            logger.info('[uwsgi-cron] command "%s" still runs and is not started again',
                        spec.command)
            return
        try:
            pid = program.start([program.SHELL, "-c", spec.command], self._context, session=True,
                                outlives=True)
        except OSError as error:
            logger.error('%s: cannot run "%s": %s', spec.place, spec.command, error.strerror)
            return
        logger.info('[uwsgi-cron] running "%s" (pid %d)', spec.command, pid)
        self._runs[pid] = CronRun(spec.command, now, spec.harakiri and now + spec.harakiri)

    def exited(self, pid: int, status: int) -> bool:
        """Log the end of a command."""
        run = self._runs.pop(pid, None)
        if run is None:
            return False
        level = logging.ERROR if status else logging.INFO
        logger.log(level, '[uwsgi-cron] command "%s" running with pid %d exited after %d '
                   "second(s)%s", run.command, pid, time.monotonic() - run.began,
                   f": {program.describe_status(status)}" if status else "")
        return True

    def stop(self, now: float) -> None:
        """Run nothing more."""
        if not self._stopping:
            self._stopping = True
            for pid, run in self._runs.items():
                logger.info('[uwsgi-cron] command "%s" (pid %d) is not ended by the stop',
                            run.command, pid)
