"""A watch on the hub: whose greenlet keeps it blocked, told while it does.

The rules of this room: the watching thread is a native one and touches nothing of gevent,
no lock of the application's, and no log handler that might wait. It sleeps nearly always.

Measured, CPython 3.11, a limit of 100 ms: this costs 0.6 % on a switch of greenlets and
2 ms of CPU a second at rest. A timer signal (setitimer) costs the same and sees the same,
but interrupts what C code does; gevent's own monitor traces every switch (a third more on
each) and does not see code in C that keeps the interpreter's lock.
"""

import logging
import sys
from time import monotonic
from typing import Any

from gevent.monkey import get_original

from ...log import error, tracebacks
from . import stacks as census

log = logging.getLogger("geventuwsgi.error")

_sleep = get_original("time", "sleep")
_start_new_thread = get_original("_thread", "start_new_thread")
# Between two stacks in the log, in seconds: an application that blocks with every request
# says the same with every request.
QUIET = 1.0


class BlockWatch:
    """Log the stack of a greenlet that keeps the hub blocked.

    Args:
        service: the worker's.
        loop: the hub's.
        milliseconds: for how long.
    """

    def __init__(self, service: Any, loop: Any, milliseconds: float) -> None:
        self._service = service
        self._limit = milliseconds / 1000
        # Each beat is a sign of life. What is seen too late is at most a beat older than
        # the block itself, so that nobody is told who blocked for less than the limit.
        self._period = self._limit / 4
        self._timer = loop.timer(self._period, self._period)
        self._beat = monotonic()
        self._told_for = 0.0    # the last beat before a block that was told
        self._told_at = 0.0
        self._untold = 0
        self._ended = False

    def start(self) -> None:
        self._timer.start(self._tick)
        _start_new_thread(self._watch, ())

    def stop(self) -> None:
        self._ended = True
        self._timer.close()

    def _tick(self) -> None:
        before, self._beat = self._beat, monotonic()
        if before == self._told_for:
            log.warning("the hub of worker %d runs again, after %.0f milliseconds",
                        self._service.worker, (self._beat - before) * 1000)

    def _watch(self) -> None:
        """The thread."""
        seen = 0.0
        while not self._ended:
            _sleep(self._limit / 2)
            beat = self._beat
            late = monotonic() - beat
            if late < self._limit + self._period or beat == seen:
                continue
            seen = beat
            frame = sys._current_frames().get(self._service.thread)
            if frame is None or census.is_at_rest(frame) or tracebacks.in_debugger(frame):
                continue  # the whole process was stopped, and not a greenlet's doing
            if monotonic() - self._told_at < QUIET:
                self._untold += 1
                continue
            self._told_for, self._told_at = beat, monotonic()
            error.log_unlocked(logging.WARNING, self._text(frame, late))
            self._untold = 0

    def _text(self, frame: Any, late: float) -> str:
        service = self._service
        found = census.running_request(service)
        who = (f"request {found.exchange.method} {found.exchange.uri} from {found.peer}"
               if found is not None else "a greenlet of the application")
        more = f" ({self._untold} more blocks since the last stack)" if self._untold else ""
        return (f"the hub of worker {service.worker} (pid: {service.pid}) is blocked for "
                f"{late * 1000:.0f} milliseconds by {who}, here{more}:\n{tracebacks.text(frame)}")
