"""`import uwsgi`: what an application may ask of its server, and the hooks it may set.

The rules of this room: names and types are uWSGI's, strings are bytes. What an application
calls never ends its worker: a hook that fails is logged.
"""

import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

log = logging.getLogger("geventuwsgi.error")

# The uWSGI whose module this one follows; programs compare it.
VERSION = (2, 0, 30, 0, b"")


class ApiInstance(NamedTuple):
    """What the module tells of the instance.

    Attributes:
        given: every line of the configuration, (name, text), text None for a bare name.
        master: pid of the master.
        processes: number of workers; slots: application slots of each.
        buffer_size: in octets.
        pidfile: its path, "" without one.
        sockets: descriptors of the listening sockets.
        is_a_reload: this is not the first generation.
        mode: a text of the operator's, None without one.
    """

    given: Iterable[tuple[str, str | None]]
    master: int
    processes: int
    slots: int
    buffer_size: int
    pidfile: str
    sockets: tuple[int, ...]
    is_a_reload: bool
    mode: str | None = None


class Uwsgi(ModuleType):
    """The module. Applications assign `post_fork_hook` and `atexit`."""

    def __init__(self, instance: ApiInstance) -> None:
        super().__init__("uwsgi", "The server's side of uWSGI's Python module.")
        self._instance = instance
        self._worker = 0
        self._logvars: Callable[[], dict[str, str] | None] = _none
        self.opt: Mapping[str, bytes] = {
            name: (text or "").encode("utf-8", "surrogateescape") for name, text in instance.given}
        self.version = ".".join(map(str, VERSION[:3])).encode()
        self.version_info = VERSION
        self.hostname = socket.gethostname().encode()
        self.numproc = instance.processes
        self.cores = instance.slots
        self.loop = b"gevent"
        self.buffer_size = instance.buffer_size
        self.started_on = int(time.time())
        self.pidfile = os.fsencode(instance.pidfile)
        self.sockets = list(instance.sockets)
        self.has_threads = True
        self.is_a_reload = instance.is_a_reload
        if instance.mode is not None:   # else there is no such attribute
            self.mode = instance.mode.encode("utf-8", "surrogateescape")
        self.applications: Any = None
        self.post_fork_hook: Callable[[], object] | None = None
        self.atexit: Callable[[], object] | None = None

    def masterpid(self) -> int:
        """Return the master's pid."""
        return self._instance.master

    def worker_id(self) -> int:
        """Return the worker's number, from 1; 0 where the application is loaded before."""
        return self._worker

    def log(self, message: str | bytes) -> bool:
        """Write a line to the error log."""
        log.info("%s", message.decode("utf-8", "replace") if isinstance(message, bytes)
                 else message)
        return True

    def micros(self) -> int:
        """Return the time in microseconds."""
        return int(time.time() * 1e6)

    def set_logvar(self, name: str | bytes, value: str | bytes) -> None:
        """Set what `%(name)` of log-format stands for in this request's line.

        Raises:
            SystemError: outside of a request, as uWSGI.
        """
        self._variables()[_text(name)] = _text(value)

    def get_logvar(self, name: str | bytes) -> bytes | None:
        """Return what `set_logvar` set in this request, None if nothing.

        Raises:
            SystemError: outside of a request, as uWSGI.
        """
        found = self._variables().get(_text(name))
        return None if found is None else found.encode("utf-8", "surrogateescape")

    def _variables(self) -> dict[str, str]:
        variables = self._logvars()
        if variables is None:
            raise SystemError("you can call uwsgi api function only from the main callable")
        return variables


def install(instance: ApiInstance) -> Uwsgi:
    """Make the module and put it where `import` finds it."""
    module = Uwsgi(instance)
    sys.modules["uwsgi"] = module
    return module


def enter(module: Uwsgi, worker: int, logvars: Callable[[], dict[str, str] | None]) -> None:
    """Take note that this is now a worker.

    Args:
        module: the module, made before the fork.
        worker: the worker's number.
        logvars: returns the log variables of the present request, None outside of one.
    """
    module._worker = worker
    module._logvars = logvars


def forked(module: Uwsgi) -> None:
    """Run the application's `post_fork_hook`, which it may have set in this worker only."""
    _run(module.post_fork_hook, "post_fork_hook")


def leave(module: Uwsgi) -> None:
    """Run the application's `atexit` at the end of a worker."""
    _run(module.atexit, "atexit")


def _run(hook: Callable[[], object] | None, name: str) -> None:
    if hook is None:
        return
    try:
        hook()
    except Exception:
        log.exception("uwsgi.%s failed", name)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _none() -> None:
    """Be outside of any request."""
