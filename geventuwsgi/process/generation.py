"""One generation of a role: a template, the workers that it forked, and their care.

The master's view; nothing here runs in a child. A generation never decides about the
instance: it keeps itself at strength, remembers why it failed (`failure`), and the
master judges.

    booting   ->  serving    all workers are ready
    booting   ->  draining   it failed while an older one serves, or the instance stops
    serving   ->  draining   a newer one serves, or the instance stops
    draining  ->  (gone)     its last process was reaped
"""

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable

from ..errors import BootError
from ..shared import scoreboard
from ..shared.scoreboard import Row, Scoreboard
from . import control
from .role import Role
from .spawn import spawn

logger = logging.getLogger("geventuwsgi.error")

BOOTING, SERVING, DRAINING = "booting", "serving", "draining"

SHORT_LIFE = 1.0        # seconds; who dies younger is respawned later (uWSGI's fork bomb test)
FIRST_DELAY = 0.1       # seconds, doubled with each early death
DELAY_READY = 1.0       # cap for workers that did serve: clients wait for them
DELAY_UNREADY = 30.0    # cap for workers that never got that far
STACK_TIME = 1.0        # seconds to write the stacks between SIGUSR2 and SIGKILL
DIE_TIME = 1.0          # seconds between "die" and SIGKILL
SILENT_TIME = 5.0       # seconds a worker may live after closing its control socket
FORK_PATIENCE = 30.0    # seconds until a template that forks nothing is replaced


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


class Worker(Process):
    """A worker, as the master sees it."""

    def __init__(self, number: int, row: Row, sock: socket.socket) -> None:
        super().__init__(0, sock)
        self.id = number
        self.row = row
        self.ready = False
        self.asked_at: float | None = None      # to drain or to die
        self.stacks_at: float | None = None     # SIGUSR2 because it is stuck
        self.failure: tuple[int, str] | None = None


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


class Generation:
    """A template and its workers.

    Args:
        number: 1 at the first start, one more with each reload.
        role: what to run.
        count: how many workers.
        rows: where their scoreboard rows come from; there must be `count` of them.
        selector: where control sockets are watched; the data of a key is what to call.
    """

    def __init__(self, number: int, role: Role, count: int, rows: Rows,
                 selector: selectors.BaseSelector) -> None:
        self.number = number
        self.role = role
        self.count = count
        self.state = BOOTING
        self.proven = False         # one of its workers was ready once
        self.failure: tuple[int, str] | None = None
        self.handed_over = 0                # up to this number a chain reload replaced them
        self.limit: int | None = None       # a chain reload starts no more than this yet
        self.workers: dict[int, Worker] = {}
        self.template: Process | None = None
        self._loaded = False        # the present template has loaded
        self._ever_loaded = False
        self._template_throttle = Throttle()
        self._throttles: dict[int, Throttle] = {}
        self._rows = rows
        self._row_of: dict[int, int] = {}
        self._selector = selector

    # What the master asks and tells

    @property
    def complete(self) -> bool:
        """Whether every worker it is to have is ready."""
        ready = sum(worker.ready for worker in self.workers.values() if worker.id <= self.count)
        return ready == self.count

    @property
    def loaded(self) -> bool:
        """Whether a template of it has loaded the application."""
        return self._ever_loaded

    @property
    def gone(self) -> bool:
        """Whether no process of it is left."""
        return self.template is None and not self.workers

    def tend(self, now: float, awake: float) -> float:
        """Start what is missing, end what is overdue; return when to come again.

        Args:
            now: time.monotonic().
            awake: since when the master has been running without a pause; a stop of the
                whole group (Ctrl-Z) must not make its workers look stuck.
        """
        if self.state != DRAINING:
            self._fill(now)
        due = [self._template_throttle.due] if self.template is None else []
        due += [throttle.due for number, throttle in self._throttles.items()
                if number not in self.workers and self.wants(number)]
        for worker in list(self.workers.values()):
            self._look_after(worker, now, awake)
            due += [at for at in (worker.deadline, worker.stacks_at and
                                  worker.stacks_at + STACK_TIME) if at is not None]
        return min((at for at in due if at > now), default=now + 1.0)

    def drain(self, now: float, stop: bool = False) -> None:
        """End it gracefully: no template, no new workers, the present ones finish.

        Args:
            now: time.monotonic().
            stop: the instance stops; a newer generation does not take over.
        """
        self.state = DRAINING
        self._leave_rows()
        self._kill_template()
        for worker in self.workers.values():
            self._ask_to_drain(worker, now, control.STOP if stop else control.DRAIN)

    def kill(self, now: float) -> None:
        """End it at once."""
        self.state = DRAINING
        self._leave_rows()
        self._kill_template()
        for worker in self.workers.values():
            control.send(worker.control, control.DIE)
            worker.asked_at = worker.asked_at or now
            worker.deadline = now + DIE_TIME

    def wants(self, number: int) -> bool:
        """Whether there is to be a worker of this number."""
        return (self.state != DRAINING and self.handed_over < number <= self.count
                and (self.limit is None or number <= self.limit))

    def has(self, number: int) -> bool:
        """Whether there is a worker of this number, in whatever state."""
        return number in self.workers

    def is_ready(self, number: int) -> bool:
        """Whether the worker of this number serves."""
        return number in self.workers and self.workers[number].ready

    def hand_over(self, number: int, now: float) -> None:
        """Do without the workers up to this number: newer ones are in their places."""
        self.handed_over = number
        self._leave_rows()
        for worker in self.workers.values():
            if worker.id <= number and worker.asked_at is None:
                self._ask_to_drain(worker, now, control.DRAIN)

    def resize(self, count: int, now: float) -> None:
        """Have `count` workers from now on; surplus ones drain."""
        self.count = count
        self._leave_rows()
        for worker in self.workers.values():
            if worker.id > count and worker.asked_at is None:
                self._ask_to_drain(worker, now, control.DRAIN)

    def signal(self, number: int) -> None:
        """Send a signal to each of its processes."""
        for process in (self.template, *self.workers.values()):
            if process is not None:
                _kill(process.pid, number)

    def pump(self) -> None:
        """Read what unnamed workers said; before reaping, for a pid may be among it."""
        for worker in list(self.workers.values()):
            if not worker.pid:
                self._hear_worker(worker)

    def exited(self, pid: int, status: int) -> bool:
        """Take note of a reaped process; False if it is none of ours."""
        if self.template is not None and self.template.pid == pid:
            self._hear_template(self.template)
            self._template_gone(status)
            return True
        for worker in list(self.workers.values()):
            if worker.pid == pid:
                self._hear_worker(worker, reaped=True)
                self._worker_gone(worker, status)
                return True
        return False

    # The template

    def _start_template(self, now: float) -> None:
        ours, theirs = control.pair()
        with theirs:
            try:
                pid = spawn(self.role, self.number, theirs)
            except OSError as error:
                ours.close()
                delay = self._template_throttle.died(now, 0.0, False)
                logger.error("cannot start a template: %s; again in %.1f seconds",
                             error.strerror, delay)
                if not self._ever_loaded:
                    self._fail(BootError.exit_status, f"cannot start a process: {error.strerror}")
                return
        self.template = template = Process(pid, ours)
        self._loaded = False
        self._watch(ours, lambda: self._hear_template(template))

    def _hear_template(self, template: Process) -> None:
        while (message := control.receive(template.control)) is not None:
            if message == b"":
                self._unwatch(template.control)
                _kill(template.pid, signal.SIGKILL)  # it can do nothing for us any more
                return
            if message.startswith(b"loaded "):
                self._loaded = self._ever_loaded = True
            elif message.startswith(b"failed ") and not self._ever_loaded:
                self._fail(*control.parse_failed(message))

    def _template_gone(self, status: int) -> None:
        template, self.template = self.template, None
        assert template is not None
        self._unwatch(template.control)
        template.control.close()
        loaded, self._loaded = self._loaded, False
        if self.state == DRAINING:
            return
        now = time.monotonic()
        if not self._ever_loaded:
            self._fail(status if status > 0 else BootError.exit_status,
                       f"the template ended before it had loaded ({_how(status)})")
        delay = self._template_throttle.died(now, now - template.started, loaded)
        logger.error("the template of generation %d (pid: %d) died, %s; its workers serve on, "
                     "another one is started%s", self.number, template.pid, _how(status),
                     f" in {delay:.1f} seconds" if delay else "")

    def _kill_template(self) -> None:
        """End the template; it holds nothing that could be lost."""
        if self.template is not None:
            _kill(self.template.pid, signal.SIGKILL)

    # The workers

    def _fill(self, now: float) -> None:
        if self.template is None:
            if now >= self._template_throttle.due and self.failure is None:
                self._start_template(now)
            return
        if not self._loaded:
            return
        for number in range(1, self.count + 1):
            if number not in self.workers and self.wants(number):
                throttle = self._throttles.get(number)
                if throttle is None or now >= throttle.due:
                    if not self._start_worker(number, self.template):
                        return  # the template's queue is full; at the next turn

    def _start_worker(self, number: int, template: Process) -> bool:
        if number not in self._row_of:
            if not self._rows:
                return False
            self._row_of[number] = self._rows.take()
        index = self._row_of[number]
        ours, theirs = control.pair()
        with theirs:
            if not control.send_with_descriptor(template.control, b"fork %d %d" % (number, index),
                                                theirs.fileno()):
                ours.close()
                return False
        worker = Worker(number, self._rows.board.row(index), ours)
        self.workers[number] = worker
        self._watch(ours, lambda: self._hear_worker(worker))
        return True

    def _hear_worker(self, worker: Worker, reaped: bool = False) -> None:
        while (message := control.receive(worker.control)) is not None:
            if message == b"":
                self._unwatch(worker.control)
                if not worker.pid:
                    self._worker_gone(worker, None)
                elif not reaped:
                    late = time.monotonic() + SILENT_TIME
                    worker.deadline = min(worker.deadline or late, late)
                return
            self._obey(worker, message)

    def _obey(self, worker: Worker, message: bytes) -> None:
        if message.startswith(b"pid "):
            worker.pid = int(message[4:])
            if worker.id in self._throttles:
                logger.info("Respawned uWSGI worker %d (new pid: %d)", worker.id, worker.pid)
            else:
                logger.info("spawned uWSGI worker %d (pid: %d, cores: %d)",
                            worker.id, worker.pid, self.role.cores)
            if worker.asked_at is not None:
                _kill(worker.pid, signal.SIGTERM)
        elif message == control.READY:
            worker.ready = self.proven = True
        elif message.startswith(b"failed "):
            worker.failure = control.parse_failed(message)

    def _worker_gone(self, worker: Worker, status: int | None) -> None:
        """Forget a dead worker. `status` is None if it never said who it was."""
        del self.workers[worker.id]
        self._unwatch(worker.control)
        worker.control.close()
        worker.row.vacate()
        now = time.monotonic()
        if not self.wants(worker.id):
            if worker.asked_at is not None and worker.pid:
                logger.info("worker %d buried after %d seconds", worker.id, now - worker.asked_at)
            self._rows.give_back(self._row_of.pop(worker.id))
            self._throttles.pop(worker.id, None)
            return
        throttle = self._throttles.setdefault(worker.id, Throttle())
        delay = throttle.died(now, now - worker.started, worker.ready)
        worker.row.cells[scoreboard.RESPAWNS] += 1
        if status is None:
            logger.error("worker %d could not be forked", worker.id)
        elif status < 0:
            logger.error("DAMN ! worker %d (pid: %d) died, killed by signal %d :( "
                         "trying respawn ...", worker.id, worker.pid, -status)
        elif status > 0:
            logger.error("DAMN ! worker %d (pid: %d) died :( trying respawn ...",
                         worker.id, worker.pid)
            if self.state == BOOTING:
                self._fail(*(worker.failure or (BootError.exit_status, _how(status))))
        if delay:
            logger.warning("worker respawning too fast !!! i have to sleep a bit "
                           "(%.1f seconds)...", delay)

    def _ask_to_drain(self, worker: Worker, now: float, message: bytes) -> None:
        sent = control.send(worker.control, message)
        if worker.asked_at is not None:
            return  # a stop after a reload hurries it, but its deadline stands
        worker.asked_at = now
        worker.deadline = now + self.role.mercy
        if not (sent and worker.ready):
            _kill(worker.pid, signal.SIGTERM)  # one that still boots has nothing to finish

    def _look_after(self, worker: Worker, now: float, awake: float) -> None:
        """Kill a worker that is overdue, and look for one that is stuck."""
        if worker.deadline is not None:
            if now >= worker.deadline and worker.pid:
                logger.warning("worker %d (pid: %d) is taking too much time to die..."
                               "NO MERCY !!!", worker.id, worker.pid)
                _kill(worker.pid, signal.SIGKILL)
                worker.deadline = now + SILENT_TIME
            return
        if not worker.pid:
            if now - worker.started > FORK_PATIENCE and self.template is not None:
                logger.error("the template (pid: %d) forks nothing and is replaced",
                             self.template.pid)
                self._kill_template()
                worker.started = now
            return
        timeout = self.role.timeout
        if not timeout or not worker.ready:
            return
        beat = max(worker.row.cells[scoreboard.HEARTBEAT_NS] / 1e9, awake, worker.started)
        if now - beat <= timeout:
            worker.stacks_at = None
        elif worker.stacks_at is None:
            logger.critical("WORKER TIMEOUT (pid:%d): worker %d gave no sign of life for %.0f "
                            "seconds, its stacks follow", worker.pid, worker.id, now - beat)
            _kill(worker.pid, signal.SIGUSR2)
            worker.stacks_at = now
        elif self.role.replace_stuck and now - worker.stacks_at >= STACK_TIME:
            logger.error("worker %d (pid:%d) is stuck and was sent SIGKILL",
                         worker.id, worker.pid)
            _kill(worker.pid, signal.SIGKILL)
            worker.deadline = now + SILENT_TIME

    # Small things

    def _fail(self, status: int, reason: str) -> None:
        if self.failure is None:
            self.failure = (status, reason)

    def _leave_rows(self) -> None:
        """Give back the rows of workers that will not be started again."""
        for number in list(self._row_of):
            if number not in self.workers and not self.wants(number):
                self._rows.give_back(self._row_of.pop(number))

    def _watch(self, sock: socket.socket, hear: Callable[[], None]) -> None:
        self._selector.register(sock, selectors.EVENT_READ, hear)

    def _unwatch(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0 and sock in self._selector.get_map():
            self._selector.unregister(sock)


def _kill(pid: int, number: int) -> None:
    """Send a signal to one child of ours that was not reaped yet, so that its pid is its own."""
    if pid > 0:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def _how(status: int) -> str:
    """Say how a process ended; `status` as of os.waitstatus_to_exitcode."""
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
