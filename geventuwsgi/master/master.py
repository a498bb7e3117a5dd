"""The master's loop: keeps the processes of the roles running.

Events (a byte of a signal, a message of a child, a child's exit) change the state of a
generation. Once per turn each generation is polled: what is missing is started, what is
overdue is killed.

Rules:

- Nothing blocks but the selector.
- There is no `if` about a kind of process here.
- Orphans that the master inherits as PID 1 or subreaper are reaped without a log line.
"""

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..ipc.scoreboard import Scoreboard
from ..system import kernel, signals
from . import inherited
from .attached.attached import Attached
from .cheaper import Adapters
from .console import Caller, Command, Console
from .generation import BOOTING, DRAINING, SERVING, Generation, Rows
from .pause import Pause
from .reload import Reloads
from .role import ReloadPlan, Role
from .stacks import Stacks

logger = logging.getLogger("geventuwsgi.error")

TAKEN = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP,
         signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
IGNORED = (signal.SIGPIPE,)

FRONT_TIME = 5.0    # seconds that a stop waits for the roles in front (routers) to exit
STOP_INTERVAL = 0.1     # seconds between two polls of the attached objects during a stop
SUSPENDED = 2.0     # seconds late from the selector: this process or the machine was suspended


class Master:
    """The master process of one instance.

    Args:
        roles: what to run.
        board: the scoreboard, with rows for at least twice as many workers: during a reload
            there are two generations.
        ready: called once, when the first generation of every role serves.
        stopping: called when a stop begins; closes the listening sockets.
        reopen: reopens the logs (SIGUSR1); returns, by name and descriptor, those that it
            opened for the children. If there are none, children reopen their own.
        commands: further commands of the console, by name.
        attached: objects that are polled besides the roles. They start in this order when
            the application is loaded, and stop one after another after the workers.
        renew: returns what to run after a reload; None means the same roles.
        exit_on_reload: stop instead of reloading.
        shutdown_delay: returns for how many seconds a stop keeps serving, while readiness
            checks fail.
        reloading: called with True when a reload begins, with False when it has ended.
        upgrade: requests the upgrade in place (SIGUSR2).
        handed_over: what `hand_over` of the previous version returned; empty at a first start.
        on_imported: called with paths that a template or worker has imported.
        bindings: names of `operations` by signal, in place of the signal's default.
        product: what the log calls this server (`log-dialect`).

    Attributes:
        operations: what an operator can do to the instance, by name.
        selector: of the loop; the data of a key is the callback.
    """

    def __init__(self, roles: Sequence[Role], board: Scoreboard, *,
                 ready: Callable[[], None] = lambda: None,
                 stopping: Callable[[], None] = lambda: None,
                 reopen: Callable[[], Sequence[tuple[str, int]]] = tuple,
                 commands: Mapping[str, Command] = MappingProxyType({}),
                 attached: Sequence[Attached] = (),
                 renew: Callable[[], ReloadPlan] | None = None, exit_on_reload: bool = False,
                 shutdown_delay: Callable[[], float] = lambda: 0.0,
                 reloading: Callable[[bool], None] = lambda begins: None,
                 upgrade: Callable[[], None] = lambda: None,
                 handed_over: Mapping[str, Any] = MappingProxyType({}),
                 on_imported: Callable[[list[str]], None] = lambda paths: None,
                 bindings: Mapping[int, str] = MappingProxyType({}),
                 product: str = "geventuwsgi") -> None:
        self.roles = tuple(roles)
        self.product = product
        self.generations: list[Generation] = []
        self._rows = Rows(board)
        self._ready = ready
        self._stopping = stopping
        self._reopen = reopen
        self._started = False
        self._started_by_reload = False     # the attached objects started during a reload
        self._reloading = reloading
        self.exit_on_reload = exit_on_reload
        self._handed_over = handed_over
        self._shutdown_delay = shutdown_delay
        self._stop_at: float | None = None      # when the delayed stop begins
        self.on_imported = on_imported
        self.selector = selectors.DefaultSelector()
        stacks = Stacks(self.selector, self.generations)
        self.pause = Pause(self.generations)
        self._attached = (*attached, stacks, self.pause)
        self._pipe = signals.SignalPipe()
        self._status: int | None = None     # the exit status, once a stop has begun
        self._at_once = False
        self._front_until: float | None = None  # of a stop that waits for the roles in front
        self._announced = False
        self.reloads = Reloads(
            self.generations, self._generation, lambda: len(self._rows),
            renew or (lambda: ReloadPlan(self.roles)), self._taken_over, self._on_reloading)
        self._adapters = Adapters(self.selector)
        self._stoppers: list[Caller] = []
        self.console = Console(self.selector, {
            "reload": self._reload_command, "stop": self._stop_command,
            "stacks": stacks.command, "pause": self.pause.pause_command,
            "resume": self.pause.resume_command, **commands})
        self._handlers: dict[int, Callable[[], None]] = {
            signal.SIGCHLD: self._reap, signal.SIGTERM: self._request_stop,
            signal.SIGINT: self._request_stop, signal.SIGQUIT: self._quit,
            signal.SIGHUP: self.reload, signal.SIGUSR1: self.reopen_logs,
            signal.SIGUSR2: lambda: self._unless_stopping("upgrade", upgrade),
            signal.SIGTTIN: lambda: self._resize(1), signal.SIGTTOU: lambda: self._resize(-1)}
        self.operations: Mapping[str, Callable[[], None]] = {
            "stop": self._request_stop, "quit": self._quit, "ignore": lambda: None,
            "reload": self.reload, "chain": self.chain_reload, "reopen": self.reopen_logs,
            "pause": self.pause.toggle, "more": lambda: self._resize(1),
            "fewer": lambda: self._resize(-1), "sleep": self._sleep}
        self._handlers.update({number: self.operations[what] for number, what in bindings.items()})

    def run(self) -> int:
        """Run until a stop; return the exit status."""
        self._pipe.install({*TAKEN, *self._handlers}, IGNORED)
        self.selector.register(self._pipe.fd, selectors.EVENT_READ, self._on_signals)
        try:
            kernel.become_subreaper()
        except OSError as error:
            logger.warning("workers cannot become children of the master: %s", error.strerror)
        self.console.open(self._handed_over.get("console", -1))
        if self._handed_over:
            self._take_over()
        else:
            logger.info("spawned %s master process (pid: %d)", self.product, os.getpid())
            for role in self.roles:
                self.generations.append(self._generation(1, role, role.initial))
        self._loop()
        logger.info("goodbye to %s.", self.product)
        for caller in self._stoppers:
            caller.end()
        self.console.close()
        self.selector.close()
        assert self._status is not None
        return self._status

    @property
    def healthy(self) -> bool:
        """Whether at least one worker serves."""
        return any(worker.ready for one in self.generations
                   if one.state == SERVING and not one.role.auxiliary
                   for worker in one.workers.values())

    @property
    def state(self) -> str:
        """What the instance is doing: starting, ready, reloading, paused or stopping."""
        if not self._running:
            return "stopping"
        if not self._announced:
            return "starting"
        if self.reloads.underway:
            return "reloading"
        return "paused" if self.pause.paused else "ready"

    @property
    def _running(self) -> bool:
        """Whether no stop has begun or is scheduled."""
        return self._status is None and self._stop_at is None

    @property
    def idle(self) -> bool:
        """Whether no start, reload or stop is in progress."""
        return (self._running and not self.reloads.underway
                and all(one.state != BOOTING for one in self.generations))

    def hand_over(self) -> dict[str, Any]:
        """Return the state for the next version of this server; signals are blocked."""
        self._reap()
        return {"console": self.console.fd, "paused": self.pause.paused,
                "generations": [inherited.describe(one) for one in self.generations]}

    def interrupted(self) -> bool:
        """Handle pending signals; return whether one of them prevents an upgrade."""
        self._on_signals()
        return self._status is not None or not self.idle

    def _take_over(self) -> None:
        """Take over the children of the previous version, and start a generation of our own."""
        logger.info("gracefully (RE)spawned %s master process (pid: %d) after an upgrade",
                    self.product, os.getpid())
        for described in self._handed_over["generations"]:
            self.generations.append(inherited.InheritedGeneration(
                described, self.selector, self.reload))
        self._reap()
        self.pause.set(self._handed_over.get("paused", False))
        signals.unblock_all()
        self.reloads.request(time.monotonic())

    def reload(self) -> None:
        """Start a new generation of each role beside the present one (SIGHUP; `reload`)."""
        if self.exit_on_reload and self._running:
            logger.info("exit-on-reload: the server stops instead of reloading")
            self._request_stop()
        else:
            self._unless_stopping("reload", lambda: self.reloads.request(time.monotonic()))

    def _unless_stopping(self, name: str, action: Callable[[], None]) -> None:
        if self._running:
            action()
        else:
            logger.warning("no %s: the server is stopping", name)

    def chain_reload(self) -> None:
        """Reload worker by worker (`chain`)."""
        if self.exit_on_reload:
            self.reload()
        elif self._running:
            self.reloads.request(time.monotonic(), chained=True)

    def _generation(self, number: int, role: Role, count: int) -> Generation:
        generation = Generation(number, role, count, self._rows, self.selector)
        generation.on_imported = self.on_imported
        return generation

    def stop(self, status: int = 0) -> None:
        """Start a graceful stop that ends with exit status `status`."""
        now = time.monotonic()
        self._status = status
        self.reloads.give_up(now, "the server is stopping")
        self._adapters.close()
        self._stopping()
        self._front_until = now + FRONT_TIME
        for generation in self.generations:
            if generation.role.front:
                generation.drain(now, stop=True)
        self._stop_rest(now)

    def _stop_rest(self, now: float) -> None:
        """Stop the other roles once those in front have exited."""
        if self._front_until is None or (now < self._front_until and any(
                generation.role.front for generation in self.generations)):
            return
        self._front_until = None
        for generation in self.generations:
            if not generation.role.front:
                generation.drain(now, stop=True)

    # The loop

    def _loop(self) -> None:
        awake = wake_up = time.monotonic()
        while True:
            now = time.monotonic()
            if now > wake_up + SUSPENDED:
                awake = now
            self._check(now)
            if self._status is not None and not self.generations and self._stop_attached(now):
                return
            # Generations last: an attached object may have started one (touch-reload).
            wake_up = min([one.poll(now) for one in self._attached] + [self._adapt(now)]
                          + [generation.poll(now, awake) for generation in self.generations])
            if self._stop_at is not None and self._status is None:
                wake_up = min(wake_up, self._stop_at)
            for key, _ in self.selector.select(max(wake_up - time.monotonic(), 0.0)):
                # The callback of an event before this one may have closed it.
                if self.selector.get_map().get(key.fd) is key:
                    key.data()

    def _check(self, now: float) -> None:
        """Act on what has changed: generations that are complete, have failed or have exited."""
        for generation in list(self.generations):
            if self.reloads.owns(generation):
                continue
            if generation.failure is not None:
                self._check_failure(generation)
            elif generation.state == BOOTING and generation.complete:
                self._serve_first(generation)
            if generation.state == DRAINING and generation.done:
                self.generations.remove(generation)
        if self._status is not None:
            self._stop_rest(now)
            return
        if self._stop_at is not None and now >= self._stop_at:
            self._stop_gracefully()
            return
        self.reloads.check(now)
        if not self._started and all(one.loaded for one in self.generations):
            self._started = True
            self._started_by_reload = self.reloads.underway
            for attached in self._attached:
                attached.start(now)
        for attached in self._attached:
            if attached.exit_status is not None:
                self.stop(attached.exit_status)
                return

    def _stop_attached(self, now: float) -> bool:
        """Stop the attached objects, one after another; return whether all have stopped."""
        for attached in self._attached:
            attached.stop(now)
            if not attached.done:
                return False
        return True

    def _adapt(self, now: float) -> float:
        """Adapt the numbers of processes to the load; return when to be called again."""
        if self._status is not None:
            return now + (1.0 if self.generations else STOP_INTERVAL)
        due = self._adapters.poll(self.generations, now)
        if self._adapters.over:
            self.stop()
            return now
        return due

    def _serve_first(self, generation: Generation) -> None:
        """Record that a generation of the first start is complete."""
        generation.state = SERVING
        generation.log_ready()
        if not self._announced and all(one.state != BOOTING for one in self.generations):
            self._announced = True
            self._ready()

    def _taken_over(self, now: float) -> None:
        if not self._announced:
            self._announced = True
            self._ready()
        for attached in () if self._started_by_reload else self._attached:
            attached.reloaded(now)

    def _on_reloading(self, begins: bool) -> None:
        if begins:
            self._started_by_reload = False
        self._reloading(begins)

    def _check_failure(self, generation: Generation) -> None:
        assert generation.failure is not None
        status, reason = generation.failure
        if (generation.state != BOOTING or self._status is not None
                or generation.ever_ready):  # its other workers serve; this one is respawned
            generation.failure = None
        else:
            logger.critical("the first start failed, shutting down with exit status %d: %s",
                            status, reason)
            self.stop(status)

    # Events

    def _on_signals(self) -> None:
        for number in self._pipe.read():
            action = self._handlers.get(number)
            if action is not None:
                action()

    def _reap(self) -> None:
        for generation in self.generations:
            generation.read_pids()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            # All of them: whoever still had the pid would signal the next process that gets it.
            for generation in self.generations:
                generation.exited(pid, code)
            for attached in self._attached:
                attached.exited(pid, code)

    def _reload_command(self, caller: Caller, arguments: Sequence[str]) -> None:
        if self.exit_on_reload:
            self.reload()
        if not self._running:
            caller.end(1, "reload failed: the server is stopping")
        else:
            self.reloads.request(time.monotonic(), caller, chained="chain" in arguments)

    def _stop_command(self, caller: Caller, arguments: Sequence[str]) -> None:
        self._stoppers.append(caller)
        if self._running:
            self._request_stop()

    def _request_stop(self) -> None:
        delay = self._shutdown_delay()
        if not self._running:
            self._quit()
        elif delay:
            logger.info("shutdown in %g seconds; readiness checks get 503 until then",
                        delay)
            self._stop_at = time.monotonic() + delay
            self.reloads.give_up(time.monotonic(), "the server is stopping")
            for generation in self.generations:
                generation.fail_readiness()
        else:
            self._stop_gracefully()

    def _stop_gracefully(self) -> None:
        logger.info("graceful shutdown triggered...")
        self.stop(0)

    def _quit(self) -> None:
        if self._at_once:
            return
        self._at_once = True
        logger.info("SIGINT/SIGTERM received...killing workers...")
        now = time.monotonic()
        if self._status is None:
            self._status = 0
            self.reloads.give_up(now, "the server is stopping")
            self._adapters.close()
            self._stopping()
        for generation in self.generations:
            generation.kill(now)
        for attached in self._attached:
            attached.kill(now)

    def reopen_logs(self) -> None:
        """Reopen the log files in all processes (SIGUSR1)."""
        handed = self._reopen()
        for generation in self.generations:
            generation.reopen_logs(handed)
        for _, fd in handed:
            os.close(fd)
        logger.info("logs reopened")

    def _sleep(self) -> None:
        """Stop all workers until a connection arrives (cheap mode)."""
        if not self._running or not self._adapters.sleep(time.monotonic()):
            logger.warning("no cheap mode: it needs workers that serve, and cheap, cheaper or idle "
                           "in the configuration")

    def _resize(self, difference: int) -> None:
        for generation in self.generations:
            if generation.state == DRAINING or generation.role.fixed:
                continue
            count = generation.count + difference
            least, most = generation.role.bounds
            if count < least or count > (most or count) or (difference > 0 and not self._rows):
                reason = ("that is the minimum" if count < least == 1 else
                          f"cheaper = {least}" if count < least else
                          f"processes = {most}" if count > (most or count) else
                          "the scoreboard is full")
                logger.warning("the number stays at %d %s%s: %s", generation.count,
                               generation.role.name, "s" if generation.count != 1 else "", reason)
                continue
            logger.info("%d %s%s from now on", count, generation.role.name,
                        "s" if count != 1 else "")
            generation.resize(count, time.monotonic())
