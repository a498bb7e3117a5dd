"""The response that a client gets: a node's head rewritten, its body framed anew.

Rules: bytes of the node in, bytes for the client out; nothing is sent here. The framing is
chosen when the head is complete: the node's length if it gave one, else chunks over HTTP/1.1,
else the end of the connection.
"""

from ..errors import ProtocolError
from ..protocol.http1_response import ResponseHead, ResponseParser
from ..protocol.response import CHUNKED, KEEP_ALIVE, LAST_CHUNK, ResponseDefaults
from .request import UPGRADE

_BODILESS = (204, 304)
# How a node may fail to respond, for logs.
NO_RESPONSE = "it closed the connection without a response"
TRUNCATED_HEAD = "it closed the connection within the head of its response"


class Response:
    """One response on its way from a node to a client.

    Args:
        parser: of the connection to the node; the method is set.
        defaults: the fields that every response carries.
        http11: whether the client speaks HTTP/1.1.
        is_head: whether the method was HEAD.
        keep_alive: whether the client's connection may stay open.
        upgrade: the protocol that the node may switch to, "" for none.

    Attributes:
        started: the final head was returned.
        touched: any bytes were returned.
        done: the whole response was returned.
        tunnel: the node has switched protocols.
        keep_alive: the client's connection stays open.
    """

    __slots__ = ("started", "touched", "done", "tunnel", "keep_alive", "_parser", "_defaults",
                 "_http11", "_is_head", "_upgrade", "_chunked")

    def __init__(self, parser: ResponseParser, defaults: ResponseDefaults, http11: bool,
                 is_head: bool, keep_alive: bool, upgrade: str) -> None:
        self.started = self.touched = self.done = self.tunnel = self._chunked = False
        self.keep_alive = keep_alive and not defaults.close
        self._parser = parser
        self._defaults = defaults
        self._http11 = http11
        self._is_head = is_head
        self._upgrade = upgrade

    def feed(self, data: bytes) -> bytes:
        """Add bytes of the node; return those for the client.

        Raises:
            ProtocolError: 502, the node's response is invalid.
        """
        parser = self._parser
        if self.started:
            return self._framed(parser.body(data))
        out = b""
        while parser.head(data):
            head = parser.facts
            status = head.status
            if status >= 200:
                out += self._begin(head)
                break
            data = b""
            if status == 101:
                out += self._switch(head)
                break
            if status != 100 and self._http11:  # the router has sent 100 itself
                out += f"{head.line}{head.fields}\r\n".encode("latin-1")
        if out:
            self.touched = True
        return out

    def end(self) -> bytes:
        """The node closed its connection: return the last bytes for the client.

        Raises:
            ProtocolError: 502, the response is not complete.
        """
        if not self.started:
            raise ProtocolError(502, TRUNCATED_HEAD if self._parser.buffered else NO_RESPONSE)
        self._parser.eof()
        return self._framed(b"")

    def _begin(self, head: ResponseHead) -> bytes:
        """Decide how the client finds the end of the response."""
        parser, defaults = self._parser, self._defaults
        self.started = True
        framing = ""
        if head.length is not None:
            if head.status != 204:
                framing = f"Content-Length: {head.length}\r\n"
        elif not (self._is_head or head.status in _BODILESS):
            if self._http11:
                self._chunked = True
                framing = CHUNKED
            else:
                self.keep_alive = False
        if head.upgrade and head.status == 426:
            framing += f"Upgrade: {head.upgrade}\r\n"
        if not self.keep_alive:
            framing += "Connection: close\r\n"
        elif not self._http11:
            framing += KEEP_ALIVE
        dated = "" if head.dated else defaults.date
        text = f"{head.line}{head.fields}{dated}{self._added(head)}{framing}\r\n"
        return text.encode("latin-1") + self._framed(parser.body(b""))

    def _switch(self, head: ResponseHead) -> bytes:
        """The node accepts an upgrade; what follows is not HTTP."""
        if not self._upgrade or head.upgrade.lower() != self._upgrade.lower():
            raise ProtocolError(502, "it switches to a protocol that was not requested")
        self.started = self.tunnel = True
        self.keep_alive = False
        rest, self._parser.buffered = self._parser.buffered, b""
        text = f"{head.line}{head.fields}{self._added(head)}{UPGRADE}{head.upgrade}\r\n\r\n"
        return text.encode("latin-1") + rest

    def _added(self, head: ResponseHead) -> str:
        """Return the fields of `add-header`, unless a worker of this instance has added them."""
        added, server = self._defaults.added, self._defaults.raw_server
        if added and f"\r\n{added}" in f"\r\n{head.fields}":
            added = ""
        if server and "\r\nserver:" not in f"\r\n{head.fields}".lower():
            added = server + added
        return added

    def _framed(self, data: bytes) -> bytes:
        if self._parser.body_complete:
            self.done = True
        if not self._chunked:
            return data
        if data:
            data = b"%x\r\n%s\r\n" % (len(data), data)
        return data + LAST_CHUNK if self.done else data
