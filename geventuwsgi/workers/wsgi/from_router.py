"""Connections from the router of this instance: HTTP with a field that describes the client.

Rules:

- The socket is abstract and so has no file mode. The kernel reports the user of the peer:
  only processes of the server's own user may state a client's address.
- A worker accepts no more of these connections than it has slots, so that a request on any
  connection the router keeps can be served at once. Otherwise two of them could reach a
  worker with one slot, and one would wait while other workers are idle.
- When all workers are at that limit and a connection still waits (during a reload there are
  two generations of routers), each worker accepts one more after `SHARE_AFTER` seconds.
"""

import logging
import os
import select

from gevent.monkey import get_original

from ...app import environ as environs
from ...ipc.credentials import peer_credentials
from ...net.listener import Listener
from ...protocol import client_line
from ...protocol.http1 import RequestParser
from ..messages import FOREIGN_USER
from .acceptor import Acceptor
from .http import HttpConnection
from .service import WsgiService

log = logging.getLogger("geventuwsgi.error")

# How long a router's connection waits before it is accepted beyond the limit, in seconds.
SHARE_AFTER = 0.05


class RoutedConnection(HttpConnection):
    """Serve what the router forwards. REMOTE_ADDR and the like are those of its client."""

    __slots__ = ()

    def serve_requests(self, early: bytes) -> bool:
        _, uid, _ = peer_credentials(self.stream.sock)
        if uid != os.geteuid():
            log.warning(FOREIGN_USER, uid)
            return False
        return super().serve_requests(early)

    def reuse_order(self, now: float) -> None:
        """Never close it for another: it is no client, and their number is limited."""

    def _environ(self, parser: RequestParser) -> environs.Environ:
        fields = parser.fields
        client, parser.fields = client_line.parse(fields)
        self.host, self.port = client.host, client.port
        self.trusted = not client.host or client.host in self.service.forwarders
        environ = super()._environ(parser)
        parser.fields = fields  # `repeated` compares the whole head
        environ["SERVER_PORT"] = client.server_port
        if client.scheme == "https":
            environ["HTTPS"] = "on"
        if not (self.trusted and "HTTP_X_FORWARDED_PROTO" in environ):
            environ["wsgi.url_scheme"] = environ["REQUEST_SCHEME"] = client.scheme
        environ.update(client.variables)
        return environ

    def new_parser(self) -> RequestParser:
        return RequestParser(self.service.head_limits.extended(client_line.ALLOWANCE))


class RoutedAcceptor(Acceptor):
    """Accept as many connections of each router as there are slots.

    Args:
        listener, service: see `Acceptor`.
        routers: the number of router processes.
    """

    def __init__(self, listener: Listener, service: WsgiService, routers: int) -> None:
        super().__init__(listener, RoutedConnection, service)
        self._worker_capacity = service.capacity
        self._limit = service.slots.count * routers
        self._capacity = self._routed_capacity
        self._sharing = False
        self._share_timer = service.hub.loop.timer(SHARE_AFTER)

    def close(self) -> None:
        self._share_timer.close()
        super().close()

    def _routed(self) -> list[RoutedConnection]:
        return [one for one in self._service.connections if type(one) is RoutedConnection]

    def _routed_capacity(self) -> int:
        spare = self._limit - len(self._routed())
        if spare <= 0 and self._sharing:
            spare = 1
        self._sharing = False
        if spare > 0:
            return min(self._worker_capacity(), spare)
        self._service.crowded = True
        self._share_timer.start(self._share)
        return 0

    def _share(self) -> None:
        """If a connection still waits, accept it and close the others after their next response."""
        if not self.paused or self.closed:
            return  # one of the others has ended meanwhile
        if self._connection_waits():
            self._sharing = True
            for connection in self._routed():
                connection.persists = False
        self.resume()

    def _connection_waits(self) -> bool:
        """Whether no other worker has accepted the connection."""
        poll = get_original("select", "poll")()
        poll.register(self.listener.socket, select.POLLIN)
        return bool(poll.poll(0))
