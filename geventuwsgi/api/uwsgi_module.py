"""The module `uwsgi` of an application: facts about the server, and hooks that it may set.

Rules: names and types are uWSGI's, strings are bytes. A hook that fails is logged and does not
end the worker.
"""

import importlib
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

# Options that a library looks up before it starts threads, and that are always on here.
ALWAYS_ON = ("master", "enable-threads", "py-call-uwsgi-fork-hooks")

ENGINEIO_DRIVER = "engineio.async_drivers.gevent_uwsgi"

# The functions of uWSGI that this module lacks, by the beginnings of their names, and what does
# the same. The longest beginning counts.
MISSING = {
    "cache_": "use Redis or memcached",
    "queue_": "use Redis",
    "sharedarea_": "use multiprocessing.shared_memory",
    "metric_": "use a client of Prometheus or StatsD",
    "snmp_": "use a client of Prometheus or StatsD",
    "websocket_": "use flask-sock, simple-websocket or an ASGI application",
    "rpc": "use HTTP",
    "call": "use HTTP",
    "register_rpc": "use HTTP",
    "spool": "use Celery, RQ or a program under attach-daemon",
    "send_to_spooler": "use Celery, RQ or a program under attach-daemon",
    "set_spooler": "use Celery, RQ or a program under attach-daemon",
    "mule": "use a program under attach-daemon",
    "farm": "use a program under attach-daemon",
    "get_msg": "use a program under attach-daemon",
    "add_timer": "use a thread, or a program under attach-daemon",
    "add_rb_timer": "use a thread, or a program under attach-daemon",
    "add_ms_timer": "use a thread, or a program under attach-daemon",
    "add_cron": "use cron, a timer of systemd or Celery",
    "add_file_monitor": "use touch-reload or py-autoreload",
    "register_signal": "use a message broker, or the channels of the operating system",
    "signal": "use a message broker, or the channels of the operating system",
    "lock": "use a lock of multiprocessing, made while the application is loaded",
    "unlock": "use a lock of multiprocessing, made while the application is loaded",
    "is_locked": "use a lock of multiprocessing, made while the application is loaded",
    "reload": "use geventuwsgi --reload PIDFILE, SIGHUP or touch-reload",
    "stop": "use geventuwsgi --stop PIDFILE or SIGTERM",
    "async_": "use gevent",
    "wait_fd_": "use gevent",
    "suspend": "use gevent",
    "green_schedule": "use gevent",
    "set_user_harakiri": "use harakiri-path, or gevent.Timeout",
    "disconnect": "close the response's iterable, and use a thread for the rest",
    "sendfile": "return wsgi.file_wrapper",
    "offload": "return wsgi.file_wrapper with offload-threads",
    "workers": "use a client of Prometheus, or geventuwsgi --stacks PIDFILE",
    "total_requests": "use a client of Prometheus, or the request log",
    "request_id": "use the request log",
    "mem": "use psutil",
    "logsize": "use os.stat on the log file",
    "log_this_request": "use log-format and the options log-4xx, log-slow and others",
    "alarm": "use a handler of logging",
    "chunked_read": "read wsgi.input, which decodes chunks",
    "recv": "read wsgi.input",
    "send": "use the iterable of the response",
    "connection_fd": "use environ['geventuwsgi.socket']",
}


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
        self.opt: Mapping[str, bytes | bool] = {
            **dict.fromkeys(ALWAYS_ON, True),
            **{name: True if text is None else text.encode("utf-8", "surrogateescape")
               for name, text in instance.given}}
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

    def __getattr__(self, name: str) -> Any:
        """Say what to use instead of a function of uWSGI that is missing."""
        found = max((start for start in MISSING if name.startswith(start)), key=len, default="")
        if found:
            raise AttributeError(f"uwsgi.{name} is not in geventuwsgi: {MISSING[found]}",
                                 name=name, obj=self)
        raise AttributeError(f"module 'uwsgi' has no attribute {name!r}", name=name, obj=self)

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


class EngineioDriver(ModuleType):
    """What python-engineio (Flask-SocketIO) imports as its driver for uWSGI.

    It prefers that driver wherever it finds a module `uwsgi` and gevent. But the driver has no
    WebSockets without uWSGI's functions for them, and native threads cannot wait for its queues.
    The drivers for gevent and for threads have WebSockets, by simple-websocket.
    """

    def __init__(self, name: str, loop: str | None) -> None:
        super().__init__(name)
        self._other = f"engineio.async_drivers.{loop or 'threading'}"

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._other), name)


def install(instance: ApiInstance) -> Uwsgi:
    """Create the module and register it in `sys.modules`."""
    module = Uwsgi(instance)
    sys.modules["uwsgi"] = module
    sys.modules[ENGINEIO_DRIVER] = EngineioDriver(ENGINEIO_DRIVER, instance.loop)
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
