"""How the master sees its children: a template, a worker, their rows, and when to try again.

Plain records with a few verbs; what is decided about them stands in `generation`,
`recycling` and `watch`.
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

logger = logging.getLogger("geventuwsgi.error")

SHORT_LIFE = 1.0        # seconds; who dies younger is respawned later (uWSGI's fork bomb test)
FIRST_DELAY = 0.1       # seconds, doubled with each early death
DELAY_READY = 1.0       # cap for workers that did serve: clients wait for them
DELAY_UNREADY = 30.0    # cap for workers that never got that far


class Throttle:
    """When something that died may be started again."""

    def __init__(self) -> None:
        self.failures = 0
        self.due = 0.0

    def died(self, now: float, lived: float, was_ready: bool) -> float:
        """Note a death after `lived` seconds; return the seconds to wait."""
        if was_ready and lived >= SHORT_LIFE:
            self.failures = 0
            self.due = now
            return 0.0
        cap = DELAY_READY if was_ready else DELAY_UNREADY
        delay = min(cap, FIRST_DELAY * 2.0 ** min(self.failures, 16))
        self.failures += 1
        self.due = now + delay
        return delay


class Process:
    """A template, as the master sees it."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid              # 0 = has not said yet
        self.control = sock
        self.started = time.monotonic()
        self.deadline: float | None = None  # when it is killed
        self.superseded = False     # it asked for one of another kind in its place

    def signal(self, number: int) -> None:
        """Send it a signal, if it has said who it is."""
        kill(self.pid, number)

    def reopen_logs(self, handed: Sequence[tuple[str, int]]) -> None:
        """Have it reopen its logs, or go on with these."""
        if not handed:
            self.signal(signal.SIGUSR1)
        for name, fd in handed:
            channel.send_with_descriptor(self.control, channel.LOG + name.encode(), fd)


class Worker(Process):
    """A worker, as the master sees it.

    Attributes:
        id: its number; its successor has the same.
        name: how logs call its kind.
        ready_at: when it began to accept, by time.monotonic(); None = not yet.
        worn: why it is to be replaced; "" = it is not.
        cheaped: it ends because there is no work for it.
        luck: a random number from 0 to 1, so that alike workers differ.
        first_memory: (resident, virtual) bytes that it had when it became ready.
        forked: processes that are it, or were on the way to it, by word of who forked them.
    """

    def __init__(self, number: int, row: Row, sock: socket.socket, name: str = "worker") -> None:
        super().__init__(0, sock)
        self.id = number
        self.name = name
        self.row = row
        self.ready_at: float | None = None
        self.asked_at: float | None = None      # to drain or to die
        self.stacks_at: float | None = None     # SIGUSR2 because it is stuck
        self.failure: tuple[int, str] | None = None
        self.forked: set[int] = set()
        self.due_for_replacement = ""
        self.cheaped = False
        self.luck = random.random()
        self.first_memory = (0, 0)
        self._requests_before = row.cells[scoreboard.REQUESTS]

    def kill_unnamed(self, parents: Sequence[int]) -> None:
        """Kill what was forked for it and never said a word: a library hangs in the fork.

        Args:
            parents: whose child it may be beside ours; any other pid was given anew.
        """
        for pid in self.forked:
            if _parent(pid) in (os.getpid(), *parents):
                logger.error("%s %d (pid: %d) hangs since it was forked and is killed", self.name,
                             self.id, pid)
                kill(pid, signal.SIGKILL)

    @property
    def ready(self) -> bool:
        """Whether it has begun to accept connections."""
        return self.ready_at is not None

    @property
    def requests(self) -> int:
        """How many requests this process has served, as it last told."""
        return self.row.cells[scoreboard.REQUESTS] - self._requests_before

    @property
    def busy(self) -> int:
        """How many requests it has in progress; -1 if it does not serve at all."""
        return self.row.cells[scoreboard.IN_PROGRESS] if self.ready else -1

    @property
    def memory(self) -> tuple[int, int]:
        """Resident and virtual bytes, as it last told."""
        return self.row.cells[scoreboard.RSS], self.row.cells[scoreboard.VSZ]

    def request_stop(self, now: float, message: bytes, grace: float) -> None:
        """Ask it to drain or to stop, and kill it after `grace` seconds.

        A stop after a drain hurries it, but its deadline stands.
        """
        sent = channel.send(self.control, message)
        if self.asked_at is not None:
            return
        self.asked_at = now
        self.deadline = now + grace
        if not (sent and self.ready):
            self.signal(signal.SIGTERM)  # one that still boots has nothing to finish

    def tell_death(self, status: int | None) -> None:
        """Log how it died; None = it was never there."""
        if status is None:
            logger.error("%s %d could not be forked", self.name, self.id)
        elif status < 0:
            logger.error("DAMN ! %s %d (pid: %d) died, killed by signal %d :( "
                         "trying respawn ...", self.name, self.id, self.pid, -status)
        elif status > 0:
            logger.error("DAMN ! %s %d (pid: %d) died :( trying respawn ...",
                         self.name, self.id, self.pid)

    def log_exit(self, now: float, product: str) -> None:
        """Log that it has ended as it was asked to.

        Args:
            now: time.monotonic().
            product: what the log calls this server.
        """
        if self.asked_at is not None and self.pid:
            if self.due_for_replacement:
                logger.info("...The work of process %d is done. Seeya!", self.pid)
            logger.info("%s %d buried after %d seconds", self.name, self.id, now - self.asked_at)
            if self.cheaped:
                logger.info("%s worker %d cheaped.", product, self.id)


class Rows:
    """The scoreboard rows that nobody uses."""

    def __init__(self, board: Scoreboard) -> None:
        self.board = board
        self._free = list(range(len(board), 0, -1))

    def __len__(self) -> int:
        return len(self._free)

    def take(self) -> int:
        """Return a free row's number, the lowest."""
        return self._free.pop()

    def give_back(self, index: int) -> None:
        """Retire a row."""
        self.board.retire(index)
        self._free.append(index)
        self._free.sort(reverse=True)


def tell_delay(delay: float) -> None:
    """Log that a respawn has to wait, if it has to."""
    if delay:
        logger.warning("worker respawning too fast !!! i have to sleep a bit "
                       "(%.1f seconds)...", delay)


def kill(pid: int, number: int) -> None:
    """Send a signal to one child of ours that was not reaped yet, so that its pid is its own."""
    if pid > 0:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def _parent(pid: int) -> int:
    """Return the parent of a process, 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def how(status: int) -> str:
    """Say how a process ended; `status` as of os.waitstatus_to_exitcode."""
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
