"""One generation of a role: a template and the workers that it forked.

Everything here runs in the master. A generation keeps the wanted number of workers running
and records why it failed (`failure`); what follows for the instance is up to the master.

    booting   ->  serving    all workers are ready
    booting   ->  draining   it failed while an older one serves, or the instance stops
    serving   ->  draining   a newer one serves, or the instance stops
    draining  ->  (removed)  its last process was reaped

A worker holds its number until it dies or is asked to drain; then the number is free. One
that is due for replacement holds it until the replacement is ready; if one of the two dies,
the other has the number.
"""

import logging
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence

from ..errors import BootError
from ..ipc import channel
from .children import Process, Rows, Throttle, Worker, how, log_delay
from .heartbeat import SILENT_TIME, STACK_TIME, check
from .posix_spawn import request_fork, spawn
from .recycling import Recycler, next_to_replace
from .reports import END, Report, ReportError
from .role import Role

logger = logging.getLogger("geventuwsgi.error")

BOOTING, SERVING, DRAINING = "booting", "serving", "draining"

FORK_RETRY = 1.0        # seconds until the next attempt, after a lack of descriptors
DIE_TIME = 1.0          # seconds between `die` and SIGKILL


class Generation:
    """A template and its workers.

    Args:
        number: 1 at the first start, one more with each reload.
        role: what to run.
        count: how many workers.
        rows: the free rows of the scoreboard; at least `count` of them.
        selector: the master's; the data of a key is the callback.
    """

    def __init__(self, number: int, role: Role, count: int, rows: Rows,
                 selector: selectors.BaseSelector) -> None:
        self.number = number
        self.role = role
        self.wanted = set(range(1, count + 1))
        self.state = BOOTING
        self.ever_ready = False         # one of its workers was ready
        self.failure: tuple[int, str] | None = None
        self.handed_over = 0                # up to this number, by a chain reload
        self.limit: int | None = None       # of numbers, so far, of a chain reload
        self.workers: dict[int, Worker] = {}    # by number
        self.replacements: dict[int, Worker] = {}   # until they are ready
        self.draining: list[Worker] = []    # without a number
        self.unready = False                # a stop is near: readiness checks fail
        self.on_imported: Callable[[list[str]], None] = lambda paths: None
        self.template: Process | None = None
        self._loaded = False        # the present template has loaded the application
        self._ever_loaded = False
        self._template_throttle = Throttle()
        self._throttles: dict[int, Throttle] = {}
        self._replacement_throttle = Throttle()
        self._rows = rows
        self._refused_until = 0.0   # there was no descriptor for a worker
        self._row_of: dict[int, int] = {}
        self._selector = selector
        self._recycler = Recycler(role.recycling) if role.recycling else None

    # Called by the master

    @property
    def count(self) -> int:
        """The wanted number of workers."""
        return len(self.wanted)

    @property
    def complete(self) -> bool:
        """Whether the application is loaded and every wanted worker is ready."""
        return self._ever_loaded and all(
            number in self.workers and self.workers[number].ready for number in self.wanted)

    @property
    def loaded(self) -> bool:
        """Whether one of its templates has loaded the application."""
        return self._ever_loaded

    @property
    def done(self) -> bool:
        """Whether all of its processes have exited."""
        return self.template is None and not any(self.all_workers())

    def all_workers(self) -> Iterator[Worker]:
        """Yield all its workers: those with a number, their replacements, and those that drain."""
        yield from list(self.workers.values())
        yield from list(self.replacements.values())
        yield from list(self.draining)

    def poll(self, now: float, awake: float) -> float:
        """Start what is missing, kill what is overdue; return when to be called again.

        Args:
            now: time.monotonic().
            awake: since when the master has been running without a suspension: after a stop
                of the whole group (Ctrl-Z) no worker counts as stuck.
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
        for worker in self.all_workers():
            if not check(worker, self.role, now, awake):
                self._worker_exited(worker, None)
                continue
            due += [at for at in (worker.deadline, worker.stacks_at and
                                  worker.stacks_at + STACK_TIME) if at is not None]
        return min([now + 1.0, *(at for at in due if at > now)])

    def drain(self, now: float, stop: bool = False) -> None:
        """Stop gracefully: kill the template, start no workers, let the present ones finish.

        Args:
            now: time.monotonic().
            stop: the instance stops, there is no newer generation.
        """
        self.state = DRAINING
        self._free_rows()
        self._kill_template()
        for worker in self.all_workers():
            worker.request_stop(now, channel.STOP if stop else channel.DRAIN, self.role.grace)

    def kill(self, now: float) -> None:
        """Stop at once."""
        self.state = DRAINING
        self._free_rows()
        self._kill_template()
        for worker in self.all_workers():
            channel.send(worker.control, channel.DIE)
            worker.stop_requested_at = worker.stop_requested_at or now
            worker.deadline = now + DIE_TIME

    def wants(self, number: int) -> bool:
        """Whether there should be a worker with this number."""
        return (self.state != DRAINING and number in self.wanted and number > self.handed_over
                and (self.limit is None or number <= self.limit))

    @property
    def failing(self) -> dict[int, int]:
        """The numbers whose processes die early, again and again; and how often in a row."""
        return {number: throttle.failures for number, throttle in self._throttles.items()
                if throttle.failures > 1 and not self.is_ready(number)}

    def has(self, number: int) -> bool:
        """Whether there is a worker with this number, in any state."""
        return any(worker.id == number for worker in self.all_workers())

    def is_ready(self, number: int) -> bool:
        """Whether the worker with this number is ready."""
        return number in self.workers and self.workers[number].ready

    def hand_over(self, number: int, now: float) -> None:
        """Drain the workers up to this number: a newer generation has replaced them."""
        self.handed_over = number
        for worker in self.all_workers():
            if worker.id <= number and worker not in self.draining:
                self._release(worker.id, now)
        self._free_rows()

    def resize(self, count: int, now: float) -> None:
        """Change the number of workers to `count`; surplus ones drain, the least busy first."""
        number = 1
        while len(self.wanted) < count:
            self.wanted.add(number)
            number += 1
        while len(self.wanted) > count:
            surplus = min(self.wanted, key=self._cost)
            self.wanted.remove(surplus)
            self._throttles.pop(surplus, None)
            for worker in self._release(surplus, now):
                worker.cheaped = True
        self._free_rows()

    def log_ready(self) -> None:
        """Log that all workers are ready."""
        logger.info("ready: %d %s%s (generation %d)", self.count, self.role.name,
                    "s" if self.count != 1 else "", self.number)

    def reopen_logs(self, handed: Sequence[tuple[str, int]]) -> None:
        """Have each process reopen its logs, or use these, by name and descriptor."""
        for process in (self.template, *self.all_workers()):
            if process is not None:
                process.reopen_logs(handed)

    def fail_readiness(self) -> None:
        """Fail readiness checks: a stop is near."""
        self.unready = True
        for worker in self.all_workers():
            channel.send(worker.control, channel.UNREADY)

    def read_pids(self) -> None:
        """Read the messages of workers without a pid: reaping needs to know it."""
        for worker in self.all_workers():
            if not worker.pid:
                self._read_worker(worker)

    def exited(self, pid: int, status: int) -> bool:
        """Record the exit of a reaped process; return False if it is not one of ours."""
        found = False
        if self.template is not None and self.template.pid == pid:
            self.template.reaped = found = True
            self._read_template(self.template)
            self._template_exited(status)
        for worker in self.all_workers():
            if worker.pid == pid:
                worker.reaped = found = True
                self._read_worker(worker)
                self._worker_exited(worker, status)
        return found

    # The template

    def _start_template(self, now: float) -> None:
        try:
            ours, pid = spawn(self.role, self.number)
        except OSError as error:
            delay = self._template_throttle.died(now, 0.0, False)
            reason = f"cannot start a template: {error.strerror}"
            if error.filename:      # an interpreter that this user may not execute
                reason += f": {error.filename}"
            logger.error("%s; next attempt in %.1f seconds", reason, delay)
            if not self._ever_loaded:
                self._fail(BootError.exit_status, reason)
            return
        self.template = template = Process(pid, ours)
        self._loaded = False
        self._watch(ours, lambda: self._read_template(template))

    def _read_template(self, template: Process) -> None:
        try:
            for report in template.reports.read():
                self._dispatch_template(template, report)
        except ReportError as error:
            logger.error("the template (pid: %d) is killed: %s", template.pid, error)
            self._dispatch_template(template, END)

    def _dispatch_template(self, template: Process, report: Report) -> None:
        if report is END:
            self._unwatch(template.control)
            template.signal(signal.SIGKILL)  # it is of no use without its socket
        elif report.kind == channel.LOADED:
            self._loaded = self._ever_loaded = True
        elif report.kind == channel.WRONG_INTERFACE:
            self._change_role()
        elif report.kind == channel.FOUND_ASGI and self.role.alternative is not None:
            self.role = self.role.alternative._replace(preferred=False)
        elif report.kind == channel.FILES:
            self.on_imported(report.value)
        elif report.kind == channel.FAILED and not self._ever_loaded:
            self._fail(*report.value)

    def _change_role(self) -> None:
        """Continue with the role's alternative, from a new template; nothing serves yet."""
        if self.role.alternative is None or self.template is None:
            return
        self.role = self.role.alternative
        self.template.superseded = True
        self._loaded = self._ever_loaded = False
        self._kill_template()
        for number in list(self.workers):
            self._release(number, time.monotonic())

    def _template_exited(self, status: int) -> None:
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
        logger.error("the template of generation %d (pid: %d) died, %s; its workers keep "
                     "serving, another one is started%s", self.number, template.pid, how(status),
                     f" in {delay:.1f} seconds" if delay else "")

    def _kill_template(self) -> None:
        """Kill the template: nothing is lost with it."""
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
                        return  # the template's queue is full: try at the next turn
                    self._row_of[number] = worker.row.index
                    self.workers[number] = worker

    def _replace(self, now: float) -> None:
        """Start a replacement for a worker that is due; only one boots at a time."""
        if not self._loaded or self.replacements or now < self._replacement_throttle.due:
            return
        wanted = (worker for worker in self.workers.values() if self.wants(worker.id))
        worker = next_to_replace(wanted, self.draining, self.count)
        replacement = None if worker is None else self._start_worker(worker.id, None)
        if worker is not None and replacement is not None:
            logger.info("worker %d (pid: %d) is replaced: %s", worker.id,
                        worker.pid, worker.due_for_replacement)
            self.replacements[worker.id] = replacement

    def _start_worker(self, number: int, index: int | None) -> Worker | None:
        """Have a worker forked, with a new row if `index` is None."""
        assert self.template is not None
        if time.monotonic() < self._refused_until:
            return None
        if index is None:
            if not self._rows:
                return None
            index = self._rows.take()
        made = None
        try:
            made = request_fork(self.template.control, number, self._rows.board.row(index))
        except OSError as error:
            self._refused_until = time.monotonic() + FORK_RETRY
            reason = f"cannot start {self.role.name} {number}: {error.strerror}"
            logger.error("%s", reason)
            if self.state == BOOTING:
                self._fail(BootError.exit_status, reason)
        if made is None:
            if index != self._row_of.get(number):
                self._rows.give_back(index)
            return None
        worker = Worker(number, made[1], made[0], self.role.name, template=self.template)
        self._watch(worker.control, lambda: self._read_worker(worker))
        return worker

    def _read_worker(self, worker: Worker) -> None:
        try:
            for report in worker.reports.read():
                if report is END:
                    self._end_of(worker)
                else:
                    self._dispatch(worker, report)
        except ReportError as error:
            logger.error("%s %d (pid: %d) is killed: %s", worker.name, worker.id, worker.pid,
                         error)
            worker.signal(signal.SIGKILL)
            self._end_of(worker)

    def _end_of(self, worker: Worker) -> None:
        """Stop reading a worker's control socket, and wait for its exit."""
        self._unwatch(worker.control)
        if not worker.pid:
            self._worker_exited(worker, None)
        elif not worker.reaped:
            late = time.monotonic() + SILENT_TIME
            worker.deadline = min(worker.deadline or late, late)

    def _dispatch(self, worker: Worker, report: Report) -> None:
        if report.kind == channel.FORKED:
            worker.forked[report.value] = report.uid
        elif report.kind == channel.PID:
            worker.pid = report.value
            if worker.id in self._throttles or worker.id in self.replacements:
                logger.info("Respawned %s %s %d (new pid: %d)", self.role.product, worker.name,
                            worker.id, worker.pid)
            else:
                logger.info("spawned %s %s %d (pid: %d, cores: %d)", self.role.product,
                            worker.name, worker.id, worker.pid, self.role.cores)
            if worker.stop_requested_at is not None:
                worker.signal(signal.SIGTERM)
        elif report.kind == channel.FILES:
            self.on_imported(report.value)
        elif report.kind == channel.READY:
            worker.ready_at = time.monotonic()
            worker.first_memory = worker.memory
            self.ever_ready = True
            if self.unready:
                channel.send(worker.control, channel.UNREADY)
            if self.state != DRAINING and self.replacements.get(worker.id) is worker:
                old = self.workers[worker.id]
                self._promote(old)
                self._drain_worker(old, worker.ready_at)
        elif report.kind == channel.WRONG_INTERFACE and self.state == BOOTING:
            self._change_role()
        elif report.kind == channel.REPLACE:
            worker.due_for_replacement = worker.due_for_replacement or report.value
        elif report.kind == channel.FAILED:
            worker.failure = report.value

    def _promote(self, old: Worker) -> None:
        """Give the number of a worker to its replacement."""
        self._replacement_throttle = Throttle()
        self.workers[old.id] = worker = self.replacements.pop(old.id)
        self._row_of[old.id] = worker.row.index
        self._rows.board.promote(old.row, worker.row)

    def _release(self, number: int, now: float) -> list[Worker]:
        """Drain the worker with a number, and its replacement; return them."""
        found = [group.pop(number) for group in (self.replacements, self.workers)
                 if number in group]
        for worker in found:
            self._drain_worker(worker, now)
        return found

    def _drain_worker(self, worker: Worker, now: float) -> None:
        """Drain a worker that has lost its number."""
        if self._row_of.get(worker.id) == worker.row.index:
            del self._row_of[worker.id]
        self.draining.append(worker)
        worker.request_stop(now, channel.DRAIN, self.role.grace)

    def _worker_exited(self, worker: Worker, status: int | None) -> None:
        """Remove a worker that has exited; `status` is None if it never sent its pid."""
        self._unwatch(worker.control)
        worker.control.close()
        worker.row.vacate()
        now = time.monotonic()
        if worker in self.draining:
            self.draining.remove(worker)
            self._log_exit(worker, now)
        elif self.replacements.get(worker.id) is worker:
            del self.replacements[worker.id]
            self._replacement_exited(worker, status, now)
        elif self.state == DRAINING:
            del self.workers[worker.id], self._row_of[worker.id]
            self._log_exit(worker, now)
        else:
            worker.log_unexpected_exit(status)
            if worker.id in self.replacements:
                self._promote(worker)
                self._rows.give_back(worker.row.index)
                return
            del self.workers[worker.id]
            throttle = self._throttles.setdefault(worker.id, Throttle())
            delay = throttle.died(now, now - worker.started, worker.ready)
            worker.row.respawns += 1
            if status and self.state == BOOTING:
                self._fail(*(worker.failure or (
                    BootError.exit_status, f"{worker.name} {worker.id} ended before it was ready "
                    f"({how(status)})")))
            log_delay(delay)

    def _log_exit(self, worker: Worker, now: float) -> None:
        worker.log_exit(now, self.role.product)
        self._rows.give_back(worker.row.index)

    def _replacement_exited(self, worker: Worker, status: int | None, now: float) -> None:
        """Record that a replacement did not get ready; the worker keeps serving."""
        self._rows.give_back(worker.row.index)
        if self.state != DRAINING:
            worker.log_unexpected_exit(status)
            delay = self._replacement_throttle.died(now, now - worker.started, False)
            logger.error("worker %d has no replacement yet and keeps serving; next attempt in "
                         "%.1f seconds",
                         worker.id, delay)

    # Helpers

    def _cost(self, number: int) -> tuple[int, int]:
        """Return a sort key: workers with the least work first, then the highest numbers."""
        worker = self.workers.get(number)
        return (worker.busy if worker is not None else -1), -number

    def _fail(self, status: int, reason: str) -> None:
        if self.failure is None:
            self.failure = (status, reason)

    def _free_rows(self) -> None:
        """Free the rows of workers that will not be started again."""
        for number in list(self._row_of):
            if number not in self.workers and not self.wants(number):
                self._rows.give_back(self._row_of.pop(number))

    def _watch(self, sock: socket.socket, callback: Callable[[], None]) -> None:
        self._selector.register(sock, selectors.EVENT_READ, callback)

    def _unwatch(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0 and sock in self._selector.get_map():
            self._selector.unregister(sock)
