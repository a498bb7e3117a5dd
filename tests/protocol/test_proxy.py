"""PROXY headers are parsed whole or rejected; the bytes after them are untouched."""

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, strategies as st

from geventuwsgi.errors import ProtocolError
from geventuwsgi.protocol.proxy import ABSENT, V2_SIGNATURE, Proxied, parse
from tests.protocol.pieces import Pieces, splittings


def feed(pieces: Pieces) -> tuple[Proxied, int] | int | None:
    """Parse as pieces come, as a connection does; an error is its status."""
    data = b""
    for piece in pieces:
        data += piece
        try:
            result = parse(data)
        except ProtocolError as error:
            return error.status
        if result is not None:
            return result
    return None


def outcome(data: bytes) -> tuple[Proxied, int] | int | None:
    results = [feed(pieces) for pieces in splittings(data)]
    assert all(result == results[0] for result in results)
    return results[0]


def version_2(command: int, family: int, block: bytes, length: int | None = None) -> bytes:
    return V2_SIGNATURE + struct.pack(
        "!BBH", command, family, len(block) if length is None else length) + block


FOUR = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + struct.pack("!HH", 56324, 443)
SIX = IPv6Address("2001:db8::7").packed + IPv6Address("2001:db8::1").packed + FOUR[8:]
ADDRESSES_4 = (("192.0.2.7", 56324), ("198.51.100.1", 443))
ADDRESSES_6 = (("2001:db8::7", 56324), ("2001:db8::1", 443))
EXTENSION = b"\x03\x00\x04abcd"


@pytest.mark.parametrize("header, version, addresses", [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", 1, ADDRESSES_4),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", 1, ADDRESSES_6),
    (b"PROXY TCP6 2001:0DB8:0:0:0:0:0:7 2001:db8::1 56324 443\r\n", 1, ADDRESSES_6),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:c633:6401 56324 443\r\n", 1, ADDRESSES_4),
    (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", 1,
     (("0.0.0.0", 0), ("255.255.255.255", 65535))),
    (b"PROXY UNKNOWN\r\n", 1, (None, None)),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", 1, (None, None)),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", 1, (None, None)),
    (version_2(0x21, 0x11, FOUR), 2, ADDRESSES_4),
    (version_2(0x21, 0x11, FOUR + EXTENSION + b"\x04\x00\x00"), 2, ADDRESSES_4),
    (version_2(0x21, 0x21, SIX), 2, ADDRESSES_6),
    (version_2(0x21, 0x21, SIX + EXTENSION), 2, ADDRESSES_6),
    (version_2(0x21, 0x31, bytes(216)), 2, (None, None)),
    (version_2(0x21, 0x12, FOUR), 2, (None, None)),
    (version_2(0x21, 0x00, b"whatever"), 2, (None, None)),
    (version_2(0x20, 0x00, b""), 2, (None, None)),
    (version_2(0x20, 0x11, FOUR), 2, (None, None)),
    (version_2(0x20, 0x11, b"abc"), 2, (None, None)),
], ids=repr)
def test_headers(header: bytes, version: int, addresses: tuple[object, object]) -> None:
    for rest in (b"", b"GET / HTTP/1.1\r\n", b"\r\n", header):
        assert outcome(header + rest) == (Proxied(version, *addresses), len(header))


@pytest.mark.parametrize("data", [
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY unknown\r\n",
    b"PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.02.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n",
    b"PROXY TCP4 localhost 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1_0 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\r\n",
    b"PROXY TCP4 192.0.2.7\0 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.\xb27 198.51.100.1 1 2\r\n",
    b"PROXY UNKNOWN a\nb\r\n",
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY " + b"x" * 200,
    version_2(0x11, 0x11, FOUR),
    version_2(0x22, 0x11, FOUR),
    version_2(0x2f, 0x00, b""),
    version_2(0x21, 0x13, FOUR),
    version_2(0x21, 0x41, FOUR),
    version_2(0x21, 0xff, FOUR),
    version_2(0x21, 0x11, FOUR[:11]),
    version_2(0x21, 0x21, SIX[:35]),
    version_2(0x21, 0x31, bytes(215)),
    version_2(0x21, 0x11, FOUR + b"\x03"),
    version_2(0x21, 0x11, FOUR + b"\x03\x00"),
    version_2(0x21, 0x11, FOUR + b"\x03\x00\x05abcd"),
    version_2(0x21, 0x11, FOUR + b"\x03\xff\xff" + b"x" * 100),
    version_2(0x21, 0x11, FOUR, 4097),
    version_2(0x20, 0x00, b"", 65535),
], ids=repr)
def test_rejected(data: bytes) -> None:
    assert outcome(data) == 400


@pytest.mark.parametrize("data", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\nGET / HTTP/1.1\r\n", b"\x16\x03\x01",
    b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n", b"PROXY\r\n",
    b"PROXYTCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    V2_SIGNATURE[:-1] + b"\r" + b"\x21\x11\0\x0c" + FOUR], ids=repr)
def test_connections_without_a_header(data: bytes) -> None:
    assert outcome(data) == (ABSENT, 0)


@pytest.mark.parametrize("data", [b"P", b"PROXY", V2_SIGNATURE[:1], V2_SIGNATURE[:-1]])
def test_the_end_of_the_connection_within_the_first_bytes(data: bytes) -> None:
    assert parse(data) is None and parse(data, True) == (ABSENT, 0)


@pytest.mark.parametrize("header", [
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", b"PROXY UNKNOWN\r\n",
    version_2(0x21, 0x11, FOUR + EXTENSION), version_2(0x20, 0x00, b"abc"),
])
def test_a_part_of_a_header_waits_for_the_rest(header: bytes) -> None:
    for end in range(len(header)):
        assert parse(header[:end]) is None


addresses = st.one_of(
    st.tuples(st.just("TCP4"), st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.just("TCP6"), st.ip_addresses(v=6), st.ip_addresses(v=6)))
ports = st.integers(0, 65535)


@given(addresses, ports, ports, st.binary(max_size=20))
def test_both_versions_are_equivalent(
        known: tuple[str, IPv4Address, IPv4Address], here: int, there: int, rest: bytes) -> None:
    """Invariant: one pair of addresses, written in either version, is read back equal."""
    name, source, destination = known
    line = f"PROXY {name} {source} {destination} {here} {there}\r\n".encode()
    binary = version_2(0x21, 0x11 if name == "TCP4" else 0x21,
                       source.packed + destination.packed + struct.pack("!HH", here, there))
    first, second = parse(line + rest), parse(binary + rest)
    assert first is not None and second is not None
    assert first[0][1:] == second[0][1:] and (first[1], second[1]) == (len(line), len(binary))
    assert first[0].source is not None
    read = ip_address(first[0].source[0])
    assert read == source or read == getattr(source, "ipv4_mapped", None)


@given(st.sampled_from([b"PROXY ", b"PROXY TCP4 ", V2_SIGNATURE, version_2(0x21, 0x11, b""), b""]),
       st.binary(max_size=150))
def test_the_result_does_not_depend_on_the_cuts(start: bytes, noise: bytes) -> None:
    """Invariant: the outcome depends on the bytes, never on the cuts, and is a header that
    lies within them, a rejection with 400, or a wait for more."""
    result = outcome(start + noise)
    if isinstance(result, tuple):
        assert result[1] <= len(start + noise)
    else:
        assert result in (None, 400)
