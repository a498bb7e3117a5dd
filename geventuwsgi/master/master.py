"""The master: it keeps the roles alive, and does nothing else.

One loop on a selector. What happens comes in as events (a byte of a signal, a message
of a child, the end of a child), each event changes what a generation knows, and once
per turn every generation is tended: what is missing is started, what is overdue ended.

Rules of the room:

- No application code, no gevent, no HTTP; nothing blocks but the selector.
- A role is a row. There is no `if` about a kind of process here.
- Children that are not ours (orphans that a PID 1 or a subreaper inherits) are reaped in
  silence, whatever their exit status.
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

FRONT_TIME = 5.0    # seconds that a stop waits at most until the roles in front are gone
ENDING = 0.1  # seconds between two looks whether all that is attached has ended
PAUSE = 2.0  # seconds more than asked for in the selector: we were stopped, or the machine was


def _nothing() -> None:
    """Do nothing."""


class Master:
    """The master process of one instance.

    Args:
        roles: what to keep alive.
        board: the scoreboard, with rows for at least twice as many workers, so that two
            generations may stand side by side.
        ready: called once, when the first generation of every role serves.
        stopping: called when a stop begins; closes the listening sockets.
        reopen: reopens the logs (SIGUSR1); returns, by name and descriptor, those that it
            opened for children that cannot. None of them: they reopen their own.
        commands: further orders for the console (`console`), by name.
        attached: what is looked after beside the roles, in this order; they begin when
            the application is loaded, and end one after another once the workers are gone.
        renew: returns what is to run after a reload; None is the same roles.
        exit_on_reload: stop instead of reloading.
        shutdown_delay: how many seconds to serve on after the order to stop, while
            readiness checks fail.
        reloading: called with True when a reload begins, with False when it has ended.
        upgrade: asked for the upgrade in place (SIGUSR2).
        handed_over: what `hand_over` of the version before returned, instead of a first
            start of the roles.
        heard_files: called with paths that a template or worker has imported.
        bindings: signals and what each is to do instead of what it does by itself: stop,
            quit, reload, reopen, pause or ignore.
        product: what the log calls this server (`log-dialect`).

    Attributes:
        orders: what may be done to the instance, by name.
        selector: what the loop waits with; the data of a key is what to call.
    """

    def __init__(self, roles: Sequence[Role], board: Scoreboard, *,
                 ready: Callable[[], None] = _nothing, stopping: Callable[[], None] = _nothing,
                 reopen: Callable[[], Sequence[tuple[str, int]]] = tuple,
                 commands: Mapping[str, Command] = MappingProxyType({}),
                 attached: Sequence[Attached] = (),
                 renew: Callable[[], ReloadPlan] | None = None, exit_on_reload: bool = False,
                 shutdown_delay: Callable[[], float] = lambda: 0.0,
                 reloading: Callable[[bool], None] = lambda begins: None,
                 upgrade: Callable[[], None] = _nothing,
                 handed_over: Mapping[str, Any] = MappingProxyType({}),
                 heard_files: Callable[[list[str]], None] = lambda paths: None,
                 bindings: Mapping[int, str] = MappingProxyType({}),
                 product: str = "geventuwsgi") -> None:
        self.roles = tuple(roles)
        self.product = product
        self.generations: list[Generation] = []
        self._rows = Rows(board)
        self._ready = ready
        self._stopping = stopping
        self._reopen = reopen
        self._begun = False
        self._fresh = False     # what is attached began with the reload on its way (an upgrade)
        self._reloading = reloading
        self.exit_on_reload = exit_on_reload
        self._handed_over = handed_over
        self._shutdown_delay = shutdown_delay
        self._leave_at: float | None = None     # when the delayed stop begins
        self.heard_files = heard_files
        self.selector = selectors.DefaultSelector()
        stacks = Stacks(self.selector, self.generations)
        self.pause = Pause(self.generations)
        self._attached = (*attached, stacks, self.pause)
        self._pipe = signals.SignalPipe()
        self._status: int | None = None     # the exit status, once a stop has begun
        self._at_once = False
        self._front_until: float | None = None  # of a stop that waits for roles in front
        self._announced = False
        self.reloads = Reloads(
            self.generations, self._generation, lambda: len(self._rows),
            renew or (lambda: ReloadPlan(self.roles)), self._taken_over, self._on_reloading)
        self._adapters = Adapters(self.selector)
        self._stoppers: list[Caller] = []
        self.console = Console(self.selector, {
            "reload": self._ordered_to_reload, "stop": self._ordered_to_stop,
            "stacks": stacks.order, "pause": self.pause.order_pause,
            "resume": self.pause.order_resume, **commands})
        self._actions: dict[int, Callable[[], None]] = {
            signal.SIGCHLD: self._reap, signal.SIGTERM: self._asked_to_stop,
            signal.SIGINT: self._asked_to_stop, signal.SIGQUIT: self._asked_to_quit,
            signal.SIGHUP: self.reload, signal.SIGUSR1: self.reopen_logs,
            signal.SIGUSR2: lambda: self._unless_it_stops("upgrade", upgrade),
            signal.SIGTTIN: lambda: self._resize(1), signal.SIGTTOU: lambda: self._resize(-1)}
        self.orders: Mapping[str, Callable[[], None]] = {
            "stop": self._asked_to_stop, "quit": self._asked_to_quit, "ignore": _nothing,
            "reload": self.reload, "chain": self.chain_reload, "reopen": self.reopen_logs,
            "pause": self.pause.toggle, "more": lambda: self._resize(1),
            "fewer": lambda: self._resize(-1), "sleep": self._sleep}
        self._actions.update({number: self.orders[what] for number, what in bindings.items()})

    def run(self) -> int:
        """Keep the roles alive until told to stop; return the exit status."""
        self._pipe.install({*TAKEN, *self._actions}, IGNORED)
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
        return any(worker.ready for one in self.generations if one.state == SERVING
                   for worker in one.workers.values())

    @property
    def _serves(self) -> bool:
        """Whether no stop has begun or is near."""
        return self._status is None and self._leave_at is None

    @property
    def idle(self) -> bool:
        """Whether no start, reload or stop is on its way."""
        return (self._serves and not self.reloads.underway
                and all(one.state != BOOTING for one in self.generations))

    def hand_over(self) -> dict[str, Any]:
        """Return what the next version of this server has to know; signals are blocked."""
        self._reap()
        return {"console": self.console.fd, "paused": self.pause.paused,
                "generations": [inherited.describe(one) for one in self.generations]}

    def signalled(self) -> bool:
        """Whether a signal waits that is to be obeyed before an upgrade; obeys it."""
        self._on_signals()
        return self._status is not None or not self.idle

    def _take_over(self) -> None:
        """Adopt the children of the version before, and start a generation of our own."""
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
        if self.exit_on_reload and self._serves:
            logger.info("exit-on-reload: the server ends instead of reloading")
            self._asked_to_stop()
        else:
            self._unless_it_stops("reload", lambda: self.reloads.request(time.monotonic()))

    def _unless_it_stops(self, name: str, action: Callable[[], None]) -> None:
        if self._serves:
            action()
        else:
            logger.warning("no %s: the server stops", name)

    def chain_reload(self) -> None:
        """The same, worker by worker (`chain`)."""
        if self.exit_on_reload:
            self.reload()
        elif self._serves:
            self.reloads.request(time.monotonic(), chained=True)

    def _generation(self, number: int, role: Role, count: int) -> Generation:
        generation = Generation(number, role, count, self._rows, self.selector)
        generation.heard_files = self.heard_files
        return generation

    def stop(self, status: int = 0) -> None:
        """Begin a graceful stop that ends with exit status `status`."""
        now = time.monotonic()
        self._status = status
        self.reloads.give_up(now, "the server stops")
        self._adapters.close()
        self._stopping()
        self._front_until = now + FRONT_TIME
        for generation in self.generations:
            if generation.role.front:
                generation.drain(now, stop=True)
        self._stop_rest(now)

    def _stop_rest(self, now: float) -> None:
        """End those who are handed work once nobody is left to do so."""
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
            if now > wake_up + PAUSE:
                awake = now
            self._judge(now)
            if self._status is not None and not self.generations and self._ended(now):
                return
            # Generations last, for the others may have begun one: a file that was touched does.
            wake_up = min([one.poll(now) for one in self._attached] + [self._adapt(now)]
                          + [generation.poll(now, awake) for generation in self.generations])
            if self._leave_at is not None and self._status is None:
                wake_up = min(wake_up, self._leave_at)
            for key, _ in self.selector.select(max(wake_up - time.monotonic(), 0.0)):
                # An event before this one may have closed what it is about.
                if self.selector.get_map().get(key.fd) is key:
                    key.data()

    def _judge(self, now: float) -> None:
        """Draw the conclusions: who serves, who failed, who is gone."""
        for generation in list(self.generations):
            if self.reloads.owns(generation):
                continue
            if generation.failure is not None:
                self._judge_failure(generation)
            elif generation.state == BOOTING and generation.complete:
                self._serve_first(generation)
            if generation.state == DRAINING and generation.done:
                self.generations.remove(generation)
        if self._status is not None:
            self._stop_rest(now)
            return
        if self._leave_at is not None and now >= self._leave_at:
            self._stop_gracefully()
            return
        self.reloads.judge(now)
        if not self._begun and all(one.loaded for one in self.generations):
            self._begun = True
            self._fresh = self.reloads.underway
            for attached in self._attached:
                attached.start(now)
        for attached in self._attached:
            if attached.exit_status is not None:
                self.stop(attached.exit_status)
                return

    def _ended(self, now: float) -> bool:
        """End what is attached, one after another; tell whether all of it is gone."""
        for attached in self._attached:
            attached.stop(now)
            if not attached.done:
                return False
        return True

    def _adapt(self, now: float) -> float:
        """Change the numbers of processes to what there is to do; return when to come again."""
        if self._status is not None:
            return now + (1.0 if self.generations else ENDING)
        due = self._adapters.poll(self.generations, now)
        if self._adapters.over:
            self.stop()
            return now
        return due

    def _serve_first(self, generation: Generation) -> None:
        """Take note that a generation of the first start is complete."""
        generation.state = SERVING
        logger.info("ready: %d %s%s (generation %d)", generation.count, generation.role.name,
                    "s" if generation.count != 1 else "", generation.number)
        if not self._announced and all(one.state != BOOTING for one in self.generations):
            self._announced = True
            self._ready()

    def _taken_over(self, now: float) -> None:
        if not self._announced:
            self._announced = True
            self._ready()
        for attached in () if self._fresh else self._attached:
            attached.reloaded(now)

    def _on_reloading(self, begins: bool) -> None:
        if begins:
            self._fresh = False
        self._reloading(begins)

    def _judge_failure(self, generation: Generation) -> None:
        assert generation.failure is not None
        status, reason = generation.failure
        if (generation.state != BOOTING or self._status is not None
                or generation.proven):  # others serve; this one is respawned
            generation.failure = None
        else:
            logger.critical("the first start failed, shutting down with exit status %d: %s",
                            status, reason)
            self.stop(status)

    # Events

    def _on_signals(self) -> None:
        for number in self._pipe.read():
            action = self._actions.get(number)
            if action is not None:
                action()

    def _reap(self) -> None:
        for generation in self.generations:
            generation.pump()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            if not any(generation.exited(pid, code) for generation in self.generations):
                any(one.exited(pid, code) for one in self._attached)

    def _ordered_to_reload(self, caller: Caller, arguments: Sequence[str]) -> None:
        if self.exit_on_reload:
            self.reload()
        if not self._serves:
            caller.end(1, "reload failed: the server stops")
        else:
            self.reloads.request(time.monotonic(), caller, chained="chain" in arguments)

    def _ordered_to_stop(self, caller: Caller, arguments: Sequence[str]) -> None:
        self._stoppers.append(caller)
        if self._serves:
            self._asked_to_stop()

    def _asked_to_stop(self) -> None:
        delay = self._shutdown_delay()
        if not self._serves:
            self._asked_to_quit()
        elif delay:
            logger.info("shutdown in %g seconds; readiness checks are answered 503 until then",
                        delay)
            self._leave_at = time.monotonic() + delay
            self.reloads.give_up(time.monotonic(), "the server stops")
            for generation in self.generations:
                generation.fail_readiness()
        else:
            self._stop_gracefully()

    def _stop_gracefully(self) -> None:
        logger.info("graceful shutdown triggered...")
        self.stop(0)

    def _asked_to_quit(self) -> None:
        if self._at_once:
            return
        self._at_once = True
        logger.info("SIGINT/SIGTERM received...killing workers...")
        now = time.monotonic()
        if self._status is None:
            self._status = 0
            self.reloads.give_up(now, "the server stops")
            self._adapters.close()
            self._stopping()
        for generation in self.generations:
            generation.kill(now)
        for attached in self._attached:
            attached.kill(now)

    def reopen_logs(self) -> None:
        """Open the log files anew in all processes (SIGUSR1)."""
        handed = self._reopen()
        for generation in self.generations:
            generation.reopen_logs(handed)
        for _, fd in handed:
            os.close(fd)
        logger.info("logs reopened")

    def _sleep(self) -> None:
        """Have no workers until a connection comes (cheap mode)."""
        if not self._serves or not self._adapters.sleep(time.monotonic()):
            logger.warning("no cheap mode: it is for workers that serve, of a configuration with "
                           "cheap, cheaper or idle")

    def _resize(self, difference: int) -> None:
        for generation in self.generations:
            if generation.state == DRAINING or generation.role.front:
                continue
            count = generation.count + difference
            least, most = generation.role.bounds
            if count < least or count > (most or count) or (difference > 0 and not self._rows):
                reason = ("there is always one" if count < least == 1 else
                          f"cheaper = {least}" if count < least else
                          f"processes = {most}" if count > (most or count) else
                          "the scoreboard is full")
                logger.warning("it stays at %d %s%s: %s", generation.count, generation.role.name,
                               "s" if generation.count != 1 else "", reason)
                continue
            logger.info("%d %s%s from now on", count, generation.role.name,
                        "s" if count != 1 else "")
            generation.resize(count, time.monotonic())
