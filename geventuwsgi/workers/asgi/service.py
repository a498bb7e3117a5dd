"""What all connections of one ASGI worker share, and the sweep over their deadlines.

It belongs to the loop's thread. The hub reads the counters, which are plain numbers; it calls
methods through `LoopThread.call_in_loop`.
"""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic, time
from typing import Any

from ...app.applications import Application, Applications
from ...log.access import AccessLog
from ...net.deadlines import SWEEP
from ..hangups import GONE_AGE, hung_up
from ..limits import WebSocketLimits
from ..service import Callback, Service, ServiceValues, noop

log = logging.getLogger("geventuwsgi.error")

# A request may wait this many seconds for its client to leave, after a drain has begun.
_WAIT = 1.0
# Applications that ask for it get http.disconnect this many seconds before they are cancelled.
END_WAITS = 1.0


class AsgiService(Service):
    """The shared side of a worker's connections.

    Args:
        values, applications: see `Service`.
        websockets: the limits of WebSockets.
        access: creates the request log, given a function that schedules a call on the loop;
            None for no log.
        root_path: the beginning of every scope's root_path.

    Attributes:
        only: the application of all requests, None if the choice depends on the request.
        loop: the event loop, from `attach` on.
        states: the lifespan states by application id; each scope has a shallow copy.
        tasks: the applications' tasks with their requests or WebSockets, including those that
            outlive their request.
        last_sweep: monotonic seconds of the last sweep, the loop's heartbeat.
        opened, closed: connections accepted and ended since the start.
        forked: this is a process that the application has forked.
        has_timeouts: whether requests are checked for how long they run.
        in_progress: requests and WebSockets inside the application.
        ended: a future, done when everything has ended after a drain.
        resume: called to accept again, when a connection ends while `crowded` is set.
        ask_for_places: called on the hub, to run `free_places` on the loop.
    """

    loop: asyncio.AbstractEventLoop
    ended: asyncio.Future[None]

    def __init__(self, values: ServiceValues, applications: Applications, *,
                 websockets: WebSocketLimits, access: Callable[[Any], AccessLog] | None,
                 root_path: str) -> None:
        super().__init__(values, applications)
        self.websockets = websockets
        self.has_timeouts = not values.timeouts.endless
        self.only = (applications.default if len(applications) == 1
                     and not applications.all[0].script_name else None)
        self._make_access = access
        self.access: AccessLog | None = None
        self.root_path = root_path
        self.states: list[dict[str, Any]] = [{} for _ in applications]
        self.tasks: dict[asyncio.Task[None], Any] = {}
        self._idle_timer: asyncio.TimerHandle | None = None
        self.opened = 0
        self.closed = 0
        self.in_progress = 0
        self.forked = False
        self.last_sweep = monotonic()
        self.resume: Callback = noop
        self.ask_for_places: Callback = noop
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._heads: list[Any] = []     # exchanges whose heads wait
        self._drain_began = 0.0

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the sweep on a loop. Called on its thread."""
        self.loop = loop
        self.ended = loop.create_future()
        if self._make_access is not None:
            self.access = self._make_access(loop.call_soon)
        self._sweep()

    def detach(self) -> None:
        """Stop the sweep, and write what the request log has buffered."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        if self.access is not None:
            self.access.close()

    def capacity(self) -> int:
        """Return how many more connections can be served now. Called on the hub."""
        capacity = self.max_connections - (self.opened - self.closed)
        if capacity <= 0:
            self.crowded = True
            self.ask_for_places()
        return capacity

    def free_places(self) -> None:
        """Close idle connections for new ones."""
        if not (self.draining or self.full) and not self.reusable.close_longest(monotonic()):
            self.full = True
            self.set_persistence()

    def add(self, connection: Any) -> None:
        """Add a connection. `opened` has counted it since its accept."""
        self.connections.add(connection)

    def remove(self, connection: Any) -> None:
        """Remove a connection that was closed."""
        self.connections.discard(connection)
        self.closed += 1
        if self.crowded:
            self.crowded = False
            self.resume()
        if self.draining:
            self._end_if_empty()

    def run(self, exchange: Any, application: Any) -> None:
        """Call an application in a task of its own, with a reference to it until it ends.

        A done-callback of the task would cost each request a call of the loop, 1.1 of 13 us. So
        the coroutine calls `task_ended`, and the sweep finds a task that never ran.

        Args:
            exchange: the request or WebSocket.
            application: the callable.
        """
        task = self.loop.create_task(exchange.run(application))
        if not task.done():  # with asyncio.eager_task_factory it may be
            exchange.task = task
            self.tasks[task] = exchange

    def task_ended(self, task: "asyncio.Task[None]") -> None:
        """Remove a task whose coroutine is about to end."""
        self.tasks.pop(task, None)
        if self.draining:
            self._end_if_empty()

    def send_head_soon(self, exchange: Any) -> None:
        """Send the head of a response one turn of the loop later, unless its body comes first."""
        if not self._heads:
            self.loop.call_soon(self._send_heads, context=self.context)
        self._heads.append(exchange)

    def _send_heads(self) -> None:
        heads, self._heads = self._heads, []
        for exchange in heads:
            exchange.send_head()

    def application_for(self, path: str) -> Application | None:
        """Find the application by the mountpoint of a path."""
        return self.applications.split(path.encode("utf-8", "surrogateescape")
                                       .decode("latin-1"))[0]

    # Deadlines.

    def _sweep(self) -> None:
        """Check all deadlines; update the Date field and flush the request log."""
        now = self.last_sweep = monotonic()
        polled = {}
        for connection in tuple(self.connections):
            if connection.deadline <= now:
                connection.expire(now)
            if connection.harakiri_at <= now:
                connection.harakiri(now)
            if connection.is_unwatched(now - GONE_AGE) and not connection.lost:
                polled[connection.transport.get_extra_info("socket").fileno()] = connection
        for descriptor, events in hung_up(polled):
            polled[descriptor].hung_up(events)
        for task in [task for task in self.tasks if task.done()]:
            exchange = self.tasks[task]
            if exchange.file is not None:
                exchange.file.close()
            self.run(exchange, _cancelled)  # as it was, before its first step
            self.task_ended(task)
        if self.draining and now > self._drain_began + _WAIT:
            for connection in tuple(self.connections):
                connection.drain(now - _WAIT)
        self.sweep_connections(now)
        self.response_defaults.tick(time())
        if self.access is not None:
            self.access.flush()
        self._sweep_timer = self.loop.call_later(SWEEP, self._sweep)

    # Draining.

    def drain(self, idle_for: float) -> None:
        """Close each connection after its present request, from now on.

        WebSockets, event streams and requests that only wait for their client to leave are
        ended, also those that begin from now on: the streams at once, the rest a second later.

        Args:
            idle_for: seconds for which an idle connection may send one more request.
        """
        if not self.draining:
            self.draining = True
            self._drain_began = monotonic()
            self.set_persistence()
            for connection in tuple(self.connections):
                connection.drain(0.0)
        if not idle_for:
            self._close_idle()
        else:
            self.loop.call_later(idle_for, self._close_idle)
        self._end_if_empty()

    def suspend(self, suspended: bool, idle_for: float) -> None:
        """Close each connection after its present request, until resumed.

        Args:
            suspended: False resumes.
            idle_for: seconds for which an idle connection may send one more request.
        """
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if not self.draining:
            self.suspended = suspended
            self.set_persistence()
            if suspended:
                self._idle_timer = self.loop.call_later(idle_for, self._close_idle)

    def _close_idle(self) -> None:
        for connection in tuple(self.connections):
            connection.close_if_idle()

    def end_waits(self) -> None:
        """Give `http.disconnect` to each application that asks for it: the grace ends soon."""
        for connection in tuple(self.connections):
            connection.drain(0.0, True)

    def cancel(self) -> None:
        """Cancel all tasks of the applications, and abort what is left a second later."""
        if self.tasks:
            log.warning("worker %d: %d task%s did not end in time and %s cancelled", self.worker,
                        len(self.tasks), "s" * (len(self.tasks) != 1),
                        "is" if len(self.tasks) == 1 else "are")
        for task in tuple(self.tasks):
            task.cancel()
        self.loop.call_later(1.0, self.abort)

    def abort(self) -> None:
        """Abort all connections, and count as ended."""
        for connection in tuple(self.connections):
            connection.abort()
        if not self.ended.done():
            self.ended.set_result(None)

    def _end_if_empty(self) -> None:
        if (not self.connections and not self.tasks and self.opened <= self.closed
                and not self.ended.done()):
            self.ended.set_result(None)


async def _cancelled(scope: Any, receive: Any, send: Any) -> None:
    raise asyncio.CancelledError
