"""The common part of request and response parsers: limits and bodies (RFC 9112, 6 and 7).

A subclass parses heads, and sets `_left` or calls `expect_chunks` for the body that follows.
Trailers are checked and discarded; they never become headers.
"""

import dataclasses
from typing import NoReturn

from ..errors import ProtocolError
from . import grammar

# A chunk-size line without extensions has 17 bytes; extensions are rare and bounded, per
# line and per body (Go CVE-2023-39326: extensions as free amplification).
_CHUNK_LINE = 4096
_EXTENSIONS = 16384


# Digits of a Content-Length: more than any body has, and less than 64 bits.
LENGTH_DIGITS = 18
TRUNCATED_BODY = "the connection ended inside the request body"
TWO_FRAMINGS = "both Content-Length and Transfer-Encoding"
UNKNOWN_CODING = "a transfer coding other than chunked"
TWO_LENGTHS = "more than one Content-Length field"


@dataclasses.dataclass(frozen=True)
class Limits:
    """The largest sizes of the parts of a head.

    Attributes:
        line: octets of the request line without its CRLF (8190: Apache's LimitRequestLine).
        field: octets of one field line without its CRLF (8190: LimitRequestFieldSize).
        fields: field lines in one head (100: LimitRequestFields).
        head: octets of the whole head, or of a whole trailer section.
        harmless: a head of up to this many octets cannot exceed a limit, as the shortest
            field line has four.
    """

    line: int = 8190
    field: int = 8190
    fields: int = 100
    head: int = 65536
    harmless: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "harmless",
                           min(self.line, self.field, self.head, 4 * self.fields))

    def extended(self, octets: int) -> "Limits":
        """Return limits for heads to which a trusted sender has added up to so many octets."""
        return dataclasses.replace(self, field=self.field + octets, fields=self.fields + 8,
                                   head=self.head + octets)


class Message:
    """A parser of the messages of one peer; subclasses parse the heads.

    Attributes:
        buffered: received bytes that are not consumed yet.
        chunked: the body is chunked.
        keep_alive: the peer allows another message on this connection.
        head_size: octets of the head with its last CRLF.
        body_complete: `body()` has returned the whole body.
    """

    __slots__ = ("limits", "buffered", "chunked", "keep_alive", "head_size", "body_complete",
                 "_checked", "_left", "_decode", "_extensions", "_trailers", "_trailer_size")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.buffered = b""
        self.chunked = self.keep_alive = False
        self.head_size = 0
        self.body_complete = True
        self._checked = 0
        self._left = 0
        self._decode = self._chunk_size
        self._extensions = self._trailers = self._trailer_size = 0

    def expect_chunks(self) -> None:
        """Prepare for a chunked body."""
        self.body_complete = False
        self._decode = self._chunk_size
        self._extensions = self._trailers = self._trailer_size = 0

    def body(self, data: bytes) -> bytes:
        """Add bytes; return the decoded bytes of the body, possibly b"".

        Bytes after the end of the body stay buffered for the next `head()`.

        Raises:
            ProtocolError: 400 for a broken chunk or trailer (RFC 9112 section 7.1).
        """
        if self.buffered:
            data = self.buffered + data
            self.buffered = b""
        if self.body_complete:
            self.buffered = data
            return b""
        if self.chunked:
            return self._chunks(data)
        left = self._left - len(data)
        if left > 0:
            self._left = left
            return data
        self.body_complete = True
        if left == 0:
            return data
        self.buffered = data[left:]
        return data[:left]

    # Chunked bodies (RFC 9112 section 7.1). `_decode` is the state: each step gets the bytes
    # and an offset, and returns the offset after what it consumed, or -1 to wait for more.

    def _chunks(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        at = 0
        while at < len(data) and not self.body_complete:
            after = self._decode(data, at, pieces)
            if after < 0:
                break
            at = after
        self.buffered = data[at:]
        return b"".join(pieces)

    def _chunk_size(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = data.find(b"\n", at, at + _CHUNK_LINE)
        if end < 0:
            if len(data) - at >= _CHUNK_LINE:
                self._broken("chunk size line of more than 4096 bytes")
            return -1
        match = grammar.CHUNK_LINE.fullmatch(data, at, end + 1)
        if match is None:
            self._broken("malformed chunk size line")
        digits, extensions = match.groups()
        if len(digits) > grammar.CHUNK_SIZE_DIGITS:
            self._broken("chunk size of more than 15 digits")
        self._extensions += len(extensions)
        if self._extensions > _EXTENSIONS:
            self._broken("chunk extensions of more than 16384 bytes")
        self._left = int(digits, 16)
        self._decode = self._chunk_data if self._left else self._trailer
        return end + 1

    def _chunk_data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        piece = data[at:at + self._left]
        pieces.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._decode = self._chunk_end
        return at + len(piece)

    def _chunk_end(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = data[at:at + 2]
        if not b"\r\n".startswith(end):
            self._broken("chunk data not followed by CRLF")
        if len(end) < 2:
            return -1
        self._decode = self._chunk_size
        return at + 2

    def _trailer(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Check a trailer line and discard it."""
        limit = self.limits.field + 2
        end = data.find(b"\n", at, at + limit)
        if end < 0:
            if len(data) - at >= limit:
                self._broken(f"trailer field of more than {self.limits.field} bytes")
            return -1
        if data[at:end + 1] == b"\r\n":
            self.body_complete = True
            return end + 1
        match = grammar.TRAILER_LINE.fullmatch(data, at, end + 1)
        if match is None:
            self._broken("malformed trailer field")
        if match[1].lower() in grammar.FORBIDDEN_TRAILERS:
            self._broken("a field that must not be in a trailer")
        self._trailers += 1
        self._trailer_size += end + 1 - at
        if self._trailers > self.limits.fields or self._trailer_size > self.limits.head:
            self._broken("too many trailer fields")
        return end + 1

    def _broken(self, reason: str) -> NoReturn:
        raise ProtocolError(400, reason)
