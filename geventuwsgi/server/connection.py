"""One connection: a greenlet, a parser for all its requests, and the order of things.

The rules of this room:

- A connection waits only in its `Stream`; the application is called with one of the
  worker's slots in hand, and a complete response gives the slot back before it is sent.
- Nothing is closed in silence: every refusal is logged with the peer and the reason.
- An error of the application costs its request, never the worker: 500 before the head,
  a cut connection after it (a client must never take half a body for a whole one).
"""

import _socket
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from math import inf
from time import monotonic, time
from typing import Any

from gevent import getcurrent
from greenlet import GreenletExit

from ..app import environ as environs
from ..app import input as inputs
from ..app.wsgi import Exchange
from ..errors import ClientDisconnected, Harakiri, NotOurProtocol, ProtocolError
from ..log.access import AccessLog
from ..net.listener import Listener
from ..net.stream import Expired, HandedSocket, Stream
from ..protocol import proxy
from ..protocol.response import Response, error_response
from . import report
from .body import BrokenBody, IncomingBody
from .limits import EARLY_BODY, HARAKIRI_GRACE, LINGER_OCTETS, LINGER_SECONDS
from .service import Service

log = logging.getLogger("geventuwsgi.error")


class Connection(ABC):
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
        persists, body, standing, stream: see `app.wsgi.Transport`.
        idle: it waits for a request, and nothing of one has come.
        handed: the connection as a socket, for upgrade libraries.
    """

    __slots__ = ("service", "stream", "listener", "parser", "host", "port", "trusted",
                 "requests", "harakiri_at", "exchange", "greenlet", "standing", "persists",
                 "body", "idle", "handed", "_core", "_killed", "_abandoned")

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
        self.handed = HandedSocket(self.stream)
        self.persists = False
        self._core = -1
        self.body: IncomingBody | None = None
        self.idle = False
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
            linger = self.converse(early)
        except ProtocolError as error:
            linger = self._refuse(error)
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
        timeout = self.service.policy.head_timeout
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

    # One request, whichever way it came.

    def take_scheme(self, environ: environs.Environ) -> None:
        scheme = environs.scheme(environ, True, "http")
        if scheme != "http":
            environ["wsgi.url_scheme"] = scheme
            environ["REQUEST_SCHEME"] = scheme

    def take_body(self, environ: environs.Environ, parser: Any, expects: bool) -> None:
        """Make the `wsgi.input` of a request with a body; a small one is read at once.

        Raises:
            ProtocolError: 413 for a body over limit-post, 400 or 408 for a broken one,
                500 where there is no room to store it.
        """
        policy = self.service.policy
        length = parser.content_length
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

    def answer(self, exchange: Exchange) -> None:
        """Call the application inside a slot, then count and log the request."""
        service = self.service
        environ = exchange.environ
        environ["geventuwsgi.socket"] = environ["gunicorn.socket"] = self.handed
        environ["wsgi.early_hints"] = self.early_hints
        app = service.only or self._choose(service.applications, environ)
        self.requests += 1
        self._core = exchange.core = service.slots.take()
        self.exchange = exchange
        self.greenlet.gr_context = service.context.copy()
        began = monotonic()
        if service.harakiri:
            self.harakiri_at = began + service.harakiri
        try:
            if app is None:
                self._no_application(exchange)
            else:
                exchange.app = app.id
                exchange.run(app.callable)
        except BaseException as error:
            self._failed(exchange, error)
        self.harakiri_at = inf
        self.exchange = None
        if self._core >= 0:
            self.release()
        duration = monotonic() - began
        service.requests += 1
        service.response_time += duration
        service.bytes_sent += exchange.header_size + exchange.body_size
        service.app_requests[exchange.app] += 1
        if exchange.fault:
            log.error("%s: %s %s: %s", self.peer, exchange.method, exchange.uri,
                      exchange.fault)
        if service.access is not None:
            self._log(service.access, exchange, duration)

    def _log(self, access: AccessLog, exchange: Exchange, duration: float) -> None:
        """Complete the record of a finished request and add it to the request log."""
        service = self.service
        exchange.duration = duration
        exchange.started = time() - duration
        exchange.pid = service.pid
        exchange.worker = service.worker
        exchange.app_requests = service.app_requests[exchange.app]
        exchange.total_requests = service.requests + service.others_requests
        parser = self.parser
        if not exchange.vars:
            exchange.vars = 2 * parser.fields.count("\n") + 16
            exchange.vars_size = parser.head_size
        exchange.request_length = parser.content_length or 0
        access.add(exchange)

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
        if self.taken:
            return  # an upgrade library has the connection; frameworks end it by raising
        transport = exchange.transport
        if isinstance(transport, Severed):
            exchange.head_sent = transport.head_sent  # what came later was not sent
        broken_off = exchange.broken_off
        broken = self.body.broken if self.body is not None else None
        if broken is not None and isinstance(error, OSError):
            self._error(exchange, broken.status)
        elif isinstance(error, Harakiri):
            service.harakiris += 1
            self._error(exchange, 504)
        elif isinstance(error, Expired):
            log.warning("%s: %s %s: %s; closed", self.peer, exchange.method, exchange.uri, error)
        elif isinstance(error, ClientDisconnected):
            log.debug("%s: client gone during %s %s: %s", self.peer, exchange.method,
                      exchange.uri, error)
        else:
            service.exceptions += 1
            report.application_error(self.peer, exchange.method, exchange.uri, error)
            self._error(exchange, 500)
        if broken_off:
            self.stream.abort()

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

    # PROXY protocol.

    def _proxy_header(self) -> bytes:
        """Read the PROXY header that has to come first; return the bytes behind it."""
        proxies = self.service.proxies
        if self.listener.protocol != "http" or (
                self.host and proxies is not None and self.host not in proxies):
            return b""
        timeout = self.service.policy.head_timeout
        end = monotonic() + timeout
        data = self.stream.receive_now(timeout)
        while data:
            found = proxy.parse(data)
            if found is not None:
                break
            try:
                more = self.stream.receive(max(end - monotonic(), 0.0))
            except Expired:
                raise ProtocolError(
                    408, f"no whole PROXY protocol header within {timeout:g} seconds") from None
            if not more:
                raise ProtocolError(400, "truncated PROXY protocol header")
            data += more
        else:
            return b""  # a health check that only connects
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
        exchange.transport = Severed(self, exchange.head_sent)
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
        if exchange.broken_off:
            self.stream.abort()
        else:
            self.stream.close()
        self.service.slots.lose()
        self.service.left(self)
        self.service.spoiled()

    def interrupt_if_idle(self) -> None:
        """End a connection that waits for a request, unless one has just come."""
        if self.idle and not self.stream.readable():
            self.stream.interrupt()

    @property
    def taken(self) -> bool:
        return self.handed.taken


class Severed:
    """The transport of a request that was told to end: whatever the application still
    returns is discarded, and any attempt to send it ends the request once more."""

    def __init__(self, connection: Connection, head_sent: bool) -> None:
        self.head_sent = head_sent
        self.standing = connection.standing
        self.persists = False
        self.body = None
        self.stream = self
        self.release = connection.release

    def send(self, *_: object) -> None:
        raise Harakiri

    send_pair = send_file = send
