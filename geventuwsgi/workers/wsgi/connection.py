"""One connection: one greenlet, and one parser for all its requests.

Rules:

- A connection blocks only in its `Stream`. It holds one of the worker's slots while the
  application runs; a complete response gives the slot back before it is sent.
- Rules apply to files too. The order is uWSGI's: split the mount point off the path,
  follow the rules, look for a file, call the application.
- Nothing is closed silently: every rejection is logged with the peer and the reason.
- An error of the application costs its request, never the worker: 500 before the head,
  an aborted connection after it (half a body must never look like a whole one).
"""

import _socket
import logging
from abc import ABC, abstractmethod
from copy import copy
from functools import partial
from math import inf
from sys import getrefcount
from time import monotonic
from typing import Any, NoReturn

from gevent import getcurrent
from greenlet import GreenletExit

from ...app import environ as environs
from ...app import input as inputs
from ...app.applications import Application
from ...app.debug_pages import USUAL, Page
from ...app.rules.actions import RuleContext
from ...app.rules.response_filter import wrap
from ...app.static.files import Found, StaticFiles
from ...app.wsgi import WsgiExchange
from ...errors import ClientDisconnected, Harakiri, Overloaded, ProtocolError, RequestCancelled
from ...log.access import CLIENT_GONE
from ...net.address_limit import AddressLimit
from ...net.listener import Listener
from ...net.reusable import GreenletConnection
from ...net.stream import Expired, HandedSocket, NothingSent, Stream
from ...protocol.response import Response, error_response
from ...system import forked
from ..messages import CONNECTED_ONLY, NO_APPLICATION, NOT_SENT, body_too_large
from ..service import SHORT
from . import rejections, stacks
from .body import BrokenBody, IncomingBody
from .harakiri import DeadTransport, Disconnected, LongRequest
from .over import ATTRIBUTE_REFERENCES, OVER, early_hints, log_late
from .service import WsgiService
from .thread_call import Call
from .threads import ThreadPool

log = logging.getLogger("geventuwsgi.error")

# Request bodies up to this size are read before a slot is taken, in octets.
EARLY_BODY = 65536


class Dropped(ClientDisconnected):
    """The client left before its request had a slot."""


class Connection(GreenletConnection, ABC):
    """Serve one accepted connection until it closes.

    Args:
        service: what the worker's connections share.
        sock: the raw, non-blocking socket.
        address: the peer, as `accept` returned it.
        listener: the socket that accepted it.

    Attributes:
        began: monotonic seconds at which the running request got its slot; inf if none runs.
        running: the record of the last request that ran long.
        requests: the number of requests that this connection has begun.
        persists, body, response_defaults, stream: see `app.wsgi.Transport`.
        idle, phase: see `net.reusable.GreenletConnection`.
        handed: the connection as a socket, for upgrade libraries.
        disconnected: whether the client is gone, for the application.
        rejected: the request whose rejection is to be logged, None while none is known.
        abandoned: the request ignored its harakiri, and the connection was closed.
        counted: the address for which limit-connections-per-address counts it, or "".
        core: the number of the slot that the request has; -1 if it has none.
        call: the request in a native thread; None if requests run in greenlets.
        continues: `serve` has returned and is to be called again, in another greenlet.
    """

    __slots__ = ("service", "listener", "parser", "host", "port", "trusted",
                 "requests", "began", "running", "exchange", "greenlet", "response_defaults",
                 "persists", "body", "handed", "disconnected", "rejected", "abandoned",
                 "core", "call", "continues", "counted")

    parser: Any

    def __init__(self, service: WsgiService, sock: _socket.socket, address: Any,
                 listener: Listener) -> None:
        self.service = service
        self.stream = Stream(sock, service.hub, service.limits.send_timeout)
        self.listener = listener
        self.response_defaults = service.response_defaults
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
        self.disconnected = Disconnected(self.stream, service.event_type)
        self.rejected: WsgiExchange | None = None
        self.persists = False
        self.core = -1
        self.call: Call | None = None
        self.body: IncomingBody | None = None
        self.idle = False
        self.phase = 0
        self.head_waited = 0.0
        self.abandoned = False
        self.continues = False
        self.counted = ""

    @property
    def peer(self) -> str:
        """The name of the client in the log."""
        return self.listener.peer_name(self.host, self.port)

    def serve(self) -> None:
        """The body of the connection's greenlet. The application may have left something that
        refers to it; then the next request is served in another one."""
        service = self.service
        self.greenlet = getcurrent()
        early, linger = b"", False
        try:
            if self.continues:
                self.continues = False
            else:
                service.connections.add(self)
                service.accepted += 1
                if self.listener.proxied:
                    early = rejections.read_header(self)
                if service.addresses is not None and not self._count_address(service.addresses):
                    return
            linger = self.serve_requests(early)
        except ProtocolError as error:
            linger = rejections.reject(self, error)
        except ClientDisconnected as error:
            log.debug("%s: connection lost: %s", self.peer, error)
        except GreenletExit:
            pass  # interrupted by a drain or a stop while idle
        except BaseException as error:  # unhandled, it would end the worker
            if self.idle:
                log_late(self.peer, error)
                self.continues = True
            elif self.exchange is None and not isinstance(error, Exception):
                log_late(self.peer, error)  # a timeout that was left running, as a rule
            else:
                log.exception("%s: closed because of an internal error", self.peer)
        finally:
            if not self.continues:
                self._close(linger)

    def _count_address(self, addresses: AddressLimit) -> bool:
        """Count it for limit-connections-per-address; return whether it may stay."""
        if self.trusted:
            return True
        if addresses.enter(self.host):
            self.counted = self.host
        return self.counted != ""

    def _close(self, linger: bool) -> None:
        if linger:
            self.linger(self.parser)
        else:
            self.stream.close()
        if self.counted and self.service.addresses is not None:
            self.service.addresses.leave(self.counted)
        self.disconnected.set()
        self.service.closed(self)

    @abstractmethod
    def serve_requests(self, early: bytes) -> bool:
        """Serve the requests of this connection.

        Args:
            early: bytes that followed a PROXY header.

        Returns:
            Whether to linger on closing, as the peer may still be sending.
        """

    # The head of a request.

    def idle_timeout(self) -> float:
        limits = self.service.limits
        return limits.keepalive if self.requests else limits.head_timeout

    def head_timeout(self) -> float:
        return self.service.limits.head_timeout

    def first_data(self, early: bytes, timeout: float) -> bytes:
        """Return the first bytes of the connection; b"" if none arrive."""
        self.idle = True
        try:
            return early or self.stream.receive_now(timeout)
        except Expired:
            log.debug(CONNECTED_ONLY, self.peer, timeout)
            return b""
        finally:
            self.idle = False

    def first_head(self, parser: Any, early: bytes) -> bool:
        timeout = self.service.limits.head_timeout
        data = self.first_data(early, timeout)
        return bool(data) and (parser.head(data) or self.read_head(parser))

    # One request, of any protocol.

    def set_scheme(self, environ: environs.Environ) -> None:
        """Set the URL scheme to the one that a trusted peer states."""
        own = environ["wsgi.url_scheme"]
        scheme = environs.scheme(environ, True, own)
        if scheme != own:
            environ["wsgi.url_scheme"] = environ["REQUEST_SCHEME"] = scheme
            if scheme == "http":
                environ.pop("HTTPS", None)

    def make_input(self, environ: environs.Environ, parser: Any, expects: bool) -> None:
        """Set the `wsgi.input` of a request with a body; a small body is read at once.

        Raises:
            ProtocolError: 413 for a body over limit-post, 400 or 408 for a broken one,
                500 if it cannot be stored.
        """
        limits = self.service.limits
        length = parser.content_length
        if self.service.slots.full:
            raise Overloaded
        if limits.limit_post and length is not None and length > limits.limit_post:
            raise body_too_large(limits.limit_post, length)
        self.body = body = IncomingBody(
            self.stream, parser, limits, expects, self.take_head_waited())
        try:
            if limits.post_buffering:
                environ["wsgi.input"] = inputs.spool(body.receive, limits.post_buffering)
            elif length is not None and length <= EARLY_BODY and not expects:
                environ["wsgi.input"] = inputs.whole(body.receive)
            else:
                environ["wsgi.input"] = inputs.Body(
                    body.receive if self.service.pool is None else body.receive_in_thread)
        except BrokenBody:
            if body.broken is not None:
                raise body.broken from None
            raise
        except ClientDisconnected:
            raise
        except OSError as error:
            raise ProtocolError(500, f"cannot store the request body: {error}") from error

    def dispatch(self, exchange: WsgiExchange) -> None:
        """Call the application inside a slot, then count and log the request."""
        service = self.service
        environ = exchange.environ
        if self.requests:
            self._renew_handles()
        environ["geventuwsgi.socket"] = environ["gunicorn.socket"] = self.handed
        environ["geventuwsgi.disconnected"] = self.disconnected
        app = service.only
        if app is None:
            service.applications.place(environ)
        context = None
        static_environ = environ
        static = service.static
        if service.routes is not None:
            if static is not None:
                static_environ = environ.copy()  # the path before the rules counts, as in uWSGI
            context = service.routes.follow(exchange)
            if context.closed:
                return
        if static is not None and (context is None or context.replacement is None):
            found = static.find(static_environ)
            if found is not None:
                self._send_static(static, found, exchange, context)
                return
        if app is None:
            app = service.applications.choose(environ)
        if service.pool is not None:
            self._call_in_thread(service.pool, exchange, app, context)
            return
        self.requests += 1
        free = service.slots.free
        self.core = exchange.core = free.pop() if free else self._wait_for_slot(exchange)
        self.exchange = exchange
        self.greenlet.gr_context = service.context.copy()
        self.began = began = monotonic()
        environ["wsgi.early_hints"] = exchange.early_hints  # a cycle, until the request is over
        try:
            if context is not None and context.replacement is not None:
                exchange.run(wrap(context.replacement, context))
            elif app is None:
                self._no_application(exchange)
            else:
                exchange.app = app.id
                exchange.run(app.callable if context is None else wrap(app.callable, context))
        except BaseException as error:
            self._failed(exchange, error)
        self.began = inf
        self.exchange = None
        exchange.transport = OVER
        environ["wsgi.early_hints"] = early_hints
        self.handed.over = True
        self.disconnected.end()
        if self.body is not None:
            self.body.close()
        if self.core >= 0:
            self.release()
        if context is not None:
            context.finish()
        self._account(exchange, monotonic() - began)

    def _renew_handles(self) -> None:
        """Have handles for the next request: the same, unless the last one still holds them."""
        if getrefcount(self.handed) > ATTRIBUTE_REFERENCES:
            self.handed = type(self.handed)(self.stream)
        else:
            self.handed.over = False
        if getrefcount(self.disconnected) > ATTRIBUTE_REFERENCES:
            self.disconnected = Disconnected(self.stream, self.service.event_type)
        else:
            self.disconnected.renew()

    def _call_in_thread(self, pool: ThreadPool, exchange: WsgiExchange, app: Application | None,
                        context: RuleContext | None) -> None:
        """Call the application in a native thread; a response of the rules needs none."""
        self.requests += 1
        self.exchange = exchange
        began = monotonic()
        try:
            if context is not None and context.replacement is not None:
                exchange.run(wrap(context.replacement, context))
            elif app is None:
                self._no_application(exchange)
            elif self.service.slots.full or pool.interrupted and pool.stuck:
                raise Overloaded
            else:
                exchange.app = app.id
                done = pool.run_call(self, exchange, app.callable if context is None
                                     else wrap(app.callable, context))
                began = done.began
                if done.dropped:
                    self._drop(exchange)
        except Overloaded:
            self.rejected = exchange
            raise
        except Dropped:
            raise
        except BaseException as error:
            call = self.call
            if call is not None:
                began = call.began
                if not call.ended:
                    exchange = copy(exchange)   # the thread goes on with the original
                exchange.head_sent = call.begun
            self._failed(exchange, error)
        finally:
            self.began = inf
            self.core = -1
            self.exchange = self.call = None
            self.handed.over = True
            self.disconnected.end()
        if context is not None:
            context.finish()
        self._account(exchange, monotonic() - began)

    def _send_static(self, static: StaticFiles, found: Found, exchange: WsgiExchange,
                     context: RuleContext | None) -> None:
        """Send a file. It needs no slot, however slow the client is."""
        self.requests += 1
        self.exchange = exchange
        began = monotonic()
        application: Any = partial(static.respond, found)
        try:
            if context is None:
                exchange.run(application)
            else:
                context.gzip = False  # static-gzip sends the .gz file, as in uWSGI
                exchange.run(wrap(application, context))
        except BaseException as error:
            self._failed(exchange, error)
        self.exchange = None
        if context is not None:
            context.finish()
        self._account(exchange, monotonic() - began)

    def _account(self, exchange: WsgiExchange, duration: float) -> None:
        """Count and log a request that has ended."""
        service = self.service
        if service.forked:
            forked.leave(None)
        if self.handed.taken:
            self.handed.shut_down()
            # The library has sent the response, which is not known here.
            exchange.status = 101 if "HTTP_UPGRADE" in exchange.environ else 200
            exchange.header_count = exchange.header_size = exchange.body_size = 0
        service.requests += 1
        service.response_time += duration
        service.bytes_sent += exchange.header_size + exchange.body_size
        service.app_requests[exchange.app] += 1
        service.responses[exchange.method][exchange.status // 100] += 1
        if duration > SHORT:
            service.count_long(exchange.status, duration)
        if exchange.fault:
            log.error("%s: %s %s: %s", self.peer, exchange.method, exchange.uri,
                      exchange.fault)
        if service.access is not None:
            self.log_request(exchange, duration)

    def _wait_for_slot(self, exchange: WsgiExchange) -> int:
        """Wait for a slot; the request of a client that leaves meanwhile is dropped.

        Raises:
            Overloaded: the queue is full.
            ClientDisconnected: the client is gone.
        """
        slots = self.service.slots
        if not slots.full:
            log.debug("%s: %s %s waits for a slot", self.peer, exchange.method, exchange.uri)
        try:
            core = slots.take()
        except Overloaded:
            self.rejected = exchange
            raise
        if self.disconnected():
            slots.give(core)
            self._drop(exchange)
        return core

    def _drop(self, exchange: WsgiExchange) -> NoReturn:
        """Log the request of a client that left before it had a slot."""
        exchange.status = CLIENT_GONE
        self.log_request(exchange, 0.0)
        raise Dropped("it left while it waited for a slot")

    def log_request(self, exchange: WsgiExchange, duration: float) -> None:
        """Complete the record of a finished request and add it to the request log."""
        service = self.service
        access = service.access
        if access is None or not exchange.logged:
            return
        running = self.running
        if running is not None and running.gone_early and running.request == self.requests:
            exchange.status = CLIENT_GONE
        service.complete(exchange, duration)
        if not exchange.vars:
            self.measure(exchange)
        access.add(exchange)

    def _no_application(self, exchange: WsgiExchange) -> None:
        log.error(NO_APPLICATION, exchange.uri)
        self._error(exchange, 500)

    def _failed(self, exchange: WsgiExchange, error: BaseException) -> None:
        """Handle the exception that ended an exchange: log it and send what can still be sent."""
        exchange.keep_alive = False
        service = self.service
        if service.forked:
            forked.leave(error)
        if self.taken:
            return  # an upgrade library owns the connection; frameworks end it by raising
        transport = exchange.transport
        if isinstance(transport, DeadTransport):
            exchange.head_sent = transport.head_sent  # later output was discarded
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
            exchange.logged, broken_off = False, True  # no response is sent
            log.info("%s: %s %s broken off", self.peer, exchange.method, exchange.uri)
        else:
            service.exceptions += 1
            stacks.application_error(self.peer, exchange.method, exchange.uri, error)
            what = f"{exchange.method} {exchange.uri}"
            accept = str(exchange.environ.get("HTTP_ACCEPT", ""))
            self._error(exchange, 500, service.exception_policy.apply(what, error, accept))
        if broken_off:
            self.stream.abort()

    def _error(self, exchange: WsgiExchange, status: int, page: Page = USUAL) -> None:
        """Send an error page if no head was sent; otherwise the close ends the response."""
        exchange.status = status
        if exchange.head_sent or self.abandoned:
            return
        exchange.head_sent = True
        exchange.response = Response(str(status), [])
        octets = error_response(status, self.response_defaults, is_head=exchange.method == "HEAD",
                                text=page.content, media=page.kind, extra=page.fields)
        exchange.replaced(status, octets)
        try:
            self.stream.send(octets)
        except ClientDisconnected as error:
            log.debug(NOT_SENT, self.peer, status, error)

    def first_line(self) -> tuple[str, str, str]:
        """Return method, target and version of a request whose head was rejected."""
        return "-", "-", "-"

    def measure(self, exchange: WsgiExchange) -> None:
        """Count the variables of a request for the request log."""

    def log_broken_body(self) -> None:
        """Log what is wrong with the request body, even if the application caught the error."""
        broken = self.body.broken if self.body is not None else None
        if broken is not None:
            log.info("%s: %s; closed", self.peer, broken.reason)

    # For the exchange (app.wsgi.Transport).

    def release(self) -> None:
        """Give the slot back; a second call does nothing."""
        core = self.core
        if core >= 0:
            self.core = -1
            slots = self.service.slots
            if slots.wanted:
                slots.give(core)
            else:
                slots.free.append(core)

    # Called on the hub.

    def expire(self) -> None:
        """Check the deadline (called by the sweeper)."""
        self.stream.expire()

    def interrupt_if_idle(self) -> None:
        """Close a connection that waits for a request, unless one has just arrived."""
        if self.idle and not self.stream.readable():
            self.stream.interrupt()

    @property
    def finished(self) -> bool:
        """Whether the slot was given back: the response is complete and only being sent."""
        return self.core < 0 or self.call is not None and self.call.ended

    @property
    def taken(self) -> bool:
        return self.handed.taken
