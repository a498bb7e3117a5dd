"""What all connections of one ASGI worker share, and the sweep over their deadlines.

It belongs to the loop's thread. The hub reads the counters, which are plain numbers; whatever
it wants done comes through `LoopThread.call`.
"""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from ...app.applications import Application, Applications
from ...log.access import AccessLog
from ...net.deadlines import SWEEP
from ..limits import WebSocketLimits
from ..service import Callback, Service, ServiceValues, noop

log = logging.getLogger("geventuwsgi.error")


class AsgiService(Service):
    """The shared side of a worker's connections.

    Args:
        values, applications: see `Service`.
        websockets: the limits of WebSockets.
        access: makes the request log, given what calls a function at the end of this turn
            of the loop; None if nothing is to be logged.
        root_path: the beginning of every scope's root_path.

    Attributes:
        only: the one application, where a request needs no choosing.
        loop: the event loop, from `attach` on.
        states: of the lifespans, by the id of the application; each scope has a shallow copy.
        tasks: the applications' tasks, those that outlive their request included.
        swept: monotonic seconds of the last sweep, the loop's sign of life.
        opened, closed: connections adopted and ended since the start.
        timed: whether a request may run too long.
        in_progress: requests and WebSockets inside the application.
        ended: done once everything has ended after a drain.
        roomy: called when a connection ends while `crowded` is set.
    """

    loop: asyncio.AbstractEventLoop
    ended: asyncio.Future[None]

    def __init__(self, values: ServiceValues, applications: Applications, *,
                 websockets: WebSocketLimits, access: Callable[[Any], AccessLog] | None,
                 root_path: str) -> None:
        super().__init__(values, applications)
        self.websockets = websockets
        self.timed = not values.timeouts.endless
        self.only = (applications.default if len(applications) == 1
                     and not applications.all[0].script_name else None)
        self._make_access = access
        self.access: AccessLog | None = None
        self.root_path = root_path
        self.states: list[dict[str, Any]] = [{} for _ in applications]
        self.tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self.opened = 0
        self.closed = 0
        self.in_progress = 0
        self.swept = monotonic()
        self.roomy: Callback = noop
        self._ticking: asyncio.TimerHandle | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to sweep on a loop, in its thread."""
        self.loop = loop
        self.ended = loop.create_future()
        if self._make_access is not None:
            self.access = self._make_access(loop.call_soon)
        self._sweep()

    def detach(self) -> None:
        """Stop sweeping and write what waits of the request log."""
        if self._ticking is not None:
            self._ticking.cancel()
        if self.access is not None:
            self.access.close()

    def room(self) -> int:
        """How many more connections can be served now. Called on the hub."""
        room = self.max_connections - (self.opened - self.closed)
        if room <= 0:
            self.crowded = True
        return room

    def joined(self, connection: Any) -> None:
        """A connection was adopted; `opened` counts it since it was accepted."""
        self.connections.add(connection)

    def left(self, connection: Any) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        self.closed += 1
        if self.crowded:
            self.crowded = False
            self.roomy()
        if self.draining:
            self._look_for_end()

    def run(self, coroutine: Any) -> "asyncio.Task[None]":
        """Start an application's task, and hold on to it until it ends."""
        task = self.loop.create_task(coroutine)
        self.tasks.add(task)
        return task

    def task_ended(self, task: "asyncio.Task[None]") -> None:
        """An application's coroutine is about to end."""
        self.tasks.discard(task)
        if self.draining:
            self._look_for_end()

    def application_for(self, path: str) -> Application | None:
        """Find the application by the mountpoint that a path begins with."""
        return self.applications.split(path.encode("utf-8", "surrogateescape")
                                       .decode("latin-1"))[0]

    # Deadlines.

    def _sweep(self) -> None:
        """Look at every deadline; refresh what each second needs."""
        now = self.swept = monotonic()
        for connection in tuple(self.connections):
            if connection.deadline <= now:
                connection.expire(now)
            if connection.harakiri_at <= now:
                connection.harakiri(now)
        self.standing.tick(time())
        if self.access is not None:
            self.access.flush()
        self._ticking = self.loop.call_later(SWEEP, self._sweep)

    # Draining.

    def drain(self, idle_for: float) -> None:
        """From now on no connection outlives its present request; long streams end.

        Args:
            idle_for: seconds for which an idle connection may bring one more request.
        """
        if not self.draining:
            self.draining = True
            self.persistent = False
            for connection in tuple(self.connections):
                connection.drain()
        if not idle_for:
            self._close_idle()
        else:
            self.loop.call_later(idle_for, self._close_idle)
        self._look_for_end()

    def suspend(self, suspended: bool, idle_for: float) -> None:
        """Let no connection outlive its present request, until we go on.

        Args:
            suspended: False is to go on.
            idle_for: seconds for which an idle connection may bring one more request.
        """
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if not self.draining:
            self.persistent = not suspended and self.limits.keepalive > 0
            if suspended:
                self._pause = self.loop.call_later(idle_for, self._close_idle)

    def _close_idle(self) -> None:
        for connection in tuple(self.connections):
            connection.close_if_idle()

    def cancel(self) -> None:
        """Time is up: cancel every task of the application and cut what is left."""
        if self.tasks:
            log.warning("worker %d: %d task%s did not end in time and %s cancelled", self.worker,
                        len(self.tasks), "s" * (len(self.tasks) != 1),
                        "is" if len(self.tasks) == 1 else "are")
        for task in tuple(self.tasks):
            task.cancel()
        self.loop.call_later(1.0, self.cut)

    def cut(self) -> None:
        """Close every connection as it stands, and count as ended."""
        for connection in tuple(self.connections):
            connection.cut()
        if not self.ended.done():
            self.ended.set_result(None)

    def _look_for_end(self) -> None:
        if (not self.connections and not self.tasks and self.opened <= self.closed
                and not self.ended.done()):
            self.ended.set_result(None)
