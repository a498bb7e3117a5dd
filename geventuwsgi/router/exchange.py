"""One request: choose a node, forward the request, try another node if need be.

Rules:

- A request goes to another node only if the first one cannot have acted on it: it could
  not be reached, nothing could be sent, or the method is safe and no byte of a response
  came (RFC 9110 section 9.2.2; nginx's `proxy_next_upstream error`).
- Bodies up to `http-buffer` are read before a node is chosen, so that a slow client does not
  occupy a node; larger ones are streamed, and bind the request to its node.
- Each failure of a node is logged in a line that names it.
"""

import logging
from tempfile import TemporaryFile
from time import monotonic
from typing import IO, Any

from ..errors import ClientDisconnected, ProtocolError
from ..net.arrival import Arrival
from ..net.stream import Expired
from ..protocol.http1 import RequestParser
from ..protocol.response import CHUNKED, CONTINUE
from .node import Node, NodeConnection
from .relay import NodeDisconnected, Relay
from .request import Request
from .response import NO_RESPONSE, TRUNCATED_HEAD, Response

log = logging.getLogger("geventuwsgi.error")

# Requests that may be sent twice: safe methods (RFC 9110 section 9.2.1).
_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))


class NodeFailure(ProtocolError):
    """A node did not serve a request.

    Attributes:
        retry: another node may be tried.
    """

    def __init__(self, status: int, reason: str, retry: bool) -> None:
        super().__init__(status, reason)
        self.retry = retry


class SpooledBody:
    """A body in a temporary file: a uwsgi node needs its length first. It is a `Source`."""

    def __init__(self) -> None:
        self.file: IO[bytes] = TemporaryFile(prefix="geventuwsgi-body-")
        self.size = 0

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.size += len(data)

    def take(self, size: int) -> bytes:
        return self.file.read(size)


class ProxyExchange:
    """One request of a client.

    Args:
        client: the connection it came from (see `client.Client`).
        parser: holds its head.

    Attributes:
        response: of the node that was tried last; None before the first.
        connection: to that node; None when it went back to the pool.
        expecting: the client waits for a 100 before it sends the body.
    """

    __slots__ = ("client", "parser", "response", "connection", "expecting", "_state", "_request",
                 "_whole", "_early", "_spooled", "_sent", "_arrival")

    def __init__(self, client: Any, parser: RequestParser) -> None:
        self.client = client
        self.parser = parser
        self.response: Response | None = None
        self.connection: NodeConnection | None = None
        self.expecting = False
        self._state = client.state
        self._request: Request | None = None
        self._whole = True           # all of the body is in _early
        self._early = b""
        self._spooled: SpooledBody | None = None
        self._sent = 0
        self._arrival: Arrival | None = None

    def run(self) -> bool:
        """Serve the request; return whether the client's connection may serve another.

        Raises:
            ProtocolError: the error response for the client, if nothing was sent to it yet.
            ClientDisconnected: the client has disconnected, or what it received is incomplete.
        """
        parser, state = self.parser, self._state
        if parser.method == "CONNECT":  # its response would begin a tunnel
            raise ProtocolError(501, "CONNECT: this is not a forward proxy")
        group = state.routes.find(parser)
        if not parser.body_complete:
            self._read_early()
        if parser.repeated:
            self._request = self.client.request
        if self._request is None:
            self._request = self.client.request = Request(parser, self.client.origin,
                                                          state.forwarding)
        tried: list[Node] = []
        failure: NodeFailure | None = None
        while True:
            node = group.acquire(tried)
            if node is None:
                assert failure is not None
                raise failure
            try:
                return self._try(node)
            except NodeFailure as error:
                failure = error
                tried.append(node)
                error.retry = error.retry and group.has_other(tried)
                self._log_failure(node, error)
                if not error.retry:
                    raise
            finally:
                group.release(node)

    def _log_failure(self, node: Node, error: NodeFailure) -> None:
        node.failed_requests += 1
        self._state.failures += 1
        log.error("%s: %s %s: node %s: %s%s", self.client.peer, self.parser.method,
                  self.parser.target, node.name, error.reason,
                  "; trying another" if error.retry else f"; responded with {error.status}"
                  if not (self.response and self.response.touched) else "; cut off")

    # The body.

    def _read_early(self) -> None:
        """Read a small body whole, of a larger one what has arrived."""
        parser, state = self.parser, self._state
        length = parser.content_length
        self._arrival = Arrival(state.arrival, state.client_timeout,
                                self.client.take_head_waited())
        self._early = parser.body(b"")
        if state.limit_post and length is not None and length > state.limit_post:
            raise ProtocolError(413, f"a request body of more than {state.limit_post} bytes")
        self.expecting = parser.expect_continue and not self._early
        if length is None and state.raw_body:
            self._whole = False  # in chunks, however small it is
            self._sent = len(self._early)
            return
        if length is not None and length > state.buffer:
            self._whole = parser.body_complete
            return
        self._send_continue()
        pieces, size = [self._early], len(self._early)
        while not parser.body_complete and size <= state.buffer:
            piece = self._receive_body(size)
            pieces.append(piece)
            size += len(piece)
        self._early = b"".join(pieces)
        self._sent = size
        self._whole = parser.body_complete

    def _send_continue(self) -> None:
        if self.expecting:
            self.expecting = False
            self.client.stream.send(CONTINUE)

    def _receive_body(self, received: int) -> bytes:
        state, arrival = self._state, self._arrival
        assert arrival is not None
        try:
            data = self.client.stream.receive(arrival.begin(received), state.buffer)
        except Expired:
            raise arrival.error() from None
        finally:
            arrival.end()
        if not data:
            self.parser.eof()
        return self.parser.body(data)

    def _spool(self) -> None:
        """Read the rest of a body of unknown length into a file."""
        spooled = self._spooled = SpooledBody()
        spooled.write(self._early)
        self._early = b""
        while not self.parser.body_complete:
            spooled.write(self._receive_body(spooled.size))
            self._check_limit(spooled.size)
        spooled.file.seek(0)

    def _check_limit(self, size: int) -> None:
        limit = self._state.limit_post
        if limit and size > limit:
            raise ProtocolError(413, f"a request body of more than {limit} bytes")

    # The node.

    def _try(self, node: Node) -> bool:
        """Forward the request to this node; return as `run`.

        Raises:
            NodeFailure: the node did not serve it.
        """
        if not self._whole and self._spooled is None and node.protocol == "uwsgi" \
                and self.parser.content_length is None and not self._state.raw_body:
            self._send_continue()
            self._spool()
        opening = self._opening(node)
        while True:
            connection = node.pooled() if node.protocol != "uwsgi" else None
            if connection is None:
                connection = self._connect(node)
            self.connection = self.client.node_connection = connection
            connection.parser.begin(self.parser.method)
            state = self._state
            assert self._request is not None
            self.response = response = Response(
                connection.parser, state.defaults, self.parser.http11,
                self.parser.method == "HEAD", self.parser.keep_alive and state.persistent,
                self._request.upgrade)
            node.hits += 1
            try:
                sent_all = self._converse(node, connection, response, opening)
                return self._finish(node, connection, response, sent_all)
            except _Stale:
                node.hits -= 1
                continue
            finally:
                self.client.node_connection = None
                if self.connection is not None:  # not back in the pool
                    connection.stream.close()

    def _connect(self, node: Node) -> NodeConnection:
        state = self._state
        connection = node.new_connection(state.hub, state.response_limits)
        self.client.node_connection = connection
        try:
            connection.stream.connect(state.connect_timeout, state.timeout)
        except ClientDisconnected as error:
            connection.stream.close()
            if self.client.disconnected:
                raise ClientDisconnected("it disconnected") from error
            pause = node.failed(monotonic())
            reason = (f"no connection within {state.connect_timeout:g} seconds"
                      if isinstance(error, Expired) else f"cannot connect: {error}")
            raise NodeFailure(504 if isinstance(error, Expired) else 502,
                              f"{reason}; left out for {pause:.3g} seconds", True) from error
        except BaseException:
            connection.stream.close()
            raise
        finally:
            self.client.node_connection = None
        return connection

    def _opening(self, node: Node) -> bytes:
        """Return the request's head for a node, with the part of the body that was read."""
        request, parser = self._request, self.parser
        assert request is not None
        length = parser.content_length
        if self._whole:
            if length is None and parser.chunked:
                length = len(self._early)
        elif self._spooled is not None:
            length = self._spooled.size
        if node.protocol == "uwsgi":
            known = None if length is None and not self._whole else length or 0
            head = request.packet(known, node.modifiers)
            chunked = known is None
        else:
            chunked = length is None and not self._whole
            framing = (CHUNKED if chunked
                       else "" if length is None else f"Content-Length: {length}\r\n")
            head = request.http(framing, node.protocol == "routed")
        early = self._early
        if chunked and early:
            early = b"%x\r\n%s\r\n" % (len(early), early)
        if chunked and parser.body_complete:
            early += b"0\r\n\r\n"
        return head + early

    def _converse(self, node: Node, connection: NodeConnection, response: Response,
                  opening: bytes) -> bool:
        """Send the request and forward the response, until it is done or a tunnel begins.

        Returns:
            Whether all of the request was sent.
        """
        started = monotonic()
        node.sent += len(opening)
        try:
            if not (self._whole or self._spooled is None and self.parser.body_complete):
                return self._stream_body(node, connection, response, opening)
            self._send(connection, opening)
            self._receive(node, connection, response)
            return True
        except Expired:
            self._timed_out(node, response, started)
        except ProtocolError as error:
            if error.status != 502:
                raise  # the client's fault
            raise NodeFailure(502, error.reason, False) from error
        except _NodeClosed as error:
            raise self._closed_early(connection, response, error) from error
        except NodeDisconnected as error:
            raise NodeFailure(502, f"the connection broke: {error}", False) from error
        return False

    def _send(self, connection: NodeConnection, opening: bytes) -> None:
        try:
            connection.stream.send(opening)
        except Expired:
            raise
        except ClientDisconnected as error:
            # It may have responded before it closed, which reading shows.
            if connection.used:
                raise _Stale from error

    def _receive(self, node: Node, connection: NodeConnection, response: Response) -> None:
        """Forward the response until it is complete."""
        state, send = self._state, self.client.stream.send
        receive, feed, timeout = connection.stream.receive, response.feed, state.timeout
        while True:
            try:
                data = receive(timeout, state.buffer)
            except Expired:
                raise
            except ClientDisconnected as error:
                raise _NodeClosed(*error.args) from error
            if data:
                node.received += len(data)
                out = feed(data)
            elif response.started:
                out = response.end()
            elif connection.parser.buffered:
                raise ProtocolError(502, TRUNCATED_HEAD)
            else:
                raise _NodeClosed(NO_RESPONSE)
            if out:
                try:
                    send(out)
                except Expired as error:
                    raise ClientDisconnected(str(error)) from error
            if response.done or response.tunnel:
                return

    def _stream_body(self, node: Node, connection: NodeConnection, response: Response,
                     opening: bytes) -> bool:
        parser, state = self.parser, self._state
        self._send_continue()
        spooled = self._spooled
        chunked = spooled is None and parser.content_length is None
        ended = False

        def up(data: bytes) -> bytes:
            nonlocal ended
            if spooled is not None:
                ended = not data
                node.sent += len(data)
                return data
            if not data:
                parser.eof()
                raise ClientDisconnected("it ended within its request body")
            data = parser.body(data)
            self._sent += len(data)
            node.sent += len(data)
            self._check_limit(self._sent)
            if chunked:
                end = b"0\r\n\r\n" if parser.body_complete else b""
                return (b"%x\r\n%s\r\n" % (len(data), data) if data else b"") + end
            return data

        def sent() -> bool:
            return ended if spooled is not None else parser.body_complete

        def down(data: bytes) -> bytes:
            node.received += len(data)
            if not data and not response.started and not connection.parser.buffered:
                raise NodeDisconnected(NO_RESPONSE)
            if not parser.body_complete:
                response.keep_alive = False  # without the rest no other request can follow
            return response.feed(data) if data else response.end()

        relay = Relay(state.hub, self.client.stream, connection.stream, state.timeout,
                      state.buffer)
        return relay.exchange(spooled or self.client.stream, up, sent, down,
                              lambda: response.done or response.tunnel, opening,
                              None if spooled is not None else self._arrival)

    def _timed_out(self, node: Node, response: Response, started: float) -> None:
        """Raise the error of whoever made no progress, the client or the node."""
        if not self._whole and self._spooled is None and not self.parser.body_complete:
            raise ProtocolError(408, "no part of the request body for "
                                     f"{self._state.timeout:g} seconds")
        pause = ""
        if node.responded_at < started and not response.started:
            # It has completed no other request meanwhile: not only this one is slow.
            pause = f"; left out for {node.failed(monotonic()):.3g} seconds"
        raise NodeFailure(504, f"no response for {self._state.timeout:g} seconds{pause}", False)

    def _closed_early(self, connection: NodeConnection, response: Response,
                      error: OSError) -> Exception:
        """Return what to raise when a node closed the connection before it had responded."""
        if self.client.disconnected:
            return ClientDisconnected("it disconnected")
        untouched = not response.touched
        safe = self.parser.method in _SAFE and self._whole
        if untouched and safe and connection.used:
            return _Stale()
        return NodeFailure(502, str(error), untouched and safe)

    def _finish(self, node: Node, connection: NodeConnection, response: Response,
                sent_all: bool) -> bool:
        """Return the connection to the pool if it can be used again; return as `run`."""
        now = monotonic()
        node.succeeded(now)
        if response.tunnel:
            self._tunnel(node, connection)
            return False
        parser = connection.parser
        if sent_all and parser.keep_alive and not parser.buffered and node.protocol != "uwsgi":
            self.connection = None
            node.keep(connection, now)
        return response.keep_alive and self.parser.body_complete

    def _tunnel(self, node: Node, connection: NodeConnection) -> None:
        state, client = self._state, self.client
        early, self.parser.buffered = self.parser.buffered, b""
        state.tunnels += 1
        client.tunnel = True
        try:
            if early:
                connection.stream.send(early)
            sent, received = Relay(state.hub, client.stream, connection.stream,
                                   state.tunnel_timeout, state.buffer).tunnel()
            node.sent += sent
            node.received += received
        except Expired:
            log.info("%s: %s %s: no data through the tunnel for %g seconds; closed",
                     client.peer, self.parser.method, self.parser.target, state.tunnel_timeout)
        except ClientDisconnected as error:
            log.debug("%s: tunnel ended: %s", client.peer, error)
        finally:
            state.tunnels -= 1
            client.tunnel = False


class _Stale(Exception):
    """The node had closed a pooled connection: the request is sent again on another."""


class _NodeClosed(OSError):
    """The node closed the connection before it had responded."""
