"""The master's records of its children: template, worker, scoreboard rows, respawn throttle.

What is decided about them is in `generation`, `recycling` and `heartbeat`.
"""

import logging
import os
import random
import signal
import socket
import time
from collections.abc import Sequence

from ..ipc import channel, scoreboard
from ..ipc.scoreboard import Row, Scoreboard
from . import reports
from .reports import Reports

logger = logging.getLogger("geventuwsgi.error")

SHORT_LIFE = 1.0        # seconds; what dies sooner is respawned later (uWSGI's fork bomb test)
FIRST_DELAY = 0.1       # seconds, doubled with each early death
DELAY_READY = 1.0       # at most, for workers that were ready: clients wait for them
DELAY_UNREADY = 30.0    # at most, for workers that never were


class Throttle:
    """When a process that died may be started again."""

    def __init__(self) -> None:
        self.failures = 0
        self.due = 0.0

    def died(self, now: float, uptime: float, was_ready: bool) -> float:
        """Record a death after `uptime` seconds; return the seconds to wait."""
        if was_ready and uptime >= SHORT_LIFE:
            self.failures = 0
            self.due = now
            return 0.0
        cap = DELAY_READY if was_ready else DELAY_UNREADY
        delay = min(cap, FIRST_DELAY * 2.0 ** min(self.failures, 16))
        self.failures += 1
        self.due = now + delay
        return delay


class Process:
    """A template."""

    order = reports.TEMPLATE

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid              # 0 = not known yet
        self.reaped = False         # its pid may belong to another process
        self.control = sock
        self.reports = Reports(sock, self.order, pid)
        self.started = time.monotonic()
        self.deadline: float | None = None  # when it is killed
        self.superseded = False     # it asked for the role's alternative

    def signal(self, number: int) -> None:
        """Send it a signal, if its pid is known and still its own."""
        if not self.reaped:
            kill(self.pid, number)

    def reopen_logs(self, handed: Sequence[tuple[str, int]]) -> None:
        """Have it reopen its logs, or use these, by name and descriptor."""
        if not handed:
            self.signal(signal.SIGUSR1)
        for name, fd in handed:
            channel.send_with_descriptor(self.control, channel.LOG + name.encode(), fd)


class Worker(Process):
    """A worker.

    Attributes:
        id: its number; its replacement has the same.
        name: what logs call its kind.
        ready_at: time.monotonic() when it began to accept; None = not yet.
        due_for_replacement: why it is to be replaced; "" = it is not.
        cheaped: it exits because there is not enough work for it.
        jitter: a random number from 0 to 1, so that the limits of workers differ.
        first_memory: (resident, virtual) bytes when it became ready.
        forked: pids of the worker and of the process that forked it, as these report them, and
            the uid of who reported it.
    """

    order = reports.WORKER

    def __init__(self, number: int, row: Row, sock: socket.socket, name: str = "worker",
                 pid: int = 0, template: Process | None = None) -> None:
        super().__init__(pid, sock)
        self.template = template    # forks it
        self.id = number
        self.name = name
        self.row = row
        self.ready_at: float | None = None
        self.stop_requested_at: float | None = None     # to drain or to exit
        self.stacks_at: float | None = None     # SIGUSR2 because it is stuck
        self.failure: tuple[int, str] | None = None
        self.forked: dict[int, int] = {}
        self.due_for_replacement = ""
        self.cheaped = False
        self.jitter = random.random()
        self.first_memory = (0, 0)

    def kill_unnamed(self) -> bool:
        """Kill what was forked for it but never sent its pid: a library hangs in the fork.

        Only a child of ours can be killed, which a child of the template becomes with the
        template's end; and only if it runs as the user that reported it.

        Returns:
            Whether there is such a process.
        """
        found = [pid for pid, uid in self.forked.items()
                 if reports.is_child(pid) and _runs_as(pid, uid)]
        for pid in found:
            logger.error("%s %d (pid: %d) has hung since it was forked, killing it", self.name,
                         self.id, pid)
            kill(pid, signal.SIGKILL)
        return bool(found)

    @property
    def ready(self) -> bool:
        """Whether it has begun to accept connections."""
        return self.ready_at is not None

    @property
    def requests(self) -> int:
        """How many requests this process has served, as last published."""
        return self.row.cells[scoreboard.REQUESTS]

    @property
    def busy(self) -> int:
        """How many requests it has in progress; -1 if it is not ready."""
        return self.row.cells[scoreboard.IN_PROGRESS] if self.ready else -1

    @property
    def memory(self) -> tuple[int, int]:
        """Resident and virtual bytes, as last published."""
        return self.row.cells[scoreboard.RSS], self.row.cells[scoreboard.VSZ]

    def request_stop(self, now: float, message: bytes, grace: float) -> None:
        """Make it drain or stop, and kill it after `grace` seconds.

        A stop after a drain does not change the deadline.
        """
        sent = channel.send(self.control, message)
        if self.stop_requested_at is not None:
            return
        self.stop_requested_at = now
        self.deadline = now + grace
        if not (sent and self.ready):
            self.signal(signal.SIGTERM)  # one that is still booting has no requests

    def log_unexpected_exit(self, status: int | None) -> None:
        """Log how it died; None = it was never forked."""
        if status is None:
            logger.error("%s %d could not be forked", self.name, self.id)
        elif status < 0:
            logger.error("DAMN ! %s %d (pid: %d) died, killed by signal %d :( "
                         "trying respawn ...", self.name, self.id, self.pid, -status)
        elif status > 0:
            logger.error("DAMN ! %s %d (pid: %d) died :( trying respawn ...",
                         self.name, self.id, self.pid)

    def log_exit(self, now: float, product: str) -> None:
        """Log an exit that the master has requested.

        Args:
            now: time.monotonic().
            product: what the log calls this server.
        """
        if self.stop_requested_at is not None and self.pid:
            if self.due_for_replacement:
                logger.info("...The work of process %d is done. Seeya!", self.pid)
            logger.info("%s %d buried after %d seconds", self.name, self.id,
                        now - self.stop_requested_at)
            if self.cheaped:
                logger.info("%s worker %d cheaped.", product, self.id)


class Rows:
    """The free rows of the scoreboard."""

    def __init__(self, board: Scoreboard) -> None:
        self.board = board
        self._free = list(range(len(board), 0, -1))

    def __len__(self) -> int:
        return len(self._free)

    def take(self) -> int:
        """Return the lowest free row's number."""
        return self._free.pop()

    def give_back(self, index: int) -> None:
        """Retire a row; it is free again."""
        self.board.retire(index)
        self._free.append(index)
        self._free.sort(reverse=True)


def log_delay(delay: float) -> None:
    """Log the delay of a respawn, if there is one."""
    if delay:
        logger.warning("worker respawning too fast !!! i have to sleep a bit "
                       "(%.1f seconds)...", delay)


def kill(pid: int, number: int) -> None:
    """Send a signal to a child that was not reaped yet, so that its pid cannot be reused."""
    if pid > 0:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def _runs_as(pid: int, uid: int) -> bool:
    """Whether all uids of a process are this one; root may name any process."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            found = next(line.split()[1:] for line in file if line.startswith(b"Uid:"))
    except (OSError, StopIteration):
        return False
    return uid == 0 or {int(one) for one in found} == {uid}


def how(status: int) -> str:
    """Return how a process ended, from its os.waitstatus_to_exitcode."""
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
