"""uwsgi connections: one packet and one response, as nginx's `uwsgi_pass` uses them."""

import io
import logging

from ...app import environ as environs
from ...app.wsgi import WsgiExchange
from ...errors import ProtocolError
from ...protocol.response import error_response
from ...protocol.uwsgi import PONG, PacketParser
from ..messages import FORBIDDEN_PEER
from . import rejections
from .connection import Connection

log = logging.getLogger("geventuwsgi.error")


class UwsgiConnection(Connection):
    """Serve one uwsgi packet and close; nginx has no keep-alive for uwsgi."""

    __slots__ = ()

    parser: PacketParser

    def serve_requests(self, early: bytes) -> bool:
        service = self.service
        if self.host and self.host not in service.uwsgi_peers:
            log.warning(FORBIDDEN_PEER, self.host)
            return rejections.send_error(self, error_response(403, service.response_defaults), 403)
        self.parser = parser = PacketParser(service.buffer_size)
        if not self.first_head(parser, early):
            return False
        if parser.ping:
            log.info("PING from %s", self.peer)
            self.stream.send(PONG)
            return False
        environ = environs.from_packet(service.templates[self.listener.url], parser)
        exchange = WsgiExchange(
            self, environ, environ["REQUEST_METHOD"], environ.get("REQUEST_URI", ""),
            environ["SERVER_PROTOCOL"], True, True)
        exchange.vars = 2 * parser.var_count
        exchange.vars_size = parser.block_size
        exchange.request_length = parser.content_length or 0
        self.trusted = True
        self.set_scheme(environ)
        if parser.body_complete:
            environ["wsgi.input"] = io.BytesIO()
        else:
            try:
                self.make_input(environ, parser, False)
            except ProtocolError:
                self.rejected = exchange
                raise
        self.dispatch(exchange)
        self.log_broken_body()
        return not parser.body_complete
