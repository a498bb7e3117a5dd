"""The commands that a worker or router gets while it serves: the master's messages, and signals.

    drain   exit when the last request is done        SIGHUP
    stop    the same, idle connections at once        SIGTERM
    die     exit now
    unready fail readiness checks: a stop is near
    pause   accept nothing, serve the present requests
    resume  accept again
    stacks  report where each request is
            reopen the logs                           SIGUSR1
            the stacks of all threads, to stderr      SIGUSR2

Everything runs in callbacks of the loop. What a command means is up to the `CommandTarget`;
only the end of the master is the same for all: exit.
"""

import faulthandler
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Protocol

from . import channel
from .scoreboard import Row, Scoreboard

logger = logging.getLogger("geventuwsgi.error")


def flush_streams() -> None:
    """Flush standard output and error before `os._exit`. The application may have closed or
    replaced them."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except Exception as error:
            logger.debug("a standard stream cannot be flushed: %r", error)


class Child(Protocol):
    """The present process, as workers and routers see it.

    Implemented by `prefork.child.Child`, and by `boot.embedded` where there is no master.

    Attributes:
        id: its number, from 1.
        control: its end of the control socket.
        row: its row of the scoreboard.
        board: the scoreboard.
        logvars: set by a WSGI worker: returns the log variables of the present request.
    """

    id: int
    control: socket.socket
    row: Row
    board: Scoreboard
    logvars: Callable[[], dict[str, str] | None]

    def ready(self) -> None:
        """Report that connections are accepted."""

    def reopen(self) -> None:
        """Reopen the logs."""

    def report_imports(self) -> None:
        """Report the files that were imported since the last call."""

    def due_for_replacement(self, reason: str) -> None:
        """Ask for another worker in place of this one."""

    def received(self) -> bytes | None:
        """Return the next message; see `channel.receive_with_descriptor`."""

    def answer(self, text: str) -> None:
        """Send the stacks that the last message asked for."""


class CommandTarget(Protocol):
    """What carries the commands out."""

    def drain(self, at_once: bool) -> None:
        """Stop accepting and exit when the last request is done."""

    def fail_readiness(self) -> None:
        """Fail readiness checks."""

    def suspend(self, suspended: bool) -> None:
        """Accept nothing, or accept again."""

    def reopen(self) -> None:
        """Reopen the logs."""

    def stacks(self, frame: Any) -> str:
        """Return where each request is; `frame` is what a signal interrupted, or None."""

    def write_out(self) -> None:
        """Write what would be lost with the process."""


class WorkerCommands:
    """Reads the commands of a worker or router, and dispatches them.

    Args:
        child: this process.
        loop: the hub's loop.
        target: what carries them out.
        name: what logs call such a process.
        chain: whether an earlier handler of SIGUSR2 is called too, after the stacks.
    """

    def __init__(self, child: Child, loop: Any, target: CommandTarget, name: str = "worker",
                 chain: bool = False) -> None:
        self._child = child
        self._target = target
        self._name = name
        self._chain = chain
        self._control = loop.io(child.control.fileno(), 1)    # 1: READ of libev
        self._signals = [(loop.signal(number), call, arguments) for number, call, arguments in (
            (signal.SIGTERM, target.drain, (True,)), (signal.SIGHUP, target.drain, (False,)),
            (signal.SIGUSR1, target.reopen, ()))]

    def start(self) -> None:
        """Start to read messages and to handle signals."""
        self._control.start(self._on_readable)
        for watcher, call, arguments in self._signals:
            watcher.start(call, *arguments)
        # A process that is stuck cannot run its loop: the stacks have to come from a signal
        # handler, and faulthandler's writes them from C.
        faulthandler.register(signal.SIGUSR2, file=2, all_threads=True, chain=self._chain)

    def close(self) -> None:
        """Stop reading."""
        self._control.close()
        for watcher, _, _ in self._signals:
            watcher.close()

    def dispatch(self, message: bytes, frame: Any = None) -> None:
        """Carry out a message; b"" means that the master has gone."""
        if message == b"":
            logger.error("the master disconnected from %s %d; shutting down", self._name,
                         self._child.id)
        if message in (b"", channel.DIE):
            self._target.write_out()
            flush_streams()
            os._exit(0)
        elif message == channel.UNREADY:
            self._target.fail_readiness()
        elif message == channel.DRAIN:
            self._target.drain(False)
        elif message == channel.STOP:
            self._target.drain(True)
        elif message in (channel.PAUSE, channel.RESUME):
            self._target.suspend(message == channel.PAUSE)
        elif message == channel.STACKS:
            self._child.answer(self._target.stacks(frame))

    def _on_readable(self) -> None:
        message = self._child.received()
        if message is not None:
            self.dispatch(message)
