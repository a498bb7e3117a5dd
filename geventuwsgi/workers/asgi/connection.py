"""One connection on the loop: its requests one after the other, its deadlines, its errors.

Rules:

- `feed` holds the method that processes bytes in the present state. A deadline is one
  number; `expire` finds out from the state what it was for.
- Reading pauses while the application does not receive a large body, or while a pipelined
  request waits. It never pauses while the connection waits for a head.
- Nothing is closed silently: every rejection is logged with the peer and the reason.
- A request runs in the service's context, never in that of an earlier task.
"""

import logging
from abc import abstractmethod
from functools import partial
from math import inf
from time import monotonic
from typing import Any

from ...app.debug_pages import USUAL, Page
from ...app.static.files import StaticFiles
from ...errors import ProtocolError
from ...log.access import CLIENT_GONE
from ...net.arrival import Arrival
from ...net.deadlines import HALF_PROXY_HEADER, LINGER_SECONDS
from ...net.listener import Listener
from ...net.stream import has_input
from ...protocol import proxy
from ...protocol.message import TRUNCATED_BODY
from ...protocol.response import Response, error_response
from ..hangups import CLOSED
from ..messages import NO_APPLICATION, body_too_large, log_rejection, no_head
from ..service import SHORT
from . import harakiri
from .exchange import AsgiExchange
from .flow_control import StreamProtocol
from .record import RejectedRequest
from .scope import ASGI, Scope, file_variables
from .service import AsgiService

log = logging.getLogger("geventuwsgi.error")

# A client that has closed its sending side gets its response within this many seconds. After
# that it counts as gone, as in nginx.
HALF_CLOSED = 0.5


class Connection(StreamProtocol):
    """Serve one accepted connection until it closes.

    Args:
        service: what the worker's connections share.
        address: the peer's address, from `accept`.
        listener: the listening socket that it was accepted on.

    Attributes:
        harakiri_at: when the present request is checked or has to end; inf for never.
        exchange: the request that is being answered.
        websocket: the WebSocket that the connection has become, or None.
        idle: it waits for a request, and none of its bytes have come.
        rejected: the request whose rejection is to be logged, None while none is known.
    """

    __slots__ = ("listener", "parser", "host", "port", "trusted", "harakiri_at", "exchange",
                 "websocket", "idle", "rejected", "_early", "_counted")

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
        self.rejected: AsgiExchange | None = None
        self._early = b""
        self._counted = ""  # the address for limit-connections-per-address

    @property
    def peer(self) -> str:
        """The client, for the log."""
        return self.listener.peer_name(self.host, self.port)

    def connection_made(self, transport: Any) -> None:
        """Begin to serve: called by the transport."""
        self.transport = transport
        service = self.service
        service.add(self)
        self.deadline = monotonic() + service.limits.head_timeout
        if self.listener.proxied and (not self.host or self.host in service.proxies):
            self.feed = self._feed_proxy
        else:
            self._admit()

    def _admit(self) -> None:
        """Begin, unless the address has too many connections."""
        addresses = self.service.addresses
        if addresses is not None and not self.trusted:
            if not addresses.enter(self.host):
                self.close()
                return
            self._counted = self.host
        self.begin()

    def eof_received(self) -> bool:
        """The peer has closed its sending side. It may still read a response."""
        self._half_closed = True
        exchange = self.exchange
        if self.websocket is not None:
            self.websocket.end_of_input()
        elif exchange is None:
            self._end_of_input()
        elif self.parser.body_complete:
            self.deadline = min(self.deadline, monotonic() + HALF_CLOSED)
        else:
            if exchange.body_error is None:
                self.fail_body(ProtocolError(400, TRUNCATED_BODY))
            self.deadline = monotonic() + HALF_CLOSED
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        if self.lost:
            return
        self.lost = True
        self.deadline = self.harakiri_at = inf
        self.feed = self._discard
        exchange, self.exchange = self.exchange or self.websocket, None
        if exchange is not None:
            exchange.client_gone()
        self.resume_writing()
        if self._counted and self.service.addresses is not None:
            self.service.addresses.leave(self._counted)
        self.service.remove(self)

    def on_written(self) -> None:
        limits = self.service.limits
        if self.transport.is_closing():
            self._watch_writing()
        elif self.feed == self._linger:
            self._watch_lingering()
        elif self.websocket is not None:
            self.websocket.resume()
        elif self.exchange is not None:
            self._watch_request()
        elif self.feed == self._drain_body:
            self.deadline = monotonic() + limits.io_timeout
        else:
            self.deadline = monotonic() + (limits.keepalive or limits.io_timeout)

    def _watch_request(self) -> None:
        """Set the deadline of the present request, while nothing waits to be written."""
        exchange = self.exchange
        if exchange.awaits_body:
            exchange.arrival.end()
            self.expect_body()
        elif self._half_closed:
            self.deadline = monotonic() + HALF_CLOSED
        else:
            self.deadline = inf

    # Before and between requests.

    @abstractmethod
    def begin(self) -> None:
        """Create the parser, and wait for the first head."""

    @abstractmethod
    def next_request(self) -> None:
        """A response is complete and the connection stays open."""

    def _feed_proxy(self, data: bytes, ended: bool = False) -> None:
        """Read the PROXY header, if there is one.

        Args:
            data: the next bytes.
            ended: nothing more will come.
        """
        self._early = data = self._early + data
        try:
            found = proxy.parse(data, ended)
        except ProtocolError as error:
            self.reject(error)
            return
        if found is None:
            return
        header, size = found
        if header.source is not None:
            self.host, self.port = header.source
            self.trusted = self.host in self.service.forwarders
        self._early = b""
        self._admit()
        if size < len(data):
            self.feed(data[size:])

    def _end_of_input(self) -> None:
        """The peer closed its sending side while no request was being answered."""
        try:
            if self._early:
                self._feed_proxy(b"", True)
                if self.transport.is_closing():
                    return  # it was rejected
            if self.feed != self._linger and hasattr(self, "parser"):
                self.parser.eof()
        except ProtocolError as error:
            if self.feed != self._drain_body:
                self.reject(error)
                return
            # The request was answered: a second response would pass for that of the next.
            log.warning("%s: %s; closed", self.peer, error.reason)
        self.close()

    def base_scope(self) -> Scope:
        """Return the items that every scope of this connection has."""
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
        """Call the application for a request whose head is complete."""
        service = self.service
        self.exchange = exchange
        self.deadline = inf
        service.in_progress += 1
        if service.static is not None and self._send_static(service.static, exchange, scope):
            return
        app = service.only or self._choose(scope)
        if app is None:
            exchange.complete = True
            self.send_error(500)
            return
        exchange.app = app.id
        scope["state"] = service.states[app.id].copy()
        if service.has_timeouts:
            self.harakiri_at = exchange.began + service.timeouts.first(scope["path"])
        service.run(exchange, app.callable)

    def _send_static(self, static: StaticFiles, exchange: AsgiExchange, scope: Scope) -> bool:
        """Send the file of a request; return whether there is one."""
        if scope["method"] not in ("GET", "HEAD"):
            return False
        variables = file_variables(scope, exchange.uri)
        found = static.find(variables)
        if found is None:
            return False
        exchange.file = found.file
        self.service.run(exchange, partial(static.respond_asgi, found, variables))
        return True

    def start_websocket(self, websocket: Any, scope: Scope) -> None:
        """Call the application for a WebSocket whose handshake is valid."""
        service = self.service
        app = service.only or self._choose(scope)
        self.deadline = inf
        service.in_progress += 1
        if app is None:
            self.websocket, self.exchange = None, websocket
            self.send_error(500)
            return
        websocket.app = app.id
        scope["state"] = service.states[app.id].copy()
        service.run(websocket, app.callable)

    def _choose(self, scope: Scope) -> Any:
        """Find the application by the path; add its mountpoint to root_path."""
        service = self.service
        app = service.application_for(scope["path"].removeprefix(service.root_path))
        if app is None:
            log.error(NO_APPLICATION, scope["path"])
        elif app.script_name:
            scope["root_path"] += app.script_name.encode("latin-1").decode("utf-8", "replace")
        return app

    # The body of a request.

    def feed_body(self, data: bytes) -> None:
        """Process bytes that came during a request: its body, or pipelined requests."""
        parser = self.parser
        exchange = self.exchange
        try:
            if parser.body_complete:
                parser.body(data)
                self.transport.pause_reading()
                return
            piece = parser.body(data)
        except ProtocolError as error:
            self.fail_body(error)
            return
        limit = self.service.limits.limit_post
        if limit and exchange.received + len(piece) > limit:
            self.fail_body(body_too_large(limit))
            return
        if exchange.awaits_body:
            exchange.arrival.end()
            self.expect_body()
        if parser.body_complete:
            self.deadline = inf
            if parser.buffered:
                self.transport.pause_reading()
        if piece or parser.body_complete:
            exchange.feed(piece)

    def fail_body(self, error: ProtocolError) -> None:
        """Handle a body that breaks its framing or a limit: it never looks complete."""
        log.info("%s: %s; closed", self.peer, error.reason)
        exchange = self.exchange
        exchange.body_error = error
        exchange.persistent = exchange.keep_alive = False
        self.deadline = inf
        self.feed = self._discard
        self.transport.pause_reading()  # `finish` reads and discards what comes
        exchange.wake()

    def pause_body(self) -> None:
        """Stop reading: enough of the body waits for the application."""
        if not self.parser.body_complete:
            self.transport.pause_reading()

    def resume_body(self) -> None:
        """Read on: the application has received what waited."""
        if not self._half_closed and not self.transport.is_reading():
            self.resume_reading()

    def expect_body(self) -> None:
        """Start the timeout of the client: the application waits for more of the body."""
        exchange = self.exchange
        if exchange.arrival is None:
            limits = self.service.limits
            exchange.arrival = Arrival(limits.arrival, limits.io_timeout, exchange.head_waited)
        self.deadline = monotonic() + exchange.arrival.begin(exchange.received)

    # The end of a request.

    def request_done(self, exchange: AsgiExchange) -> None:
        """The response is complete: record it, and keep the connection or close it."""
        self.harakiri_at = inf
        self.record(exchange)
        self.exchange = None
        if exchange.keep_alive and not self._half_closed:
            if self.parser.body_complete:
                self.next_request()
                return
            self.feed = self._drain_body
            self.deadline = monotonic() + self.service.limits.io_timeout
            self.resume_body()
            return
        self._finish_request()

    def _finish_request(self) -> None:
        """Close after a request; linger if the client may still be sending."""
        self.finish(not self.parser.body_complete or bool(self.parser.buffered)
                    or self.feed == self._discard)

    def _drain_body(self, data: bytes) -> None:
        """Discard what the application left of a body, so that the connection can be kept."""
        parser = self.parser
        try:
            parser.body(data)
        except ProtocolError as error:
            log.warning("%s: %s; closed", self.peer, error.reason)
            self.finish(True)
            return
        if parser.body_complete:
            self.next_request()

    def record(self, exchange: Any) -> None:
        """Count a request that has ended, and add it to the request log."""
        exchange.recorded = True
        service = self.service
        now = monotonic()
        duration = now - exchange.began
        if exchange.gone and not exchange.head_sent:
            exchange.status = CLIENT_GONE
        service.in_progress -= 1
        service.requests += 1
        service.response_time += duration
        service.bytes_sent += exchange.header_size + exchange.body_size
        service.app_requests[exchange.app] += 1
        service.responses[exchange.method][exchange.status // 100] += 1
        if duration > SHORT:
            service.count_long(exchange.status, duration)
        if exchange.fault:
            log.error("%s: %s: %s", self.peer, exchange.title, exchange.fault)
        if service.access is None:
            return
        service.complete(exchange, duration)
        self.measure(exchange)
        service.access.add(exchange)

    def measure(self, exchange: Any) -> None:
        """Set the sizes of the request for the request log."""

    def send_error(self, status: int, page: Page = USUAL) -> None:
        """Send an error page for the present request, and close."""
        exchange = self.exchange
        self.harakiri_at = inf
        octets = error_response(
            status, self.service.response_defaults, is_head=exchange.method == "HEAD",
            text=page.content, media=page.kind, extra=page.fields)
        exchange.response = Response(str(status), [])
        if not exchange.recorded:
            exchange.replaced(status, octets)
            self.record(exchange)
        self.exchange = None
        self.transport.write(octets)
        self._finish_request()

    def abort_response(self, with_reset: bool) -> None:
        """End a response that cannot be completed, so that its body does not look complete."""
        if with_reset:
            self.transport.abort()
        else:
            self.finish(False)

    def reject(self, error: ProtocolError) -> None:
        """Send an error to a peer that breaks the protocol or a limit, and log it."""
        if log_rejection(self.peer, error):
            self.close()
            return
        self.send_rejection(error.status, error.fields)

    def send_rejection(self, status: int, fields: tuple[tuple[str, str], ...] = ()) -> None:
        """Send an error page for a request that no application gets, log it, and close."""
        service = self.service
        record = self.rejected or RejectedRequest(self, *self.first_line())
        octets = error_response(status, service.response_defaults,
                                is_head=record.method == "HEAD", extra=fields)
        if service.access is not None:
            record.replaced(status, octets)
            service.complete(record, 0.0)
            if record.uri != "-":
                self.measure(record)
            service.access.add(record)
        self.transport.write(octets)
        self.finish(True)

    def first_line(self) -> tuple[str, str, str]:
        """Return method, target and version of a request whose head was rejected."""
        return "-", "-", "-"

    def forget(self) -> None:
        """Leave the connection to the process that has forked this one."""
        self.transport.forget()
        running = self.exchange or self.websocket
        if running is not None:
            running.gone = True

    # Closed for another connection (`net.reusable.Reusable`).

    @property
    def _reads_head(self) -> bool:
        """Whether a part of a head has arrived."""
        return not self.idle and self.exchange is None and self.websocket is None and \
            self.feed not in (self._discard, self._linger, self._drain_body)

    def reuse_order(self, now: float) -> tuple[bool, float] | None:
        limits, deadline = self.service.limits, self.deadline
        transport = self.transport
        if deadline == inf or transport.is_closing() or transport.get_write_buffer_size():
            return None  # that would cut off a response
        if self.idle:
            used = getattr(self, "parser", None) is not None and self.parser.head_size
            return False, deadline - (limits.keepalive if used else limits.head_timeout)
        if self.feed == self._linger:
            return False, deadline - LINGER_SECONDS
        if self._reads_head and deadline - limits.head_timeout / 2 <= now:
            return True, deadline - limits.head_timeout
        return None

    def give_way(self) -> bool:
        if self._reads_head:
            limit = self.service.limits.head_timeout
            self.reject(no_head(limit - max(self.deadline - monotonic(), 0.0)))
        if self.idle and has_input(self.transport.get_extra_info("socket")):
            return False
        self.close()
        return True

    # Draining, and deadlines: called by the service and its sweep.

    def close_if_idle(self) -> None:
        """Close the connection if no byte of a request has come."""
        if self.idle and not self.transport.is_closing():
            self.close()

    def drain(self, since: float, everything: bool = False) -> None:
        """The worker stops: end what would not end by itself.

        Args:
            since, everything: see `AsgiExchange.drain`.
        """
        if self.websocket is not None:
            self.websocket.drain()
        elif self.exchange is not None:
            self.exchange.drain(since, everything)

    def is_unwatched(self, since: float) -> bool:
        """Whether the reader may not notice that the client leaves.

        Nothing is read while pipelined octets or messages of a WebSocket wait; and uvloop calls
        the reader of a socket with an error only once, when there may be data in front of it.

        Args:
            since: a request that began later is not checked, in monotonic seconds.
        """
        if self.exchange is not None:
            return bool(self.exchange.began <= since)
        return self.websocket is not None and not self.transport.is_reading()

    def hung_up(self, events: int) -> None:
        """The client has closed the connection, or its sending side; called by the sweep.

        Args:
            events: see `hangups.hung_up`.
        """
        transport = self.transport
        exchange = self.exchange
        if events & CLOSED:
            transport.abort()
        elif (exchange is not None and (self.parser.body_complete or self.feed == self._discard)
                and not (transport.is_reading() or transport.is_closing() or self._half_closed
                         or transport.get_write_buffer_size())):
            self._leave(exchange)

    def _leave(self, exchange: Any) -> None:
        """Close: the client, which may still read, has waited long enough or has left."""
        exchange.client_gone()
        if exchange.head_sent and not exchange.complete:
            self.abort_response(exchange.response.until_close)
        else:
            self.close()

    def expire(self, now: float) -> None:
        """Act on the deadline, which has passed, by the state."""
        self.deadline = inf
        unsent = self.transport.get_write_buffer_size()
        exchange = self.exchange
        if (self.websocket is not None and self.feed != self._linger
                and not self.transport.is_closing()):
            self.websocket.expire(now)
        elif self._half_closed and exchange is not None and not self.transport.is_closing():
            self._leave(exchange)
        elif unsent and (exchange is not None or self.writing_paused
                         or self.transport.is_closing() or self.feed == self._linger):
            if not self.stalled():
                return
            log.warning("%s: read nothing of a response for %g seconds; closed", self.peer,
                        self.service.limits.io_timeout)
            self.transport.abort()
        elif exchange is not None:
            if exchange.awaits_body:
                self.fail_body(exchange.arrival.error())
            elif exchange.via:
                self.transport.abort()  # in the middle of a file
        elif self._early:
            self.reject(ProtocolError(
                408, HALF_PROXY_HEADER.format(self.service.limits.head_timeout)))
        elif self.idle or self.feed == self._drain_body or self.feed == self._linger:
            self.transport.abort() if unsent or self.feed == self._linger else self.close()
        else:
            self.reject(no_head(self.service.limits.head_timeout))

    def harakiri(self, now: float) -> None:
        """Log or end the present request, which has run for too long."""
        exchange = self.exchange
        service = self.service
        timeouts = service.timeouts
        if exchange is None or exchange.complete:
            self.harakiri_at = inf
            return
        limit = timeouts.limit(exchange.scope["path"])
        if now < exchange.began + limit:
            self.harakiri_at = exchange.began + limit
            harakiri.log_slow(service.worker, service.pid, self.peer, exchange.title,
                              now - exchange.began, exchange.task)
            return
        self.harakiri_at = inf
        harakiri.log_harakiri(service.worker, service.pid, limit, self.host,
                              exchange.method, exchange.uri, exchange.task)
        service.harakiris += 1
        service.loop.call_later(timeouts.grace, harakiri.log_if_running, self.peer,
                                exchange.title, exchange.task)
        exchange.end(504)
        exchange.task.cancel()
