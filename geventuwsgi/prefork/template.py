"""The template: a process that loads the application once and forks workers.

Rules:

- It is single-threaded and never runs a hub: it waits with unpatched calls, so that a
  forked worker starts with a hub of its own.
- fork, poll and waitpid are the system's own. `gevent.monkey.patch_all()` replaces them
  for the application; `kernel.original` returns what was there before.
- It ignores signals that are sent to the whole process group. It exits when the master
  sends `die` or has gone; its workers are not affected.
- A worker has none of the template's threads, runs a copy of its greenlets and shares its
  connections. `warn_of_hazards` reports such leftovers of the import.
"""

import atexit
import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..errors import BootError, GeventuwsgiError
from ..ipc import channel, scoreboard
from ..ipc.commands import flush_streams
from ..ipc.scoreboard import Scoreboard
from ..system import kernel, signals
from ..system.left_threads import wait_for_threads
from . import child
from .child import Child

logger = logging.getLogger("geventuwsgi.error")

Loaded = TypeVar("Loaded")
_TASKS = "/proc/self/task"

IGNORED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2,
           signal.SIGTTIN, signal.SIGTTOU)


class WrongInterface(Exception):
    """The loaded application needs the role's alternative: WSGI was started, and it is ASGI."""


class Template:
    """One generation's template.

    Args:
        sock: its end of the control socket.
        board: the scoreboard.
        generation: its number.
        master: the master's pid.
        cores: application slots of a worker, for the scoreboard.
        reopen: called on SIGUSR1; reopens the logs.
        use_log: replaces a log file, by name, by a descriptor that the master opened.
        title: sets the title of a worker's process, given its number.

    Attributes:
        cores: see above; `load` may change it.
        earlier_tasks: the native threads at the start: those of a sitecustomize, which
            opentelemetry-instrument has, are none of the application's import.
    """

    def __init__(self, sock: socket.socket, board: Scoreboard, *, generation: int, master: int,
                 cores: int = 1, reopen: Callable[[], None] = lambda: None,
                 use_log: Callable[[str, int], None] = lambda name, fd: os.close(fd),
                 title: Callable[[int], None] = lambda number: None) -> None:
        self._control = sock
        self._board = board
        self._generation = generation
        self._master = master
        self.cores = cores
        self._reopen = reopen
        self._use_log = use_log
        self._title = title
        self._pipe = signals.SignalPipe()
        self._forked: set[bytes] = set()    # the numbers of the workers so far
        self.earlier_tasks = tasks()

    def run(self, load: Callable[[], Loaded], work: Callable[[Loaded, Child], int]) -> int:
        """Load, report to the master, and fork workers until the master has gone.

        Args:
            load: returns what the workers share; with `lazy-apps` it loads nothing. It may
                raise `WrongInterface`.
            work: runs in each worker and returns its exit status.

        Returns:
            The template's exit status; the workers never return.
        """
        self._pipe.install((signal.SIGUSR1,))
        signals.ignore(IGNORED)
        signals.unblock_all()
        try:
            kernel.die_with_parent()
        except OSError as error:
            logger.warning("the kernel will not end this process with its master: %s",
                           error.strerror)
        if os.getppid() != self._master:
            return 0
        started = time.monotonic()
        try:
            loaded = load()
        except WrongInterface:
            channel.send(self._control, channel.WRONG_INTERFACE)
            return 0
        except SystemExit as end:
            return self._failed(BootError(f"it called sys.exit({end.code!r})"))
        except Exception as error:
            return self._failed(error)
        # Again: the application may have set handlers of its own while it was imported.
        self._pipe.install((signal.SIGUSR1,))
        signals.ignore(IGNORED)
        warn_of_hazards(self._control.fileno(), self.earlier_tasks)
        # What is alive now stays alive. A collector that ignores it does not write to its
        # pages, and so does not copy them into every worker.
        gc.collect()
        gc.freeze()
        milliseconds = int((time.monotonic() - started) * 1000)
        channel.send(self._control, channel.LOADED + b"%d" % milliseconds)
        return self._serve(loaded, work)

    def forget(self) -> None:
        """Give up the pipe of signals, in a process that the application has forked."""
        self._pipe.close()

    def _failed(self, error: Exception) -> int:
        status = log_failure(error, "the application could not be loaded")
        channel.send(self._control, channel.failed(status, str(error)))
        return status

    def _serve(self, loaded: Loaded, work: Callable[[Loaded, Child], int]) -> int:
        poller = kernel.original("select", "poll")()
        poller.register(self._control.fileno(), select.POLLIN)
        poller.register(self._pipe.fd, select.POLLIN)
        self._control.setblocking(True)
        while True:
            for fd, _ in poller.poll():
                if fd == self._pipe.fd:
                    if signal.SIGUSR1 in self._pipe.read():
                        self._reopen()
                    continue
                message, descriptors = channel.receive_with_descriptors(self._control, 2)
                if message in (b"", channel.DIE):
                    return 0
                if message is None or not descriptors:
                    continue
                if message.startswith(channel.LOG):
                    self._use_log(message.removeprefix(channel.LOG).decode(), descriptors[0])
                else:
                    self._fork(message, descriptors, loaded, work)

    def _fork(self, message: bytes, descriptors: Sequence[int], loaded: Loaded,
              work: Callable[[Loaded, Child], int]) -> None:
        """Fork twice, so that the worker becomes the master's child.

        If a fork fails, the control socket is closed everywhere, and the master sees the end of
        a worker that never sent its pid.
        """
        fork, waitpid = kernel.original("os", "fork"), kernel.original("os", "waitpid")
        number = message.split()[1]
        # A signal between the fork and the worker's own handlers would write into our pipe.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            intermediate = fork()
            if intermediate == 0:
                self._intermediate(fork, message, descriptors, loaded, work)
            self._report_forked(descriptors[0], intermediate)
            waitpid(intermediate, 0)
            self._forked.add(number)
        except OSError as error:
            logger.error("cannot fork a worker: %s", error.strerror)
        finally:
            for fd in descriptors:
                kernel.original("os", "close")(fd)  # gevent's waits for the hub
            signals.unblock_all()

    def _intermediate(self, fork: Callable[[], int], message: bytes, descriptors: Sequence[int],
                      loaded: Loaded, work: Callable[[Loaded, Child], int]) -> None:
        """Run the process between template and worker, and the worker; never return."""
        status = 1
        try:
            end_green_threads()
            with warnings.catch_warnings():
                # Python 3.13 counts gevent's main thread twice after the first fork and
                # warns about threads; the kernel knows of one only.
                warnings.simplefilter("ignore", DeprecationWarning)
                worker = fork()
            if worker != 0:
                self._report_forked(descriptors[0], worker)
                os._exit(0)
            status = self._worker(message, descriptors, loaded, work)
        except OSError as error:
            logger.error("cannot fork a worker: %s", error.strerror)
        except BaseException:
            logger.exception("a worker ended with an exception")
            raise
        finally:
            os._exit(status)

    def _report_forked(self, descriptor: int, pid: int) -> None:
        """Send the pid of a child to the master, which may hang before it can do so itself.

        Handlers of libraries (`os.register_at_fork`) run before our code in the child.
        """
        sock = type(self._control)(fileno=descriptor)
        channel.send(sock, channel.FORKED + b"%d" % pid)
        sock.detach()

    def _worker(self, message: bytes, descriptors: Sequence[int], loaded: Loaded,
                work: Callable[[Loaded, Child], int]) -> int:
        """Run a worker, and return its exit status."""
        self._pipe.close()
        self._control.close()
        _, number, row = message.split()
        # The unpatched class: the hub has nothing to do with it.
        sock = type(self._control)(fileno=descriptors[0])
        owned = self._board.row(int(row)).owned(descriptors[1])
        kernel.original("os", "close")(descriptors[1])
        me = child.become(int(number), self._generation, sock, self._board, owned, self._master,
                          self.cores)
        me.first = number not in self._forked
        self._title(me.id)
        try:
            status = work(loaded, me)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception as error:
            booting = me.row.cells[scoreboard.STATE] == scoreboard.STATE_BOOTING
            status = log_failure(error, f"worker {me.id} " + (
                "could not boot" if booting else "ended with an error"))
            if booting:
                me.failed(status, str(error))
        finish(f"worker {me.id}")
        return status


def end_green_threads() -> None:
    """End the threads that libraries have started since the fork, if gevent made them greenlets.

    Those libraries do it again in the worker, which has copies of all greenlets.
    """
    gevent = sys.modules.get("gevent")
    idents = {*threading._active} - {threading.main_thread().ident}  # type: ignore[attr-defined]
    if gevent is not None and idents:
        for one in gc.get_objects():
            if id(one) in idents and issubclass(type(one), gevent.Greenlet):
                one.kill(SystemExit)


def log_failure(error: Exception, what: str) -> int:
    """Log why a process cannot continue, and return its exit status.

    An error of this server is logged as its message (and the traceback that the loader has
    attached, without the server's frames); anything else with its full traceback.
    """
    if isinstance(error, GeventuwsgiError):
        traceback = getattr(error, "traceback", None)
        logger.error("%s: %s%s", what, error, f"\n{traceback.rstrip()}" if traceback else "")
        return error.exit_status
    logger.error("%s", what, exc_info=error)
    return BootError.exit_status


def finish(process: str) -> None:
    """Run the functions registered with `atexit` and flush, as Python does when it exits."""
    wait_for_threads(process)
    atexit._run_exitfuncs()
    flush_streams()


# Fork hazards: what the import of an application left running

def warn_of_hazards(control: int, earlier: frozenset[str]) -> None:
    """Log a warning that names threads, greenlets and connections, if there are any.

    Args:
        control: the template's own connected socket, which does not count.
        earlier: the native threads that do not count either.
    """
    found = greenlets() + threads(earlier) + connections(control)
    if found:
        logger.warning("the import of the application left behind: %s; workers are forked from "
                       "this process and would lose or share it. Start it after the fork, or "
                       "set lazy-apps = true", ", ".join(found))


def greenlets() -> list[str]:
    """Return the greenlets that wait or are scheduled to run, except the hub."""
    greenlet, hub = sys.modules.get("greenlet"), sys.modules.get("gevent.hub")
    if greenlet is None:
        return []
    own = (greenlet.getcurrent(), greenlet.getcurrent().parent)
    # By type(): isinstance() asks for __class__, which wakes the application's lazy objects.
    return [f"greenlet {found!r}" for found in gc.get_objects()
            if issubclass(type(found), greenlet.greenlet) and found and found not in own
            and _root(found) is _root(own[0])   # those of other threads do not survive a fork
            and not (hub is not None and isinstance(found, hub.Hub))]


def tasks() -> frozenset[str]:
    """Return the identifiers of the native threads."""
    return frozenset(os.listdir(_TASKS))


def threads(earlier: frozenset[str]) -> list[str]:
    """Return the native threads, except earlier ones, by their names."""
    found = []
    for task in sorted(tasks() - earlier):
        try:
            with open(f"{_TASKS}/{task}/comm") as file:
                found.append(f"native thread {task} ({file.read().strip()})")
        except OSError:
            continue  # it has just ended
    return found


def _root(found: Any) -> Any:
    while found.parent is not None:
        found = found.parent
    return found


def connections(control: int) -> list[str]:
    """Return the connected sockets, by their peers."""
    found = []
    sock_type = kernel.original("socket", "socket")  # the patched one would start the hub
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd == control or not os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                continue
            duplicate = sock_type(fileno=os.dup(fd))
        except OSError:
            continue  # the descriptor of the listing itself
        with duplicate:
            try:
                peer = duplicate.getpeername()
            except OSError:
                continue  # listening, or not connected
        if peer:  # the ends of a socketpair have no name
            text = peer if isinstance(peer, str) else ":".join(map(str, peer[:2]))
            found.append(f"connection to {text}")
    return found
