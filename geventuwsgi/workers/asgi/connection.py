"""One connection on the loop: a parser for all its requests, and the order of things.

The rules of this room:

- What the present state does with bytes is the method in `take`. A deadline is one number,
  and `expire` asks the state what it meant.
- Reading stops when the application is not asking (a large body) or a request is already
  waiting behind the present one; it never stops while the connection waits for a head.
- Nothing is closed in silence: every refusal is logged with the peer and the reason.
- A new request begins in the service's context, never in that of a task before it.
"""

import logging
from abc import abstractmethod
from math import inf
from time import monotonic, time
from typing import Any

from ...app.debug_pages import USUAL, Page
from ...errors import NotOurProtocol, ProtocolError
from ...net.listener import Listener
from ...protocol import proxy
from ...protocol.response import Response, error_response
from ..limits import DRAIN
from . import harakiri as report
from .exchange import AsgiExchange
from .flow_control import StreamProtocol
from .scope import ASGI, Scope
from .service import AsgiService

log = logging.getLogger("geventuwsgi.error")

# A client that has ended its side, but not the connection, gets its response if that takes no
# longer, in seconds; then it counts as gone, as with nginx.
HALF_CLOSED = 0.5


class Connection(StreamProtocol):
    """Serve one accepted connection until it closes.

    Args:
        service: what the worker's connections share.
        address: the peer as `accept` told it.
        listener: the socket it came in by.

    Attributes:
        harakiri_at: when the present request has to end, inf without `harakiri`.
        exchange: the request that is being answered.
        websocket: what the connection has become, if it has.
        idle: it waits for a request, and nothing of one has come.
    """

    __slots__ = ("listener", "parser", "host", "port", "trusted", "harakiri_at", "exchange",
                 "websocket", "idle", "_early")

    parser: Any

    def __init__(self, service: AsgiService, address: Any, listener: Listener) -> None:
        super().__init__(service)
        self.listener = listener
        self.host, self.port = address[:2] if type(address) is tuple else ("", 0)
        self.trusted = not self.host or self.host in service.forwarders
        self.harakiri_at = inf
        self.exchange: Any = None
        self.websocket: Any = None
        self.idle = True
        self._early = b""

    @property
    def peer(self) -> str:
        """Who is at the other end, for the log."""
        return f"{self.host}:{self.port}" if self.host else f"a client of {self.listener.url}"

    def connection_made(self, transport: Any) -> None:
        """The transport is there."""
        self.transport = transport
        service = self.service
        service.joined(self)
        self.deadline = monotonic() + service.limits.head_timeout
        proxies = service.proxies
        if (proxies is not None and self.listener.protocol != "uwsgi"
                and (not self.host or self.host in proxies)):
            self.take = self._take_proxy
        else:
            self.begin()

    def eof_received(self) -> bool:
        """The peer sends no more. It may still read: a short answer is not held back."""
        self._half_closed = True
        exchange = self.exchange
        if self.websocket is not None:
            self.websocket.end_of_input()
        elif exchange is None:
            self._end_of_input()
        elif self.parser.body_complete:
            self.deadline = min(self.deadline, monotonic() + HALF_CLOSED)
        else:
            self.body_broke(ProtocolError(400, "the connection ended inside the request body"))
            self.deadline = monotonic() + HALF_CLOSED
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        if self.lost:
            return
        self.lost = True
        self.deadline = self.harakiri_at = inf
        self.take = self._discard
        exchange, self.exchange = self.exchange or self.websocket, None
        if exchange is not None:
            exchange.lose()
        self.resume_writing()
        self.service.left(self)

    def rest(self) -> None:
        policy = self.service.limits
        if self.websocket is not None:
            self.websocket.resume()
        elif self.exchange is not None:
            self.deadline = inf
        else:
            self.deadline = monotonic() + (policy.keepalive or policy.io_timeout)

    # Before and between requests.

    @abstractmethod
    def begin(self) -> None:
        """Make the parser, and wait for the first head."""

    @abstractmethod
    def next_request(self) -> None:
        """A response is complete and the connection is kept."""

    def _take_proxy(self, data: bytes) -> None:
        """Read the PROXY header that has to come first."""
        self._early = data = self._early + data
        try:
            found = proxy.parse(data)
        except ProtocolError as error:
            self.refuse(error)
            return
        if found is None:
            return
        header, size = found
        if header.source is not None:
            self.host, self.port = header.source
            self.trusted = self.host in self.service.forwarders
        self._early = b""
        self.begin()
        if size < len(data):
            self.take(data[size:])

    def _end_of_input(self) -> None:
        """The peer ended its side while no request was being answered."""
        try:
            if self._early:
                raise ProtocolError(400, "truncated PROXY protocol header")
            if self.take != self._linger and hasattr(self, "parser"):
                self.parser.eof()
        except ProtocolError as error:
            if self.take != self._drain_body:
                self.refuse(error)
                return
            # The request was answered: a second answer would pass for that of another.
            log.warning("%s: %s; closed", self.peer, error.reason)
        self.close()

    def base_scope(self) -> Scope:
        """What every scope of this connection begins with."""
        address = self.listener.address
        if address.is_unix:
            server: Any = (address.path, None)
        elif address.host in ("", "0.0.0.0", "::"):
            name = self.transport.get_extra_info("socket").getsockname()
            server = (name[0], name[1])
        else:
            server = (address.host, address.port)
        return {"type": "http", "asgi": ASGI, "http_version": "1.1", "scheme": "http",
                "server": server, "client": (self.host, self.port) if self.host else None,
                "root_path": self.service.root_path}

    def start(self, exchange: AsgiExchange, scope: Scope) -> None:
        """Call the application for a request whose head is there."""
        service = self.service
        app = service.only or self._choose(scope)
        self.exchange = exchange
        self.deadline = inf
        service.in_progress += 1
        if app is None:
            exchange.complete = True
            self.answer_error(500, False)
            return
        exchange.app = app.id
        scope["state"] = service.states[app.id].copy()
        if service.timed:
            self.harakiri_at = exchange.began + service.timeouts.first(scope["path"])
        exchange.task = service.run(exchange.run(app.callable))

    def start_websocket(self, websocket: Any, scope: Scope) -> None:
        """Call the application for a WebSocket whose handshake is sound."""
        service = self.service
        app = service.only or self._choose(scope)
        self.deadline = inf
        service.in_progress += 1
        if app is None:
            self.websocket, self.exchange = None, websocket
            self.answer_error(500, False)
            return
        websocket.app = app.id
        scope["state"] = service.states[app.id].copy()
        websocket.task = service.run(websocket.run(app.callable))

    def _choose(self, scope: Scope) -> Any:
        """Find the application by the path; its mountpoint goes to root_path."""
        service = self.service
        app = service.application_for(scope["path"].removeprefix(service.root_path))
        if app is None:
            log.error("--- no python application found for %s, check your startup logs for "
                      "errors ---", scope["path"])
        elif app.script_name:
            scope["root_path"] += app.script_name.encode("latin-1").decode("utf-8", "replace")
        return app

    # The body of a request.

    def take_body(self, data: bytes) -> None:
        """Bytes came while a request is being answered: its body, or requests behind it."""
        parser = self.parser
        exchange = self.exchange
        try:
            if parser.body_complete:
                parser.body(data)
                self.transport.pause_reading()
                return
            piece = parser.body(data)
        except ProtocolError as error:
            self.body_broke(error)
            return
        limit = self.service.limits.limit_post
        if limit and exchange.received + len(piece) > limit:
            self.body_broke(ProtocolError(413, f"a body of more than {limit} bytes (limit-post)"))
            return
        if exchange.starved:
            self.deadline = monotonic() + self.service.limits.io_timeout
        if parser.body_complete:
            self.deadline = inf
        if piece or parser.body_complete:
            exchange.feed(piece)

    def body_broke(self, error: ProtocolError) -> None:
        """The body breaks its framing or a limit: it never looks complete."""
        exchange = self.exchange
        if exchange.broken is None:
            exchange.broken = error
            log.warning("%s: %s; closed", self.peer, error.reason)
        exchange.keep_alive = False
        self.deadline = inf
        self.take = self._discard
        exchange.wake()

    def hold_body(self) -> None:
        """Enough waits for the application: read no more."""
        if not self.parser.body_complete:
            self.transport.pause_reading()

    def release_body(self) -> None:
        """The application has taken what waited: read on."""
        if not self._half_closed and not self.transport.is_reading():
            self.resume_reading()

    def await_body(self) -> None:
        """The application waits for more of the body: now the client has to send."""
        self.deadline = monotonic() + self.service.limits.io_timeout

    # The end of a request.

    def answered(self, exchange: AsgiExchange) -> None:
        """The whole response is on its way."""
        self.harakiri_at = inf
        self.record(exchange)
        self.exchange = None
        if exchange.keep_alive and exchange.broken is None and not self._half_closed:
            if self.parser.body_complete:
                self.next_request()
                return
            length = self.parser.content_length
            if length is None or length - exchange.received <= DRAIN:
                self._left = exchange.received + DRAIN
                self.take = self._drain_body
                self.deadline = monotonic() + self.service.limits.io_timeout
                self.release_body()
                return
        self.finish(not self.parser.body_complete or bool(self.parser.buffered))

    def _drain_body(self, data: bytes) -> None:
        """Read away what the application left of a body, so that the connection can be kept."""
        parser = self.parser
        try:
            self._left -= len(parser.body(data))
        except ProtocolError as error:
            log.warning("%s: %s; closed", self.peer, error.reason)
            self.finish(True)
            return
        if parser.body_complete:
            self.next_request()
        elif self._left < 0:
            self.finish(True)

    def record(self, exchange: Any) -> None:
        """Count a request that is over, and add it to the request log."""
        exchange.recorded = True
        service = self.service
        now = monotonic()
        duration = now - exchange.began
        service.in_progress -= 1
        service.requests += 1
        service.response_time += duration
        service.bytes_sent += exchange.header_size + exchange.body_size
        service.app_requests[exchange.app] += 1
        if exchange.fault:
            log.error("%s: %s: %s", self.peer, exchange.title, exchange.fault)
        if service.access is None:
            return
        if exchange.gone and not exchange.head_sent and not exchange.killed:
            exchange.status = 499  # nginx's: the client closed the request
        exchange.duration = duration
        exchange.started = time() - duration
        exchange.pid = service.pid
        exchange.worker = service.worker
        exchange.app_requests = service.app_requests[exchange.app]
        exchange.total_requests = service.requests + service.others_requests
        self.measure(exchange)
        service.access.add(exchange)

    def measure(self, exchange: Any) -> None:
        """Set what the request log tells of the size of the request."""

    def answer_error(self, status: int, is_head: bool, page: Page = USUAL) -> None:
        """Answer the present request with an error page and close."""
        exchange = self.exchange
        self.harakiri_at = inf
        if exchange is not None:
            exchange.response = Response(str(status), [])
            if not exchange.recorded:
                exchange.status = status
                self.record(exchange)
        self.exchange = None
        self.transport.write(error_response(
            status, self.service.standing, is_head=is_head, text=page.content, media=page.kind,
            extra=page.fields))
        self.finish(not self.parser.body_complete or bool(self.parser.buffered))

    def break_off(self, with_reset: bool) -> None:
        """End a response that cannot be completed: never let half a body look whole."""
        if with_reset:
            self.transport.abort()
        else:
            self.finish(False)

    def refuse(self, error: ProtocolError) -> None:
        """Answer a peer that breaks the protocol or a limit, and say so in the log."""
        silent = isinstance(error, NotOurProtocol)
        log.warning("%s: %s; closed%s", self.peer, error.reason,
                    "" if silent else f" with {error.status}")
        if silent:
            self.close()
            return
        self.transport.write(error_response(error.status, self.service.standing,
                                            extra=error.fields))
        self.finish(True)

    # Closing, and deadlines, both called by the sweep.

    def close_if_idle(self) -> None:
        """Close a connection that waits for a request of which nothing has come."""
        if self.idle and not self.transport.is_closing():
            self.close()

    def drain(self) -> None:
        """The worker stops: no request behind the present one, and no endless stream."""
        exchange = self.exchange
        if self.websocket is not None:
            self.websocket.drain()
        elif exchange is not None:
            exchange.keep_alive = False
            if exchange.is_event_stream:
                exchange.dismiss()

    def expire(self, now: float) -> None:
        """The deadline has passed: for what?"""
        self.deadline = inf
        unsent = self.transport.get_write_buffer_size()
        exchange = self.exchange
        if self.websocket is not None and not self.transport.is_closing():
            self.websocket.expire(now)
        elif self._half_closed and exchange is not None:
            exchange.lose()
            self.close()
        elif unsent and (exchange is not None or self.writing_held or self.transport.is_closing()):
            if not self.stalled():
                return
            log.warning("%s: took nothing of a response for %g seconds; closed", self.peer,
                        self.service.limits.io_timeout)
            self.transport.abort()
        elif exchange is not None:
            if exchange.starved:
                self.body_broke(ProtocolError(
                    408, f"no progress of the request body for "
                         f"{self.service.limits.io_timeout:g} seconds"))
            elif exchange.via:
                self.transport.abort()  # in the middle of a file
        elif self.idle or self.take == self._drain_body or self.take == self._linger:
            self.transport.abort() if unsent or self.take == self._linger else self.close()
        else:
            self.refuse(ProtocolError(
                408, f"no whole request head within {self.service.limits.head_timeout:g} seconds"))

    def harakiri(self, now: float) -> None:
        """The present request is slow, or has been inside the application for too long."""
        exchange = self.exchange
        service = self.service
        timeouts = service.timeouts
        if exchange is None or exchange.complete:
            self.harakiri_at = inf
            return
        if not exchange.killed:
            limit = timeouts.limit(exchange.scope["path"])
            if now < exchange.began + limit:
                self.harakiri_at = exchange.began + limit
                report.slow(service.worker, service.pid, self.peer, exchange.title,
                            now - exchange.began, exchange.task)
                return
            self.harakiri_at = now + timeouts.grace
            report.harakiri(service.worker, service.pid, limit, self.host,
                            exchange.method, exchange.uri, exchange.task)
            service.harakiris += 1
            exchange.kill()
            return
        self.harakiri_at = inf
        log.critical("%s: %s ignores its harakiri; the connection is cut", self.peer,
                     exchange.title)
        exchange.complete = True
        if exchange.head_sent:
            self.transport.abort()
        else:
            self.answer_error(504, exchange.method == "HEAD")
