"""HTTP/1 connections, plain and through TLS: requests one after the other, one parser for all.

The TLS handshake takes place in the connection's own greenlet, before the first request and
within `http-headers-timeout`, so that a stalled one delays no other connection.
"""

import io
import logging
from sys import getrefcount
from weakref import getweakrefcount

from ...app import environ as environs
from ...app.wsgi import WsgiExchange
from ...errors import ProtocolError
from ...net import tls
from ...net.stream import Expired
from ...net.tls_engine import HandshakeFailed
from ...net.tls_stream import SecureStream, TunnelSocket
from ...protocol.http1 import RequestParser
from ...protocol.response import error_response
from .body import BrokenBody
from .connection import Connection
from .over import CURRENT_REFERENCES, has_weak_references

log = logging.getLogger("geventuwsgi.error")


class HttpConnection(Connection):
    """Serve HTTP/1.0 and 1.1 (RFC 9112), with keep-alive and pipelining."""

    __slots__ = ("_repeated_environ",)

    parser: RequestParser

    def serve_requests(self, early: bytes) -> bool:
        service = self.service
        keepalive = service.limits.keepalive
        stream = self.stream
        waited = service.waited_references
        # The environ of a head that came twice in a row, copied from the third time on.
        self._repeated_environ: environs.Environ | None = None
        parser = self.parser
        if parser is None:
            self.parser = parser = self.new_parser()
            if not self.first_head(parser, early):
                return False
        # Idle from the beginning: in another greenlet.
        while self.idle or self._serve_request(parser):
            if not self.idle and (getrefcount(self.greenlet) > waited
                                  or getweakrefcount(self.greenlet)
                                  and has_weak_references(self.greenlet)
                                  or self.greenlet.__dict__):
                self.idle = self.continues = True
                return False
            references, data = CURRENT_REFERENCES, b""
            if not parser.buffered:
                if service.draining:
                    # The response has promised to keep the connection, as it was begun before.
                    keepalive = service.last_keepalive
                    if not keepalive:
                        return False
                self.idle = True
                if not stream.buffered:
                    references = waited
                try:
                    data = stream.receive(keepalive)
                except Expired:
                    return False
                if not data:
                    return False
            self.idle = False
            if not parser.head(data) and not self.read_head(parser):
                return False
            if getrefcount(self.greenlet) > references:
                self.continues = True
                return False
        return bool(not parser.body_complete or parser.buffered)

    def new_parser(self) -> RequestParser:
        return RequestParser(self.service.head_limits)

    def _serve_request(self, parser: RequestParser) -> bool:
        """Serve the request whose head is parsed; return whether another may follow."""
        if parser.repeated:
            if self._repeated_environ is None:
                self._repeated_environ = self._environ(parser)
            environ = self._repeated_environ.copy()
        else:
            self._repeated_environ = None
            environ = self._environ(parser)
        if parser.body_complete:
            self.body = None
            environ["wsgi.input"] = io.BytesIO()
        else:
            try:
                self.make_input(environ, parser, parser.expect_continue)
            except ProtocolError:
                self.rejected = WsgiExchange(self, environ, parser.method, parser.target,
                                             parser.version, parser.http11, False)
                raise
        self.persists = parser.keep_alive and self.service.persistent
        exchange = WsgiExchange(self, environ, parser.method, parser.target, parser.version,
                                parser.http11, False)
        self.dispatch(exchange)
        if exchange.keep_alive and not self.taken and (parser.body_complete or self._drain_body()):
            return True
        if self.body is not None:
            self.log_broken_body()
        return False

    def first_line(self) -> tuple[str, str, str]:
        return self.parser.first_line() if self.parser else super().first_line()

    def measure(self, exchange: WsgiExchange) -> None:
        parser = self.parser
        if not parser or exchange.uri == "-":
            return
        exchange.vars = 2 * parser.fields.count("\n") + 16
        exchange.vars_size = parser.head_size
        exchange.request_length = parser.content_length or 0

    def _environ(self, parser: RequestParser) -> environs.Environ:
        """Build the part of the environ that depends only on the head and the peer."""
        environ = environs.from_http(self.service.templates[self.listener.url], parser)
        environ["REMOTE_ADDR"] = self.host
        environ["REMOTE_PORT"] = self.port
        if self.trusted and ("HTTP_X_FORWARDED_PROTO" in environ
                             or "HTTP_X_FORWARDED_SSL" in environ):
            self.set_scheme(environ)
        return environ

    def _drain_body(self) -> bool:
        """Discard the rest of the body; return whether the connection can be kept."""
        try:
            return self.body is None or self.body.drain()
        except BrokenBody:
            return False


class HttpsConnection(HttpConnection):
    """Serve HTTP/1 through TLS. A PROXY header comes before the TLS, as HAProxy sends it."""

    __slots__ = ("_client",)

    _client: dict[str, str]

    def serve_requests(self, early: bytes) -> bool:
        if self.parser is not None:
            return super().serve_requests(b"")
        timeout = self.service.limits.head_timeout
        data = self.first_data(early, timeout)
        if not data:
            return False
        if data[0] != tls.HANDSHAKE:
            return self._reject_plaintext(data)
        self.stream = stream = SecureStream(self.stream, self.listener.context)
        self.handed = TunnelSocket(stream)
        self.idle = True  # nothing of a request has arrived
        try:
            stream.handshake(data, timeout)
        except HandshakeFailed as error:
            log.warning(tls.HANDSHAKE_FAILED, self.peer, error)
            return False
        except Expired:
            log.warning(tls.HANDSHAKE_EXPIRED, self.peer, timeout)
            return False
        finally:
            self.idle = False
        self._client = tls.client_variables(stream.engine.tls, self.service.export_cert)
        return super().serve_requests(b"")

    def _reject_plaintext(self, data: bytes) -> bool:
        if not tls.looks_like_http(data):
            log.warning(tls.NOT_TLS, self.peer)
            return False
        log.warning(tls.PLAIN_HTTP_CLOSED, self.peer)
        self.stream.send(error_response(400, self.response_defaults, detail=tls.PLAIN_HTTP))
        return True

    def _environ(self, parser: RequestParser) -> environs.Environ:
        environ = super()._environ(parser)
        environ.update(self._client)
        return environ
