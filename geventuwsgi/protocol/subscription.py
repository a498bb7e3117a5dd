"""uWSGI's subscription datagrams, by which a node announces to a router what it serves.

    byte 0    224              bytes 1-2  size of the block           byte 3  0 subscribe, 1 leave
    block     again and again: uint16 key length, key, uint16 value length, value

A signed one has the pairs `unix`, the time, and at the end `sign`, the signature of all before.
A datagram with any error is rejected as a whole. The caller checks whether its sender may
announce anything.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import ProtocolError
from . import uwsgi

MODIFIER = 224
LARGEST = 4096          # core/subscription.c
LONGEST_KEY = 255       # the longest key that uWSGI's router looks up
LONGEST_ADDRESS = 255   # and the longest address of a node that it takes
SUBSCRIBE, LEAVE = 0, 1
_GREATEST = 1 << 31
_LATEST = 1 << 33       # Unix time: the year 2242


class Announcement(NamedTuple):
    """A parsed datagram.

    Attributes:
        leaves: the node unsubscribes.
        key: what it serves, usually a host name.
        address: where it listens for the uwsgi protocol.
        modifier1, modifier2: for its packets.
        cores: how many requests it can serve at once; 0 = unknown.
        load: how many requests it serves now.
        weight: its share among the nodes of its key.
        unix: when it was signed, Unix time; 0 if it is not.
        uid: of the process that sent it, where the kernel says so; set by the receiver.
    """

    leaves: bool
    key: str
    address: str
    modifier1: int = 0
    modifier2: int = 0
    cores: int = 0
    load: int = 0
    weight: int = 1
    unix: int = 0
    uid: int | None = None


def parse(data: bytes) -> Announcement:
    """Parse a datagram.

    Raises:
        ProtocolError: 400, it is not a valid subscription.
    """
    if len(data) < uwsgi.HEADER_SIZE or data[0] != MODIFIER or data[3] not in (SUBSCRIBE, LEAVE):
        raise ProtocolError(400, "not a subscription datagram")
    if len(data) > LARGEST or data[1] | data[2] << 8 != len(data) - uwsgi.HEADER_SIZE:
        raise ProtocolError(400, "a subscription of a wrong size")
    pairs = _pairs(data)
    key, address = pairs.get("key", ""), pairs.get("address", "")
    if not key or len(key) > LONGEST_KEY or not address or len(address) > LONGEST_ADDRESS:
        raise ProtocolError(400, "a subscription without key or address, or with a longer one")
    if any(ord(char) < 33 or ord(char) == 127 for char in key + address):
        raise ProtocolError(400, "a control character in a subscription")
    return Announcement(
        data[3] == LEAVE, key.lower(), address,
        _number(pairs, "modifier1", 0, 255), _number(pairs, "modifier2", 0, 255),
        _number(pairs, "cores"), _number(pairs, "load"), max(1, _number(pairs, "weight", 1, 1000)),
        _number(pairs, "unix", most=_LATEST))


def signature_of(data: bytes) -> tuple[bytes, bytes]:
    """Return what is signed of a valid datagram, and the signature; empty if it has none."""
    *_, (at, name, value) = _walk(data)
    if name != "sign":
        return b"", b""
    return data[uwsgi.HEADER_SIZE:at], value.encode("latin-1")


def encode(sent: Announcement, sign: Callable[[bytes], bytes] | None = None) -> bytes:
    """Build a datagram, with its keys in uWSGI's order.

    Args:
        sent: what is announced.
        sign: returns the signature of a block.

    Raises:
        ProtocolError: 431, it is too large.
    """
    pairs = {
        "key": sent.key, "address": sent.address, "modifier1": str(sent.modifier1),
        "modifier2": str(sent.modifier2), "cores": str(sent.cores), "load": str(sent.load),
        "weight": str(sent.weight)}
    if sign is not None:
        pairs["unix"] = str(sent.unix)
        pairs["sign"] = sign(uwsgi.encode(pairs)[uwsgi.HEADER_SIZE:]).decode("latin-1")
    packet = uwsgi.encode(pairs, MODIFIER, LEAVE if sent.leaves else SUBSCRIBE)
    if len(packet) > LARGEST:
        raise ProtocolError(431, f"a subscription of {len(packet)} bytes (max {LARGEST})")
    return packet


def _pairs(data: bytes) -> dict[str, str]:
    """Return the pairs of the block; the last of repeated keys wins, as in uWSGI."""
    return {name: value for _, name, value in _walk(data)}


def _walk(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Yield each pair of the block, and where it begins."""
    at, size = uwsgi.HEADER_SIZE, len(data)
    while at < size:
        start, texts = at, []
        for _ in range(2):
            if at + 2 > size:
                raise ProtocolError(400, "a truncated subscription")
            end = at + 2 + (data[at] | data[at + 1] << 8)
            if end > size:
                raise ProtocolError(400, "a length runs over the end of a subscription")
            texts.append(data[at + 2:end].decode("latin-1"))
            at = end
        yield start, texts[0], texts[1]


def _number(pairs: dict[str, str], name: str, default: int = 0, most: int = _GREATEST) -> int:
    text = pairs.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > most:
        raise ProtocolError(400, f"{name} = {text[:40]!r} in a subscription")
    return int(text)
