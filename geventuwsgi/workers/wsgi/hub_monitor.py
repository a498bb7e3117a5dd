"""`block-warning`: log the stack of a greenlet while it blocks the hub.

Without that option only a block in `multiprocessing` is logged, which gevent does not patch: its
pools wait for ever in greenlets.

The monitor is a native thread. It uses nothing of gevent, no lock of the application and
no log handler that might block.

Measured with CPython 3.11 and a limit of 100 ms: it adds 0.6 % to a switch of greenlets and
takes 2 ms of CPU a second when idle. A timer signal (setitimer) costs the same and sees the
same, but interrupts C code. gevent's own monitor traces every switch (a third more for each)
and does not see C code that holds the interpreter's lock.
"""

import logging
import sys
from time import monotonic
from types import FrameType
from typing import Any

from gevent.monkey import get_original

from ...log import error, tracebacks
from . import stacks

log = logging.getLogger("geventuwsgi.error")

_sleep = get_original("time", "sleep")
_start_new_thread = get_original("_thread", "start_new_thread")
# Between two stacks in the log, in seconds: an application that blocks in every request
# would log the same stack for every request.
LOG_INTERVAL = 1.0
# Milliseconds; see above.
MULTIPROCESSING_BLOCK = 1000.0
_MULTIPROCESSING = ("multiprocessing.", "concurrent.futures.process")
_HINT = ("\nmultiprocessing waits in calls that gevent does not patch: use threads instead of "
         "gevent for this application (docs/workers.rst)")


class HubMonitor:
    """Log the stack of a greenlet that blocks the hub.

    Args:
        service: the worker's.
        loop: the hub's.
        milliseconds: how long the hub must be blocked.
        only_multiprocessing: log nothing else.
    """

    def __init__(self, service: Any, loop: Any, milliseconds: float,
                 only_multiprocessing: bool = False) -> None:
        self._service = service
        self._only_multiprocessing = only_multiprocessing
        self._limit = milliseconds / 1000
        # A block begins at most one period after the last beat, so a last beat older than
        # the limit plus a period means a block of at least the limit.
        self._period = self._limit / 4
        self._timer = loop.timer(self._period, self._period)
        self._beat = monotonic()
        self._logged_beat = 0.0  # the last beat before the block that was logged
        self._logged_at = 0.0
        self._not_logged = 0
        self._stopped = False

    def start(self) -> None:
        self._timer.start(self._tick)
        _start_new_thread(self._watch, ())

    def stop(self) -> None:
        self._stopped = True
        self._timer.close()

    def _tick(self) -> None:
        before, self._beat = self._beat, monotonic()
        if before == self._logged_beat:
            log.warning("the hub of worker %d runs again, after %.0f milliseconds",
                        self._service.worker, (self._beat - before) * 1000)
        elif self._service.pool is not None and self._beat - before >= self._limit + self._period:
            # The monitor needs the interpreter's lock too, and did not get it in time.
            log.warning("the hub of worker %d was blocked for %.0f milliseconds: a native thread "
                        "kept the interpreter's lock", self._service.worker,
                        (self._beat - before) * 1000)

    def _watch(self) -> None:
        """The body of the thread."""
        seen = 0.0
        while not self._stopped:
            _sleep(self._limit / 2)
            beat = self._beat
            late = monotonic() - beat
            if late < self._limit + self._period or beat == seen:
                continue
            seen = beat
            frame = self._blocker()
            if frame is None or stacks.is_at_rest(frame) or tracebacks.in_debugger(frame):
                continue  # the whole process was stopped, or a debugger waits for its user
            if self._only_multiprocessing and not _in_multiprocessing(frame):
                continue
            if monotonic() - self._logged_at < LOG_INTERVAL:
                self._not_logged += 1
                continue
            self._logged_beat, self._logged_at = beat, monotonic()
            error.log_unlocked(logging.WARNING, self._text(frame, late))
            self._not_logged = 0

    def _blocker(self) -> FrameType | None:
        """Return the frame of the greenlet that blocks the hub, or that of a native thread that
        keeps the interpreter's lock."""
        threads = sys._current_frames()
        if self._service.pool is None:
            return threads.get(self._service.thread)
        found = stacks.running_request(self._service)
        return None if found is None else found.call.frame(threads)

    def _text(self, frame: Any, late: float) -> str:
        service = self._service
        found = stacks.running_request(service)
        source = (f"request {found.exchange.method} {found.exchange.uri} from {found.peer}"
                  if found is not None else "a greenlet of the application")
        more = f" ({self._not_logged} more blocks since the last stack)" if self._not_logged else ""
        return (f"the hub of worker {service.worker} (pid: {service.pid}) is blocked for "
                f"{late * 1000:.0f} milliseconds by {source}, here{more}:\n"
                f"{tracebacks.text(frame)}{_HINT if _in_multiprocessing(frame) else ''}")


def _in_multiprocessing(frame: FrameType | None) -> bool:
    """Whether a stack has a call in `multiprocessing`."""
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(_MULTIPROCESSING):
            return True
        frame = frame.f_back
    return False
