"""What all connections of one WSGI worker share. Used on the worker's hub only."""

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from gevent.event import Event
from gevent.monkey import get_original

from ...app.applications import Applications
from ...app.rules.rules import Routes
from ...log.access import AccessLog
from ..service import Callback, Service, ServiceValues, noop
from .slots import Slots
from .threads import ThreadPool


class WsgiService(Service):
    """The shared side of a worker's connections.

    Args:
        values, applications: see `Service`.
        hub: the worker's hub.
        slots: application slots of this worker.
        access: the request log, None for none.
        templates: environ template by listener URL.
        export_cert: pass the certificates of clients to the application.
        routes: the rules of internal routing, None for none.
        pool: the native threads of the application, None if it runs in greenlets.

    Attributes:
        only: the application, if there is just one.
        event_type: an event that blocks what runs the application.
        thread: the identifier of the hub's thread.
        alone: there is no other worker and no `queue-limit`, so requests may wait for native
            threads here.
        last_keepalive: see `drain`.
        forked: this is a process that the application has forked.
        cut: the worker stops at once and aborts its requests.
        waited_references: see `over.references_after_wait`.
        accepted, rejected: counters since the start.
        overload: returns how many connections to accept although no slot is free.
        resume: called to accept again.
        drained: called when the last connection of a drain has ended.
        slot_lost: called when a slot is lost for good.
    """

    def __init__(self, values: ServiceValues, applications: Applications, *, hub: Any,
                 slots: Slots, access: AccessLog | None,
                 templates: Mapping[str, dict[str, Any]], export_cert: bool,
                 routes: Routes | None, pool: ThreadPool | None = None) -> None:
        super().__init__(values, applications)
        self.hub = hub
        self.slots = slots
        self.only = applications.only
        self.access = access
        self.templates = templates
        self.export_cert = export_cert
        self.routes = routes
        self.pool = pool
        self.event_type: Callable[[], Any] = Event if pool is None else threading.Event
        self.thread = get_original("_thread", "get_ident")()
        self.alone = False
        self.last_keepalive = 0.0
        self.forked = False
        self.cut = False
        self.waited_references = 0
        self.accepted = 0
        self.rejected = 0
        self.overload: Callable[[], int] = int
        self.resume: Callback = noop
        self.drained: Callback = noop
        self.slot_lost: Callback = noop

    def capacity(self) -> int:
        """Return how many more connections can be served now. If none, `resume` will be called."""
        spare = self.max_connections - len(self.connections)
        if spare <= 0:
            self.free_places()
            spare = self.max_connections - len(self.connections)
        capacity = min(len(self.slots.free), spare)
        if self.alone:
            capacity = min(capacity + self.slots.ahead, spare)  # type: ignore[attr-defined]
        if self.pool is not None and self.pool.blocked:
            self.crowded = True
            return self.overload()
        if capacity <= 0:
            capacity = self.overload() if spare > 0 and (
                self.slots.limit or self.pool and not self.alone) else 0
            if capacity:
                return min(capacity, spare)
            self.crowded = True
            self.slots.wanted = True
        return capacity

    def lacks_places(self) -> bool:
        return len(self.connections) >= self.max_connections

    def free_places(self) -> int:
        """Close idle connections for new ones; return how many."""
        if self.draining or self.full:
            return 0
        closed = self.reusable.close_longest(monotonic())
        if not closed:
            self.full = True
            self._end_persistence()
        return closed

    def _end_persistence(self) -> None:
        """Close each connection after its present request."""
        self.set_persistence()
        for connection in self.connections:
            connection.persists = False

    def drain(self, last_keepalive: float) -> None:
        """Close each connection after its present request, from now on.

        Args:
            last_keepalive: seconds for one more request on connections that were promised it.
        """
        self.draining = True
        self.last_keepalive = last_keepalive
        self._end_persistence()

    def suspend(self, suspended: bool) -> None:
        """Close each connection after its present request, until resumed."""
        self.suspended = suspended
        if suspended:
            self._end_persistence()
        else:
            self.set_persistence()

    def closed(self, connection: Any) -> None:
        """Remove a connection that was closed."""
        self.connections.discard(connection)
        if self.crowded:
            self.crowded = False
            self.resume()
        self.end_if_empty()

    def end_if_empty(self) -> None:
        """Call `drained` if a drain is complete."""
        if self.draining and not self.connections:
            self.drained()
