"""What comes from the router of this instance: HTTP on a socket of ours, with a word on the client.

The rules of this room:

- The socket is in no directory and so has no mode. Who connects is asked of the kernel:
  a process of our own user, and nobody else, may say who the client is.
- A worker takes no more of these connections than it has slots, so that each connection the
  router keeps is a request that can be served at once. Otherwise two of them could meet
  in a worker of one slot, and one wait while other workers have nothing to do.
"""

import logging
import os
import socket
import struct
from typing import Any
from urllib.parse import unquote

from ..app import environ as environs
from ..errors import ProtocolError
from ..net.listener import Listener
from ..protocol.http1 import RequestParser
from .acceptor import Acceptor
from .http import HttpConnection
from .service import Service

log = logging.getLogger("geventuwsgi.error")

# The first field of each request (router.forward writes it).
CLIENT = "Geventuwsgi-Client: "
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
        whole = parser.fields
        line, _, rest = whole.partition("\r\n")
        if not line.startswith(CLIENT):
            raise ProtocolError(400, "a request on the router's socket that says no client")
        host, port, scheme, server_port, *variables = line[len(CLIENT):].split(" ")
        if host == "-":
            host = port = ""
        self.host, self.port = host, port
        self.trusted = not host or host in self.service.forwarders
        parser.fields = rest
        environ = super()._environ(parser)
        parser.fields = whole  # a head that is repeated is read again
        environ["SERVER_PORT"] = server_port
        if scheme == "https":
            environ["HTTPS"] = "on"
        if not (self.trusted and "HTTP_X_FORWARDED_PROTO" in environ):
            environ["wsgi.url_scheme"] = environ["REQUEST_SCHEME"] = scheme
        for variable in variables:
            name, _, value = variable.partition("=")
            environ[name] = unquote(value)
        return environ


class RoutedAcceptor(Acceptor):
    """Take as many connections of routers as there are slots for.

    Args:
        listener, service: as `Acceptor` has them.
        routers: how many router processes there are.
    """

    def __init__(self, listener: Listener, service: Service, routers: int) -> None:
        super().__init__(listener, RoutedConnection, service)
        self._all = service.room
        self._most = service.slots.count * routers
        self._room = self._left

    def _left(self) -> int:
        service: Any = self._service
        taken = sum(type(one) is RoutedConnection for one in service.connections)
        if taken >= self._most:
            service.crowded = True
            return 0
        return min(self._all(), self._most - taken)
