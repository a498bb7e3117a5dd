"""One connection: a greenlet, a parser for all its requests, and the order of things.

The rules of this room:

- A connection waits only in its `Stream`; the application is called with one of the
  worker's slots in hand, and a complete response gives the slot back before it is sent.
- Rules guard files, too: the mountpoint is taken off the path, then rules are followed,
  then files are looked for, and then the application is called; the order is uWSGI's.
- Nothing is closed in silence: every refusal is logged with the peer and the reason.
- An error of the application costs its request, never the worker: 500 before the head,
  a cut connection after it (a client must never take half a body for a whole one).
"""

import _socket
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from math import inf
from time import monotonic, time
from typing import Any

from gevent import getcurrent
from greenlet import GreenletExit

from ...app import environ as environs
from ...app import input as inputs
from ...app.debug_pages import USUAL, Page
from ...app.rules.actions import RuleContext
from ...app.rules.response_filter import wrap
from ...app.static.files import Found, StaticFiles
from ...app.wsgi import WsgiExchange
from ...errors import ClientDisconnected, Harakiri, Overloaded, ProtocolError, RequestCancelled
from ...net.deadlines import LINGER_OCTETS, LINGER_SECONDS
from ...net.listener import Listener
from ...net.stream import Expired, HandedSocket, NothingSent, Stream
from ...protocol.response import Response, error_response
from . import rejections, stacks
from .body import BrokenBody, IncomingBody
from .harakiri import DeadTransport, Disconnected, LongRequest
from .service import WsgiService

log = logging.getLogger("geventuwsgi.error")

# nginx's status in the request log for a client that was gone before it was answered.
CLIENT_GONE = 499
# Request bodies up to this size are read before a slot is taken, in octets.
EARLY_BODY = 65536


class Connection(ABC):
    """Serve one accepted connection until it closes.

    Args:
        service: what the worker's connections share.
        sock: the raw, non-blocking socket.
        address: the peer as `accept` told it.
        listener: the socket it came in by.

    Attributes:
        began: monotonic seconds at which the request inside the application got its slot,
            inf outside of one.
        running: what is known of the last request that ran for a while.
        requests: how many requests this connection has begun.
        persists, body, standing, stream: see `app.wsgi.Transport`.
        idle: it waits for a request, and nothing of one has come.
        handed: the connection as a socket, for upgrade libraries.
        disconnected: whether the client is gone, for the application.
        refused: the request whose refusal is to be logged, None as long as none is known.
        abandoned: the request ignores its harakiri, and the connection was cut.
    """

    __slots__ = ("service", "stream", "listener", "parser", "host", "port", "trusted",
                 "requests", "began", "running", "exchange", "greenlet", "standing", "persists",
                 "body", "idle", "handed", "disconnected", "refused", "abandoned", "_core")

    parser: Any

    def __init__(self, service: WsgiService, sock: _socket.socket, address: Any,
                 listener: Listener) -> None:
        self.service = service
        self.stream = Stream(sock, service.hub, service.limits.send_timeout)
        self.listener = listener
        self.standing = service.standing
        self.host = self.port = ""
        if type(address) is tuple:
            self.host, self.port = address[0], str(address[1])
        self.trusted = not self.host or self.host in service.forwarders
        self.parser = None
        self.requests = 0
        self.began = inf
        self.running: LongRequest | None = None
        self.exchange: WsgiExchange | None = None
        self.greenlet: Any = None
        self.handed = HandedSocket(self.stream)
        self.disconnected = Disconnected(self.stream)
        self.refused: WsgiExchange | None = None
        self.persists = False
        self._core = -1
        self.body: IncomingBody | None = None
        self.idle = False
        self.abandoned = False

    @property
    def peer(self) -> str:
        """Who is at the other end, for the log."""
        return f"{self.host}:{self.port}" if self.host else f"a client of {self.listener.url}"

    def serve(self) -> None:
        """The body of the connection's greenlet."""
        service = self.service
        service.connections.add(self)
        service.accepted += 1
        self.greenlet = getcurrent()
        linger = False
        try:
            early = rejections.read_header(self) if service.proxies is not None else b""
            linger = self.converse(early)
        except ProtocolError as error:
            linger = rejections.refuse(self, error)
        except ClientDisconnected as error:
            log.debug("%s: connection lost: %s", self.peer, error)
        except GreenletExit:
            pass  # interrupted by a drain or a stop while idle
        except Exception:  # left to the hub it would end the worker
            log.exception("%s: closed for an error of this server", self.peer)
        finally:
            if linger:
                self.stream.linger(LINGER_SECONDS, LINGER_OCTETS)
            else:
                self.stream.close()
            self.disconnected.tell()
            service.left(self)

    @abstractmethod
    def converse(self, early: bytes) -> bool:
        """Serve the requests of this connection.

        Args:
            early: bytes that came behind a PROXY header.

        Returns:
            Whether to close with patience, as the peer may still be sending.
        """

    # The head of a request.

    def first_head(self, parser: Any, early: bytes) -> bool:
        timeout = self.service.limits.head_timeout
        self.idle = True
        try:
            data = early or self.stream.receive_now(timeout)
        except Expired:
            log.debug("%s: sent nothing for %g seconds; closed", self.peer, timeout)
            return False
        finally:
            self.idle = False
        return bool(data) and (parser.head(data) or self.rest_of_head(parser))

    def rest_of_head(self, parser: Any) -> bool:
        """Read until a head that has begun is whole; False if nothing of one had come.

        Raises:
            ProtocolError: 408, or what the parser finds wrong.
        """
        timeout = self.service.limits.head_timeout
        end = monotonic() + timeout
        while True:
            try:
                data = self.stream.receive(max(end - monotonic(), 0.0))
            except Expired:
                raise ProtocolError(
                    408, f"no whole request head within {timeout:g} seconds") from None
            if not data:
                parser.eof()
                return False
            if parser.head(data):
                return True

    # One request, whichever way it came.

    def take_scheme(self, environ: environs.Environ) -> None:
        own = environ["wsgi.url_scheme"]
        scheme = environs.scheme(environ, True, own)
        if scheme != own:
            environ["wsgi.url_scheme"] = environ["REQUEST_SCHEME"] = scheme
            if scheme == "http":
                environ.pop("HTTPS", None)

    def take_body(self, environ: environs.Environ, parser: Any, expects: bool) -> None:
        """Make the `wsgi.input` of a request with a body; a small one is read at once.

        Raises:
            ProtocolError: 413 for a body over limit-post, 400 or 408 for a broken one,
                500 where there is no room to store it.
        """
        policy = self.service.limits
        length = parser.content_length
        if self.service.slots.full:
            raise Overloaded
        if policy.limit_post and length is not None and length > policy.limit_post:
            raise ProtocolError(
                413, f"a body of {length} bytes (limit-post is {policy.limit_post})")
        self.body = body = IncomingBody(self.stream, parser, policy, expects)
        try:
            if policy.post_buffering:
                environ["wsgi.input"] = inputs.spool(body.receive, policy.post_buffering)
            elif length is not None and length <= EARLY_BODY and not expects:
                environ["wsgi.input"] = inputs.whole(body.receive)
            else:
                environ["wsgi.input"] = inputs.Body(body.receive)
        except BrokenBody:
            if body.broken is not None:
                raise body.broken from None
            raise
        except ClientDisconnected:
            raise
        except OSError as error:
            raise ProtocolError(500, f"cannot store the request body: {error}") from error

    def answer(self, exchange: WsgiExchange) -> None:
        """Call the application inside a slot, then count and log the request."""
        service = self.service
        environ = exchange.environ
        environ["geventuwsgi.socket"] = environ["gunicorn.socket"] = self.handed
        environ["wsgi.early_hints"] = self.early_hints
        environ["geventuwsgi.disconnected"] = self.disconnected
        app = service.only
        if app is None:
            service.applications.place(environ)
        visit = None
        asked = environ
        static = service.static
        if service.routes is not None:
            if static is not None:
                asked = environ.copy()  # files are those of the path before rules, as in uWSGI
            visit = service.routes.follow(exchange)
            if visit.closed:
                return
        if static is not None and (visit is None or visit.answer is None):
            found = static.find(asked)
            if found is not None:
                self._static(static, found, exchange, visit)
                return
        if app is None:
            app = service.applications.choose(environ)
        self.requests += 1
        free = service.slots.free
        self._core = exchange.core = free.pop() if free else self._queue(exchange)
        self.exchange = exchange
        self.greenlet.gr_context = service.context.copy()
        self.began = began = monotonic()
        try:
            if visit is not None and visit.answer is not None:
                exchange.run(wrap(visit.answer, visit))
            elif app is None:
                self._no_application(exchange)
            else:
                exchange.app = app.id
                exchange.run(app.callable if visit is None else wrap(app.callable, visit))
        except BaseException as error:
            self._failed(exchange, error)
        self.began = inf
        self.exchange = None
        if self._core >= 0:
            self.release()
        if visit is not None:
            visit.finish()
        self._account(exchange, monotonic() - began)

    def _static(self, static: StaticFiles, found: Found, exchange: WsgiExchange,
                visit: RuleContext | None) -> None:
        """Answer with a file; that takes no slot, however slow the client."""
        self.requests += 1
        self.exchange = exchange
        began = monotonic()
        answer: Any = partial(static.answer, found)
        try:
            if visit is None:
                exchange.run(answer)
            else:
                visit.gzip = False  # a file has its twin for that, as in uWSGI
                exchange.run(wrap(answer, visit))
        except BaseException as error:
            self._failed(exchange, error)
        self.exchange = None
        if visit is not None:
            visit.finish()
        self._account(exchange, monotonic() - began)

    def _account(self, exchange: WsgiExchange, duration: float) -> None:
        """Count and log a request that is done."""
        service = self.service
        service.requests += 1
        service.response_time += duration
        service.bytes_sent += exchange.header_size + exchange.body_size
        service.app_requests[exchange.app] += 1
        if exchange.fault:
            log.error("%s: %s %s: %s", self.peer, exchange.method, exchange.uri,
                      exchange.fault)
        if service.access is not None:
            self.log_request(exchange, duration)

    def _queue(self, exchange: WsgiExchange) -> int:
        """Wait for a slot; a client that leaves the queue meanwhile does not get one.

        Raises:
            Overloaded: as many wait as may.
            ClientDisconnected: the client is gone.
        """
        slots = self.service.slots
        if not slots.full:
            log.debug("%s: %s %s waits for a slot", self.peer, exchange.method, exchange.uri)
        try:
            core = slots.take()
        except Overloaded:
            self.refused = exchange
            raise
        if self.disconnected():
            slots.give(core)
            exchange.status = CLIENT_GONE
            self.log_request(exchange, 0.0)
            raise ClientDisconnected("it left while it waited for a slot")
        return core

    def log_request(self, exchange: WsgiExchange, duration: float) -> None:
        """Complete the record of a finished request and add it to the request log."""
        service = self.service
        access = service.access
        if access is None or not exchange.logged:
            return
        running = self.running
        if running is not None and running.deserted and running.request == self.requests:
            exchange.status = CLIENT_GONE
        exchange.duration = duration
        exchange.started = time() - duration
        exchange.pid = service.pid
        exchange.worker = service.worker
        exchange.app_requests = service.app_requests[exchange.app]
        exchange.total_requests = service.requests + service.others_requests
        if not exchange.vars:
            self.measure(exchange)
        access.add(exchange)

    def _no_application(self, exchange: WsgiExchange) -> None:
        log.error("--- no python application found for %s, check your startup logs for "
                  "errors ---", exchange.uri)
        self._error(exchange, 500)

    def _failed(self, exchange: WsgiExchange, error: BaseException) -> None:
        """An exchange ended with an exception: whose fault, and what to send?"""
        exchange.keep_alive = False
        service = self.service
        if self.taken:
            return  # an upgrade library has the connection; frameworks end it by raising
        transport = exchange.transport
        if isinstance(transport, DeadTransport):
            exchange.head_sent = transport.head_sent  # what came later was not sent
        broken_off = exchange.broken_off
        broken = self.body.broken if self.body is not None else None
        if broken is not None and isinstance(error, OSError):
            self._error(exchange, broken.status)
        elif isinstance(error, Harakiri):
            service.harakiris += 1
            self._error(exchange, 504)
        elif isinstance(error, RequestCancelled):
            log.info("%s: %s %s cancelled, as its client is gone", self.peer, exchange.method,
                     exchange.uri)
            if not exchange.head_sent:
                exchange.status = CLIENT_GONE
        elif isinstance(error, Expired):
            log.warning("%s: %s %s: %s; closed", self.peer, exchange.method, exchange.uri, error)
        elif isinstance(error, ClientDisconnected):
            log.debug("%s: client gone during %s %s: %s", self.peer, exchange.method,
                      exchange.uri, error)
            if not exchange.head_sent or isinstance(error, NothingSent):
                exchange.status = CLIENT_GONE
        elif service.cut and isinstance(error, (GreenletExit, KeyboardInterrupt)):
            exchange.logged, broken_off = False, True   # there is no answer
            log.info("%s: %s %s broken off", self.peer, exchange.method, exchange.uri)
        else:
            service.exceptions += 1
            stacks.application_error(self.peer, exchange.method, exchange.uri, error)
            what = f"{exchange.method} {exchange.uri}"
            accept = str(exchange.environ.get("HTTP_ACCEPT", ""))
            self._error(exchange, 500, service.exception_policy.happened(what, error, accept))
        if broken_off:
            self.stream.abort()

    def _error(self, exchange: WsgiExchange, status: int, page: Page = USUAL) -> None:
        """Answer with an error page if nothing was sent yet, else leave the cut to close."""
        exchange.status = status
        if exchange.head_sent or self.abandoned:
            return
        exchange.head_sent = True
        exchange.response = Response(str(status), [])
        octets = error_response(status, self.standing, is_head=exchange.method == "HEAD",
                                text=page.content, media=page.kind, extra=page.fields)
        exchange.replaced(status, octets)
        try:
            self.stream.send(octets)
        except ClientDisconnected as error:
            log.debug("%s: could not be told of a %d: %s", self.peer, status, error)

    def first_line(self) -> tuple[str, str, str]:
        """Return method, target and version of a request whose head was refused."""
        return "-", "-", "-"

    def measure(self, exchange: WsgiExchange) -> None:
        """Count the variables of a request for the request log."""

    def tell_of_body(self) -> None:
        """Log a request body that broke, whatever the application made of the error."""
        broken = self.body.broken if self.body is not None else None
        if broken is not None:
            log.warning("%s: %s; closed", self.peer, broken.reason)

    # What an exchange needs of its connection (app.wsgi.Transport).

    def release(self) -> None:
        """Give the slot back; a second call does nothing."""
        core = self._core
        if core >= 0:
            self._core = -1
            slots = self.service.slots
            if slots.wanted:
                slots.give(core)
            else:
                slots.free.append(core)

    def early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """`wsgi.early_hints`: send 103 with these fields (RFC 8297)."""
        if self.exchange is not None:
            self.exchange.early_hints(headers)

    # Called on the hub.

    def expire(self) -> None:
        """A deadline may have passed (called by the sweeper)."""
        self.stream.expire()

    def interrupt_if_idle(self) -> None:
        """End a connection that waits for a request, unless one has just come."""
        if self.idle and not self.stream.readable():
            self.stream.interrupt()

    @property
    def finished(self) -> bool:
        """Whether the slot was given back: the answer is complete, and only being sent."""
        return self._core < 0

    @property
    def taken(self) -> bool:
        return self.handed.taken
