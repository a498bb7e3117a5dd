"""One worker in the caller's process: what `geventuwsgi.serve` does.

The rules of this room: there is no master. What the master would do for its worker (open
sockets and logs, ask it to stop, lose patience) is done here, and everything is given back
at the end: sockets, signal handlers and the handlers of our logger. What cannot be given
back is the monkey-patching of a WSGI worker, and it cannot be made good either where threads
run already: then it is refused.

Signals reach Python's handlers and not the hub's, which a request that blocks would keep
from being heard.
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
from ..config.resolve import asgi as conflicts_asgi
from ..config.settings import Settings
from ..errors import AppLoadError, ConfigError
from ..ipc import scoreboard
from ..log.error import ErrorHandler
from ..system import kernel
from . import tls
from .logs import Logs
from .process_setup import as_asgi, cores_of, product_of
from .sockets import Sockets, open_all

logger = logging.getLogger("geventuwsgi.error")

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds: signals that come in a bunch interrupt what blocks the hub once.
AGAIN = 0.5
TAKEN = (*STOPS, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class StandaloneChild:
    """The worker's process as it sees itself, without a master: number 1, and nobody speaks.

    Args:
        board: a scoreboard of one row.
        ready: called when connections are accepted.
        reopen: opens the logs anew.
    """

    id = 1

    def __init__(self, board: scoreboard.Scoreboard, ready: Callable[[], None],
                 reopen: Callable[[], None]) -> None:
        self.board = board
        self.row = board.row(1)
        # Of the kernel's class, whatever is patched. Nothing ever comes through it.
        self.control: Any
        self.control, self._other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        self.ready = ready
        self.reopen = reopen
        self.logvars: Callable[[], dict[str, str] | None] = _none

    def report_imports(self) -> None:
        """Tell nobody what was imported."""

    def answer(self, text: str) -> None:
        """Answer nobody."""

    def due_for_replacement(self, reason: str) -> None:
        """Say what would be cured by another worker in this one's place."""
        logger.critical("%s, and no other worker can take the place of this process", reason)

    def received(self) -> bytes | None:
        """Return what the master says: nothing."""
        return None

    def close(self) -> None:
        """Let go of descriptors."""
        self.control.close()
        self._other.close()


class Embedded:
    """A worker from its sockets to its end.

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
        self._asked = 0
        self._unheard = 0
        self._raised = -AGAIN
        self._over = False
        self._patience: Any = None
        self._before: dict[int, Any] = {}

    def run(self) -> None:
        """Serve until a signal says so; the requests in progress are finished then."""
        settings = self.settings
        logger.info("Starting geventuwsgi %s in process %d", __version__, os.getpid())
        for warning in settings.warnings:
            logger.warning("%s", warning)
        for note in settings.notes:
            logger.info("%s", note)
        tls.check(settings)
        self.sockets = sockets = open_all(settings)
        try:
            terms = tls.terms_of(settings, sockets.pairs)
            tls.attach(settings, sockets.listeners, terms)
            if not self.applications.asgi:
                patch(settings)
            for listener in sockets.listeners:  # gevent's own where the caller has patched
                fd = listener.socket.detach()
                listener.socket = kernel.original("socket", "socket")(fileno=fd)
                listener.socket.setblocking(False)
            sockets.tell()
            self._serve()
        finally:
            for listener in sockets.listeners:
                listener.close()
                if settings.vacuum:
                    listener.vacuum()

    def _serve(self) -> None:
        """Be the worker, with the signals that it needs."""
        if self.applications.asgi:
            from ..workers.asgi.bridge import Bridge as Kind
        else:
            from ..workers.wsgi.worker import Worker as Kind  # type: ignore[assignment]
        board = scoreboard.Scoreboard.alone()
        child = StandaloneChild(board, self._ready, self.logs.reopen)
        child.row.cells[scoreboard.PID] = os.getpid()
        child.row.cells[scoreboard.WORKER] = 1
        child.row.cells[scoreboard.CORES] = cores_of(self.settings)
        assert self.sockets is not None
        self._before = {number: signal.getsignal(number) for number in TAKEN}
        self._worker = Kind(self.settings, self.sockets.listeners, self.applications,
                            child, self.logs.requests)
        try:
            self._worker.run()
        except KeyboardInterrupt:
            self._worker.cut()
            if not self._asked:
                raise
        finally:
            self._over = True
            gc.unfreeze()       # what the bridge froze is the program's
            self._restore()
            child.close()
        logger.info("goodbye to %s.", product_of(self.settings))

    # Signals. Those that the caller ignores (nohup, a shell's background) stay ignored.

    def _ready(self) -> None:
        """Take the signals, after the worker has taken its own for its hub."""
        for number, before in self._before.items():
            if before == signal.SIG_IGN:
                signal.signal(number, signal.SIG_IGN)
            elif number in STOPS or number == signal.SIGQUIT:
                signal.signal(number, self._told)
        cores = cores_of(self.settings)
        logger.info("ready: this process (pid: %d), %d %s%s at a time", os.getpid(), cores,
                    "connection" if self.applications.asgi else "request", "s" * (cores != 1))

    def _told(self, number: int, frame: FrameType | None) -> None:
        """Stop, and at a second signal at once; runs inside of whatever runs now."""
        if self._over or number == signal.SIGHUP and self._asked:
            return      # SIGHUP: of a terminal that closes behind a Ctrl-C
        self._asked += 2 if number == signal.SIGQUIT else 1
        self._unheard += 1
        self._worker.hub.loop.run_callback_threadsafe(self._stop)
        now = time.monotonic()
        if self._unheard > 1 and now - self._raised > AGAIN:
            self._raised = now
            if not self.applications.asgi:
                self._worker.service.cut = True
            raise KeyboardInterrupt     # what keeps the hub from hearing has to end first

    def _stop(self) -> None:
        """Do what the signals said; runs on the hub."""
        if not self._unheard:
            return      # two signals came before the hub heard one
        self._unheard = 0
        if self._asked > 1:
            logger.info("stopping at once")
            self._worker.cut()
            return
        logger.info("graceful shutdown triggered...")
        self._worker.drain(True)
        if not self.applications.asgi:      # the bridge keeps the time itself
            self._patience = self._worker.hub.loop.timer(self.settings.worker_reload_mercy)
            self._patience.start(self._lose_patience)

    def _lose_patience(self) -> None:
        logger.error("requests did not end in %g seconds (worker-reload-mercy) and are broken "
                     "off", self.settings.worker_reload_mercy)
        self._worker.cut()

    def _restore(self) -> None:
        """Give the signals back to whom they belonged."""
        if self._patience is not None:
            self._patience.close()
        faulthandler.unregister(signal.SIGUSR2)
        for number, before in self._before.items():
            if before is not None:  # not Python's
                signal.signal(number, before)


def serve(application: Any, given: Mapping[str, object]) -> None:
    """Serve an application in this process until SIGTERM or SIGINT (see `geventuwsgi.serve`)."""
    if threading.get_native_id() != os.getpid():
        raise ConfigError("serve() handles signals and has to run in the main thread; in the "
                          "background start geventuwsgi as a program")
    settings = keywords.read(given, os.environ)
    applications = applications_of(application, settings.interface)
    before = list(logger.handlers), logger.level, logger.propagate
    try:
        if applications.asgi:
            if settings.interface != "asgi":
                ignored = conflicts_asgi.found(settings)
                settings = settings.replace(warnings=(*settings.warnings, *ignored))
            settings = as_asgi(settings)
            refuse_patched()
        elif settings.monkey_patch:
            refuse_threads()
        Embedded(settings, applications).run()
    except ConfigError as error:
        name_as_given(error, settings)
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


def name_as_given(error: ConfigError, settings: Settings) -> None:
    """Let an error name its option where and as the caller wrote it, not as a flag."""
    if error.file is None and error.option:
        origin = settings.origin(error.option)
        error.file = origin.kind if origin.kind == "environment" else keywords.PLACE
        error.option = origin.option or error.option.replace("-", "_")


def applications_of(application: Any, interface: str) -> Applications:
    """Return the application as the server knows it.

    Raises:
        AppLoadError: it is none.
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


# Monkey-patching in a process that is not ours.

def patched(module: str) -> bool:
    """Whether gevent has patched a module of the standard library."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched(module))


def refuse_patched() -> None:
    """Refuse to run an event loop where its threads would be greenlets.

    Raises:
        ConfigError: the process is patched.
    """
    if patched("threading") or patched("socket"):
        raise ConfigError("an ASGI application runs in a thread of its own, and this process is "
                          "monkey-patched by gevent: serve it in one that is not")


def refuse_threads() -> None:
    """Refuse to patch while threads run: the locks that they hold would change under them.

    Raises:
        ConfigError: naming the threads.
    """
    others = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
    if others and not patched("threading"):
        raise ConfigError(f"threads run already ({', '.join(others)}), and the process is not "
                          "patched for gevent: let the program begin with `from gevent import "
                          "monkey; monkey.patch_all()`, or say monkey_patch=False (then whatever "
                          "blocks holds up every other request)", option="monkey-patch")


def patch(settings: Settings) -> None:
    """Patch the standard library, unless the caller has done so or does not want it."""
    if not settings.monkey_patch or patched("socket"):
        return
    from gevent import monkey
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", monkey.MonkeyPatchWarning)
        monkey.patch_all()
    logger.warning("the standard library is patched for gevent only now: what the program has "
                   "imported by name (from time import sleep) still blocks every request. Let it "
                   "begin with `from gevent import monkey; monkey.patch_all()`")
    for warning in found:
        logger.warning("%s", str(warning.message).strip())


def _none() -> None:
    """Be outside of any request."""
