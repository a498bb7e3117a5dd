"""What comes from the router of this instance: HTTP on a socket of ours, with a word on the client.

The rules of this room: who connects is asked of the kernel, and only a process of our own
user may say who the client is (`server.routed` does the same for WSGI).
"""

import logging
import os

from ...errors import ProtocolError
from ...net.credentials import peer_credentials
from ...protocol.http1 import RequestParser
from .http import HttpConnection
from .scope import Scope

log = logging.getLogger("geventuwsgi.error")

# The first field of each request (router.forward writes it).
CLIENT = "Geventuwsgi-Client: "


class RoutedConnection(HttpConnection):
    """Serve what the router hands on: `client` and `scheme` are its client's."""

    __slots__ = ()

    def begin(self) -> None:
        super().begin()
        sock = self.transport.get_extra_info("socket")
        _, uid, _ = peer_credentials(sock)
        if uid != os.geteuid():
            log.warning("a process of user %d connected to the socket between router and "
                        "workers; closed", uid)
            self.close()

    def _scope(self, parser: RequestParser) -> Scope:
        whole = parser.fields
        line, _, rest = whole.partition("\r\n")
        if not line.startswith(CLIENT):
            raise ProtocolError(400, "a request on the router's socket that says no client")
        host, port, scheme, *_ = line[len(CLIENT):].split(" ")
        self.host, self.port = ("", 0) if host == "-" else (host, int(port))
        self.trusted = not self.host or self.host in self.service.forwarders
        self._base = None
        parser.fields = rest
        scope = super()._scope(parser)
        parser.fields = whole  # a head that is repeated is read again
        if not self.trusted:
            scope["scheme"] = scheme
        return scope
