"""One connection of a client: request after request, each handed to a node.

The rules of this room: one greenlet lives here as long as the connection. A request that
is refused is answered and logged, and closes the connection; nothing behind it is served.
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
from ..net.deadlines import LINGER_OCTETS, LINGER_SECONDS
from ..net.listener import Listener
from ..net.stream import Expired, Stream
from ..net.tls_engine import HandshakeFailed
from ..net.tls_stream import SecureStream
from ..protocol import proxy
from ..protocol.http1 import RequestParser
from ..protocol.response import error_response
from .balance import NoNodeAvailable
from .exchange import NodeFailure, ProxyExchange
from .node import NodeConnection
from .request import Origin, Request
from .routes import host_of, without_port

log = logging.getLogger("geventuwsgi.error")

PLAIN_HTTP = "A plain HTTP request came to a port that speaks HTTPS: write https:// instead."
RETRY = (("Retry-After", "1"),)


class _Failure(ProtocolError):
    """This process could not do its part."""


class Client:
    """A connection to a listener of the router.

    Args:
        gate: what all connections share (see `gateway.Gate`).
        sock: connected, non-blocking.
        address: the peer's, as accept(2) has it.
        listener: where it came in.

    Attributes:
        began: monotonic seconds since when a request is served, inf between two.
        idle: it waits for a request.
        link: the connection to a node that is waited for.
        tunnel: it has switched protocols.
        deserted: the client is gone, although a node still works for it.
        request: the last request as nodes are told of it.
    """

    __slots__ = ("gate", "stream", "listener", "host", "port", "origin", "began", "idle", "link",
                 "tunnel", "deserted", "request", "greenlet", "_parser", "_secure", "_exchange",
                 "__weakref__")

    def __init__(self, gate: Any, sock: Any, address: Any, listener: Listener) -> None:
        self.gate = gate
        self.stream: Any = Stream(sock, gate.hub, gate.client_timeout)
        self.listener = listener
        self.host = self.port = ""
        if not listener.is_unix:
            self.host, self.port = address[0], str(address[1])
        self.began = inf
        self.idle = self.tunnel = self.deserted = False
        self.link: NodeConnection | None = None
        self.request: Request | None = None
        self.origin: Origin
        self.greenlet = getcurrent()
        self._secure = False
        self._exchange: ProxyExchange | None = None
        self._parser: RequestParser | None = None

    @property
    def peer(self) -> str:
        """Who it is, for logs."""
        if not self.host:
            return f"a peer on {self.listener.url}"
        return f"{self.host}:{self.port}"

    def serve(self) -> None:
        """Serve until the connection ends."""
        gate = self.gate
        gate.clients.add(self)
        gate.accepted += 1
        patient = False
        try:
            patient = self._converse()
        except ProtocolError as error:
            patient = self._refuse(error)
        except ClientDisconnected as error:
            log.debug("%s: %s", self.peer, error)
            if self._exchange is not None and self._exchange.answer is not None \
                    and self._exchange.answer.touched:
                self.stream.abort()
        except GreenletExit:
            pass  # drained while idle
        except Exception as error:
            patient = self._fail(error)
        finally:
            self.began = inf
            if patient:
                self.idle = True  # a stop need not wait for it
                self.stream.linger(LINGER_SECONDS, LINGER_OCTETS)
            else:
                self.stream.close()
            gate.left(self)

    def _converse(self) -> bool:
        """Serve requests; tell whether the client may still be sending."""
        gate = self.gate
        data = self._proxied()
        variables, extension = {}, ""
        if self.listener.protocol == "https":
            if not self._handshake(data):
                return self._secure
            data = b""
            secure = self.stream.engine.tls
            variables = tls.client_variables(secure, gate.export_cert)
            extension = json.dumps(tls.extension(secure, server_cert=False))
        self.origin = Origin(
            self.host, self.port, "https" if self._secure else "http", gate.server_name,
            str(self.listener.address.port or 80), not self.host or self.host in gate.forwarders,
            variables, self._server(), extension)
        self._parser = parser = RequestParser(gate.head_limits)
        redirect = gate.redirect if self.listener.protocol == "redirect" else None
        timeout = gate.head_timeout
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
            if not parser.head(data):
                self._rest_of_head(parser)
            data = b""
            timeout = gate.keepalive
            gate.requests += 1
            if redirect is not None:
                self._redirect(parser, redirect)
                return True
            self.began = monotonic()
            self._exchange = exchange = ProxyExchange(self, parser)
            go_on = exchange.run()
            self._exchange = None
            self.began = inf
            if not go_on:
                return not parser.body_complete or bool(parser.buffered)

    def _server(self) -> str:
        """Return the address that the client connected to."""
        address = self.listener.address
        if address.is_unix:
            return address.path
        if address.host in ("", "0.0.0.0", "::"):
            return str(self.stream.sock.getsockname()[0])
        return address.host

    def _rest_of_head(self, parser: RequestParser) -> None:
        gate = self.gate
        end = monotonic() + gate.head_timeout
        while True:
            try:
                data = self.stream.receive(max(end - monotonic(), 0.0))
            except Expired:
                raise ProtocolError(408, "no whole request head within "
                                         f"{gate.head_timeout:g} seconds") from None
            if not data:
                parser.eof()
                raise ClientDisconnected("it ended before a request")
            if parser.head(data):
                return

    def _proxied(self) -> bytes:
        """Take the PROXY header where one has to come; return the bytes behind it."""
        gate = self.gate
        if gate.proxies is None or (self.host and self.host not in gate.proxies):
            return b""
        end = monotonic() + gate.head_timeout
        data = b""
        while True:
            self.idle = not data
            more = self.stream.receive(max(end - monotonic(), 0.0))
            self.idle = False
            data += more
            if not data:
                raise ClientDisconnected("it only connected")
            if not more:
                raise ProtocolError(400, "truncated PROXY protocol header")
            found = proxy.parse(data)
            if found is not None:
                break
        header, size = found
        if header.source is not None:
            self.host, self.port = header.source[0], str(header.source[1])
        return data[size:]

    def _handshake(self, data: bytes) -> bool:
        """Begin to speak TLS; False if the client does not."""
        timeout = self.gate.head_timeout
        self.idle = True
        try:
            data = data or self.stream.receive_now(timeout)
        finally:
            self.idle = False
        if not data:
            return False
        if data[0] != tls.HANDSHAKE:
            log.warning("%s: plain HTTP on an HTTPS port; closed", self.peer)
            if tls.looks_like_http(data):
                self.stream.send(error_response(400, self.gate.standing, detail=PLAIN_HTTP))
                self._secure = True  # close with patience
            return False
        self.stream = SecureStream(self.stream, self.listener.context)
        try:
            self.stream.handshake(data, timeout)
        except HandshakeFailed as error:
            log.warning("%s: the TLS handshake failed (%s); closed", self.peer, error)
            return False
        self._secure = True
        return True

    def _redirect(self, parser: RequestParser, port: str) -> None:
        """Send the client to the same address over HTTPS (`http-to-https`)."""
        host = without_port(host_of(parser))
        if not host:
            raise ProtocolError(400, "no host to redirect to")
        target = f"https://{host}{port}{parser.path or '/'}"
        self.stream.send(error_response(301, self.gate.standing, extra=[("Location", target)],
                                        is_head=parser.method == "HEAD"))

    def _fail(self, error: Exception) -> bool:
        """Something is wrong with this process or its machine, not with the request."""
        if isinstance(error, OSError):  # no descriptors, no room for a body
            log.error("%s: the router failed: %s", self.peer, error)
        else:
            log.error("%s: the router failed", self.peer, exc_info=error)
        lacking = isinstance(error, OSError) and error.errno in SHORTAGE
        return self._refuse(_Failure(503 if lacking else 500, str(error)))

    def _refuse(self, error: ProtocolError) -> bool:
        """Tell the client what is wrong; tell whether it may still be sending."""
        exchange, parser = self._exchange, self._parser
        answer = exchange.answer if exchange is not None else None
        if answer is not None and answer.touched:
            self.stream.abort()  # what it has is not all of it
            return False
        gate = self.gate
        if isinstance(error, NoNodeAvailable):
            gate.refused += 1
            log.error("%s: %s; answered 503", self.peer, error.reason)
        elif not isinstance(error, (NodeFailure, _Failure)):  # those are told already
            log.warning("%s: %s; closed with %d", self.peer, error.reason, error.status)
        whole = parser is not None and parser.body_complete and not parser.buffered
        is_head = exchange is not None and exchange.parser.method == "HEAD"
        try:
            self.stream.send(error_response(error.status, gate.standing, is_head=is_head,
                                            extra=RETRY if error.status == 503 else ()))
        except ClientDisconnected:
            return False
        return not (whole and exchange is not None)

    # Called on the hub.

    def expire(self) -> None:
        """A deadline may have passed."""
        self.stream.expire()
        if self.link is not None:
            self.link.stream.expire()

    @property
    def waits(self) -> bool:
        """Whether it has said all it had to say, and waits for a node or for one with room."""
        exchange, link = self._exchange, self.link
        if exchange is None or self.tunnel:
            return False
        own = self.stream.deadline != inf
        if link is None:
            return not own  # in a queue; it would be sending or receiving otherwise
        return link.stream.deadline != inf or (  # both streams are watched by one deadline
            own and exchange.parser.body_complete
            and not (exchange.answer is not None and exchange.answer.touched))

    def client_gone(self) -> None:
        """The client is gone: nobody waits for the node's answer any more."""
        if not self.waits:
            return
        self.deserted = True
        if self.link is None:
            self.greenlet.throw(ClientDisconnected("it left before a node had room"))
        elif self.link.stream.deadline != inf:
            self.link.stream.interrupt()
        else:
            self.stream.interrupt()

    def end_tunnel(self) -> None:
        """End it if it has switched protocols: nobody can say when that would be over."""
        if self.tunnel:
            self.stream.interrupt()

    def interrupt_if_idle(self) -> None:
        """End it if it waits for a request."""
        if self.idle and not self.stream.readable():
            self.stream.interrupt()

    def deadline(self) -> float:
        """When the present wait ends."""
        own: float = self.stream.deadline
        return own if self.link is None else min(own, self.link.stream.deadline)
