"""One connection of a client: request after request, each forwarded to a node.

Rules: one greenlet serves the connection. A request that is rejected gets a response and a log
line, and closes the connection; requests pipelined after it are not served.
"""

import json
import logging
from math import inf
from time import monotonic
from typing import Any

from gevent import getcurrent
from greenlet import GreenletExit

from ..errors import ClientDisconnected, ProtocolError
from ..net import tls
from ..net.acceptor import SHORTAGE
from ..net.listener import Listener
from ..net.reusable import GreenletConnection
from ..net.stream import Expired, Stream
from ..net.tls_engine import HandshakeFailed
from ..net.tls_stream import SecureStream
from ..protocol import proxy
from ..protocol.http1 import RequestParser
from ..protocol.response import RETRY, error_response
from .balance import NoNodeAvailable
from .exchange import NodeFailure, ProxyExchange
from .node import NodeConnection
from .request import Origin, Request
from .routes import host_of, without_port

log = logging.getLogger("geventuwsgi.error")


class _RouterFailure(ProtocolError):
    """The fault of this process or its machine; already logged."""


class Client(GreenletConnection):
    """A connection to a listener of the router.

    Args:
        state: what all connections share (see `gateway.RouterState`).
        sock: connected, non-blocking.
        address: the peer's, as accept(2) returns it.
        listener: that accepted it.

    Attributes:
        began: monotonic seconds at which the current request began, inf between two.
        idle, phase: see `net.reusable.GreenletConnection`.
        node_connection: the connection to the node of the current request.
        tunnel: it has switched protocols.
        disconnected: the client has disconnected while a node still served its request.
        request: the last request as it is sent to nodes, for an identical head.
    """

    __slots__ = ("state", "listener", "host", "port", "origin", "began",
                 "node_connection", "tunnel", "disconnected", "request", "greenlet", "_parser",
                 "_secure", "_exchange", "_counted", "__weakref__")

    def __init__(self, state: Any, sock: Any, address: Any, listener: Listener) -> None:
        self.state = state
        self.stream = Stream(sock, state.hub, state.client_timeout)
        self.listener = listener
        self.host = self.port = ""
        if not listener.is_unix:
            self.host, self.port = address[0], str(address[1])
        self.began = inf
        self.idle = self.tunnel = self.disconnected = False
        self.phase = 0
        self.head_waited = 0.0
        self.node_connection: NodeConnection | None = None
        self.request: Request | None = None
        self.origin: Origin
        self.greenlet = getcurrent()
        self._secure = False
        self._counted = ""  # the address for limit-connections-per-address
        self._exchange: ProxyExchange | None = None
        self._parser: RequestParser | None = None

    @property
    def peer(self) -> str:
        """The client's name in logs."""
        return self.listener.peer_name(self.host, self.port)

    def forget(self) -> None:
        """Close this process's descriptors only, in a forked process."""
        self.stream.forget()
        if self.node_connection is not None:
            self.node_connection.stream.forget()

    def serve(self) -> None:
        """Serve until the connection ends."""
        state = self.state
        state.clients.add(self)
        state.accepted += 1
        linger = False
        try:
            linger = self._converse()
        except ProtocolError as error:
            linger = self._reject(error)
        except ClientDisconnected as error:
            log.debug("%s: %s", self.peer, error)
            if self._exchange is not None and self._exchange.response is not None \
                    and self._exchange.response.touched:
                self.stream.abort()
        except GreenletExit:
            pass  # drained while idle
        except Exception as error:
            linger = self._fail(error)
        finally:
            self.began = inf
            if linger:
                self.idle = True  # a stop need not wait for it
                self.linger(self._parser)
            else:
                self.stream.close()
            if self._counted:
                state.addresses.leave(self._counted)
            state.closed(self)

    def _converse(self) -> bool:
        """Serve requests; return whether the client may still be sending."""
        state = self.state
        data = self._proxied()
        trusted = not self.host or self.host in state.forwarders
        if state.addresses is not None and not trusted:
            if not state.addresses.enter(self.host):
                return False
            self._counted = self.host
        variables, extension = {}, ""
        if self.listener.protocol == "https":
            if not self._handshake(data):
                return self._secure
            data = b""
            secure = self.stream.engine.tls
            variables = tls.client_variables(secure, state.export_cert)
            extension = json.dumps(tls.extension(secure, server_cert=False))
        self.origin = Origin(
            self.host, self.port, "https" if self._secure else "http", state.server_name,
            str(self.listener.address.port or 80), trusted, variables, self._server(), extension)
        self._parser = parser = RequestParser(state.head_limits)
        redirect = state.redirect if self.listener.protocol == "redirect" else None
        timeout = state.head_timeout
        while True:
            if not data and not parser.buffered:
                self.idle = True
                try:
                    data = self.stream.receive(timeout)
                except Expired:
                    return False
                self.idle = False
                if not data:
                    return False
            if not parser.head(data) and not self.read_head(parser):
                raise ClientDisconnected("it ended before a request")
            data = b""
            timeout = state.keepalive
            state.requests += 1
            if redirect is not None:
                self._redirect(parser, redirect)
                return True
            self.began = monotonic()
            self._exchange = exchange = ProxyExchange(self, parser)
            keep_alive = exchange.run()
            self._exchange = None
            self.began = inf
            if not keep_alive:
                return not parser.body_complete or bool(parser.buffered)

    def idle_timeout(self) -> float:
        used = self._parser is not None and self._parser.head_size
        timeout: float = self.state.keepalive if used else self.state.head_timeout
        return timeout

    def head_timeout(self) -> float:
        timeout: float = self.state.head_timeout
        return timeout

    def _server(self) -> str:
        """Return the address that the client connected to."""
        address = self.listener.address
        if address.is_unix:
            return address.path
        if address.host in ("", "0.0.0.0", "::"):
            return str(self.stream.sock.getsockname()[0])
        return address.host

    def _proxied(self) -> bytes:
        """Read the PROXY header if a trusted peer sends one; return the bytes after it."""
        state = self.state
        if not self.listener.proxied or (self.host and self.host not in state.proxies):
            return b""
        start, timeout = monotonic(), state.head_timeout
        self.idle = True  # nothing of a request has arrived
        data = self.stream.receive(timeout)
        if not data:
            raise ClientDisconnected("it only connected")
        header, rest = self.stream.read_proxy_header(proxy.parse, data, start, timeout)
        self.idle = False
        if header.source is not None:
            self.host, self.port = header.source[0], str(header.source[1])
        return rest

    def _handshake(self, data: bytes) -> bool:
        """Make the TLS handshake; return False if the client does not speak TLS."""
        timeout = self.state.head_timeout
        self.idle = True  # as in _proxied
        data = data or self.stream.receive_now(timeout)
        if not data:
            return False
        if data[0] != tls.HANDSHAKE:
            plain = tls.looks_like_http(data)
            log.warning(tls.PLAIN_HTTP_CLOSED if plain else tls.NOT_TLS, self.peer)
            if plain:
                self.stream.send(error_response(400, self.state.defaults, detail=tls.PLAIN_HTTP))
                self._secure = True  # linger, so that the client reads it
            return False
        self.stream = SecureStream(self.stream, self.listener.context)
        try:
            self.stream.handshake(data, timeout)
        except HandshakeFailed as error:
            log.warning(tls.HANDSHAKE_FAILED, self.peer, error)
            return False
        self.idle = False
        self._secure = True
        return True

    def _redirect(self, parser: RequestParser, port: str) -> None:
        """Redirect the client to the same URL over HTTPS (`http-to-https`)."""
        host = without_port(host_of(parser))
        if not host:
            raise ProtocolError(400, "no host to redirect to")
        target = f"https://{host}{port}{parser.path or '/'}"
        self.stream.send(error_response(301, self.state.defaults, extra=[("Location", target)],
                                        is_head=parser.method == "HEAD"))

    def _fail(self, error: Exception) -> bool:
        """Report a fault of this process or its machine; return as `_reject`."""
        if isinstance(error, OSError):  # no descriptors, no space for a body
            log.error("%s: the router failed: %s", self.peer, error)
        else:
            log.error("%s: the router failed", self.peer, exc_info=error)
        shortage = isinstance(error, OSError) and error.errno in SHORTAGE
        return self._reject(_RouterFailure(503 if shortage else 500, str(error)))

    def _reject(self, error: ProtocolError) -> bool:
        """Send an error response; return whether the client may still be sending."""
        exchange, parser = self._exchange, self._parser
        response = exchange.response if exchange is not None else None
        if response is not None and response.touched:
            self.stream.abort()  # what it has received is incomplete
            return False
        state = self.state
        if isinstance(error, NoNodeAvailable):
            state.refused += 1
            log.error("%s: %s; responded with 503", self.peer, error.reason)
        elif not isinstance(error, (NodeFailure, _RouterFailure)):  # these are logged already
            log.warning("%s: %s; closed with %d", self.peer, error.reason, error.status)
        whole = parser is not None and parser.body_complete and not parser.buffered
        is_head = parser is not None and parser.first_line()[0] == "HEAD"
        try:
            self.stream.send(error_response(error.status, state.defaults, is_head=is_head,
                                            extra=RETRY if error.status == 503 else ()))
        except ClientDisconnected:
            return False
        return not (whole and exchange is not None)

    # Called on the hub, where nothing may block.

    def expire(self) -> None:
        """Interrupt the waits whose deadline has passed."""
        self.stream.expire()
        if self.node_connection is not None:
            self.node_connection.stream.expire()

    @property
    def waits(self) -> bool:
        """Whether the request is complete, and waits for a node or its response."""
        exchange, connection = self._exchange, self.node_connection
        if exchange is None or self.tunnel:
            return False
        own = self.stream.deadline != inf
        if connection is None:
            return not own  # queued for a node, else it would be sending or receiving
        return connection.stream.deadline != inf or (  # a relay has one deadline for both streams
            own and exchange.parser.body_complete
            and not (exchange.response is not None and exchange.response.touched))

    def client_gone(self) -> None:
        """End the request: the client has disconnected."""
        if not self.waits:
            return
        self.disconnected = True
        if self.node_connection is None:
            self.greenlet.throw(ClientDisconnected("it disconnected before a node was free"))
        elif self.node_connection.stream.deadline != inf:
            self.node_connection.stream.interrupt()
        else:
            self.stream.interrupt()

    def end_tunnel(self) -> None:
        """End it if it has switched protocols, as a tunnel may last forever."""
        if self.tunnel:
            self.stream.interrupt()

    def interrupt_if_idle(self) -> None:
        """End it if it waits for a request and none has arrived."""
        if self.idle and not self.stream.readable():
            self.stream.interrupt()

    def deadline(self) -> float:
        """Return when the current wait ends."""
        own: float = self.stream.deadline
        connection = self.node_connection
        return own if connection is None else min(own, connection.stream.deadline)
