"""The uwsgi protocol: one packet of variables, then a body, then the connection ends.

    byte 0    modifier1        bytes 1-2  size of the block, little endian       byte 3  modifier2
    block     again and again: uint16 key length, key, uint16 value length, value
    after it  the request body, CONTENT_LENGTH bytes without any framing

- A packet with any error is rejected. Where uWSGI skips a variable or parses again inside a
  key, this parser rejects the packet, because wrong lengths are used to forge variables.
- Variables reach the environ as sent, in latin-1 (PEP 3333). Those that make uWSGI load code
  or read files (`UWSGI_FILE`, `UWSGI_POSTFILE`, ...) have no special meaning. The server's own
  names (`wsgi.input`, ...) are dropped.
- There is one request per connection. Web servers open a new one for each request, and bytes
  after the body are never parsed as another packet (unbit/uwsgi#2336).
"""

import struct
from collections.abc import Iterable, Mapping

from ..errors import NotOurProtocol, ProtocolError

WSGI_REQUEST = 0
PING = 100

# uWSGI's response to a ping: modifier1 100, no block, modifier2 1.
PONG = b"\x64\x00\x00\x01"

HEADER_SIZE = 4
LARGEST_BLOCK = 0xFFFF  # the size is a uint16

# 2**63 - 1 has 19 digits. The digits are counted first, because CPython raises ValueError for
# a text of more than 4300 digits.
LONGEST_LENGTH = 19

_SIZE = struct.Struct("<H").pack
_prefixed: dict[str, bytes] = {}
_CACHED_PREFIXES = 1024

# Names that a peer must not set. All contain "wsgi.", so one search finds them.
RESERVED = ("wsgi.", "uwsgi.", "geventuwsgi.")

# The variables that packets begin with: name, the octets of length and name, and the offset
# of the value. A web server sends its own variables in the order of its configuration, then
# the client's header fields in their order.
_opening: list[tuple[str, bytes, int]] = []
LONGEST_OPENING = 40
LONGEST_NAME = 64
# An opening of fewer variables is replaced, up to 16 times in the life of a process.
SHORT_OPENING = 4
_replacements = [None] * 16


class PacketParser:
    """Parse one uwsgi packet and delimit its body, with the methods of
    `protocol.http1.RequestParser`: `head`, `body` and `eof`.

    Args:
        buffer_size: the largest block accepted, in bytes (uWSGI's `buffer-size`).

    Attributes:
        vars: the variables, latin-1. A repeated `HTTP_*` is joined with ", " (Cookie:
            "; "), as nginx does since 1.23 and RFC 9110 section 5.3 allows; the last of
            other repeated names wins, as in uWSGI.
        var_count: variables in the packet, repeats counted.
        block_size: size of the block in bytes.
        modifier1, modifier2: as sent; modifier1 is 0 or 100.
        ping: the packet is a ping, to respond to with `PONG`; there is no request.
        content_length: bytes of the body; 0 if the packet does not say.
        body_complete: the whole request was received.
        keep_alive: always False; nginx has no keep-alive over uwsgi.
    """

    __slots__ = ("vars", "var_count", "block_size", "modifier1", "modifier2", "ping",
                 "content_length", "body_complete", "_buffer_size", "_buffer", "_wanted",
                 "_missing")

    keep_alive = False

    def __init__(self, buffer_size: int = 65536) -> None:
        self._buffer_size = buffer_size
        self._buffer = bytearray()
        self._wanted = HEADER_SIZE  # bytes needed before parsing goes on; 0: head done
        self._missing = 0           # bytes of the body that were not received yet
        self.vars: dict[str, str] = {}
        self.var_count = 0
        self.block_size = 0
        self.modifier1 = self.modifier2 = 0
        self.ping = False
        self.content_length = 0
        self.body_complete = False

    @property
    def buffered(self) -> bytes:
        """Received bytes that are not consumed yet."""
        return bytes(self._buffer)

    def head(self, data: bytes) -> bool:
        """Add bytes; return whether the packet is complete.

        Raises:
            NotOurProtocol: the peer speaks HTTP, TLS or PROXY; close without a response.
            ProtocolError: 431 for a block over `buffer_size`, 400 for a malformed packet.
        """
        if not self._wanted:
            if data or self._buffer:
                raise ProtocolError(400, "bytes after the one request of a uwsgi connection")
            return False
        # A whole packet in one piece, the common case, is not copied.
        buffer = self._buffer
        if buffer:
            buffer += data
            if len(buffer) < self._wanted:
                return False
            data = bytes(buffer)
        elif len(data) < self._wanted:
            buffer += data
            return False
        end = HEADER_SIZE + self._header(data)
        if len(data) < end:
            if not buffer:
                buffer += data
            self._wanted = end
            return False
        self._wanted = 0
        if buffer:
            buffer.clear()
        if len(data) > end:
            buffer += data[end:]
            data = data[:end]
        if self.ping:
            self.body_complete = True
        else:
            self._block(data)
        return True

    def body(self, data: bytes) -> bytes:
        """Add bytes; return those of the body, possibly none."""
        buffer = self._buffer
        if buffer:
            buffer += data
            piece = bytes(buffer[:self._missing])
            del buffer[:self._missing]
        elif len(data) <= self._missing:
            piece = data
        else:
            piece = data[:self._missing]
            buffer += data[self._missing:]
        self._missing -= len(piece)
        if not self._missing:
            self.body_complete = True
        return piece

    def eof(self) -> None:
        """Process the end of the connection.

        Raises:
            ProtocolError: 400, it ended within the packet or the body.
        """
        if self._wanted:
            if self._buffer:
                raise ProtocolError(400, "truncated uwsgi packet: the peer closed after "
                                         f"{len(self._buffer)} of {self._wanted} bytes")
        elif self._missing:
            raise ProtocolError(400, "truncated request body: the peer closed after "
                                     f"{self.content_length - self._missing} of "
                                     f"{self.content_length} bytes")

    def _header(self, data: bytes) -> int:
        """Check the four bytes of the header; return the size of the block."""
        self.modifier1 = modifier1 = data[0]
        self.block_size = size = data[1] | data[2] << 8
        self.modifier2 = data[3]
        if modifier1 != WSGI_REQUEST:
            if modifier1 != PING or data[:HEADER_SIZE].isalpha():  # 100 is the letter d
                raise rejection(data[:HEADER_SIZE])
            self.ping = True
            return 0
        if size > self._buffer_size:
            raise ProtocolError(431, f"invalid request block size: {size} "
                                     f"(max {self._buffer_size})")
        if not size:
            raise ProtocolError(400, "empty uwsgi request block")
        return size

    def _block(self, data: bytes) -> None:
        """Decode the variables of the packet `data`, which ends where the block ends.

        The loops leave checks until after them: a length that runs over the end raises
        IndexError at the next length, or leaves `at` beyond the end. The high byte of a length
        is added only if it is set. This was the fastest of twelve ways without state between
        packets; comparing the names that all packets begin with saves another quarter.
        """
        text = data.decode("latin-1")
        size = len(data)
        at = HEADER_SIZE
        count = 0
        found: dict[str, str] = {}
        starts = data.startswith
        try:
            for name, octets, width in _opening:
                if not starts(octets, at):
                    break
                value = at + width
                at = value + data[value - 2]
                if data[value - 1]:
                    at += data[value - 1] << 8
                found[name] = text[value:at]
                count += 1
            if count < len(_opening):
                del _opening[count:]
            while at < size:
                key = at + 2
                key_end = key + data[at]
                if data[at + 1]:
                    key_end += data[at + 1] << 8
                value = key_end + 2
                at = value + data[key_end]
                if data[key_end + 1]:
                    at += data[key_end + 1] << 8
                found[text[key:key_end]] = text[value:at]
                count += 1
        except IndexError:
            at = size + 1
        if at != size:
            raise ProtocolError(400, f"a length runs over the end of the uwsgi block ({size - 4} "
                                     f"bytes) in or after variable {count}")
        if "" in found:
            raise ProtocolError(400, "empty key in the uwsgi block")
        if len(found) != count:
            join_repeats(found, data, text)
        if "wsgi." in text:
            for name in [name for name in found if name.startswith(RESERVED)]:
                del found[name]
        self.var_count = count
        self.vars = found
        if len(_opening) < SHORT_OPENING:
            _learn_opening(found)
        self._missing = self.content_length = content_length(found.get("CONTENT_LENGTH", ""))
        self.body_complete = not self._missing


def _learn_opening(found: Iterable[str]) -> None:
    """Assume that packets begin with these variables. Later packets cut off those that differ,
    which soon leaves what the web server sends with every request."""
    if not _replacements:
        return
    _replacements.pop()
    _opening.clear()
    for name in found:
        octets = name.encode("latin-1")
        if len(_opening) == LONGEST_OPENING or len(octets) > LONGEST_NAME:
            break
        octets = len(octets).to_bytes(2, "little") + octets
        _opening.append((name, octets, len(octets) + 2))


def rejection(header: bytes) -> ProtocolError:
    """Return the error for four bytes that do not begin a request or a ping."""
    if header[:2] == b"\x16\x03":
        return NotOurProtocol(400, "a TLS handshake on a uwsgi socket (https instead of uwsgi?)")
    if header in (b"PROX", b"\r\n\r\n"):
        return NotOurProtocol(400, "a PROXY protocol header on a uwsgi socket "
                                   "(enable-proxy-protocol is off?)")
    if header[:1].isalpha() and header.replace(b" ", b"").isalpha():
        return NotOurProtocol(400, "an HTTP request on a uwsgi socket "
                                   "(nginx proxy_pass instead of uwsgi_pass?)")
    return ProtocolError(400, f"unavailable modifier requested: {header[0]}")


def join_repeats(found: dict[str, str], data: bytes, text: str) -> None:
    """Join the values of repeated `HTTP_*` variables of a block that was checked."""
    values: dict[str, list[str]] = {}
    at, size = HEADER_SIZE, len(data)
    while at < size:
        key, key_end = at + 2, at + 2 + (data[at] | data[at + 1] << 8)
        value, at = key_end + 2, key_end + 2 + (data[key_end] | data[key_end + 1] << 8)
        if text.startswith("HTTP_", key, key_end):
            values.setdefault(text[key:key_end], []).append(text[value:at])
    for name, several in values.items():
        if len(several) > 1:
            found[name] = ("; " if name == "HTTP_COOKIE" else ", ").join(several)


def content_length(text: str) -> int:
    """Return the number of CONTENT_LENGTH; absent and empty (nginx on a GET) are 0.

    Raises:
        ProtocolError: 400, it has characters other than ASCII digits, or more than 19 digits.
    """
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()) or len(text) > LONGEST_LENGTH:
        raise ProtocolError(400, f"invalid CONTENT_LENGTH: {text[:40]!r}")
    return int(text)


def encode(variables: Mapping[str, str] | Iterable[tuple[str, str]],
           modifier1: int = WSGI_REQUEST, modifier2: int = 0) -> bytes:
    """Build a packet of variables (a mapping, or pairs if names repeat), in latin-1.

    Raises:
        ProtocolError: 431, the block does not fit into a packet (65,535 bytes).
    """
    pairs = variables.items() if isinstance(variables, Mapping) else variables
    pieces: list[bytes] = []
    try:
        for name, value in pairs:
            octets = value.encode("latin-1")
            pieces += (_prefixed.get(name) or _prefix(name), _SIZE(len(octets)), octets)
    except struct.error:
        raise ProtocolError(431, "a variable of more than 65535 bytes does not fit a uwsgi "
                                 f"packet (max {LARGEST_BLOCK})") from None
    block = b"".join(pieces)
    size = len(block)
    if size > LARGEST_BLOCK:
        raise ProtocolError(431, f"a block of {size} bytes does not fit a uwsgi packet "
                                 f"(max {LARGEST_BLOCK})")
    return bytes((modifier1, size & 0xFF, size >> 8, modifier2)) + block


def _prefix(name: str) -> bytes:
    """Return the name of a variable as in a packet; cached, as there are few names."""
    octets = name.encode("latin-1")
    found = _SIZE(len(octets)) + octets
    if len(_prefixed) < _CACHED_PREFIXES:
        _prefixed[name] = found
    return found
