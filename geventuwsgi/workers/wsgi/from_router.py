"""What comes from the router of this instance: HTTP on a socket of ours, with a word on the client.

The rules of this room:

- The socket is in no directory and so has no mode. Who connects is asked of the kernel:
  a process of our own user, and nobody else, may say who the client is.
- A worker takes no more of these connections than it has slots, so that each connection the
  router keeps is a request that can be served at once. Otherwise two of them could meet
  in a worker of one slot, and one wait while other workers have nothing to do. Where all
  workers have theirs and a connection still waits (a reload has routers beside routers),
  they share after a moment.
"""

import logging
import os
import select
import socket
import struct

from gevent.monkey import get_original

from ...app import environ as environs
from ...net.listener import Listener
from ...protocol import client_line
from ...protocol.http1 import RequestParser
from .acceptor import Acceptor
from .http import HttpConnection
from .service import WsgiService

log = logging.getLogger("geventuwsgi.error")

# Seconds that a router may wait although workers have as many connections as slots.
PATIENCE = 0.05
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid


class RoutedConnection(HttpConnection):
    """Serve what the router hands on: REMOTE_ADDR and all that are its client's."""

    __slots__ = ()

    def converse(self, early: bytes) -> bool:
        _, uid, _ = _CREDENTIALS.unpack(self.stream.sock.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if uid != os.geteuid():
            log.warning("a process of user %d connected to the socket between router and "
                        "workers; closed", uid)
            return False
        return super().converse(early)

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
    """Take as many connections of routers as there are slots for.

    Args:
        listener, service: as `Acceptor` has them.
        routers: how many router processes there are.
    """

    def __init__(self, listener: Listener, service: WsgiService, routers: int) -> None:
        super().__init__(listener, RoutedConnection, service)
        self._all = service.room
        self._most = service.slots.count * routers
        self._room = self._left
        self._relented = False
        self._patience = service.hub.loop.timer(PATIENCE)

    def close(self) -> None:
        self._patience.close()
        super().close()

    def _routed(self) -> list[RoutedConnection]:
        return [one for one in self._service.connections if type(one) is RoutedConnection]

    def _left(self) -> int:
        spare = self._most - len(self._routed())
        if spare <= 0 and self._relented:
            spare = 1
        self._relented = False
        if spare > 0:
            return min(self._all(), spare)
        self._service.crowded = True
        self._patience.start(self._relent)
        return 0

    def _relent(self) -> None:
        """Take one more if it still waits, or have the others end with their next answers."""
        if not self.paused or self.closed:
            return  # there was room meanwhile
        if self._somebody_waits():
            self._relented = True
            for connection in self._routed():
                connection.persists = False
        self.resume()

    def _somebody_waits(self) -> bool:
        """Whether no other worker has taken the connection."""
        poll = get_original("select", "poll")()
        poll.register(self.listener.socket, select.POLLIN)
        return bool(poll.poll(0))
