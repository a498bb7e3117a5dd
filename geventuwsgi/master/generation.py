"""One generation of a role: a template, the workers that it forked, and their care.

The master's view; nothing here runs in a child. A generation never decides about the
instance: it keeps itself at strength, remembers why it failed (`failure`), and the
master judges.

    booting   ->  serving    all workers are ready
    booting   ->  draining   it failed while an older one serves, or the instance stops
    serving   ->  draining   a newer one serves, or the instance stops
    draining  ->  (gone)     its last process was reaped

A worker is in charge of its number until it dies or is asked to drain; then it is among
those that leave, and the number is free. One that is worn out stays in charge until its
successor is ready; whichever of the two dies first, the other has the number.
"""

import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence

from ..errors import BootError
from ..ipc import channel, scoreboard
from .children import Process, Rows, Throttle, Worker, how, tell_delay
from .heartbeat import SILENT_TIME, STACK_TIME, check
from .recycling import Recycler, next_to_replace
from .role import Role
from .spawn import order_fork, spawn

logger = logging.getLogger("geventuwsgi.error")

BOOTING, SERVING, DRAINING = "booting", "serving", "draining"

RETRY = 1.0             # seconds until a worker is tried again for which there was no descriptor
DIE_TIME = 1.0          # seconds between "die" and SIGKILL


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
        self.wanted = set(range(1, count + 1))
        self.state = BOOTING
        self.proven = False         # one of its workers was ready once
        self.failure: tuple[int, str] | None = None
        self.handed_over = 0                # up to this number a chain reload replaced them
        self.limit: int | None = None       # a chain reload starts no more than this yet
        self.workers: dict[int, Worker] = {}    # in charge, by number
        self.successors: dict[int, Worker] = {}     # to be in charge once they are ready
        self.leaving: list[Worker] = []
        self.leaves = False                 # a stop is near
        self.heard_files: Callable[[list[str]], None] = lambda paths: None
        self.template: Process | None = None
        self._loaded = False        # the present template has loaded
        self._ever_loaded = False
        self._template_throttle = Throttle()
        self._throttles: dict[int, Throttle] = {}
        self._succession = Throttle()
        self._rows = rows
        self._refused_until = 0.0   # the system had no descriptor for a worker
        self._row_of: dict[int, int] = {}
        self._selector = selector
        self._recycler = Recycler(role.recycling) if role.recycling else None

    # What the master asks and tells

    @property
    def count(self) -> int:
        """How many workers it is to have."""
        return len(self.wanted)

    @property
    def complete(self) -> bool:
        """Whether every worker it is to have is ready, and the application loaded."""
        return self._ever_loaded and all(
            number in self.workers and self.workers[number].ready for number in self.wanted)

    @property
    def loaded(self) -> bool:
        """Whether a template of it has loaded the application."""
        return self._ever_loaded

    @property
    def done(self) -> bool:
        """Whether no process of it is left."""
        return self.template is None and not any(self.everybody())

    def everybody(self) -> Iterator[Worker]:
        """Yield all its workers: in charge, about to be, and on their way out."""
        yield from list(self.workers.values())
        yield from list(self.successors.values())
        yield from list(self.leaving)

    def poll(self, now: float, awake: float) -> float:
        """Start what is missing, end what is overdue; return when to come again.

        Args:
            now: time.monotonic().
            awake: since when the master has been running without a pause; a stop of the
                whole group (Ctrl-Z) must not make its workers look stuck.
        """
        due = []
        if self.state != DRAINING:
            self._fill(now)
            if self._recycler is not None and self.state == SERVING:
                due.append(self._recycler.review(self.workers.values(), now))
            self._replace(now)
        if self.template is None:
            due.append(self._template_throttle.due)
        due += [throttle.due for number, throttle in self._throttles.items()
                if number not in self.workers and self.wants(number)]
        for worker in self.everybody():
            check(worker, self.role, self.template, now, awake)
            due += [at for at in (worker.deadline, worker.stacks_at and
                                  worker.stacks_at + STACK_TIME) if at is not None]
        return min([now + 1.0, *(at for at in due if at > now)])

    def drain(self, now: float, stop: bool = False) -> None:
        """End it gracefully: no template, no new workers, the present ones finish.

        Args:
            now: time.monotonic().
            stop: the instance stops; a newer generation does not take over.
        """
        self.state = DRAINING
        self._leave_rows()
        self._kill_template()
        for worker in self.everybody():
            worker.request_stop(now, channel.STOP if stop else channel.DRAIN, self.role.grace)

    def kill(self, now: float) -> None:
        """End it at once."""
        self.state = DRAINING
        self._leave_rows()
        self._kill_template()
        for worker in self.everybody():
            channel.send(worker.control, channel.DIE)
            worker.asked_at = worker.asked_at or now
            worker.deadline = now + DIE_TIME

    def wants(self, number: int) -> bool:
        """Whether there is to be a worker of this number."""
        return (self.state != DRAINING and number in self.wanted and number > self.handed_over
                and (self.limit is None or number <= self.limit))

    def has(self, number: int) -> bool:
        """Whether there is a worker of this number, in whatever state."""
        return any(worker.id == number for worker in self.everybody())

    def is_ready(self, number: int) -> bool:
        """Whether the worker of this number serves."""
        return number in self.workers and self.workers[number].ready

    def hand_over(self, number: int, now: float) -> None:
        """Do without the workers up to this number: newer ones are in their places."""
        self.handed_over = number
        for worker in self.everybody():
            if worker.id <= number and worker not in self.leaving:
                self._release(worker.id, now)
        self._leave_rows()

    def resize(self, count: int, now: float) -> None:
        """Have `count` workers from now on; surplus ones drain, the least busy first."""
        number = 1
        while len(self.wanted) < count:
            self.wanted.add(number)
            number += 1
        while len(self.wanted) > count:
            surplus = min(self.wanted, key=self._ease)
            self.wanted.remove(surplus)
            self._throttles.pop(surplus, None)
            for worker in self._release(surplus, now):
                worker.cheaped = True
        self._leave_rows()

    def reopen_logs(self, handed: Sequence[tuple[str, int]]) -> None:
        """Have each of its processes reopen its logs, or go on with these."""
        for process in (self.template, *self.everybody()):
            if process is not None:
                process.reopen_logs(handed)

    def fail_readiness(self) -> None:
        """Have readiness checks fail: a stop is near."""
        self.leaves = True
        for worker in self.everybody():
            channel.send(worker.control, channel.UNREADY)

    def pump(self) -> None:
        """Read what unnamed workers said; before reaping, for a pid may be among it."""
        for worker in self.everybody():
            if not worker.pid:
                self._hear_worker(worker)

    def exited(self, pid: int, status: int) -> bool:
        """Take note of a reaped process; False if it is none of ours."""
        if self.template is not None and self.template.pid == pid:
            self._hear_template(self.template)
            self._template_gone(status)
            return True
        for worker in self.everybody():
            if worker.pid == pid:
                self._hear_worker(worker, reaped=True)
                self._worker_gone(worker, status)
                return True
        return False

    # The template

    def _start_template(self, now: float) -> None:
        try:
            ours, pid = spawn(self.role, self.number)
        except OSError as error:
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
        while (message := channel.receive(template.control)) is not None:
            if message == b"":
                self._unwatch(template.control)
                template.signal(signal.SIGKILL)  # it can do nothing for us any more
                return
            if message.startswith(b"loaded "):
                self._loaded = self._ever_loaded = True
            elif message == channel.OTHERWISE and self.role.otherwise is not None:
                self.role, template.superseded = self.role.otherwise, True
            elif message.startswith(channel.FILES):
                self.heard_files(channel.parse_files(message))
            elif message.startswith(b"failed ") and not self._ever_loaded:
                self._fail(*channel.parse_failed(message))

    def _template_gone(self, status: int) -> None:
        template, self.template = self.template, None
        assert template is not None
        self._unwatch(template.control)
        template.control.close()
        loaded, self._loaded = self._loaded, False
        if self.state == DRAINING or template.superseded:
            return
        now = time.monotonic()
        if not self._ever_loaded:
            self._fail(status if status > 0 else BootError.exit_status,
                       f"the template ended before it had loaded ({how(status)})")
        delay = self._template_throttle.died(now, now - template.started, loaded)
        logger.error("the template of generation %d (pid: %d) died, %s; its workers serve on, "
                     "another one is started%s", self.number, template.pid, how(status),
                     f" in {delay:.1f} seconds" if delay else "")

    def _kill_template(self) -> None:
        """End the template; it holds nothing that could be lost."""
        if self.template is not None:
            self.template.signal(signal.SIGKILL)

    # The workers

    def _fill(self, now: float) -> None:
        if self.template is None:
            if now >= self._template_throttle.due and self.failure is None:
                self._start_template(now)
            return
        if not self._loaded:
            return
        for number in sorted(self.wanted):
            if number not in self.workers and self.wants(number):
                throttle = self._throttles.get(number)
                if throttle is None or now >= throttle.due:
                    worker = self._start_worker(number, self._row_of.get(number))
                    if worker is None:
                        return  # the template's queue is full; at the next turn
                    self._row_of[number] = worker.row.index
                    self.workers[number] = worker

    def _replace(self, now: float) -> None:
        """Start a successor of a worn worker; never more than one boots at a time."""
        if not self._loaded or self.successors or now < self._succession.due:
            return
        wanted = (worker for worker in self.workers.values() if self.wants(worker.id))
        worker = next_to_replace(wanted, self.leaving, self.count)
        successor = None if worker is None else self._start_worker(worker.id, None)
        if worker is not None and successor is not None:
            logger.info("worker %d (pid: %d) is replaced: %s", worker.id,
                        worker.pid, worker.due_for_replacement)
            self.successors[worker.id] = successor

    def _start_worker(self, number: int, index: int | None) -> Worker | None:
        """Have a worker forked, on a row of its own if `index` is None."""
        assert self.template is not None
        if time.monotonic() < self._refused_until:
            return None
        if index is None:
            if not self._rows:
                return None
            index = self._rows.take()
        try:
            ours = order_fork(self.template.control, number, index)
        except OSError as error:
            self._refused_until = time.monotonic() + RETRY
            ours, reason = None, f"cannot start {self.role.name} {number}: {error.strerror}"
            logger.error("%s", reason)
            if self.state == BOOTING:
                self._fail(BootError.exit_status, reason)
        if ours is None:
            if index != self._row_of.get(number):
                self._rows.give_back(index)
            return None
        worker = Worker(number, self._rows.board.row(index), ours, self.role.name)
        self._watch(ours, lambda: self._hear_worker(worker))
        return worker

    def _hear_worker(self, worker: Worker, reaped: bool = False) -> None:
        while (message := channel.receive(worker.control)) is not None:
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
        if message.startswith(b"forked "):
            worker.forked.add(int(message[7:]))
        elif message.startswith(b"pid "):
            worker.pid = int(message[4:])
            if worker.id in self._throttles or worker.id in self.successors:
                logger.info("Respawned %s %s %d (new pid: %d)", self.role.product, worker.name,
                            worker.id, worker.pid)
            else:
                logger.info("spawned %s %s %d (pid: %d, cores: %d)", self.role.product,
                            worker.name, worker.id, worker.pid, self.role.cores)
            if worker.asked_at is not None:
                worker.signal(signal.SIGTERM)
        elif message.startswith(channel.FILES):
            self.heard_files(channel.parse_files(message))
        elif message == channel.READY:
            worker.ready_at = time.monotonic()
            worker.first_memory = worker.memory
            self.proven = True
            if self.leaves:
                channel.send(worker.control, channel.UNREADY)
            if self.state != DRAINING and self.successors.get(worker.id) is worker:
                old = self.workers[worker.id]
                self._succeed(old)
                self._dismiss(old, worker.ready_at)
        elif message.startswith(channel.REPLACE):
            worker.due_for_replacement = worker.due_for_replacement or channel.parse_replacement(
                message)
        elif message.startswith(b"failed "):
            worker.failure = channel.parse_failed(message)

    def _succeed(self, old: Worker) -> None:
        """Put the successor of a worker in charge of its number."""
        self._succession = Throttle()
        self.workers[old.id] = worker = self.successors.pop(old.id)
        self._row_of[old.id] = worker.row.index
        worker.row.cells[scoreboard.RESPAWNS] += old.row.cells[scoreboard.RESPAWNS] + 1
        old.row.cells[scoreboard.RESPAWNS] = 0

    def _release(self, number: int, now: float) -> list[Worker]:
        """Have the worker of a number drain, and its successor; return them."""
        found = [group.pop(number) for group in (self.successors, self.workers)
                 if number in group]
        for worker in found:
            self._dismiss(worker, now)
        return found

    def _dismiss(self, worker: Worker, now: float) -> None:
        """Have a worker drain that is not in charge any more."""
        if self._row_of.get(worker.id) == worker.row.index:
            del self._row_of[worker.id]
        self.leaving.append(worker)
        worker.request_stop(now, channel.DRAIN, self.role.grace)

    def _worker_gone(self, worker: Worker, status: int | None) -> None:
        """Forget a dead worker. `status` is None if it never said who it was."""
        self._unwatch(worker.control)
        worker.control.close()
        worker.row.vacate()
        now = time.monotonic()
        if worker in self.leaving:
            self.leaving.remove(worker)
            self._log_exit(worker, now)
        elif self.successors.get(worker.id) is worker:
            del self.successors[worker.id]
            self._successor_gone(worker, status, now)
        elif self.state == DRAINING:
            del self.workers[worker.id], self._row_of[worker.id]
            self._log_exit(worker, now)
        else:
            worker.tell_death(status)
            if worker.id in self.successors:
                self._succeed(worker)
                self._rows.give_back(worker.row.index)
                return
            del self.workers[worker.id]
            throttle = self._throttles.setdefault(worker.id, Throttle())
            delay = throttle.died(now, now - worker.started, worker.ready)
            worker.row.cells[scoreboard.RESPAWNS] += 1
            if status and self.state == BOOTING:
                self._fail(*(worker.failure or (
                    BootError.exit_status, f"{worker.name} {worker.id} ended before it was ready "
                    f"({how(status)})")))
            tell_delay(delay)

    def _log_exit(self, worker: Worker, now: float) -> None:
        worker.log_exit(now, self.role.product)
        self._rows.give_back(worker.row.index)

    def _successor_gone(self, worker: Worker, status: int | None, now: float) -> None:
        """A replacement did not get ready: the worker that it was for serves on."""
        self._rows.give_back(worker.row.index)
        if self.state != DRAINING:
            worker.tell_death(status)
            delay = self._succession.died(now, now - worker.started, False)
            logger.error("worker %d has no replacement yet and serves on; again in %.1f seconds",
                         worker.id, delay)

    # Small things

    def _ease(self, number: int) -> tuple[int, int]:
        """Sort workers by how little it costs to do without them; the last numbers first."""
        worker = self.workers.get(number)
        return (worker.busy if worker is not None else -1), -number

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
