"""One worker in the caller's process, without a master: `geventuwsgi.serve`.

This module opens sockets and logs, stops the worker on a signal and ends its requests after a
grace period, as the master would. At the end it closes the sockets and restores signal handlers
and the handlers of our logger. The monkey-patching of a WSGI worker cannot be undone, so it is
refused in a process that runs threads already.

Signals are handled by Python's handlers rather than the hub's, because a request that blocks the
hub would delay those.
"""

import _socket
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from .. import __version__
from ..app.applications import Application, Applications
from ..app.interface import check_callable, is_double_callable, single_callable
from ..config.load import keywords
from ..config.resolve import asgi
from ..config.resolve.concurrency import concurrency
from ..config.settings import Settings
from ..errors import AppLoadError, ConfigError
from ..ipc import scoreboard
from ..log.error import ErrorHandler
from ..system import forked, kernel
from . import tls
from .logs import Logs
from .process_setup import as_asgi, cores_of, product_of
from .sockets import Sockets, allow_proxy_headers, open_all

logger = logging.getLogger("geventuwsgi.error")

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds: several signals within this time interrupt the code that blocks the hub only once.
INTERRUPT_INTERVAL = 0.5
HANDLED = (*STOPS, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class StandaloneChild:
    """Replaces the connection of a worker to its master: worker 1, without messages.

    Args:
        board: a scoreboard of one row.
        ready: called when connections are accepted.
        reopen: reopens the logs.
    """

    id = 1

    def __init__(self, board: scoreboard.Scoreboard, ready: Callable[[], None],
                 reopen: Callable[[], None]) -> None:
        self.board = board
        self.row = board.row(1)
        # Not gevent's class, even in a patched process. Nothing is ever sent on it.
        self.control: Any
        self.control, self._other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        self.ready = ready
        self.reopen = reopen
        self.logvars: Callable[[], dict[str, str] | None] = lambda: None

    def report_imports(self) -> None:
        """Do not report imported modules."""

    def answer(self, text: str) -> None:
        """Send no response."""

    def due_for_replacement(self, reason: str) -> None:
        """Log why a master would replace this worker."""
        logger.critical("%s, and this process cannot be replaced by another worker", reason)

    def received(self) -> bytes | None:
        """Return no message of a master."""
        return None

    def close(self) -> None:
        """Close the descriptors."""
        self.control.close()
        self._other.close()


class Embedded:
    """A worker in this process, from opening its sockets to closing them.

    Args:
        settings: the resolved options.
        applications: the one application.
    """

    def __init__(self, settings: Settings, applications: Applications) -> None:
        self.settings = settings
        self.applications = applications
        self.logs = Logs(settings, requests=True)
        self.sockets: Sockets | None = None
        self._worker: Any = None
        self._stop_requests = 0
        self._pending = 0
        self._interrupted_at = -INTERRUPT_INTERVAL
        self.ended = False
        # The hub has a thread of its own, so the application cannot block it.
        self._beside_hub = not (applications.asgi or settings.gevent)
        self._grace_timer: Any = None
        self._previous_handlers: dict[int, Any] = {}

    def run(self) -> None:
        """Serve until a signal; then finish the requests in progress."""
        settings = self.settings
        logger.info("Starting geventuwsgi %s in process %d", __version__, os.getpid())
        for warning in settings.warnings:
            logger.warning("%s", warning)
        for note in settings.notes:
            logger.info("%s", note)
        tls.check(settings)
        self.sockets = sockets = open_all(settings)
        try:
            allow_proxy_headers(settings, sockets.pairs)
            tls.attach(settings, sockets.listeners, tls.configs_of(settings, sockets.pairs))
            if not self.applications.asgi:
                patch(settings)
            for listener in sockets.listeners:  # which are gevent's if the caller has patched
                fd = listener.socket.detach()
                listener.socket = kernel.original("socket", "socket")(fileno=fd)
                listener.socket.setblocking(False)
            sockets.log_addresses()
            self._serve()
        finally:
            for listener in sockets.listeners:
                listener.close()
                if settings.vacuum:
                    listener.vacuum()

    def _serve(self) -> None:
        """Run the worker, and handle its signals."""
        if self.applications.asgi:
            from ..workers.asgi.bridge import Bridge as WorkerClass
        else:
            from ..workers.wsgi.worker import Worker as WorkerClass  # type: ignore[assignment]
        board = scoreboard.Scoreboard.alone()
        child = StandaloneChild(board, self._ready, self.logs.reopen)
        child.row.cells[scoreboard.PID] = os.getpid()
        child.row.cells[scoreboard.WORKER] = 1
        child.row.cells[scoreboard.CORES] = cores_of(self.settings)
        assert self.sockets is not None
        self._previous_handlers = {number: signal.getsignal(number) for number in HANDLED}
        forked.watch(self)
        arguments = (self.settings, self.sockets.listeners, self.applications, child,
                     self.logs.requests)
        try:
            if self._beside_hub:
                self._serve_threads(WorkerClass, arguments)
            else:
                self._worker = WorkerClass(*arguments)
                self._worker.run()
        except KeyboardInterrupt:
            self._worker.cut()
            if not self._stop_requests:
                raise
        finally:
            self.ended = True
            gc.unfreeze()       # the bridge has frozen objects of the program
            self._restore()
            child.close()
        logger.info("goodbye to %s.", product_of(self.settings))

    def _serve_threads(self, worker_class: Any, arguments: tuple[Any, ...]) -> None:
        """Run the application in this thread and others, and the worker's hub in one of its own.

        Only this thread may install signal handlers.
        """
        from ..workers.wsgi.threads import ThreadPool

        pool = ThreadPool(self.settings.slots, 1, self.settings.reaper, leave=False)
        accepting = threading.Event()
        arguments[3].ready = accepting.set

        def serve() -> int:
            try:
                self._worker = worker_class(*arguments, pool)
                return int(self._worker.run())
            finally:
                self._close_grace_timer()   # before its hub, which ends with this thread
                accepting.set()

        def prepare() -> None:
            try:
                accepting.wait()
            except KeyboardInterrupt:
                accepting.wait()
                if self._worker is not None:
                    self._worker.hub.loop.run_callback_threadsafe(self._worker.cut)
                return
            if self._worker is not None:
                self._ready()

        pool.run(serve, prepare)

    def _ready(self) -> None:
        """Install the signal handlers, after the worker has installed those of its hub.

        Signals that the caller ignores (nohup, a shell's background job) stay ignored.
        """
        for number, before in self._previous_handlers.items():
            if before == signal.SIG_IGN:
                signal.signal(number, signal.SIG_IGN)
            elif number in STOPS or number == signal.SIGQUIT:
                signal.signal(number, self._on_signal)
        logger.info("ready: this process (pid: %d), with %s", os.getpid(),
                    concurrency(self.settings))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Stop, and at once after a second signal; runs between any two instructions."""
        if self.ended or number == signal.SIGHUP and self._stop_requests:
            return      # SIGHUP: of a terminal that closes after a Ctrl-C
        self._stop_requests += 2 if number == signal.SIGQUIT else 1
        self._pending += 1
        self._worker.hub.loop.run_callback_threadsafe(self._stop)
        now = time.monotonic()
        if (self._pending > 1 and now - self._interrupted_at > INTERRUPT_INTERVAL
                and not self._beside_hub):
            self._interrupted_at = now
            if not self.applications.asgi:
                self._worker.service.cut = True
            raise KeyboardInterrupt     # ends the code that blocks the hub

    def _stop(self) -> None:
        """Stop as the signals ask; runs on the hub."""
        if not self._pending:
            return      # an earlier call has handled several signals
        self._pending = 0
        if self._stop_requests > 1:
            logger.info("stopping at once")
            self._worker.cut()
            return
        logger.info("graceful shutdown triggered by a signal")
        self._worker.drain(True)
        if not self.applications.asgi:      # the bridge has its own timer
            self._grace_timer = self._worker.hub.loop.timer(self.settings.worker_reload_mercy)
            self._grace_timer.start(self._end_grace)

    def _end_grace(self) -> None:
        """End the requests that are still in progress."""
        logger.error("requests did not end in %g seconds (worker-reload-mercy) and are aborted",
                     self.settings.worker_reload_mercy)
        self._worker.cut()

    def _close_grace_timer(self) -> None:
        if self._grace_timer is not None:
            self._grace_timer.close()
            self._grace_timer = None

    def become_ordinary(self) -> None:
        """Give the program its own signal handlers back, in a process that it has forked."""
        self._restore_handlers()

    def _restore(self) -> None:
        """Restore the previous signal handlers."""
        self._close_grace_timer()
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        faulthandler.unregister(signal.SIGUSR2)
        for number, before in self._previous_handlers.items():
            if before is not None:  # None: not installed by Python
                signal.signal(number, before)


def serve(application: Any, given: Mapping[str, object]) -> None:
    """Serve an application in this process until SIGTERM or SIGINT (see `geventuwsgi.serve`)."""
    if threading.get_native_id() != os.getpid():
        raise ConfigError("serve() handles signals and has to run in the main thread; to serve in "
                          "the background start geventuwsgi as a program")
    settings = keywords.read(given, os.environ)
    applications = applications_of(application, settings.interface)
    before = list(logger.handlers), logger.level, logger.propagate
    try:
        if applications.asgi:
            if settings.interface != "asgi":
                ignored = asgi.found(settings)
                settings = settings.replace(warnings=(*settings.warnings, *ignored))
            settings = as_asgi(settings)
            refuse_patched("an ASGI application runs in a thread of its own",
                           "serve it in a process that is not")
        elif settings.monkey_patch:
            refuse_threads()
        elif not settings.gevent:
            refuse_patched("requests run in native threads", "set gevent instead of threads")
        Embedded(settings, applications).run()
    except ConfigError as error:
        restore_option_name(error, settings)
        raise
    finally:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            if isinstance(handler, ErrorHandler):
                handler.sink.close()
        for handler in before[0]:
            logger.addHandler(handler)
        logger.setLevel(before[1])
        logger.propagate = before[2]


def restore_option_name(error: ConfigError, settings: Settings) -> None:
    """Give an error the option's place and name as the caller wrote it, instead of a flag."""
    if error.file is None and error.option:
        origin = settings.origin(error.option)
        error.file = origin.kind if origin.kind == "environment" else keywords.PLACE
        error.option = origin.option or error.option.replace("-", "_")


def applications_of(application: Any, interface: str) -> Applications:
    """Return the application in the form that the server uses.

    Raises:
        AppLoadError: it is not an application.
    """
    name = getattr(application, "__qualname__", type(application).__name__)
    module = getattr(application, "__module__", None)
    source = f"{module}:{name}" if module else name
    if isinstance(application, str):
        raise AppLoadError(f"serve() takes the application itself and not its name: import it, "
                           f"or start geventuwsgi {application}")
    asgi = check_callable(application, source, interface)
    if asgi and is_double_callable(application):
        application = single_callable(application)
    return Applications([Application(0, "", "", application, source, 0, asgi=asgi)])


def patched(module: str) -> bool:
    """Whether gevent has patched a module of the standard library."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched(module))


def refuse_patched(reason: str, remedy: str) -> None:
    """Refuse to run native threads in a patched process, where they would be greenlets.

    Args:
        reason: what needs them.
        remedy: what to do.

    Raises:
        ConfigError: the process is patched.
    """
    if patched("threading") or patched("socket"):
        raise ConfigError(f"{reason}, but this process is monkey-patched by gevent: {remedy}")


def refuse_threads() -> None:
    """Refuse to patch while threads run, because it replaces locks that they may hold.

    Raises:
        ConfigError: threads run; with their names.
    """
    others = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    if others and not patched("threading"):
        raise ConfigError(f"threads run already ({', '.join(others)}), and the process is not "
                          "patched for gevent: begin the program with `from gevent import "
                          "monkey; monkey.patch_all()`, or set monkey_patch=False (then a "
                          "blocking call delays all other requests)", option="monkey-patch")


def patch(settings: Settings) -> None:
    """Patch the standard library, unless the caller has done so or has disabled it."""
    if not settings.monkey_patch or patched("socket"):
        return
    from gevent import monkey
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", monkey.MonkeyPatchWarning)
        monkey.patch_all()
    logger.warning("the standard library is patched for gevent only now: functions that the "
                   "program has imported by name (from time import sleep) still block all "
                   "requests. Begin it with `from gevent import monkey; monkey.patch_all()`")
    for warning in found:
        logger.warning("%s", str(warning.message).strip())
