"""The master's side of the scribe (`log.scribe`): start it, keep it alive, let it finish.

The master's own standard output and error become the pipe as well, and with them those of
all its children. It keeps the pipe's reading end, so that nobody's print fails while the
scribe is being replaced, and what it does not write it does not read either.

Called in the master only, but for `play`, which is the scribe's own process.
"""

import atexit
import fcntl
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...log.collector import PLAN, REOPEN, ROTATE, LogCollector
from ...log.sinks import StreamSink
from ...system.title import Titles
from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

SIZE = 1 << 20      # bytes of the pipe, where the system lets us
AGAIN = 1.0         # seconds between two starts
LAST = 3.0          # seconds at the end for what is in the pipe


class LogCollectorProcess(Attached):
    """The process that reads all lines; an `Attached` of the master.

    Args:
        command: what to execute; the number of the plan's descriptor is appended.
        release: called at the end, when the standard output and error are what they were: has
            the error log let go of the pipe.

    Attributes:
        gone: always True: it ends when everybody else has.
        pid: of the process; 0 while there is none.
        engaged: whether lines go through it, from the first plan on.
    """

    def __init__(self, command: Sequence[str], release: Callable[[], object]) -> None:
        self._command = tuple(command)
        self._release = release
        self._master = os.getpid()
        self._again = math.inf      # when it is to be started anew
        self._kept: tuple[int, ...] = ()
        self._plan = ""
        self._orders: StreamSink
        self.engaged = False
        self.pid = 0

    def engage(self, plan: str, kept: Sequence[int] = (),
               handed_over: Sequence[int] = ()) -> None:
        """Have all lines go through it from here on, or by another plan from here on.

        Args:
            plan: what it is to do.
            kept: descriptors that it inherits under the same numbers (`logger = fd:N`).
            handed_over: what `hand_over` of the version before returned.

        Raises:
            OSError: the system refuses a pipe or a process.
        """
        if self.engaged:
            if plan != self._plan:
                self._write(plan)
                self._orders.write(PLAN)
            return
        self._kept = tuple(kept)
        if handed_over:
            self.pid, *fds = handed_over
            self._reader, self._memory, *self._originals = fds
            for fd in fds:
                os.set_inheritable(fd, False)
        else:
            self._memory = os.memfd_create("geventuwsgi-logs", os.MFD_CLOEXEC)
            self._reader = self._divert()
        self.engaged = True
        self._orders = StreamSink(2)
        self._write(plan)
        atexit.register(self.finish)
        if handed_over:
            self._orders.write(PLAN)
        else:
            self._start()

    def _divert(self) -> int:
        """Make the standard output and error a pipe; return its other end."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, SIZE)
        except OSError:
            pass  # the user's pipes have too many pages already; it is smaller then
        self._originals = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (1, 2)]
        sys.stdout.flush()
        sys.stderr.flush()
        for fd in (1, 2):
            os.dup2(writer, fd)
        os.close(writer)
        return reader

    def _write(self, plan: str) -> None:
        octets = plan.encode("utf-8", "surrogateescape")
        os.pwrite(self._memory, octets, 0)
        os.ftruncate(self._memory, len(octets))
        self._plan = plan

    def _start(self) -> None:
        output, errors = self._originals
        actions: list[tuple[int, ...]] = [
            (os.POSIX_SPAWN_DUP2, one, one) for one in (self._memory, *self._kept)]
        actions += [(os.POSIX_SPAWN_DUP2, self._reader, 0), (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, errors, 2)]
        # It has no handlers yet, and a signal to the whole group is not meant for it.
        self.pid = os.posix_spawn(
            self._command[0], [*self._command, str(self._memory)], os.environ,
            file_actions=actions, setsigmask=signal.valid_signals())  # type: ignore[arg-type]

    def reopen(self) -> None:
        """Have it open its files anew, behind all lines so far."""
        if self.engaged:
            self._orders.write(REOPEN)

    def rotate(self) -> None:
        """Have it rename its files and begin new ones (`touch-logrotate`)."""
        if self.engaged:
            self._orders.write(ROTATE)

    def hand_over(self) -> tuple[list[int], list[int]]:
        """Return what the next version has to know, and the descriptors that stay open."""
        if not self.engaged:
            return [], []
        fds = [self._reader, self._memory, *self._originals]
        return [self.pid, *fds], fds

    def poll(self, now: float) -> float:
        """Start it anew if that is due."""
        if not self.engaged:
            return math.inf
        waits = not self._orders.flush()
        if now >= self._again:
            self._again = math.inf
            try:
                self._start()
            except OSError as error:
                self._again = now + AGAIN
                logger.error("the log's process cannot be started: %s", error.strerror)
        return now + AGAIN if waits else self._again

    def exited(self, pid: int, status: int) -> bool:
        """Take note of its end, which was not meant to be: the pipe keeps what comes."""
        if pid != self.pid or not pid:
            return False
        self.pid = 0
        self._again = time.monotonic() + AGAIN / 4
        logger.error("the log's process (pid: %d) died, another one takes its place", pid)
        return True

    def finish(self) -> None:
        """Let it write what is left, for a moment; the last thing that the master does."""
        if os.getpid() != self._master or self._reader < 0:
            return
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self._orders.close()
        if not self.pid:
            try:
                self._start()
            except OSError:
                pass  # what is in the pipe is lost
        for fd, original in zip((1, 2), self._originals):
            os.dup2(original, fd)
        self._release()
        os.close(self._reader)
        self._reader = -1
        deadline = time.monotonic() + LAST
        while time.monotonic() < deadline:
            try:
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    return
            except ChildProcessError:
                return
            time.sleep(0.005)


def run_collector(memory: int) -> None:
    """Be the scribe.

    It ends when nobody can write any more, whatever is sent to the whole group before.

    Args:
        memory: the memfd that holds the plan; fd 0 is what it reads, 1 and 2 are what the
            server's were.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1,
                   signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def plan() -> dict[str, Any]:
        size = os.fstat(memory).st_size
        found: dict[str, Any] = json.loads(os.pread(memory, size, 0))
        return found

    title = plan()["title"]
    Titles("", on=bool(title), name=title).set("log")
    LogCollector(0, plan).run()
    os._exit(0)
