"""Runs the log collector (`log.collector`) in a process of its own.

Standard output and error of the master, and so of all its children, become a pipe that the
collector reads; request lines have one of their own, and so have the master's orders. The master
keeps the reading ends open, so that no write fails while the collector is restarted.
`run_collector` is the program of that process; everything else runs in the master.
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
from ...system import forked
from ...system.title import Titles
from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

PIPE_SIZE = 1 << 20     # bytes, if the system allows it
RESTART_DELAY = 1.0     # seconds between two starts
DRAIN_TIMEOUT = 3.0     # seconds at the end for what is in the pipe


class LogCollectorProcess(Attached):
    """The collector's process; it exits after all others, so it is always `done`.

    Args:
        command: what to execute; the numbers of the descriptors are appended: of the plan,
            of the pipe of request lines, and of that of orders.
        release: called at the end, when standard output and error have been restored: has
            the error log close the pipe.

    Attributes:
        pid: of the process; 0 while there is none.
        active: whether output goes through it, from the first plan on.
        requests: the descriptor for separate request lines; -1 while it is not active.
    """

    def __init__(self, command: Sequence[str], release: Callable[[], object]) -> None:
        self._command = tuple(command)
        self._release = release
        self._master = os.getpid()
        self._again = math.inf      # when it is to be started
        self._kept: tuple[int, ...] = ()
        self._plan = ""
        self.requests = -1
        self.active = False
        self.pid = 0

    def configure(self, plan: str, kept: Sequence[int] = (),
                  handed_over: Sequence[int] = ()) -> None:
        """Start it, or apply another plan.

        Args:
            plan: its configuration, JSON.
            kept: descriptors that it inherits under the same numbers (`logger = fd:N`).
            handed_over: what `hand_over` of the previous version returned.

        Raises:
            OSError: the system refuses a pipe or a process.
        """
        if self.active:
            if plan != self._plan:
                self._write(plan)
                self._order(PLAN)
            return
        self._kept = tuple(kept)
        if handed_over:
            self.pid, *fds = handed_over
            self._readers = fds[:3]
            self.requests, self._orders, self._memory, *self._originals = fds[3:]
            for fd in fds:
                os.set_inheritable(fd, False)
        else:
            self._memory = os.memfd_create("geventuwsgi-logs", os.MFD_CLOEXEC)
            (log, writer), (requests, self.requests), (orders, self._orders) = (
                _pipe() for _ in range(3))
            os.set_blocking(self._orders, False)
            self._readers = [log, requests, orders]
            self._divert(writer)
        self.active = True
        self._write(plan)
        atexit.register(self.finish)
        if handed_over:
            self._order(PLAN)
        else:
            self._start()

    def _divert(self, writer: int) -> None:
        """Replace standard output and error by a pipe."""
        self._originals = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in (1, 2)]
        sys.stdout.flush()
        sys.stderr.flush()
        for fd in (1, 2):
            os.dup2(writer, fd)
        os.close(writer)

    def _order(self, order: bytes) -> None:
        try:
            os.write(self._orders, order)
        except BlockingIOError:
            logger.error("the log process reads no orders")

    def _write(self, plan: str) -> None:
        octets = plan.encode("utf-8", "surrogateescape")
        os.pwrite(self._memory, octets, 0)
        os.ftruncate(self._memory, len(octets))
        self._plan = plan

    def _start(self) -> None:
        output, errors = self._originals
        log, *pipes = self._readers
        actions: list[tuple[int, ...]] = [
            (os.POSIX_SPAWN_DUP2, one, one) for one in (self._memory, *pipes, *self._kept)]
        actions += [(os.POSIX_SPAWN_DUP2, log, 0), (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, errors, 2)]
        # Signals stay blocked until it ignores them: those to the group are not for it.
        self.pid = os.posix_spawn(
            self._command[0], [*self._command, *map(str, (self._memory, *pipes))], os.environ,
            file_actions=actions, setsigmask=signal.valid_signals())  # type: ignore[arg-type]

    def reopen(self) -> None:
        """Have it reopen its files, after all lines so far."""
        if self.active:
            self._order(REOPEN)

    def rotate(self) -> None:
        """Have it rotate its files (`touch-logrotate`)."""
        if self.active:
            self._order(ROTATE)

    def hand_over(self) -> tuple[list[int], list[int]]:
        """Return the state for the next version, and the descriptors that stay open."""
        if not self.active:
            return [], []
        fds = [*self._readers, self.requests, self._orders, self._memory, *self._originals]
        return [self.pid, *fds], fds

    def poll(self, now: float) -> float:
        """Restart it if that is due."""
        if self.active and now >= self._again:
            self._again = math.inf
            try:
                self._start()
            except OSError as error:
                self._again = now + RESTART_DELAY
                logger.error("cannot start the log process: %s", error.strerror)
        return self._again

    def exited(self, pid: int, status: int) -> bool:
        """Record its unexpected exit; meanwhile the pipe holds the output."""
        if pid != self.pid or not pid:
            return False
        self.pid = 0
        self._again = time.monotonic() + RESTART_DELAY / 4
        logger.error("the log process (pid: %d) died, restarting it", pid)
        return True

    def finish(self) -> None:
        """Let it write what is in the pipe; the last action of the master."""
        if os.getpid() != self._master or not self._readers:
            return
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if not self.pid:
            try:
                self._start()
            except OSError:
                pass  # what is in the pipe is lost
        for fd, original in zip((1, 2), self._originals):
            os.dup2(original, fd)
        self._release()
        for fd in (*self._readers, self.requests, self._orders):
            os.close(fd)
        self._readers.clear()
        deadline = time.monotonic() + DRAIN_TIMEOUT
        while time.monotonic() < deadline:
            try:
                if os.waitpid(self.pid, os.WNOHANG)[0]:
                    return
            except ChildProcessError:
                return
            time.sleep(0.005)


def _pipe() -> tuple[int, int]:
    """Return both ends of a pipe, as large as the system allows."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        pass  # the limit of the user is used up; the pipe is smaller
    return reader, writer


class _Descriptors:
    """What a process that a library in the collector forks has to give up."""

    ended = False

    def __init__(self, *descriptors: int) -> None:
        self._descriptors = descriptors

    def become_ordinary(self) -> None:
        """Close the pipes and the plan, in the forked process."""
        forked.give_up((0, *self._descriptors))
        os.open(os.devnull, os.O_RDONLY)    # as descriptor 0


def run_collector(memory: int, requests: int, orders: int) -> None:
    """Run the collector; it ignores signals and exits when all writers have.

    Args:
        memory: the memfd with the plan.
        requests: the pipe of request lines.
        orders: the pipe of orders; fd 0 is that of all other lines, 1 and 2 are the original
            output and error of the server.
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
    descriptors = _Descriptors(memory, requests, orders)    # which `forked` refers to weakly
    forked.watch(descriptors)
    LogCollector(0, requests, orders, plan).run()
    os._exit(0)
