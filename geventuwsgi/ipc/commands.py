"""What a process that serves is told while it does: the master's messages, and signals.

The rules of this room: it runs in callbacks of a loop, and knows neither hub nor socket of
a client. What an order means is the business of who serves; that the master is gone means
the end here, whoever serves.

    drain   end when the last request is done         SIGHUP
    stop    the same, idle connections at once        SIGTERM
    die     end now
    leave   fail readiness checks: a stop is near
    pause   accept nothing, serve those who are there
    resume  accept again
    stacks  answer where each request stands
            reopen the logs                           SIGUSR1
            the stacks of all threads, to stderr      SIGUSR2
"""

import faulthandler
import logging
import os
import signal
import socket
import sys
from typing import Any, Protocol

log = logging.getLogger("geventuwsgi.error")

_READ = 1


class Child(Protocol):
    """What is asked of the process (see the process wing)."""

    id: int
    control: socket.socket

    def received(self) -> bytes | None: ...
    def answer(self, text: str) -> None: ...


class CommandTarget(Protocol):
    """Who carries the orders out."""

    def drain(self, at_once: bool) -> None:
        """Stop accepting and end when the last request is done."""

    def fail_readiness(self) -> None:
        """Fail readiness checks."""

    def suspend(self, suspended: bool) -> None:
        """Accept nothing, or go on."""

    def reopen(self) -> None:
        """Open the logs anew."""

    def stacks(self, frame: Any) -> str:
        """Tell where each request stands; `frame` is what a signal interrupted, or None."""

    def write_out(self) -> None:
        """Write what would be lost with the process."""


class WorkerCommands:
    """The ears of a worker or router.

    Args:
        child: this process.
        loop: the hub's loop.
        serving: who obeys.
        name: how logs call such a process.
        chain: whether SIGUSR2 is for an earlier handler too, behind the stacks.
    """

    def __init__(self, child: Child, loop: Any, serving: CommandTarget, name: str = "worker",
                 chain: bool = False) -> None:
        self._child = child
        self._serving = serving
        self._name = name
        self._chain = chain
        self._control = loop.io(child.control.fileno(), _READ)
        self._signals = [(loop.signal(number), call, arguments) for number, call, arguments in (
            (signal.SIGTERM, serving.drain, (True,)), (signal.SIGHUP, serving.drain, (False,)),
            (signal.SIGUSR1, serving.reopen, ()))]

    def start(self) -> None:
        """Listen from now on."""
        self._control.start(self._on_readable)
        for watcher, call, arguments in self._signals:
            watcher.start(call, *arguments)
        # A process that is stuck cannot run its loop: the stacks have to come from a signal
        # handler, and faulthandler's writes them from C.
        faulthandler.register(signal.SIGUSR2, file=2, all_threads=True, chain=self._chain)

    def close(self) -> None:
        """Listen no more."""
        self._control.close()
        for watcher, _, _ in self._signals:
            watcher.close()

    def dispatch(self, message: bytes, frame: Any = None) -> None:
        """Do what a message says; b"" is the end of the master."""
        if message == b"":
            log.error("the master disconnected from %s %d; shutting down", self._name,
                      self._child.id)
        if message in (b"", b"die"):
            self._serving.write_out()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        elif message == b"unready":
            self._serving.fail_readiness()
        elif message == b"drain":
            self._serving.drain(False)
        elif message == b"stop":
            self._serving.drain(True)
        elif message in (b"pause", b"resume"):
            self._serving.suspend(message == b"pause")
        elif message == b"stacks":
            self._child.answer(self._serving.stacks(frame))

    def _on_readable(self) -> None:
        message = self._child.received()
        if message is not None:
            self.dispatch(message)
