"""The module `uwsgi` of an application: facts about the server, and hooks that it may set.

Rules: names and types are uWSGI's, strings are bytes. A hook that fails is logged and does not
end the worker.
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

# The version of uWSGI that this module follows; applications compare it.
VERSION = (2, 0, 30, 0, b"")


class ApiInstance(NamedTuple):
    """Facts about the instance that the module publishes.

    Attributes:
        given: every line of the configuration as (name, text); text is None for a bare name.
        master: pid of the master.
        processes: number of workers.
        slots: application slots of each worker.
        buffer_size: in octets.
        pidfile: its path, or "".
        sockets: descriptors of the listening sockets.
        is_a_reload: whether this is not the first generation.
        mode: the text of the option `mode`, or None.
        loop: the name of the loop that runs the application, or None.
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
    loop: str | None = None


class Uwsgi(ModuleType):
    """The module. Applications assign `post_fork_hook` and `atexit` to it."""

    def __init__(self, instance: ApiInstance) -> None:
        super().__init__("uwsgi", "The uwsgi module, provided by geventuwsgi.")
        self._instance = instance
        self._worker = 0
        self._logvars: Callable[[], dict[str, str] | None] = lambda: None
        self.opt: Mapping[str, bytes] = {
            name: (text or "").encode("utf-8", "surrogateescape") for name, text in instance.given}
        self.version = ".".join(map(str, VERSION[:3])).encode()
        self.version_info = VERSION
        self.hostname = socket.gethostname().encode()
        self.numproc = instance.processes
        self.cores = instance.slots
        self.buffer_size = instance.buffer_size
        self.started_on = int(time.time())
        self.pidfile = os.fsencode(instance.pidfile)
        self.sockets = list(instance.sockets)
        self.has_threads = True
        self.is_a_reload = instance.is_a_reload
        # If they are not set, there are no such attributes.
        if instance.mode is not None:
            self.mode = instance.mode.encode("utf-8", "surrogateescape")
        if instance.loop is not None:
            self.loop = instance.loop.encode()
        self.applications: Any = None
        self.post_fork_hook: Callable[[], object] | None = None
        self.atexit: Callable[[], object] | None = None

    def masterpid(self) -> int:
        """Return the pid of the master."""
        return self._instance.master

    def worker_id(self) -> int:
        """Return the worker's number, from 1; 0 while the template loads the application."""
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
        """Set the value of `%(name)` in log-format for the current request.

        Raises:
            SystemError: outside a request, as in uWSGI.
        """
        self._variables()[_text(name)] = _text(value)

    def get_logvar(self, name: str | bytes) -> bytes | None:
        """Return the value that `set_logvar` set in the current request, or None.

        Raises:
            SystemError: outside a request, as in uWSGI.
        """
        found = self._variables().get(_text(name))
        return None if found is None else found.encode("utf-8", "surrogateescape")

    def _variables(self) -> dict[str, str]:
        variables = self._logvars()
        if variables is None:
            raise SystemError("you can call uwsgi api function only from the main callable")
        return variables


def install(instance: ApiInstance) -> Uwsgi:
    """Create the module and register it in `sys.modules`."""
    module = Uwsgi(instance)
    sys.modules["uwsgi"] = module
    return module


def enter_worker(module: Uwsgi, worker: int, logvars: Callable[[], dict[str, str] | None]) -> None:
    """Switch the module from the template to a worker.

    Args:
        module: the module, created before the fork.
        worker: the worker's number.
        logvars: returns the log variables of the current request, None outside a request.
    """
    module._worker = worker
    module._logvars = logvars


def run_post_fork_hook(module: Uwsgi) -> None:
    """Run the application's `post_fork_hook`, which may be set in this worker only."""
    _run(module.post_fork_hook, "post_fork_hook")


def run_atexit(module: Uwsgi) -> None:
    """Run the application's `atexit` hook at the end of a worker."""
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
