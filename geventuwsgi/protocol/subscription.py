"""uWSGI's subscription datagrams: a node tells a router what it serves and where.

    byte 0    224              bytes 1-2  size of the block           byte 3  0 subscribe, 1 leave
    block     again and again: uint16 key length, key, uint16 value length, value

The rules of this room: a datagram is taken whole or not at all, numbers are digits, and
whether its sender may speak for anybody is the caller's decision.
"""

from typing import NamedTuple

from ..errors import ProtocolError
from . import uwsgi

MODIFIER = 224
LARGEST = 4096          # core/subscription.c
LONGEST_KEY = 255       # what uWSGI's router looks up at most
SUBSCRIBE, LEAVE = 0, 1
_GREATEST = 1 << 31


class Announcement(NamedTuple):
    """What a datagram says.

    Attributes:
        leaves: the node is to be forgotten.
        key: what it serves, mostly a host name.
        address: where it listens, for the uwsgi protocol.
        modifier1, modifier2: for its packets.
        cores: how many requests it takes at once; 0 = not said.
        load: how many it is at.
        weight: its share among the nodes of its key.
        signed: it carries a signature.
    """

    leaves: bool
    key: str
    address: str
    modifier1: int = 0
    modifier2: int = 0
    cores: int = 0
    load: int = 0
    weight: int = 1
    signed: bool = False


def parse(data: bytes) -> Announcement:
    """Read a datagram.

    Raises:
        ProtocolError: 400, it is none of these or broken.
    """
    if len(data) < uwsgi.HEADER_SIZE or data[0] != MODIFIER or data[3] not in (SUBSCRIBE, LEAVE):
        raise ProtocolError(400, "no subscription datagram")
    if len(data) > LARGEST or data[1] | data[2] << 8 != len(data) - uwsgi.HEADER_SIZE:
        raise ProtocolError(400, "a subscription of a wrong size")
    said = _pairs(data)
    key, address = said.get("key", ""), said.get("address", "")
    if not key or len(key) > LONGEST_KEY or not address:
        raise ProtocolError(400, "a subscription without key or address")
    if any(ord(char) < 33 or ord(char) == 127 for char in key + address):
        raise ProtocolError(400, "a control character in a subscription")
    return Announcement(
        data[3] == LEAVE, key.lower(), address,
        _number(said, "modifier1", 0, 255), _number(said, "modifier2", 0, 255),
        _number(said, "cores"), _number(said, "load"), max(1, _number(said, "weight", 1, 1000)),
        "sign" in said)


def encode(told: Announcement) -> bytes:
    """Build the datagram of an announcement, its keys in uWSGI's order.

    Raises:
        ProtocolError: 431, it is too large.
    """
    packet = uwsgi.encode({
        "key": told.key, "address": told.address, "modifier1": str(told.modifier1),
        "modifier2": str(told.modifier2), "cores": str(told.cores), "load": str(told.load),
        "weight": str(told.weight)}, MODIFIER, LEAVE if told.leaves else SUBSCRIBE)
    if len(packet) > LARGEST:
        raise ProtocolError(431, f"a subscription of {len(packet)} bytes (max {LARGEST})")
    return packet


def _pairs(data: bytes) -> dict[str, str]:
    """Return the pairs of the block; of repeats the last wins, as in uWSGI."""
    found: dict[str, str] = {}
    at, size = uwsgi.HEADER_SIZE, len(data)
    while at < size:
        texts = []
        for _ in range(2):
            if at + 2 > size:
                raise ProtocolError(400, "a truncated subscription")
            end = at + 2 + (data[at] | data[at + 1] << 8)
            if end > size:
                raise ProtocolError(400, "a length runs over the end of a subscription")
            texts.append(data[at + 2:end].decode("latin-1"))
            at = end
        found[texts[0]] = texts[1]
    return found


def _number(said: dict[str, str], name: str, default: int = 0, most: int = _GREATEST) -> int:
    text = said.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > most:
        raise ProtocolError(400, f"{name} = {text[:40]!r} in a subscription")
    return int(text)
