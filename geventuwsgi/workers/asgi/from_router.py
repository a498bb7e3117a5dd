"""Connections from the router of this instance: HTTP with a field that describes the client.

The socket is abstract and so has no file mode. The kernel reports the user of the peer: only
processes of the server's own user may state a client's address.
"""

import json
import logging
import os
from typing import Any

from ...ipc.credentials import peer_credentials
from ...protocol import client_line
from ...protocol.client_line import ClientLine
from ...protocol.http1 import RequestParser
from ..messages import FOREIGN_USER
from .exchange import AsgiExchange
from .http import HttpConnection
from .scope import VARIABLES, Scope

log = logging.getLogger("geventuwsgi.error")


class RoutedConnection(HttpConnection):
    """Serve what the router forwards. `client`, `server`, `scheme` and TLS are its client's."""

    __slots__ = ("_client",)

    _client: ClientLine

    def begin(self) -> None:
        super().begin()
        sock = self.transport.get_extra_info("socket")
        _, uid, _ = peer_credentials(sock)
        if uid != os.geteuid():
            log.warning(FOREIGN_USER, uid)
            self.close()

    def reuse_order(self, now: float) -> None:
        """Never close it for another: it is no client."""

    def new_parser(self) -> RequestParser:
        return RequestParser(self.service.head_limits.extended(client_line.ALLOWANCE))

    def _scope(self, parser: RequestParser) -> Scope:
        fields = parser.fields
        client, parser.fields = client_line.parse(fields)
        self._client = client
        self.host, self.port = client.host, int(client.port or 0)
        self.trusted = not client.host or client.host in self.service.forwarders
        self._base = None
        scope = super()._scope(parser)
        parser.fields = fields  # `repeated` compares the whole head
        if scope["client"] == (client.host, 0):
            # X-Forwarded-For ends with the address that the router has added.
            scope["client"] = client.host, self.port
        return scope

    def base_scope(self) -> Scope:
        client = self._client
        server: tuple[str, int | None] = client.server, int(client.server_port)
        if client.server.startswith(("/", "\0")):
            server = client.server, None
        return {**super().base_scope(), "scheme": client.scheme, "server": server}

    def start(self, exchange: AsgiExchange, scope: Scope) -> None:
        self._extend(scope)
        super().start(exchange, scope)

    def start_websocket(self, websocket: Any, scope: Scope) -> None:
        self._extend(scope)
        super().start_websocket(websocket, scope)

    def _extend(self, scope: Scope) -> None:
        client = self._client
        if client.tls:
            scope["extensions"]["tls"] = json.loads(client.tls)
        if client.variables:
            scope["extensions"][VARIABLES] = dict(client.variables)
