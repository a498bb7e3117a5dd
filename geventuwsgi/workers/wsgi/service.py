"""What all connections of one worker share: limits, applications, log and counters.

The rules of this room: it reads no settings (the worker does, and hands the values in)
and belongs to one hub, so plain numbers are counters enough.
"""

import contextvars
from collections.abc import Callable, Mapping
from typing import Any

from gevent.monkey import get_original

from ...app.applications import Applications
from ...app.exceptions import ExceptionPolicy
from ...app.rules.rules import Routes
from ...app.static.files import StaticFiles
from ...log.access import AccessLog
from ...net.allowlist import AllowList
from ...protocol.message import Limits
from ...protocol.response import ResponseDefaults
from .harakiri import RequestTimeouts
from .slots import ConnectionLimits, Slots


class WsgiService:
    """The shared side of a worker's connections.

    Args:
        hub: the worker's hub.
        policy: timeouts and sizes.
        head_limits: how large the parts of a request head may be.
        buffer_size: the largest uwsgi block, in octets.
        slots: application slots of this worker.
        max_connections: open connections of this worker.
        standing: fields of every response.
        applications: what requests are for.
        access: the request log, None if nothing is to be logged.
        templates: environ template by listener URL.
        uwsgi_peers: who may speak uwsgi over TCP.
        forwarders: whose X-Forwarded-* is believed.
        proxies: who may (and then must) send a PROXY header; None = nobody.
        patience: how long requests may run.
        worker: the worker's number.
        pid: its pid.
        export_cert: the application gets the certificates of clients.
        static: the files that are served without the application, None if there are none.
        routes: the rules of internal routing, None if there are none.
        mishaps: what follows an exception of the application, beside the log.

    Attributes:
        draining: no connection outlives its present request any more.
        cut: requests are broken off, as the worker stops at once.
        accepted, requests, exceptions, harakiris, refused, bytes_sent, response_time: counters
            since the start, the last in seconds.
    """

    def __init__(self, *, hub: Any, policy: ConnectionLimits, head_limits: Limits, buffer_size: int,
                 slots: Slots, max_connections: int, standing: ResponseDefaults,
                 applications: Applications, access: AccessLog | None,
                 templates: Mapping[str, dict[str, Any]], uwsgi_peers: AllowList,
                 forwarders: AllowList, proxies: AllowList | None,
                 patience: RequestTimeouts, worker: int, pid: int, export_cert: bool,
                 static: StaticFiles | None, routes: Routes | None,
                 mishaps: ExceptionPolicy) -> None:
        self.hub = hub
        self.policy = policy
        self.head_limits = head_limits
        self.buffer_size = buffer_size
        self.slots = slots
        self.max_connections = max_connections
        self.standing = standing
        self.applications = applications
        # The one application, where a request needs no choosing.
        self.only = applications.only
        self.access = access
        self.templates = templates
        self.uwsgi_peers = uwsgi_peers
        self.forwarders = forwarders
        self.proxies = proxies
        self.patience = patience
        self.worker = worker
        self.pid = pid
        self.thread = get_original("_thread", "get_ident")()
        self.export_cert = export_cert
        self.static = static
        self.routes = routes
        self.mishaps = mishaps
        self.context = contextvars.copy_context()
        self.connections: set[Any] = set()
        # By application; the last is for requests that found none (their app is -1).
        self.app_requests = [0] * (len(applications) + 1)
        self.draining = self.cut = False
        self.persistent = policy.keepalive > 0
        self.accepted = 0
        self.requests = 0
        self.others_requests = 0
        self.exceptions = 0
        self.harakiris = 0
        self.refused = 0
        self.bytes_sent = 0
        self.response_time = 0.0
        self.crowded = False
        self.overload: Callable[[], int] = int
        self.resume: Callable[[], None] = _nothing
        self.emptied: Callable[[], None] = _nothing
        self.spoiled: Callable[[], None] = _nothing

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
        self.persistent = not suspended and self.policy.keepalive > 0
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


def _nothing() -> None:
    return None
