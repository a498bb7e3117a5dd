"""HTTP/1.0 and 1.1 answers of a node: bytes in, a checked head and a decoded body out.

The rules of this room:

- As strict as for requests: an answer that two readers could take differently is a fault
  of the node (502), and nothing behind it is read as an answer.
- Bodies and chunks are decoded by the machinery of requests: one grammar.
- Only end-to-end fields are given out (RFC 9110 section 7.6.1); what frames a message
  ends here, and whoever passes the body on frames it anew.
- Limits come in as arguments; there is no clock here.
"""

import re
from typing import NamedTuple, NoReturn

from ..errors import ProtocolError
from . import grammar
from .message import Limits, Message

# RFC 9112 section 4, the whole head of an answer in one pass. The blank behind the code may
# be missing where there is no reason, as old servers have it.
# Groups: minor version, code, reason, field block.
HEAD = re.compile(
    rf"HTTP/1\.([0-9]) ([1-5][0-9]{{2}})(?: ({grammar.FIELD_CHAR}*))?\r\n"
    rf"((?:{grammar.TCHAR}+:{grammar.FIELD_CHAR}*\r\n)*)\r\n")
_START = b"HTTP/1."

_LENGTH, _CODING, _CONNECTION, _UPGRADE, _DATE, _DROPPED = range(1, 7)
_SPECIAL = {
    "content-length": _LENGTH, "transfer-encoding": _CODING, "connection": _CONNECTION,
    "upgrade": _UPGRADE, "date": _DATE, "keep-alive": _DROPPED, "proxy-connection": _DROPPED,
    "te": _DROPPED, "trailer": _DROPPED, "proxy-authenticate": 0}
_kinds: dict[str, int] = {}
_REMEMBERED = 512
# Heads of answers, most of which differ from the one before in nothing but the date.
_facts: "dict[bytes, ResponseHead]" = {}
_LONGEST = 1024

# Answers without a body whatever the request (RFC 9112 section 6.3).
_BODILESS = frozenset((204, 304))
_LENGTH_DIGITS = 18


class ResponseHead(NamedTuple):
    """What a head says, whatever the request was.

    Attributes:
        status: the code.
        line: the status line for the client, with its CRLF.
        fields: the end-to-end fields, lines ended by CRLF, without Content-Length.
        length: Content-Length, or None.
        chunked: the body comes in chunks.
        persists: the node keeps the connection as far as the head goes.
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
    """Parse the answers that come over one connection to a node.

    `begin()` says for what kind of request; then `head()` is fed until it returns True,
    and `body()` until `body_complete`. A 1xx answer is a head without a body: after it
    `head()` is fed again.

    Attributes, valid once `head()` returned True:
        facts: what the head says.
        until_close: the body ends with the connection.
        keep_alive: the node waits for another request on this connection.
    """

    __slots__ = ("facts", "until_close", "_bodiless")

    facts: ResponseHead

    def __init__(self, limits: Limits = Limits()) -> None:
        super().__init__(limits)
        self.until_close = False
        self._bodiless = False

    def begin(self, method: str) -> None:
        """Expect the answer to a request of this method."""
        self._bodiless = method == "HEAD"
        self.until_close = False
        self.buffered = b""
        self._checked = 0

    def head(self, data: bytes) -> bool:
        """Add bytes; tell whether a head is there.

        Raises:
            ProtocolError: 502, the node breaks the protocol or a limit.
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
        self._frame_answer(facts)
        return True

    def body(self, data: bytes) -> bytes:
        if self.until_close:
            if self.buffered:
                data = self.buffered + data
                self.buffered = b""
            return data
        return super().body(data)

    def eof(self) -> None:
        """The node closed the connection.

        Raises:
            ProtocolError: 502, if that cuts a head or a body short.
        """
        if self.until_close:
            self.body_complete = True
        elif not self.body_complete or self.buffered:
            raise ProtocolError(502, "it closed the connection within its answer")

    def _unfinished(self, data: bytes) -> None:
        if not data.startswith(_START[:len(data)]):
            self._broken("no HTTP answer")
        if len(data) > self.limits.head:
            self._broken(f"an answer head of more than {self.limits.head} bytes")
        self._checked = len(data)
        self.buffered = data

    def _read(self, octets: bytes) -> ResponseHead:
        if len(octets) > self.limits.head:
            self._broken(f"an answer head of more than {self.limits.head} bytes")
        match = HEAD.fullmatch(octets.decode("latin-1"))
        if match is None:
            self._broken("a malformed answer head" if octets.startswith(_START)
                         else "no HTTP answer")
        minor, code, reason, fields = match.groups()
        facts = self._facts(minor != "0", int(code), reason or "", fields)
        if len(octets) <= _LONGEST:
            if len(_facts) >= _REMEMBERED:
                _facts.clear()
            _facts[octets] = facts
        return facts

    def _facts(self, http11: bool, status: int, reason: str, fields: str) -> ResponseHead:
        """Sort the fields: those for the client, and those that frame the message."""
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
        """RFC 9112 section 6.3; two lengths of any kind are a fault, also equal ones."""
        if codings:
            if lengths:
                self._broken("both Content-Length and Transfer-Encoding")
            if not http11 or len(codings) > 1 or codings[0].lower() != "chunked":
                self._broken("a transfer coding other than chunked")
            return None, True
        if not lengths:
            return None, False
        text = lengths[0]
        if len(lengths) > 1:
            self._broken("more than one Content-Length")
        if not (text.isascii() and text.isdigit()) or len(text) > _LENGTH_DIGITS:
            self._broken("a malformed Content-Length")
        return int(text), False

    def _frame_answer(self, facts: ResponseHead) -> None:
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
    if len(_kinds) < _REMEMBERED:
        _kinds[name] = kind
    return kind
