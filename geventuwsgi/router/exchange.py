"""One request: a node is chosen, tried, another one maybe, and its answer given back.

The rules of this room:

- A request goes to another node only if the first one cannot have acted on it: it could
  not be reached, nothing could be sent, or the method is safe and no octet of an answer
  came (RFC 9110 section 9.2.2; nginx's `proxy_next_upstream error`).
- Bodies up to `http-buffer` are there before a node is chosen, so a slow client holds no
  node; larger ones are streamed, and bind the request to its node.
- What a node does wrong is told in a line that names it.
"""

import logging
from tempfile import TemporaryFile
from time import monotonic
from typing import IO, Any

from ..errors import ClientDisconnected, ProtocolError
from ..net.stream import Expired
from ..protocol.http1 import RequestParser
from ..protocol.response import CONTINUE
from .balance import NodeGroup
from .node import Node, NodeConnection
from .relay import NodeDisconnected, Relay
from .request import Request
from .response import Answer

log = logging.getLogger("geventuwsgi.error")

# Without a body that could be sent twice, and without an effect that could happen twice.
_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))


class NodeFailure(ProtocolError):
    """A node did not serve a request.

    Attributes:
        again: another node may be asked.
    """

    def __init__(self, status: int, reason: str, again: bool) -> None:
        super().__init__(status, reason)
        self.again = again


class SpooledBody:
    """A body in a temporary file, as a source: a uwsgi node wants its length first."""

    def __init__(self) -> None:
        self.file: IO[bytes] = TemporaryFile(prefix="geventuwsgi-body-")
        self.size = 0

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.size += len(data)

    def take(self, size: int = 65536) -> bytes:
        return self.file.read(size)


class ProxyExchange:
    """One request of a client.

    Args:
        client: the connection it came over (see `client.Client`).
        parser: holds its head.

    Attributes:
        answer: what the node has said so far; None before a node was asked.
        link: the connection to the node.
        expecting: the client waits for a 100 before it sends the body.
    """

    __slots__ = ("client", "parser", "answer", "link", "expecting", "_gate", "_request",
                 "_whole", "_early", "_stored", "_sent")

    def __init__(self, client: Any, parser: RequestParser) -> None:
        self.client = client
        self.parser = parser
        self.answer: Answer | None = None
        self.link: NodeConnection | None = None
        self.expecting = False
        self._gate = client.gate
        self._request: Request | None = None
        self._whole = True           # all of the body is in _early
        self._early = b""
        self._stored: SpooledBody | None = None
        self._sent = 0

    def run(self) -> bool:
        """Serve the request; tell whether the client's connection may serve another.

        Raises:
            ProtocolError: what the client is to be told, if nothing was sent to it yet.
            ClientDisconnected: the client is gone, or must not take what it got for whole.
        """
        parser, gate = self.parser, self._gate
        if parser.method == "CONNECT":  # its answer would frame no body but a tunnel
            raise ProtocolError(501, "CONNECT: this is no forward proxy")
        group = gate.routes.find(parser)
        if not parser.body_complete:
            self._read_early()
        if parser.repeated:
            self._request = self.client.request
        if self._request is None:
            self._request = self.client.request = Request(parser, self.client.origin, gate.manner)
        tried: list[Node] = []
        failure: NodeFailure | None = None
        while True:
            node = group.take(tried)
            if node is None:
                assert failure is not None
                raise failure
            try:
                return self._ask(group, node)
            except NodeFailure as error:
                failure = error
                tried.append(node)
                error.again = error.again and group.has_other(tried)
                self._tell(node, error)
                if not error.again:
                    raise
            finally:
                group.give(node)

    def _tell(self, node: Node, error: NodeFailure) -> None:
        node.failed_requests += 1
        self._gate.failures += 1
        log.error("%s: %s %s: node %s: %s%s", self.client.peer, self.parser.method,
                  self.parser.target, node.name, error.reason,
                  "; another is tried" if error.again else f"; answered {error.status}"
                  if not (self.answer and self.answer.touched) else "; cut off")

    # The body.

    def _read_early(self) -> None:
        """Read the body, as far as it is small."""
        parser, gate = self.parser, self._gate
        length = parser.content_length
        self._early = parser.body(b"")
        if gate.limit_post and length is not None and length > gate.limit_post:
            raise ProtocolError(413, f"a request body of more than {gate.limit_post} bytes")
        self.expecting = parser.expect_continue and not self._early
        if length is None and gate.raw_body:
            self._whole = False  # in chunks, however small it is
            self._sent = len(self._early)
            return
        if length is not None and length > gate.buffer:
            self._whole = parser.body_complete
            return
        self._say_continue()
        pieces, size = [self._early], len(self._early)
        while not parser.body_complete and size <= gate.buffer:
            piece = self._receive_body()
            pieces.append(piece)
            size += len(piece)
        self._early = b"".join(pieces)
        self._sent = size
        self._whole = parser.body_complete

    def _say_continue(self) -> None:
        if self.expecting:
            self.expecting = False
            self.client.stream.send(CONTINUE)

    def _receive_body(self) -> bytes:
        gate = self._gate
        try:
            data = self.client.stream.receive(gate.client_timeout, gate.buffer)
        except Expired:
            raise ProtocolError(408, "no part of the request body for "
                                     f"{gate.client_timeout:g} seconds") from None
        if not data:
            self.parser.eof()
        return self.parser.body(data)

    def _store(self) -> None:
        """Read the rest of a body without length into a file."""
        stored = self._stored = SpooledBody()
        stored.write(self._early)
        self._early = b""
        while not self.parser.body_complete:
            stored.write(self._receive_body())
            self._bound(stored.size)
        stored.file.seek(0)

    def _bound(self, size: int) -> None:
        limit = self._gate.limit_post
        if limit and size > limit:
            raise ProtocolError(413, f"a request body of more than {limit} bytes")

    # The node.

    def _ask(self, group: NodeGroup, node: Node) -> bool:
        """Have the request served by this node."""
        if not self._whole and self._stored is None and node.protocol == "uwsgi" \
                and self.parser.content_length is None and not self._gate.raw_body:
            self._say_continue()
            self._store()
        opening = self._opening(node)
        while True:
            link = node.pooled() if node.protocol != "uwsgi" else None
            if link is None:
                link = self._connect(node)
            self.link = self.client.link = link
            link.parser.begin(self.parser.method)
            gate = self._gate
            assert self._request is not None
            self.answer = answer = Answer(
                link.parser, gate.standing, self.parser.http11, self.parser.method == "HEAD",
                self.parser.keep_alive and gate.persistent, self._request.upgrade)
            node.hits += 1
            try:
                took_all = self._converse(node, link, answer, opening)
                return self._finish(node, link, answer, took_all)
            except _Stale:
                node.hits -= 1
                continue
            finally:
                self.client.link = None
                if self.link is not None:  # not handed back
                    link.stream.close()

    def _connect(self, node: Node) -> NodeConnection:
        gate = self._gate
        link = node.link(gate.hub, gate.answer_limits)
        self.client.link = link
        try:
            link.stream.connect(gate.connect_timeout, gate.timeout)
        except ClientDisconnected as error:
            link.stream.close()
            if self.client.deserted:
                raise ClientDisconnected("it left") from error
            pause = node.failed(monotonic())
            reason = (f"no connection within {gate.connect_timeout:g} seconds"
                      if isinstance(error, Expired) else f"cannot connect: {error}")
            raise NodeFailure(504 if isinstance(error, Expired) else 502,
                              f"{reason}; left out for {pause:.3g} seconds", True) from error
        except BaseException:
            link.stream.close()
            raise
        finally:
            self.client.link = None
        return link

    def _opening(self, node: Node) -> bytes:
        """Return the request's head for a node, and what there is of its body."""
        request, parser = self._request, self.parser
        assert request is not None
        length = parser.content_length
        if self._whole:
            if length is None and parser.chunked:
                length = len(self._early)
        elif self._stored is not None:
            length = self._stored.size
        if node.protocol == "uwsgi":
            known = None if length is None and not self._whole else length or 0
            head = request.packet(known, node.modifiers)
            chunked = known is None
        else:
            chunked = length is None and not self._whole
            framing = ("Transfer-Encoding: chunked\r\n" if chunked
                       else "" if length is None else f"Content-Length: {length}\r\n")
            head = request.http(framing, node.protocol == "routed")
        early = self._early
        if chunked and early:
            early = b"%x\r\n%s\r\n" % (len(early), early)
        if chunked and parser.body_complete:
            early += b"0\r\n\r\n"
        return head + early

    def _converse(self, node: Node, link: NodeConnection, answer: Answer, opening: bytes) -> bool:
        """Send the request and hand the answer on, until it is done or a tunnel begins.

        Returns:
            Whether the node took all of the request.
        """
        started = monotonic()
        node.sent += len(opening)
        try:
            if not (self._whole or self._stored is None and self.parser.body_complete):
                return self._stream_body(node, link, answer, opening)
            self._send(link, opening)
            self._receive(node, link, answer)
            return True
        except Expired:
            self._timed_out(node, answer, started)
        except ProtocolError as error:
            if error.status != 502:
                raise  # the client's fault
            raise NodeFailure(502, error.reason, False) from error
        except _NodeClosed as error:
            raise self._gone(node, link, answer, error) from error
        except NodeDisconnected as error:
            raise NodeFailure(502, f"the connection broke: {error}", False) from error
        return False

    def _send(self, link: NodeConnection, opening: bytes) -> None:
        try:
            link.stream.send(opening)
        except Expired:
            raise
        except ClientDisconnected as error:
            # It may have answered before it closed; reading will tell.
            if link.used:
                raise _Stale from error

    def _receive(self, node: Node, link: NodeConnection, answer: Answer) -> None:
        """Hand on what the node says until that is all."""
        gate, send = self._gate, self.client.stream.send
        receive, feed, timeout = link.stream.receive, answer.feed, gate.timeout
        while True:
            try:
                data = receive(timeout, gate.buffer)
            except Expired:
                raise
            except ClientDisconnected as error:
                raise _NodeClosed(*error.args) from error
            if data:
                node.received += len(data)
                out = feed(data)
            elif answer.started:
                out = answer.end()
            elif link.parser.buffered:
                raise ProtocolError(502, "it closed the connection within the head of its answer")
            else:
                raise _NodeClosed("it closed the connection without an answer")
            if out:
                try:
                    send(out)
                except Expired as error:
                    raise ClientDisconnected(str(error)) from error
            if answer.done or answer.tunnel:
                return

    def _stream_body(self, node: Node, link: NodeConnection, answer: Answer,
                     opening: bytes) -> bool:
        parser, gate = self.parser, self._gate
        self._say_continue()
        stored = self._stored
        chunked = stored is None and parser.content_length is None
        state = {"ended": False}

        def up(data: bytes) -> bytes:
            if stored is not None:
                state["ended"] = not data
                node.sent += len(data)
                return data
            if not data:
                parser.eof()
                raise ClientDisconnected("it ended within its request body")
            data = parser.body(data)
            self._sent += len(data)
            node.sent += len(data)
            self._bound(self._sent)
            if chunked:
                end = b"0\r\n\r\n" if parser.body_complete else b""
                return (b"%x\r\n%s\r\n" % (len(data), data) if data else b"") + end
            return data

        def sent() -> bool:
            return state["ended"] if stored is not None else parser.body_complete

        def down(data: bytes) -> bytes:
            node.received += len(data)
            if not data and not answer.started and not link.parser.buffered:
                raise NodeDisconnected("it closed the connection without an answer")
            return answer.feed(data) if data else answer.end()

        relay = Relay(gate.hub, self.client.stream, link.stream, gate.timeout, gate.buffer)
        return relay.exchange(stored or self.client.stream, up, sent, down,
                              lambda: answer.done or answer.tunnel, opening)

    def _timed_out(self, node: Node, answer: Answer, started: float) -> None:
        """Nothing moved for too long: whose fault was it?"""
        if not self._whole and self._stored is None and not self.parser.body_complete:
            raise ProtocolError(408, "no part of the request body for "
                                     f"{self._gate.timeout:g} seconds")
        told = ""
        if node.answered_at < started and not answer.started:
            # It has answered nobody meanwhile: it is not only this request that is slow.
            told = f"; left out for {node.failed(monotonic()):.3g} seconds"
        raise NodeFailure(504, f"no answer for {self._gate.timeout:g} seconds{told}", False)

    def _gone(self, node: Node, link: NodeConnection, answer: Answer, error: OSError) -> Exception:
        """The node closed the connection before it had answered."""
        if self.client.deserted:
            return ClientDisconnected("it left")
        untouched = not answer.touched
        safe = self.parser.method in _SAFE and self._whole
        if untouched and safe and link.used:
            return _Stale()
        return NodeFailure(502, str(error), untouched and safe)

    def _finish(self, node: Node, link: NodeConnection, answer: Answer, took_all: bool) -> bool:
        """Give the connection back; tell whether the client's serves another request."""
        now = monotonic()
        node.succeeded(now)
        if answer.tunnel:
            self._tunnel(node, link)
            return False
        parser = link.parser
        if took_all and parser.keep_alive and not parser.buffered and node.protocol != "uwsgi":
            self.link = None
            node.keep(link, now)
        return answer.keep_alive and self.parser.body_complete

    def _tunnel(self, node: Node, link: NodeConnection) -> None:
        gate, client = self._gate, self.client
        early, self.parser.buffered = self.parser.buffered, b""
        gate.tunnels += 1
        client.tunnel = True
        try:
            if early:
                link.stream.send(early)
            sent, received = Relay(gate.hub, client.stream, link.stream, gate.tunnel_timeout,
                                   gate.buffer).tunnel()
            node.sent += sent
            node.received += received
        except Expired:
            log.info("%s: %s %s: nothing came through the tunnel for %g seconds; closed",
                     client.peer, self.parser.method, self.parser.target, gate.tunnel_timeout)
        except ClientDisconnected as error:
            log.debug("%s: tunnel ended: %s", client.peer, error)
        finally:
            gate.tunnels -= 1
            client.tunnel = False


class _Stale(Exception):
    """A connection that was kept had been closed by the node."""


class _NodeClosed(OSError):
    """The node closed the connection before it had answered."""
