"""Connections of the uwsgi protocol: one packet, one response."""

import logging
from typing import Any

from ...errors import ProtocolError
from ...protocol.uwsgi import PONG, PacketParser
from ..messages import FORBIDDEN_PEER, body_too_large
from .connection import Connection
from .exchange import AsgiExchange
from .scope import EXTENSIONS, VARIABLES, added_variables, from_packet

log = logging.getLogger("geventuwsgi.error")


class UwsgiConnection(Connection):
    """Answer one uwsgi packet and close: nginx has no keep-alive over uwsgi."""

    __slots__ = ()

    parser: PacketParser

    def begin(self) -> None:
        self.parser = PacketParser(self.service.buffer_size)
        self.feed = self._feed_packet
        if self.host and self.host not in self.service.uwsgi_peers:
            log.warning(FORBIDDEN_PEER, self.host)
            self.send_rejection(403)

    def _feed_packet(self, data: bytes) -> None:
        self.idle = False
        try:
            if self.parser.head(data):
                self._request()
        except ProtocolError as error:
            self.reject(error)

    def _request(self) -> None:
        parser = self.parser
        if parser.ping:
            log.info("PING from %s", self.peer)
            self.transport.write(PONG)
            self.close()
            return
        variables = parser.vars
        if variables.get("HTTP_UPGRADE", "").lower() == "websocket":
            raise ProtocolError(400, "a WebSocket handshake over the uwsgi protocol, which cannot "
                                     "carry one: use proxy_pass to an http-socket")
        scope = from_packet(self.base_scope(), parser)
        exchange = AsgiExchange(self, scope, variables.get("REQUEST_URI", ""), True, True, False)
        limit = self.service.limits.limit_post
        if limit and parser.content_length > limit:
            self.rejected = exchange
            raise body_too_large(limit, parser.content_length)
        scope["extensions"] = EXTENSIONS.copy()
        if added := added_variables(parser):
            scope["extensions"][VARIABLES] = added
        self.feed = self.feed_body
        self.start(exchange, scope)
        if not parser.body_complete and self.exchange is exchange:
            self.feed_body(b"")

    def next_request(self) -> None:
        self.finish(False)

    def measure(self, exchange: Any) -> None:
        parser = self.parser
        exchange.vars = 2 * parser.var_count
        exchange.vars_size = parser.block_size
        exchange.request_length = parser.content_length
