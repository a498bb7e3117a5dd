"""The PROXY protocol, versions 1 and 2: the address of a client behind a load balancer.

HAProxy's doc/proxy-protocol.txt is the specification.

- The caller checks first whether the peer may send the header at all.
- A connection that begins with anything else has no header: health probes send none, and uWSGI
  and gunicorn serve them. Once it has begun, anything but a correct header is an error.
- Addresses are parsed by `ipaddress` and returned in canonical form.
"""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ..errors import ProtocolError

V1_START = b"PROXY "
V1_LONGEST = 107  # section 2.1, CRLF included
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V2_HEADER = struct.Struct("!12sBBH")
# The field allows 65,535, but addresses and the extensions of AWS, GCP and HAProxy (about TLS,
# with names of a certificate) take less than 1 KiB.
V2_LONGEST = 4096

LOCAL, PROXY = 0x20, 0x21
UNSPEC = 0x00
# Family and transport -> size of the address block (section 2.2): IPv4 and IPv6 over
# stream, datagram, and unix sockets.
V2_ADDRESSES = {UNSPEC: 0, 0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}


class Proxied(NamedTuple):
    """A parsed PROXY header.

    Attributes:
        version: 1 or 2; 0 if there is no header.
        source: the client's (host, port); None if the header has no TCP address (LOCAL,
            UNKNOWN, a unix socket), so that the connection's own addresses count.
        destination: the (host, port) that the client connected to, or None.
    """

    version: int
    source: tuple[str, int] | None
    destination: tuple[str, int] | None


ABSENT = Proxied(0, None, None)


def parse(data: bytes, ended: bool = False) -> tuple[Proxied, int] | None:
    """Parse the PROXY header at the start of a connection.

    Args:
        data: everything received on the connection so far.
        ended: nothing more will come.

    Returns:
        (header, its size in bytes), or None if it is not complete.

    Raises:
        ProtocolError: 400, the header is not valid, or was cut off.
    """
    found = None
    if data.startswith(V1_START):
        found = _version_1(data)
    elif data.startswith(V2_SIGNATURE):
        found = _version_2(data)
    elif ended or not (V1_START.startswith(data) or V2_SIGNATURE.startswith(data)):
        return ABSENT, 0
    if found is None and ended:
        raise ProtocolError(400, "truncated PROXY protocol header")
    return found


def _version_1(data: bytes) -> tuple[Proxied, int] | None:
    end = data.find(b"\n", 0, V1_LONGEST) + 1
    if not end:
        if len(data) >= V1_LONGEST:
            raise ProtocolError(400, f"PROXY line of more than {V1_LONGEST} bytes")
        return None
    line = data[:end].decode("latin-1")
    if line[-2:] != "\r\n" or not line[:-2].isascii() or not line[:-2].isprintable():
        raise ProtocolError(400, "malformed PROXY line")
    words = line[:-2].split(" ")
    if words[1] == "UNKNOWN":
        return Proxied(1, None, None), end
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ProtocolError(400, "malformed PROXY line")
    kind = IPv4Address if words[1] == "TCP4" else IPv6Address
    try:
        source, destination = kind(words[2]), kind(words[3])
    except ValueError:
        raise ProtocolError(400, f"bad address in a PROXY {words[1]} line") from None
    return Proxied(1, (_text(source), _port(words[4])), (_text(destination), _port(words[5]))), end


def _port(text: str) -> int:
    """Parse a port (section 2.1): decimal, no leading zero, no sign."""
    if text.isascii() and text.isdigit() and len(text) <= 5 and (text == "0" or text[0] != "0"):
        port = int(text)
        if port <= 65535:
            return port
    raise ProtocolError(400, "bad port in a PROXY line")


def _version_2(data: bytes) -> tuple[Proxied, int] | None:
    if len(data) < V2_HEADER.size:
        return None
    _, command, family, length = V2_HEADER.unpack_from(data)
    if command not in (LOCAL, PROXY):
        raise ProtocolError(400, f"PROXY version and command {command:#x} are unknown")
    if family not in V2_ADDRESSES:
        raise ProtocolError(400, f"PROXY address family {family:#x} is unknown")
    if length > V2_LONGEST:
        raise ProtocolError(400, f"PROXY header of {length} bytes (max {V2_LONGEST})")
    size = V2_ADDRESSES[family]
    if command == PROXY and length < size:
        raise ProtocolError(400, "PROXY header too short for its address family")
    end = V2_HEADER.size + length
    if len(data) < end:
        return None
    if command == LOCAL or family == UNSPEC:
        return Proxied(2, None, None), end  # the rest must be ignored (section 2.2)
    _skip_extensions(data, V2_HEADER.size + size, end)
    block = data[V2_HEADER.size:V2_HEADER.size + size]
    if family == 0x11:
        here, there, from_port, to_port = struct.unpack("!4s4sHH", block)
        source, destination = str(IPv4Address(here)), str(IPv4Address(there))
    elif family == 0x21:
        here, there, from_port, to_port = struct.unpack("!16s16sHH", block)
        source, destination = _text(IPv6Address(here)), _text(IPv6Address(there))
    else:
        # Datagrams and unix sockets: valid, but not the address of a TCP client.
        return Proxied(2, None, None), end
    return Proxied(2, (source, from_port), (destination, to_port)), end


def _skip_extensions(data: bytes, at: int, end: int) -> None:
    """Skip the type-length-value fields, checking their lengths."""
    while at < end:
        if end - at < 3:
            raise ProtocolError(400, "truncated extension in a PROXY header")
        at += 3 + int.from_bytes(data[at + 1:at + 3], "big")
    if at != end:
        raise ProtocolError(400, "truncated extension in a PROXY header")


def _text(address: IPv4Address | IPv6Address) -> str:
    """Format an address; an IPv4-mapped IPv6 address as IPv4, as uWSGI does."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ProtocolError(400, "scoped address in a PROXY line")
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
    return str(address)
