"""What the client gets of a node's answer: the head rewritten, the body framed anew.

The rules of this room: octets of the node in, octets for the client out, nothing is sent
here. The client's framing follows from what is known when the head is there: the node's
length, else chunks over HTTP/1.1, else the end of the connection.
"""

from ..errors import ProtocolError
from ..protocol.http1_response import ResponseHead, ResponseParser
from ..protocol.response import LAST_CHUNK, ResponseDefaults

_BODILESS = (204, 304)


class Answer:
    """One answer on its way from a node to a client.

    Args:
        parser: of the connection to the node, already told of the method.
        standing: the fields that every answer carries.
        http11: the client speaks HTTP/1.1.
        is_head: the method was HEAD.
        keep_alive: the client's connection may stay open.
        upgrade: the protocol that the node may switch to, "" for none.

    Attributes:
        started: the final head was given out.
        touched: octets were given out.
        done: all of the answer was.
        tunnel: the node has switched protocols.
        keep_alive: the client's connection stays open.
        status: the code; 0 before `started`.
    """

    __slots__ = ("started", "touched", "done", "tunnel", "keep_alive", "status", "_parser",
                 "_standing", "_http11", "_is_head", "_upgrade", "_chunked")

    def __init__(self, parser: ResponseParser, standing: ResponseDefaults, http11: bool,
                 is_head: bool,
                 keep_alive: bool, upgrade: str) -> None:
        self.started = self.touched = self.done = self.tunnel = self._chunked = False
        self.keep_alive = keep_alive
        self.status = 0
        self._parser = parser
        self._standing = standing
        self._http11 = http11
        self._is_head = is_head
        self._upgrade = upgrade

    def feed(self, data: bytes) -> bytes:
        """Add octets of the node; return those for the client.

        Raises:
            ProtocolError: 502, the node's answer is broken.
        """
        parser = self._parser
        if self.started:
            return self._framed(parser.body(data))
        out = b""
        while parser.head(data):
            facts = parser.facts
            status = facts.status
            if status >= 200:
                out += self._begin(facts)
                break
            data = b""
            if status == 101:
                out += self._switch(facts)
                break
            if status != 100 and self._http11:  # the router has said 100 itself
                out += f"{facts.line}{facts.fields}\r\n".encode("latin-1")
        if out:
            self.touched = True
        return out

    def end(self) -> bytes:
        """The node closed its connection; return what the client gets then.

        Raises:
            ProtocolError: 502, the answer is not complete.
        """
        if not self.started:
            raise ProtocolError(502, "it closed the connection without an answer"
                                if not self._parser.buffered else
                                "it closed the connection within the head of its answer")
        self._parser.eof()
        return self._framed(b"")

    def _begin(self, facts: ResponseHead) -> bytes:
        """Decide how the client is to find the end of the answer."""
        parser, standing = self._parser, self._standing
        self.started = True
        self.status = facts.status
        framing = ""
        if facts.length is not None:
            if facts.status != 204:
                framing = f"Content-Length: {facts.length}\r\n"
        elif not (self._is_head or facts.status in _BODILESS):
            if self._http11:
                self._chunked = True
                framing = "Transfer-Encoding: chunked\r\n"
            else:
                self.keep_alive = False
        if facts.upgrade and facts.status == 426:
            framing += f"Upgrade: {facts.upgrade}\r\n"
        if not self.keep_alive:
            framing += "Connection: close\r\n"
        elif not self._http11:
            framing += "Connection: keep-alive\r\n"
        dated = "" if facts.dated else standing.date
        head = (f"{facts.line}{facts.fields}{dated}{self._added(facts)}{framing}\r\n"
                .encode("latin-1"))
        return head + self._framed(parser.body(b""))

    def _switch(self, facts: ResponseHead) -> bytes:
        """The node accepts an upgrade; what follows is not HTTP."""
        if not self._upgrade or facts.upgrade.lower() != self._upgrade.lower():
            raise ProtocolError(502, "it switches to a protocol that nobody asked for")
        self.started = self.tunnel = True
        self.keep_alive = False
        self.status = 101
        rest, self._parser.buffered = self._parser.buffered, b""
        return (f"{facts.line}{facts.fields}{self._added(facts)}Connection: Upgrade\r\n"
                f"Upgrade: {facts.upgrade}\r\n\r\n").encode("latin-1") + rest

    def _added(self, facts: ResponseHead) -> str:
        """Return the fields of `add-header`; workers of this instance have added them."""
        added = self._standing.added
        if added and f"\r\n{added}" in f"\r\n{facts.fields}":
            return ""
        return added

    def _framed(self, data: bytes) -> bytes:
        if self._parser.body_complete:
            self.done = True
        if not self._chunked:
            return data
        if data:
            data = b"%x\r\n%s\r\n" % (len(data), data)
        return data + LAST_CHUNK if self.done else data
