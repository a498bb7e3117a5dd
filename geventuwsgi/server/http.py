"""An HTTP/1 connection: requests one after the other, one parser for all of them."""

import logging

from ..app import environ as environs
from ..app.wsgi import Exchange
from ..net.stream import Expired
from ..protocol.http1 import RequestParser
from .body import BrokenBody
from .connection import Connection

log = logging.getLogger("geventuwsgi.error")


class HttpConnection(Connection):
    """Serve HTTP/1.0 and 1.1 (RFC 9112): kept alive, pipelined requests in order."""

    __slots__ = ()

    parser: RequestParser

    def converse(self, early: bytes) -> bool:
        self.parser = parser = RequestParser(self.service.head_limits)
        if self.first_head(parser, early):
            while self._http_request(parser):
                if not self._next_head(parser):
                    return False
            return bool(not parser.body_complete or parser.buffered)
        return False

    def _next_head(self, parser: RequestParser) -> bool:
        """Wait for the next request on a kept connection."""
        if parser.buffered:
            return parser.head(b"") or self.rest_of_head(parser, None)
        service = self.service
        if service.draining:
            return False
        self.idle = True
        try:
            data = self.stream.receive(service.policy.keepalive)
        except Expired:
            return False
        finally:
            self.idle = False
        return self.rest_of_head(parser, data)

    def _http_request(self, parser: RequestParser) -> bool:
        """Serve the request whose head is there; tell whether another may follow."""
        environ = environs.from_http(self.service.templates[self.listener.url], parser)
        environ["REMOTE_ADDR"] = self.host
        environ["REMOTE_PORT"] = self.port
        exchange = Exchange(self, environ, parser.method, parser.target, parser.version,
                            parser.http11, False)
        if self.trusted and ("HTTP_X_FORWARDED_PROTO" in environ
                             or "HTTP_X_FORWARDED_SSL" in environ):
            self.take_scheme(environ)
        self.prepare_input(environ, parser, parser.expect_continue)
        self.answer(exchange)
        if exchange.keep_alive and not self.taken:
            return parser.body_complete or self._drained()
        return False

    def _drained(self) -> bool:
        """Read away what is left of the body; tell whether that worked."""
        try:
            return self.body is None or self.body.drain()
        except BrokenBody as error:
            log.warning("%s: %s; closed", self.peer, error)
            return False
