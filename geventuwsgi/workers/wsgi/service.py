"""What all connections of one WSGI worker share. It belongs to the worker's hub."""

from collections.abc import Callable, Mapping
from typing import Any

from gevent.monkey import get_original

from ...app.applications import Applications
from ...app.rules.rules import Routes
from ...app.static.files import StaticFiles
from ...log.access import AccessLog
from ..service import Callback, Service, ServiceValues, noop
from .slots import Slots


class WsgiService(Service):
    """The shared side of a worker's connections.

    Args:
        values, applications: see `Service`.
        hub: the worker's hub.
        slots: application slots of this worker.
        access: the request log, None if nothing is to be logged.
        templates: environ template by listener URL.
        export_cert: the application gets the certificates of clients.
        static: the files that are served without the application, None if there are none.
        routes: the rules of internal routing, None if there are none.

    Attributes:
        only: the one application, where a request needs no choosing.
        thread: the number of the hub's thread.
        cut: requests are broken off, as the worker stops at once.
        accepted, refused: counters since the start.
        overload: how many connections may be accepted only to be answered 503.
        resume: accept again.
        emptied: called when the last connection has ended in a drain.
        spoiled: called when a slot is lost for good.
    """

    def __init__(self, values: ServiceValues, applications: Applications, *, hub: Any,
                 slots: Slots, access: AccessLog | None,
                 templates: Mapping[str, dict[str, Any]], export_cert: bool,
                 static: StaticFiles | None, routes: Routes | None) -> None:
        super().__init__(values, applications)
        self.hub = hub
        self.slots = slots
        self.only = applications.only
        self.access = access
        self.templates = templates
        self.export_cert = export_cert
        self.static = static
        self.routes = routes
        self.thread = get_original("_thread", "get_ident")()
        self.cut = False
        self.accepted = 0
        self.refused = 0
        self.overload: Callable[[], int] = int
        self.resume: Callback = noop
        self.emptied: Callback = noop
        self.spoiled: Callback = noop

    def room(self) -> int:
        """How many more connections can be served now; asks to be resumed if none."""
        spare = self.max_connections - len(self.connections)
        room = min(len(self.slots.free), spare)
        if room <= 0:
            room = self.overload() if spare > 0 and self.slots.limit else 0
            if room:
                return min(room, spare)
            self.crowded = True
            self.slots.wanted = True
        return room

    def drain(self) -> None:
        """From now on no connection outlives its present request."""
        self.draining = True
        self.persistent = False
        for connection in self.connections:
            connection.persists = False

    def suspend(self, suspended: bool) -> None:
        """Let no connection outlive its present request, until we go on."""
        self.persistent = not suspended and self.limits.keepalive > 0
        if suspended:
            for connection in self.connections:
                connection.persists = False

    def left(self, connection: Any) -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        if self.crowded:
            self.crowded = False
            self.resume()
        self.end_if_empty()

    def end_if_empty(self) -> None:
        """Tell the worker that a drain has come to its end, if it has."""
        if self.draining and not self.connections:
            self.emptied()
