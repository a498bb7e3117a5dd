"""HTTP/1 connections, plain and through TLS.

One parser reads all requests of a connection. A pipelined request begins when the response
before it is complete and the client reads, even if that application still runs (background
tasks). Nothing is read while it waits. A head with the same octets as the one before has the
same scope.
"""

import logging
from math import inf
from time import monotonic
from typing import Any

from ...errors import ProtocolError
from ...net import tls
from ...protocol.http1 import RequestParser
from ...protocol.response import error_response
from ..messages import body_too_large
from .connection import Connection
from .exchange import AsgiExchange
from .scope import HTTP_EXTENSIONS, Scope, apply_forwarded, from_http, is_handshake
from .tls_transport import SecureTransport
from .websocket import WebSocket

log = logging.getLogger("geventuwsgi.error")


class HttpConnection(Connection):
    """Serve HTTP/1.0 and 1.1 (RFC 9112), and WebSocket from its handshake on."""

    __slots__ = ("_base", "_repeated")

    parser: RequestParser

    def begin(self) -> None:
        self.parser = self.new_parser()
        self._base: Scope | None = None
        self._repeated: Scope | None = None
        self.feed = self._feed_head

    def new_parser(self) -> RequestParser:
        return RequestParser(self.service.head_limits)

    def _feed_head(self, data: bytes) -> None:
        try:
            if self.parser.head(data):
                self._request()
            elif self.idle:
                self.idle = False
                self.deadline = monotonic() + self.service.limits.head_timeout
        except ProtocolError as error:
            self.reject(error)

    def _request(self) -> None:
        """Begin the request whose head is complete.

        Raises:
            ProtocolError: 413 for a body over limit-post.
        """
        parser = self.parser
        service = self.service
        idle, self.idle = self.idle, False
        if parser.repeated:
            # The head came twice in a row: keep its scope for the third time.
            base = self._repeated
            if base is None:
                base = self._repeated = self._scope(parser)
            scope = base.copy()
            scope["headers"] = base["headers"].copy()
        else:
            self._repeated = None
            scope = self._scope(parser)
        # RFC 9110 section 7.8: an Upgrade in HTTP/1.0 is ignored.
        if parser.upgrade and parser.http11 and is_handshake(scope):
            self._repeated = None
            WebSocket(self, scope, parser.target).begin()
            return
        exchange = AsgiExchange(self, scope, parser.target, parser.http11, False,
                                parser.keep_alive and service.persistent)
        if not parser.body_complete:
            length = parser.content_length
            limit = service.limits.limit_post
            if limit and length is not None and length > limit:
                self.rejected = exchange
                raise body_too_large(limit, length)
            exchange.expects = parser.expect_continue
            if not idle:
                left = self.deadline - monotonic()
                exchange.head_waited = max(service.limits.head_timeout - left, 0.0)
        scope["extensions"] = HTTP_EXTENSIONS.copy()
        self.feed = self.feed_body
        self.start(exchange, scope)
        if self.exchange is exchange:  # an eager task may have completed it
            if not parser.body_complete:
                self.feed_body(b"")  # what came with the head
            elif parser.buffered:
                self.transport.pause_reading()

    def _scope(self, parser: RequestParser) -> Scope:
        """Build the part of the scope that depends on the head and the peer only."""
        base = self._base
        if base is None:
            base = self._base = self.base_scope()
        scope = from_http(base, parser)
        if self.trusted and ("orwarded-" in parser.fields or "ORWARDED-" in parser.fields):
            apply_forwarded(scope, self.service.forwarders)
        return scope

    def next_request(self) -> None:
        if self.parser.buffered or self.writing_paused:
            # Nothing is read before the next request has begun: uvloop runs readers before
            # callbacks that were scheduled earlier, asyncio runs them after.
            self.feed = self._feed_later
            self.idle = not self.parser.buffered
            self.transport.pause_reading()
            if not self.writing_paused:  # else `on_written` does, and the client's deadline runs
                self.deadline = monotonic() + self.service.limits.head_timeout
                self._schedule_next()
            return
        self.feed = self._feed_head
        self.idle = True
        self.deadline = monotonic() + self.service.limits.keepalive
        if not self.transport.is_reading():
            self.resume_reading()

    def _schedule_next(self) -> None:
        service = self.service
        service.loop.call_soon(self._begin_next, context=service.context.copy())

    def _begin_next(self) -> None:
        """Begin the request that waits in the parser, or wait for one."""
        if self.feed != self._feed_later or self.writing_paused:
            return  # closed meanwhile, or the client reads none of its responses: `on_written`
        parser = self.parser
        if not parser.buffered:
            self.next_request()
            return
        self.feed = self._feed_head
        self.deadline = monotonic() + self.service.limits.head_timeout
        self._feed_head(b"")
        if self.feed == self._feed_head or not (parser.buffered or self.feed == self._feed_later):
            self.resume_reading()

    def _feed_later(self, data: bytes) -> None:
        """Keep bytes while the next request has not begun."""
        self.parser.buffered += data

    def on_written(self) -> None:
        super().on_written()
        if self.feed == self._feed_later:
            self._schedule_next()

    def first_line(self) -> tuple[str, str, str]:
        return self.parser.first_line() if hasattr(self, "parser") else super().first_line()

    def measure(self, exchange: Any) -> None:
        parser = self.parser
        exchange.vars = 2 * parser.fields.count("\n") + 16
        exchange.vars_size = parser.head_size
        exchange.request_length = parser.content_length or 0


class HttpsConnection(HttpConnection):
    """Serve HTTP/1 and WebSocket through TLS.

    A PROXY header comes before the TLS, as HAProxy sends it. The handshake has
    `http-headers-timeout`, from the accept on. Until it is complete the connection is idle.
    """

    __slots__ = ("_extension",)

    def begin(self) -> None:
        self.feed = self._feed_first

    def _feed_first(self, data: bytes) -> None:
        if data[0] != tls.HANDSHAKE:
            self._no_tls(data)
            return
        plain = self.transport
        self.feed = self._discard
        self.transport = secure = SecureTransport(
            plain, self.listener.context, self, self.service.loop, self._secured,
            self._handshake_failed)
        secure.feed(data)

    def _no_tls(self, data: bytes) -> None:
        if not tls.looks_like_http(data):
            log.warning(tls.NOT_TLS, self.peer)
            self.close()
            return
        log.warning(tls.PLAIN_HTTP_CLOSED, self.peer)
        self.transport.write(error_response(400, self.service.response_defaults,
                                            detail=tls.PLAIN_HTTP))
        self.finish(True)

    def _secured(self) -> None:
        self._extension = tls.extension(self.transport.engine.tls)
        super().begin()
        self.deadline = monotonic() + self.service.limits.head_timeout

    def _handshake_failed(self, reason: str) -> None:
        log.warning(tls.HANDSHAKE_FAILED, self.peer, reason)
        self.close()

    def _end_of_input(self) -> None:
        if self.feed == self._feed_first:
            self.close()
            return
        super()._end_of_input()

    def expire(self, now: float) -> None:
        transport = self.transport
        if self.feed == self._discard and not (
                transport.is_plain or transport.established or transport.is_closing()):
            self.deadline = inf
            log.warning(tls.HANDSHAKE_EXPIRED, self.peer,
                        self.service.limits.head_timeout)
            self.close()
            return
        super().expire(now)

    def base_scope(self) -> Scope:
        return {**super().base_scope(), "scheme": "https"}

    def start(self, exchange: AsgiExchange, scope: Scope) -> None:
        scope["extensions"]["tls"] = self._extension.copy()
        super().start(exchange, scope)

    def start_websocket(self, websocket: Any, scope: Scope) -> None:
        scope["extensions"]["tls"] = self._extension.copy()
        super().start_websocket(websocket, scope)
