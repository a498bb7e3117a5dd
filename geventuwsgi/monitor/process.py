"""The monitor's process: serves the statistics on its sockets until it is to end."""

import json
import os
from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import monotonic
from typing import Any

from gevent import get_hub
from gevent.event import Event

from ..config.settings import Settings
from ..ipc import scoreboard
from ..ipc.commands import Child, WorkerCommands
from ..ipc.scoreboard import Scoreboard
from ..net.deadlines import SWEEP
from ..net.listener import Listener
from ..net.report_server import Document, ReportServer, Request
from ..system import forked
from . import uwsgi_json
from .figures import Instance, checks

Exposition = Callable[[Instance, Scoreboard, str], tuple[bytes, str]]

_NOT_FOUND = Document(b"not found\n", "text/plain", HTTPStatus.NOT_FOUND)


def run(settings: Settings, listeners: Sequence[Listener], instance: Instance, child: Child,
        exposition: Exposition | None) -> int:
    """Serve statistics until the process is to end; return its exit status.

    Args:
        settings: the resolved configuration.
        listeners: of `stats` and `metrics`.
        instance: what the statistics take from the configuration.
        child: this process.
        exposition: formats metrics, given also the request's `Accept`; None without
            prometheus_client.
    """
    return Monitor(settings, listeners, instance, child, exposition).run()


class Monitor:
    """One monitor process; the target of the master's commands."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener], instance: Instance,
                 child: Child, exposition: Exposition | None) -> None:
        self.child = child
        self.hub = hub = get_hub()
        self._instance = instance
        self._cores = not settings.stats_no_cores
        self._minified = settings.stats_minified
        self._exposition = exposition
        self._servers = [ReportServer(
            hub, one, self._respond, at_once=one.protocol == "stats",
            bare=one.protocol == "stats" and not settings.stats_http) for one in listeners]
        self.commands = WorkerCommands(child, hub.loop, self, "monitor")
        self._timer = hub.loop.timer(SWEEP, SWEEP)
        self._draining = self._stopping = False
        self._done = Event()
        self.ended = False
        forked.watch(self)

    def run(self) -> int:
        """Serve, and return the exit status."""
        self.child.row.cells[scoreboard.ROLE] = scoreboard.ROLE_MONITOR
        self.commands.start()
        self._sweep()
        self._timer.start(self._sweep)
        for server in self._servers:
            server.start()
        self.child.ready()
        self._done.wait()
        self.ended = True
        self._timer.close()
        self.commands.close()
        return 0

    def become_ordinary(self) -> None:
        """Stop being a server, in a process that a library has forked."""
        for server in self._servers:
            server.forget()
        self.commands.close()
        self._timer.close()
        forked.give_up([self.child.control.detach(),
                        *(one.socket.detach() for one in self._instance.listeners)])

    def _respond(self, request: Request) -> Document:
        """Return the document for a request; "" is a client that has sent none."""
        if request.path in ("", "/", "/stats"):
            return Document(uwsgi_json.dump(uwsgi_json.snapshot(
                self._instance, self.child.board, self._cores), self._minified))
        if request.path == "/metrics" and self._exposition is not None:
            return Document(*self._exposition(
                self._instance, self.child.board, request.field("Accept")))
        if request.path in ("/healthz", "/readyz"):
            return self._check(request)
        return _NOT_FOUND

    def _check(self, request: Request) -> Document:
        """Return whether the workers live, or whether they are ready for requests."""
        found = checks(self.child.board, request.path == "/readyz", self._stopping)
        status = HTTPStatus.OK if all(found.values()) else HTTPStatus.SERVICE_UNAVAILABLE
        if "json" in request.field("Accept"):
            return Document(json.dumps(found).encode(), status=status)
        failed = [name for name, passed in found.items() if not passed]
        text = f"failed: {', '.join(failed)}\n" if failed else "ok\n"
        return Document(text.encode(), "text/plain", status)

    def _sweep(self) -> None:
        now = monotonic()
        for server in self._servers:
            server.poll(now)
        if self._draining and all(server.idle for server in self._servers):
            self._done.set()
        self.child.row.beat(0)
        self.child.row.measure()

    # Commands of the master.

    def drain(self, at_once: bool) -> None:
        """End when the connections that are open have been answered."""
        for server in self._servers:
            server.finish()
        self._draining = True

    def fail_readiness(self) -> None:
        """Fail `/readyz`, as a stop is near."""
        self._stopping = True

    def suspend(self, suspended: bool) -> None:
        """Do nothing: a pause concerns workers."""

    def reopen(self) -> None:
        """Reopen the logs."""
        self.child.reopen()

    def stacks(self, frame: Any) -> str:
        """Return that there are no requests (`--stacks`)."""
        return f"monitor {self.child.id} (pid: {os.getpid()})\n"

    def write_out(self) -> None:
        """Do nothing: a monitor buffers nothing."""
