"""HTTP/1.0 and 1.1 responses of a node: parse bytes into a checked head and a decoded body.

- The parser is as strict as that of requests: an ambiguous response is a fault of the node
  (502), and nothing after it is parsed.
- Only end-to-end fields are returned (RFC 9110 section 7.6.1). The framing ends here; the
  body is framed again for the client.
"""

import re
from typing import NamedTuple, NoReturn

from ..errors import ProtocolError
from . import grammar
from .message import LENGTH_DIGITS, TWO_FRAMINGS, TWO_LENGTHS, UNKNOWN_CODING, Limits, Message

# RFC 9112 section 4, the whole head of a response in one pass. As old servers do, the blank
# after the code may be left out if there is no reason.
# Groups: minor version, code, reason, field block.
HEAD = re.compile(
    rf"HTTP/1\.([0-9]) ([1-9][0-9]{{2}})(?: ({grammar.FIELD_CHAR}*))?\r\n"
    rf"((?:{grammar.TCHAR}+:{grammar.FIELD_CHAR}*\r\n)*)\r\n")
_START = b"HTTP/1."

_LENGTH, _CODING, _CONNECTION, _UPGRADE, _DATE, _DROPPED = range(1, 7)
_SPECIAL = {
    "content-length": _LENGTH, "transfer-encoding": _CODING, "connection": _CONNECTION,
    "upgrade": _UPGRADE, "date": _DATE, "keep-alive": _DROPPED, "proxy-connection": _DROPPED,
    "te": _DROPPED, "trailer": _DROPPED, "proxy-authenticate": 0}
_kinds: dict[str, int] = {}
_CACHED_HEADS = 512
# A cache of heads: most differ from the one before only in their Date.
_facts: "dict[bytes, ResponseHead]" = {}
_LONGEST = 1024

# Responses that have no body whatever the request (RFC 9112 section 6.3).
_BODILESS = frozenset((204, 304))


class ResponseHead(NamedTuple):
    """A parsed head; it does not depend on the request.

    Attributes:
        status: the code.
        line: the status line for the client, with its CRLF.
        fields: the end-to-end fields, lines ended by CRLF, without Content-Length.
        length: Content-Length, or None.
        chunked: the body is chunked.
        persists: the head allows to keep the connection.
        upgrade: the value of Upgrade.
        dated: there is a Date.
    """

    status: int
    line: str
    fields: str
    length: int | None
    chunked: bool
    persists: bool
    upgrade: str
    dated: bool


class ResponseParser(Message):
    """Parse the responses on one connection to a node.

    Call `begin()` for each request, then `head()` until it returns True, and `body()` until
    `body_complete`. A 1xx response is a head without a body: call `head()` again after it.

    Attributes, valid once `head()` returned True:
        facts: the head.
        until_close: the body ends with the connection.
        keep_alive: the node accepts another request on this connection.
    """

    __slots__ = ("facts", "until_close", "_bodiless")

    facts: ResponseHead

    def __init__(self, limits: Limits = Limits()) -> None:
        super().__init__(limits)
        self.until_close = False
        self._bodiless = False

    def begin(self, method: str) -> None:
        """Expect the response to a request of this method."""
        self._bodiless = method == "HEAD"
        self.until_close = False
        self.buffered = b""
        self._checked = 0

    def head(self, data: bytes) -> bool:
        """Add bytes; return whether a head is complete.

        Raises:
            ProtocolError: 502, the node violates the protocol or a limit.
        """
        if self.buffered:
            data = self.buffered + data
            self.buffered = b""
        end = data.find(b"\r\n\r\n", max(self._checked - 3, 0)) + 4
        if end < 4:
            self._unfinished(data)
            return False
        self._checked = 0
        octets = data[:end]
        facts = _facts.get(octets)
        if facts is None:
            facts = self._read(octets)
        self.facts = facts
        self.head_size = end
        self.buffered = data[end:]
        self._frame(facts)
        return True

    def body(self, data: bytes) -> bytes:
        if self.until_close:
            if self.buffered:
                data = self.buffered + data
                self.buffered = b""
            return data
        return super().body(data)

    def eof(self) -> None:
        """Process the end of the connection.

        Raises:
            ProtocolError: 502, it ended within a head or a body.
        """
        if self.until_close:
            self.body_complete = True
        elif not self.body_complete or self.buffered:
            raise ProtocolError(502, "it closed the connection within its response")

    def _unfinished(self, data: bytes) -> None:
        if not data.startswith(_START[:len(data)]):
            self._broken("not an HTTP response")
        if len(data) > self.limits.head:
            self._broken(f"a response head of more than {self.limits.head} bytes")
        self._checked = len(data)
        self.buffered = data

    def _read(self, octets: bytes) -> ResponseHead:
        if len(octets) > self.limits.head:
            self._broken(f"a response head of more than {self.limits.head} bytes")
        match = HEAD.fullmatch(octets.decode("latin-1"))
        if match is None:
            self._broken("a malformed response head" if octets.startswith(_START)
                         else "not an HTTP response")
        minor, code, reason, fields = match.groups()
        facts = self._facts(minor != "0", int(code), reason or "", fields)
        if len(octets) <= _LONGEST:
            if len(_facts) >= _CACHED_HEADS:
                _facts.clear()
            _facts[octets] = facts
        return facts

    def _facts(self, http11: bool, status: int, reason: str, fields: str) -> ResponseHead:
        """Separate the fields for the client from those that frame the message."""
        kept: list[str] = []
        lengths: list[str] = []
        codings: list[str] = []
        options: set[str] = set()
        upgrade, dated = "", False
        for line in fields[:-2].split("\r\n") if fields else ():
            name, _, value = line.partition(":")
            kind = _kinds[name] if name in _kinds else _kind(name)
            if not kind:
                kept.append(line)
            elif kind == _LENGTH:
                lengths.append(value.strip(" \t"))
            elif kind == _CODING:
                codings.append(value.strip(" \t"))
            elif kind == _CONNECTION:
                options.update(word.strip(" \t").lower() for word in value.split(","))
            elif kind == _UPGRADE:
                upgrade = value.strip(" \t")
            elif kind == _DATE:
                dated = True
                kept.append(line)
        nominated = options - {"close", "keep-alive", "upgrade", ""}
        if nominated:
            kept = [line for line in kept if line.partition(":")[0].lower() not in nominated]
        length, chunked = self._body_of(http11, lengths, codings)
        persists = "close" not in options and (http11 or "keep-alive" in options)
        return ResponseHead(status, f"HTTP/1.1 {status} {reason}\r\n",
                            "".join(line + "\r\n" for line in kept), length, chunked, persists,
                            upgrade, dated)

    def _body_of(self, http11: bool, lengths: list[str],
                 codings: list[str]) -> tuple[int | None, bool]:
        """Return the length and whether the body is chunked (RFC 9112 section 6.3); two
        lengths are an error even if they are equal."""
        if codings:
            if lengths:
                self._broken(TWO_FRAMINGS)
            if not http11 or len(codings) > 1 or codings[0].lower() != "chunked":
                self._broken(UNKNOWN_CODING)
            return None, True
        if not lengths:
            return None, False
        text = lengths[0]
        if len(lengths) > 1:
            self._broken(TWO_LENGTHS)
        if not (text.isascii() and text.isdigit()) or len(text) > LENGTH_DIGITS:
            self._broken("a malformed Content-Length")
        return int(text), False

    def _frame(self, facts: ResponseHead) -> None:
        status = facts.status
        self.keep_alive = facts.persists
        self.chunked = False
        self.until_close = False
        self.body_complete = True
        if status < 200 or status in _BODILESS or self._bodiless:
            return
        if facts.chunked:
            self.chunked = True
            self.expect_chunks()
        elif facts.length is not None:
            self._left = facts.length
            self.body_complete = not facts.length
        else:
            self.until_close = True
            self.body_complete = self.keep_alive = False

    def _broken(self, reason: str) -> NoReturn:
        raise ProtocolError(502, reason)


def _kind(name: str) -> int:
    kind = _SPECIAL.get(name.lower(), 0)
    if len(_kinds) < _CACHED_HEADS:
        _kinds[name] = kind
    return kind
