"""One connection: a greenlet, a parser for all its requests, and the order of things.

The rules of this room:

- A connection waits only in its `Stream`; the application is called with one of the
  worker's slots in hand, and a complete response gives the slot back before it is sent.
- Nothing is closed in silence: every refusal is logged with the peer and the reason.
- An error of the application costs its request, never the worker: 500 before the head,
  a cut connection after it (a client must never take half a body for a whole one).
"""

import _socket
import io
import logging
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic, time
from typing import Any

from gevent import getcurrent
from greenlet import GreenletExit

from ..app import environ as environs
from ..app import input as inputs
from ..app.wsgi import Exchange
from ..errors import ClientDisconnected, Harakiri, NotOurProtocol, ProtocolError
from ..net.listener import Listener
from ..net.stream import GATHER, Expired, HandedSocket, Stream
from ..protocol import proxy
from ..protocol.http1 import RequestParser
from ..protocol.response import CONTINUE, Response, error_response
from ..protocol.uwsgi import PONG, PacketParser
from . import report
from .limits import DRAIN, EARLY_BODY, HARAKIRI_GRACE, LINGER_OCTETS, LINGER_SECONDS
from .service import Service

log = logging.getLogger("geventuwsgi.error")


class BrokenBody(ClientDisconnected):
    """The request body breaks its framing or a limit; raised in the application's read."""


class Connection:
    """Serve one accepted connection until it closes.

    Args:
        service: what the worker's connections share.
        sock: the raw, non-blocking socket.
        address: the peer as `accept` told it.
        listener: the socket it came in by.

    Attributes:
        harakiri_at: monotonic seconds at which the request inside the application has to
            end, inf outside of one or without `harakiri`.
        requests: how many requests this connection has begun.
    """

    __slots__ = ("service", "stream", "listener", "parser", "host", "port", "trusted",
                 "requests", "harakiri_at", "exchange", "greenlet", "standing",
                 "_handed", "_core", "_expects", "_broken", "_body_size", "_fresh_body",
                 "_idle", "_killed", "_abandoned")

    parser: Any

    def __init__(self, service: Service, sock: _socket.socket, address: Any,
                 listener: Listener) -> None:
        self.service = service
        self.stream = Stream(sock, service.hub, service.policy.io_timeout)
        self.listener = listener
        self.standing = service.standing
        self.host = self.port = ""
        if type(address) is tuple:
            self.host, self.port = address[0], str(address[1])
        self.trusted = not self.host or self.host in service.forwarders
        self.requests = 0
        self.harakiri_at = inf
        self.exchange: Exchange | None = None
        self.greenlet: Any = None
        self._handed: HandedSocket | None = None
        self._core = -1
        self._expects = False
        self._broken: ProtocolError | None = None
        self._body_size = 0
        self._fresh_body = False
        self._idle = False
        self._killed = False
        self._abandoned = False

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
            early = self._proxy_header() if service.proxies is not None else b""
            if self.listener.protocol == "uwsgi":
                linger = self._serve_uwsgi(early)
            else:
                linger = self._serve_http(early)
        except ProtocolError as error:
            linger = self._refuse(error)
        except ClientDisconnected as error:
            log.debug("%s: connection lost: %s", self.peer, error)
        except GreenletExit:
            pass  # interrupted by a drain or a stop while idle
        finally:
            if linger:
                self.stream.linger(LINGER_SECONDS, LINGER_OCTETS)
            else:
                self.stream.close()
            service.left(self)

    # HTTP: requests one after the other, the parser reused for each.

    def _serve_http(self, early: bytes) -> bool:
        """Serve requests until the connection ends; tell whether to close with patience."""
        self.parser = parser = RequestParser(self.service.head_limits)
        if self._first_head(parser, early):
            while self._http_request(parser):
                if not self._next_head(parser):
                    return False
            return bool(not parser.body_complete or parser.buffered)
        return False

    def _first_head(self, parser: Any, early: bytes) -> bool:
        timeout = self.service.policy.head_timeout
        try:
            data = early or self.stream.receive_now(timeout)
        except Expired:
            log.debug("%s: sent nothing for %g seconds; closed", self.peer, timeout)
            return False
        return self._rest_of_head(parser, data)

    def _next_head(self, parser: RequestParser) -> bool:
        """Wait for the next request on a kept connection."""
        if parser.buffered:
            return parser.head(b"") or self._rest_of_head(parser, None)
        service = self.service
        if service.draining:
            return False
        self._idle = True
        try:
            data = self.stream.receive(service.policy.keepalive)
        except Expired:
            return False
        finally:
            self._idle = False
        return self._rest_of_head(parser, data)

    def _rest_of_head(self, parser: Any, data: bytes | None) -> bool:
        """Feed the parser until a head is there; False if the peer left between requests."""
        if data:
            if parser.head(data):
                return True
        elif data is not None:
            return False
        timeout = self.service.policy.head_timeout
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

    def _http_request(self, parser: RequestParser) -> bool:
        """Serve the request whose head is there; tell whether another may follow."""
        environ = environs.from_http(self.service.templates[self.listener.url], parser)
        environ["REMOTE_ADDR"] = self.host
        environ["REMOTE_PORT"] = self.port
        exchange = Exchange(self, environ, parser.method, parser.target, parser.version,
                            parser.http11, False)
        self._expects = parser.expect_continue
        if self.trusted and ("HTTP_X_FORWARDED_PROTO" in environ
                             or "HTTP_X_FORWARDED_SSL" in environ):
            self._take_scheme(environ)
        self._prepare_input(environ, parser)
        self._answer(exchange)
        if exchange.keep_alive and self._broken is None and not self._taken:
            return parser.body_complete or self._drain_body()
        return False

    # uwsgi: one packet, one answer.

    def _serve_uwsgi(self, early: bytes) -> bool:
        """Answer one packet; tell whether to close with patience."""
        service = self.service
        if self.host and self.host not in service.uwsgi_peers:
            log.warning("Forbidden uWSGI request from IP %s (see uwsgi-allow-from)", self.host)
            self.stream.send(error_response(403, service.standing))
            return True
        self.parser = parser = PacketParser(service.buffer_size)
        if not self._first_head(parser, early):
            return False
        if parser.ping:
            log.info("PING from %s", self.peer)
            self.stream.send(PONG)
            return False
        environ = environs.from_packet(service.templates[self.listener.url], parser)
        if not environ.get("REQUEST_METHOD"):
            raise ProtocolError(400, "Empty python request: a packet without REQUEST_METHOD")
        exchange = Exchange(
            self, environ, environ["REQUEST_METHOD"], environ.get("REQUEST_URI", ""),
            environ["SERVER_PROTOCOL"], True, True)
        exchange.vars = 2 * parser.var_count
        exchange.vars_size = parser.block_size
        self.trusted = True
        self._take_scheme(environ)
        self._prepare_input(environ, parser)
        self._answer(exchange)
        return not parser.body_complete

    # One request, whichever way it came.

    def _take_scheme(self, environ: environs.Environ) -> None:
        scheme = environs.scheme(environ, True, "http")
        if scheme != "http":
            environ["wsgi.url_scheme"] = scheme
            environ["REQUEST_SCHEME"] = scheme

    def _prepare_input(self, environ: environs.Environ, parser: Any) -> None:
        """Make `wsgi.input`. A small body is read before a slot is taken."""
        if self._handed is None:
            self._handed = HandedSocket(self.stream)
        environ["geventuwsgi.socket"] = environ["gunicorn.socket"] = self._handed
        environ["wsgi.early_hints"] = self.early_hints
        self.requests += 1
        if parser.body_complete:
            environ["wsgi.input"] = io.BytesIO()
            return
        policy = self.service.policy
        length = parser.content_length
        if policy.limit_post and length is not None and length > policy.limit_post:
            raise ProtocolError(
                413, f"a body of {length} bytes (limit-post is {policy.limit_post})")
        self._fresh_body = True
        self._body_size = 0
        try:
            if policy.post_buffering:
                environ["wsgi.input"] = inputs.spool(self._receive_body, policy.post_buffering)
            elif length is not None and length <= EARLY_BODY and not self._expects:
                environ["wsgi.input"] = inputs.whole(self._receive_body)
            else:
                environ["wsgi.input"] = inputs.Body(self._receive_body)
        except BrokenBody:
            if self._broken is not None:
                raise self._broken from None
            raise

    def _answer(self, exchange: Exchange) -> None:
        """Call the application inside a slot, then count and log the request."""
        service = self.service
        app = self._choose(service.applications, exchange.environ)
        self._core = exchange.core = service.slots.take()
        began = monotonic()
        harakiri = service.policy.harakiri
        if harakiri:
            self.harakiri_at = began + harakiri
        self.exchange = exchange
        self.greenlet.gr_context = service.context.copy()
        try:
            if app is None:
                self._no_application(exchange)
            else:
                exchange.app = app.id
                exchange.run(app.callable)
        except BaseException as error:
            self._failed(exchange, error)
        self.harakiri_at = inf
        if self._core >= 0:
            self.release()
        self.exchange = None
        self._account(exchange, monotonic() - began)

    def _account(self, exchange: Exchange, duration: float) -> None:
        """Count a request that is over, and log it."""
        service = self.service
        service.requests += 1
        service.response_time += duration
        service.bytes_sent += exchange.header_size + exchange.body_size
        if exchange.fault:
            log.error("%s: %s %s: %s", self.peer, exchange.method, exchange.uri,
                      exchange.fault)
        app = exchange.app
        if app >= 0:
            service.app_requests[app] += 1
        if service.access is None:
            return
        exchange.duration = duration
        exchange.started = time() - duration
        exchange.pid = service.pid
        exchange.worker = service.worker
        if app >= 0:
            exchange.app_requests = service.app_requests[app]
        exchange.total_requests = service.requests + service.others_requests
        parser = self.parser
        if not exchange.vars:
            exchange.vars = 2 * parser.fields.count("\n") + 16
            exchange.vars_size = parser.head_size
        exchange.request_length = parser.content_length or 0
        service.access.add(exchange)

    def _choose(self, applications: Any, environ: environs.Environ) -> Any:
        """Find the application by SCRIPT_NAME, or by the path with manage-script-name."""
        if applications.manage_script_name:
            app, script_name, path = applications.split(environ["PATH_INFO"])
            environ["SCRIPT_NAME"] = script_name
            environ["PATH_INFO"] = path
            return app
        return applications.find(environ["SCRIPT_NAME"])

    def _no_application(self, exchange: Exchange) -> None:
        log.error("--- no python application found for %s, check your startup logs for "
                  "errors ---", exchange.uri)
        self._error(exchange, 500)

    def _failed(self, exchange: Exchange, error: BaseException) -> None:
        """An exchange ended with an exception: whose fault, and what to send?"""
        exchange.keep_alive = False
        service = self.service
        if self._taken:
            return  # an upgrade library has the connection; frameworks end it by raising
        if self._broken is not None and isinstance(error, OSError):
            log.warning("%s: %s; closed", self.peer, self._broken)
            self._error(exchange, self._broken.status)
        elif isinstance(error, Harakiri):
            service.harakiris += 1
            self._error(exchange, 504)
        elif isinstance(error, ClientDisconnected):
            log.debug("%s: client gone during %s %s: %s", self.peer, exchange.method,
                      exchange.uri, error)
        else:
            service.exceptions += 1
            report.application_error(self.peer, exchange.method, exchange.uri, error)
            self._error(exchange, 500)

    def _error(self, exchange: Exchange, status: int) -> None:
        """Answer with an error page if nothing was sent yet, else leave the cut to close."""
        exchange.status = status
        if exchange.head_sent or self._abandoned:
            return
        exchange.head_sent = True
        exchange.response = Response(str(status), [])
        exchange.header_count = 0
        try:
            self.stream.send(error_response(status, self.standing,
                                            is_head=exchange.method == "HEAD"))
        except ClientDisconnected as error:
            log.debug("%s: could not be told of a %d: %s", self.peer, status, error)

    def _refuse(self, error: ProtocolError) -> bool:
        """Answer a peer that breaks the protocol or a limit, and say so in the log."""
        silent = isinstance(error, NotOurProtocol)
        log.warning("%s: %s; closed%s", self.peer, error.reason,
                    "" if silent else f" with {error.status}")
        if silent:
            return False
        try:
            self.stream.send(error_response(error.status, self.service.standing))
        except ClientDisconnected as gone:
            log.debug("%s: could not be told of a %d: %s", self.peer, error.status, gone)
            return False
        return True

    # What an exchange needs of its connection (app.wsgi.Transport).

    def send(self, data: bytes) -> None:
        if self._killed:
            raise Harakiri
        self.stream.send(data)

    def send_pair(self, head: bytes, body: bytes) -> None:
        if self._killed:
            raise Harakiri  # whatever the application returns after it is discarded
        if len(body) < GATHER:
            self.stream.send(head + body)
        else:
            self.stream.send_pair(head, body)

    def send_file(self, fd: int, offset: int, count: int) -> None:
        self.stream.send_file(fd, offset, count)

    def may_persist(self) -> bool:
        """Whether another request may follow on this connection: the one place to ask."""
        service = self.service
        return bool(self.parser.keep_alive and service.policy.keepalive
                    and not service.draining and not self._expects and self._broken is None)

    def release(self) -> None:
        """Give the slot back; a second call does nothing."""
        core = self._core
        if core >= 0:
            self._core = -1
            self.service.slots.give(core)

    def early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """`wsgi.early_hints`: send 103 with these fields (RFC 8297)."""
        if self.exchange is not None:
            self.exchange.early_hints(headers)

    # The request body.

    def _receive_body(self) -> bytes:
        """Return the next decoded piece of the body, b"" at its end.

        Raises:
            ClientDisconnected: the client is gone or too slow.
            BrokenBody: the framing is broken, or the body is larger than limit-post.
        """
        parser = self.parser
        limit = self.service.policy.limit_post
        if self._broken is not None:
            raise BrokenBody(self._broken.reason)
        try:
            while not parser.body_complete:
                if self._fresh_body:
                    self._fresh_body = False
                    piece = parser.body(b"")
                else:
                    piece = parser.body(self._more_body())
                if piece:
                    self._body_size += len(piece)
                    if limit and self._body_size > limit:
                        raise ProtocolError(413, f"a body of more than {limit} bytes (limit-post)")
                    return bytes(piece)
        except ProtocolError as error:
            self._broken = error
            raise BrokenBody(error.reason) from error
        return b""

    def _more_body(self) -> bytes:
        timeout = self.service.policy.io_timeout
        if self._expects:
            self._expects = False
            self.stream.send(CONTINUE)
        try:
            data = self.stream.receive(timeout)
        except Expired as error:
            raise ProtocolError(
                408, f"no progress of the request body for {timeout:g} seconds") from error
        if not data:
            self.parser.eof()
        return data

    def _drain_body(self) -> bool:
        """Read what the application left of the body, so that the connection can be kept."""
        left = self.parser.content_length
        if left is not None and left - self._body_size > DRAIN:
            return False
        bound = self._body_size + DRAIN
        try:
            while self._receive_body():
                if self._body_size > bound:
                    return False
        except BrokenBody as error:
            log.warning("%s: %s; closed", self.peer, error)
            return False
        return True

    # PROXY protocol.

    def _proxy_header(self) -> bytes:
        """Read the PROXY header that has to come first; return the bytes behind it."""
        proxies = self.service.proxies
        if self.host and proxies is not None and self.host not in proxies:
            return b""
        timeout = self.service.policy.head_timeout
        data = self.stream.receive_now(timeout)
        while True:
            found = proxy.parse(data)
            if found is not None:
                break
            more = self.stream.receive(timeout)
            if not more:
                raise ProtocolError(400, "truncated PROXY protocol header")
            data += more
        header, size = found
        if header.source is not None:
            self.host, self.port = header.source[0], str(header.source[1])
            self.trusted = self.host in self.service.forwarders
        return data[size:]

    # Called on the hub.

    def expire(self) -> None:
        """A deadline may have passed (called by the sweeper)."""
        self.stream.expire()

    def harakiri(self, request: int) -> None:
        """The request with this number has been inside the application for too long."""
        exchange = self.exchange
        if exchange is None or request != self.requests or self.harakiri_at > monotonic():
            return
        if self._killed:
            self._abandon(exchange)
            return
        self._killed = True
        self.harakiri_at = monotonic() + HARAKIRI_GRACE
        report.harakiri(self.service, self.host, exchange, self.greenlet)
        self.greenlet.throw(Harakiri())

    def _abandon(self, exchange: Exchange) -> None:
        """The greenlet survived its harakiri: cut it off and have the worker replaced."""
        self._abandoned = True
        self.harakiri_at = inf
        log.critical("%s: %s %s ignores its harakiri; the connection is cut and worker %d "
                     "will be replaced", self.peer, exchange.method, exchange.uri,
                     self.service.worker)
        if not exchange.head_sent:
            try:
                self.stream.sock.send(error_response(504, self.standing))
            except OSError as error:
                log.debug("%s: could not be told of a 504: %s", self.peer, error)
        self.stream.close()
        self.service.slots.lose()
        self.service.left(self)
        self.service.spoiled()

    def interrupt_if_idle(self) -> None:
        """End a kept connection that waits for a request nobody may send any more."""
        if self._idle:
            self.stream.interrupt()

    @property
    def _taken(self) -> bool:
        return self._handed is not None and self._handed.taken


def handler(service: Service) -> Callable[..., None]:
    """Make what an `Acceptor` calls in the greenlet of each new connection."""
    def serve(sock: _socket.socket, address: Any, listener: Listener) -> None:
        Connection(service, sock, address, listener).serve()
    return serve
