"""uwsgi packets are parsed whole or rejected, however they are cut."""

import struct

import pytest
from hypothesis import given, strategies as st

from geventuwsgi.errors import NotOurProtocol, ProtocolError
from geventuwsgi.protocol import uwsgi
from geventuwsgi.protocol.uwsgi import PONG, PacketParser, encode
from tests.protocol.pieces import cut, drive, splittings

# What the uwsgi_params of nginx 1.22 sends for a GET, and two headers of the client.
NGINX_GET = {
    "QUERY_STRING": "a=1", "REQUEST_METHOD": "GET", "CONTENT_TYPE": "", "CONTENT_LENGTH": "",
    "REQUEST_URI": "/caf%C3%A9?a=1", "PATH_INFO": "/caf\xc3\xa9", "DOCUMENT_ROOT": "/srv",
    "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_SCHEME": "http", "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "49152", "SERVER_PORT": "80", "SERVER_NAME": "localhost",
    "HTTP_HOST": "localhost", "HTTP_COOKIE": "a=" + "x" * 300,
}


def pair(key: bytes, value: bytes) -> bytes:
    return struct.pack("<H", len(key)) + key + struct.pack("<H", len(value)) + value


def packet(block: bytes, modifier1: int = 0, modifier2: int = 0) -> bytes:
    return struct.pack("<BHB", modifier1, len(block), modifier2) + block


def seen(parser: PacketParser) -> object:
    return (dict(parser.vars), parser.var_count, parser.block_size, parser.content_length,
            parser.ping, parser.modifier2)


def outcome(data: bytes, buffer_size: int = 65536) -> list[object]:
    """Parse `data` in all splittings; they must agree; return the events."""
    results = [drive(PacketParser(buffer_size), pieces, seen) for pieces in splittings(data)]
    for result in results[1:]:
        assert result == results[0]
    return results[0]


def variables(data: bytes) -> dict[str, str]:
    [[(found, *_), _, complete]] = outcome(data)
    assert complete
    return found


def refused(data: bytes, **limits: int) -> tuple[int, str]:
    """Return status and reason of the rejection; there must be no event before it."""
    [(word, _, status, reason)] = outcome(data, **limits)
    assert word == "error"
    return status, reason


def test_what_nginx_sends() -> None:
    assert variables(encode(NGINX_GET)) == NGINX_GET


@pytest.mark.parametrize("block, expected", [
    (pair(b"A", b""), {"A": ""}),
    (pair(b"A", b"x" * 255) + pair(b"B", b"y" * 256), {"A": "x" * 255, "B": "y" * 256}),
    (pair(b"K" * 256, b"1") + pair(b"L" * 700, b"2"), {"K" * 256: "1", "L" * 700: "2"}),
    (pair(b"PATH_INFO", bytes(range(256))), {"PATH_INFO": bytes(range(256)).decode("latin-1")}),
    (pair(b"PATH_INFO", b"/../a/./b"), {"PATH_INFO": "/../a/./b"}),
    (pair(b"X", b"1") + pair(b"X", b"2"), {"X": "2"}),
    (pair(b"HTTP_A", b"1") + pair(b"B", b"") + pair(b"HTTP_A", b"2") + pair(b"HTTP_A", b""),
     {"HTTP_A": "1, 2, ", "B": ""}),
    (pair(b"HTTP_COOKIE", b"a=1") + pair(b"HTTP_COOKIE", b"b=2"), {"HTTP_COOKIE": "a=1; b=2"}),
    (pair(b"UWSGI_FILE", b"/tmp/x.py") + pair(b"UWSGI_SETENV", b"A=B"),
     {"UWSGI_FILE": "/tmp/x.py", "UWSGI_SETENV": "A=B"}),
    (pair(b"wsgi.input", b"x") + pair(b"A", b"1") + pair(b"uwsgi.version", b"x")
     + pair(b"geventuwsgi.socket", b"x"), {"A": "1"}),
    (pair(b"A", b"wsgi.input") + pair(b"xwsgi.y", b"2"), {"A": "wsgi.input", "xwsgi.y": "2"}),
], ids=str)
def test_variables(block: bytes, expected: dict[str, str]) -> None:
    assert variables(packet(block)) == expected


HTTP = "an HTTP request on a uwsgi socket (nginx proxy_pass instead of uwsgi_pass?)"
OVER = "a length runs over the end of the uwsgi block"


@pytest.mark.parametrize("data, status, reason", [
    (packet(b""), 400, "empty uwsgi request block"),
    (packet(pair(b"", b"x")), 400, "empty key"),
    (packet(pair(b"A", b"1") + pair(b"", b"")), 400, "empty key"),
    # uWSGI skips two bytes and finds SCRIPT_NAME inside the key that was too long.
    (packet(b"\xff\xff" + pair(b"SCRIPT_NAME", b"/x")), 400, OVER),
    (packet(pair(b"A", b"1") + b"\x05\x00BC"), 400, OVER),
    (packet(b"\x01\x00A\x09\x00xyz"), 400, OVER),
    (packet(b"\x01\x00A\xff\xffxyz"), 400, OVER),
    (packet(b"\x01\x00A"), 400, OVER),
    (packet(b"\x01\x00A\x01"), 400, OVER),
    (packet(b"\x01"), 400, OVER),
    (packet(pair(b"A", b"1") + b"\x00"), 400, OVER),
    (packet(pair(b"A", b"1") + b"zz"), 400, OVER),
    (packet(pair(b"A", b"1"))[:-1], 400, "truncated uwsgi packet: the peer closed after 9 of 10"),
    (packet(pair(b"A", b"1"))[:3], 400, "truncated uwsgi packet: the peer closed after 3 of 4"),
    (packet(pair(b"A", b"1"), 5), 400, "unavailable modifier requested: 5"),
    (packet(pair(b"A", b"1"), 17), 400, "unavailable modifier requested: 17"),
    (packet(b"print(1)", 22), 400, "unavailable modifier requested: 22"),
    (packet(pair(b"A", b"1"), 30), 400, "unavailable modifier requested: 30"),
    (packet(b"", 98), 400, "unavailable modifier requested: 98"),
    (packet(b"", 110, 3), 400, "unavailable modifier requested: 110"),
    (packet(b"x", 111), 400, "unavailable modifier requested: 111"),
    (packet(b"", 115), 400, "unavailable modifier requested: 115"),
    (packet(b"rpc", 173), 400, "unavailable modifier requested: 173"),
    (packet(b"", 255), 400, "unavailable modifier requested: 255"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400, HTTP),
    (b"PUT /x HTTP/1.1\r\n", 400, HTTP),
    (b"POST /x HTTP/1.1\r\n", 400, HTTP),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, HTTP),
    (b"delete / HTTP/1.0\r\n", 400, HTTP),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400, "a TLS handshake on a uwsgi socket"),
    (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", 400, "a PROXY protocol header on a uwsgi socket"),
    (b"\r\n\r\n\0\r\nQUIT\n", 400, "a PROXY protocol header on a uwsgi socket"),
], ids=repr)
def test_rejected(data: bytes, status: int, reason: str) -> None:
    found, text = refused(data)
    assert found == status and text.startswith(reason)


@pytest.mark.parametrize("data, ours", [
    (b"GET / HTTP/1.1\r\n\r\n", False), (b"\x16\x03\x01\x02\x00", False),
    (b"PROXY UNKNOWN\r\n", False), (packet(b"", 98), True), (packet(b""), True),
])
def test_other_protocols_are_distinguished_from_broken_packets(data: bytes, ours: bool) -> None:
    with pytest.raises(ProtocolError) as caught:
        PacketParser().head(data)
    assert isinstance(caught.value, NotOurProtocol) is not ours


def test_block_over_the_buffer() -> None:
    block = pair(b"A", b"x" * 100)
    assert refused(packet(block), buffer_size=104) == (
        431, "invalid request block size: 105 (max 104)")
    assert outcome(packet(block), buffer_size=105)[0][0][0] == {"A": "x" * 100}


def test_the_largest_packet() -> None:
    data = encode({"A": "x" * 65000, "B": "y" * 525})
    parser = PacketParser()
    assert parser.block_size == 0 and parser.head(data) and parser.block_size == 65535
    assert len(parser.vars["A"]) == 65000


@pytest.mark.parametrize("text, length", [
    ("", 0), ("0", 0), ("5", 5), ("0005", 5), ("9223372036854775807", 2 ** 63 - 1),
])
def test_content_length(text: str, length: int) -> None:
    parser = PacketParser()
    assert parser.head(encode({"CONTENT_LENGTH": text}))
    assert parser.content_length == length and parser.body_complete is (length == 0)


@pytest.mark.parametrize("text", [
    "abc", "-5", "+5", "5_0", " 5", "5 ", "5,5", "0x5", "5\n", "\xb2", "5\0", "1" * 20, "1" * 5000,
])
def test_content_length_rejected(text: str) -> None:
    status, reason = refused(encode({"A": "b", "CONTENT_LENGTH": text}))
    assert status == 400 and reason.startswith("invalid CONTENT_LENGTH") and len(reason) < 250


def test_body() -> None:
    head = encode({"CONTENT_LENGTH": "5"})
    [[_, body, complete]] = outcome(head + b"hello")
    assert body == b"hello" and complete


def test_a_body_cut_short_is_never_complete() -> None:
    [[_, body, complete], error] = outcome(encode({"CONTENT_LENGTH": "5"}) + b"hell")
    assert body == b"hell" and not complete
    assert error[2:] == (400, "truncated request body: the peer closed after 4 of 5 bytes")


def test_bytes_after_the_body_are_not_a_request() -> None:
    second = encode({"REQUEST_URI": "/smuggled"})
    for body in (b"", b"hello"):
        parser = PacketParser()
        assert parser.head(encode({"CONTENT_LENGTH": str(len(body))}) + body + second)
        if body:
            assert parser.body(b"") == body
        assert parser.body_complete and parser.buffered == second and not parser.keep_alive
        assert parser.body(b"more") == b"" and parser.buffered == second + b"more"
        with pytest.raises(ProtocolError, match="one request"):
            parser.head(b"")


def test_pieces_of_a_body_are_returned_as_they_come() -> None:
    parser = PacketParser()
    assert parser.head(encode({"CONTENT_LENGTH": "10"}) + b"01")
    assert [parser.body(b""), parser.body(b"234"), parser.body(b""), parser.body(b"56789rest")] == [
        b"01", b"234", b"", b"56789"]
    assert parser.body_complete and parser.buffered == b"rest"


def test_ping() -> None:
    [[(found, count, size, length, ping, _), body, complete]] = outcome(b"\x64\0\0\0")
    assert ping and complete and not (found or count or size or length or body)
    assert PONG == bytes((100, 0, 0, 1))


def test_end_between_requests_is_quiet() -> None:
    assert outcome(b"") == []
    assert PacketParser().head(b"") is False


def test_many_small_variables_cost_no_more_than_their_bytes() -> None:
    """Joining repeats copies each value once: the result is as long as what was sent."""
    data = encode([("HTTP_A", "x")] * 5900)
    parser = PacketParser()
    assert parser.head(data) and parser.var_count == 5900
    assert parser.vars == {"HTTP_A": ", ".join("x" * 5900)}


def test_encode_rejects_what_does_not_fit() -> None:
    for variables_ in ({"A": "x" * 65536}, {"A": "x" * 65532}):
        with pytest.raises(ProtocolError) as caught:
            encode(variables_)
        assert caught.value.status == 431
    assert encode({"A": "1"}, 100, 7) == b"\x64\x06\x00\x07\x01\x00A\x01\x001"


latin = st.text(st.characters(max_codepoint=255), max_size=300)
names = st.text(st.characters(max_codepoint=255), min_size=1, max_size=20).filter(
    lambda name: not name.startswith(("wsgi.", "uwsgi.", "geventuwsgi.")))


@given(st.dictionaries(names, latin, min_size=1, max_size=30), st.binary(max_size=50),
       st.lists(st.integers(0, 10 ** 6), max_size=8))
def test_what_is_encoded_is_parsed_back(
        found: dict[str, str], body: bytes, places: list[int]) -> None:
    """Invariant: parse(encode(vars) + body), cut anywhere, returns the same vars and body."""
    found["CONTENT_LENGTH"] = str(len(body))
    [[(parsed, *_), read, complete]] = drive(
        PacketParser(), cut(encode(found) + body, places), seen)
    assert parsed == found and read == body and complete


few = st.sampled_from(["A", "AB", "B", "HTTP_A", "HTTP_COOKIE", "C" * 64, "C" * 65])
runs = st.lists(st.lists(st.tuples(few, st.text("xy", max_size=2)), min_size=1, max_size=8),
                min_size=1, max_size=4)


@given(runs, st.integers(0, 200))
def test_a_packet_means_the_same_whatever_came_before(
        packets: list[list[tuple[str, str]]], size: int) -> None:
    """Invariant: what is cached of other packets changes no result."""
    *before, last = packets
    data = encode(last)
    data = packet(data[4:][:size])  # maybe cut in the middle of a variable
    results = []
    for others in ([], before):
        uwsgi._opening.clear()
        uwsgi._replacements[:] = [None] * 2
        for other in others:
            assert outcome(encode(other))[0] != "error"
        results.append(outcome(data))
    assert results[0] == results[1]


@given(st.binary(max_size=120), st.booleans(), st.lists(st.integers(0, 10 ** 6), max_size=6))
def test_the_result_does_not_depend_on_the_cuts(
        noise: bytes, framed: bool, places: list[int]) -> None:
    """Invariant: the events depend on the bytes, never on the cuts; a block that is parsed
    consists of its variables and nothing else."""
    data = packet(noise) if framed else noise
    whole = drive(PacketParser(), [data], seen)
    assert drive(PacketParser(), cut(data, places), seen) == whole
    if framed and whole[0][0] != "error":
        rest, at = 0, 0
        while at < len(noise):
            for _ in range(2):
                (length,) = struct.unpack_from("<H", noise, at)
                at += 2 + length
            rest += 1
        assert at == len(noise) and rest == whole[0][0][1]
