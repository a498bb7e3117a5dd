"""HTTP/1 requests: errors of RFC 9112 are errors, and the cuts change nothing."""

import pytest

from geventuwsgi.errors import ProtocolError
from geventuwsgi.protocol.http1 import RequestParser
from geventuwsgi.protocol.message import Limits
from tests.protocol.http1 import CHUNKED, LAST, only, outcome, rejection, request


# Valid heads.

def test_a_request() -> None:
    parser = only(request(b"A: 1", b"b-C:2 ", line=b"PATCH /x/%2f?q=1&r HTTP/1.1"))
    assert (parser.method, parser.target, parser.path) == ("PATCH", "/x/%2f?q=1&r", "/x/%2f?q=1&r")
    assert parser.fields == "Host: x\r\nA: 1\r\nb-C:2 \r\n"
    assert (parser.version, parser.http11, parser.keep_alive) == ("HTTP/1.1", True, True)
    assert (parser.content_length, parser.chunked, parser.body_complete) == (None, False, True)
    assert parser.authority is None and not parser.expect_continue and parser.buffered == b""


def test_obs_text_is_latin_1() -> None:
    parser = only(request(b"A: caf\xc3\xa9\xff", line=b"GET /\xc3\xa9 HTTP/1.1"))
    assert parser.target == "/\xc3\xa9" and "A: caf\xc3\xa9\xff\r\n" in parser.fields


def test_one_empty_line_in_front_is_ignored() -> None:
    parser = only(b"\r\n" + request())
    assert parser.method == "GET" and parser.fields == "Host: x\r\n"


@pytest.mark.parametrize("line, keep_alive", [
    (b"GET / HTTP/1.1", True), (b"GET / HTTP/1.0", False), (b"GET / HTTP/1.2", True)])
@pytest.mark.parametrize("fields, change", [
    ((), None), ((b"Connection: close",), False), ((b"Connection: foo, close",), False),
    ((b"Connection: foo", b"connection:\tCLOSE , bar"), False), ((b"Connection: closed",), None),
    ((b"Connection: Keep-Alive",), True), ((b"Connection: keep-alive, close",), False),
    ((b"Connection: upgrade",), None), ((b"Connection:",), None)], ids=repr)
def test_persistence(line: bytes, keep_alive: bool, fields: tuple[bytes, ...],
                     change: bool | None) -> None:
    parser = only(request(*fields, line=line))
    assert parser.keep_alive is (keep_alive if change is None else change)


def test_http_1_0_needs_no_host() -> None:
    assert only(request(line=b"GET / HTTP/1.0", host=b"")).version == "HTTP/1.0"


@pytest.mark.parametrize("line, path, authority", [
    (b"GET http://example.com/a?b HTTP/1.1", "/a?b", "example.com"),
    (b"GET HTTP://example.com:80 HTTP/1.1", "/", "example.com:80"),
    (b"GET https://[::1]:8443?q HTTP/1.1", "/?q", "[::1]:8443"),
    (b"OPTIONS * HTTP/1.1", "", None),
    (b"CONNECT example.com:443 HTTP/1.1", "", None),
    (b"CONNECT [::1]:443 HTTP/1.1", "", None),
    (b"GET //x//../y HTTP/1.1", "//x//../y", None),
    (b"M-SEARCH /a|b^{c} HTTP/1.1", "/a|b^{c}", None),
])
def test_target_forms(line: bytes, path: str, authority: str | None) -> None:
    parser = only(request(line=line))
    assert (parser.path, parser.authority) == (path, authority)


@pytest.mark.parametrize("host", [
    b"example.com", b"example.com:8000", b"example.com:", b"[::1]", b"[2001:db8::1]:80",
    b"192.0.2.1", b"a_b.example", b"", b"xn--caf-dma.example", b"%41.example"])
def test_hosts(host: bytes) -> None:
    only(request(host=b"Host: " + host + b"\r\n"))


# Rejected heads. Numbers in comments: rows of the list of advisories.

LENGTH = (b"Content-Length: 5",)
CODINGS = [b"xchunked", b"chunked, identity", b"identity", b"\x0bchunked", b"\xa0chunked",
           b"chunked\xa0", b"chunked;x", b'"chunked"', b"", b"chunked,", b", chunked",
           b"chunked, chunked", b"gzip", b"gzip, chunked", b"chunked\x0c", b"chun\tked"]

HEADS: list[tuple[bytes, int | tuple[int, ...]]] = [
    # 1: codings that are not chunked, alone and beside a length
    *((request(b"Transfer-Encoding: " + coding, line=b"POST / HTTP/1.1"), (400, 501))
      for coding in CODINGS),
    *((request(b"Transfer-Encoding: " + coding, *LENGTH, line=b"POST / HTTP/1.1"), 400)
      for coding in CODINGS),
    (request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), 400),
    (request(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"), 400),
    (request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    (request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"), 400),
    # 2: both framings, in either order
    (request(b"Transfer-Encoding: chunked", *LENGTH, body=b"0\r\n\r\n"), 400),
    (request(*LENGTH, b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    (request(b"Content-Length: 0", b"transfer-encoding: chunked"), 400),
    # 3: several lengths
    *((request(*(b"Content-Length: " + length for length in lengths)), 400) for lengths in (
        (b"5", b"6"), (b"5", b"5"), (b"", b"5"), (b"5", b""), (b"5, 6",), (b"5, 5",), (b"5,",))),
    # 4: what int() takes and the grammar does not
    *((request(b"Content-Length: " + length), 400) for length in (
        b"+5", b"-5", b"-0", b"5_0", b"0x5", b"5 0", b"5.0", b"5e1", b"\xef\xbc\x95", b"\xb2",
        b"\xd9\xa5", b"", b"five", b"5;", b'"5"', b"\xa05", b"5\xa0")),
    (request(b"Content-Length: \x0b5"), 400),
    # 5: overflow
    *((request(b"Content-Length: " + length), (400, 413)) for length in (
        b"18446744073709551621", b"9" * 19, b"1" * 5000, b"0" * 5000 + b"5")),
    # 11: bare LF and CR
    (request(b"x:x\nTransfer-Encoding: chunked"), 400),
    (request(b"x:\rTransfer-Encoding: chunked"), 400),
    (request(b"x: a\rb"), 400),
    (request(b"x: a\r"), 400),
    (request(b"x: a\n"), 400),
    (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    (b"GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
    (b"GET / HTTP/1.1\r\r\nHost: x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\rHost: x\r\r\n\r\n", 400),
    # 12: names
    *((request(field), 400) for field in (
        b"Content-Length : 5", b"Content-Length\t: 5", b"X\x85: 1", b"X\xa0: 1", b" X: 1",
        b"\tX: 1", b": 1", b"X", b"X Y: 1", b"X(: 1", b"X\0: 1", b"X\x7f: 1", b'"X": 1',
        b"X\xc3\xa9: 1", b"X,Y: 1", b"@: 1", b"[X]: 1", b"{X}: 1", b"/: 1")),
    (b" " + request(), 400),
    (b"\t" + request(), 400),
    (b"\n" + request(), 400),
    (b"\r\n\r\n" + request(), 400),
    (b"\r" + request(), 400),
    (b"\r\n " + request(), 400),
    (b"\0" + request(), 400),
    # obs-fold
    (request(b"X: 1", b" 2"), 400),
    (request(b"X: 1", b"\t2"), 400),
    (b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    (request(b"Transfer-Encoding:", b" chunked"), 400),
    # controls in values
    *((request(b"X: a" + bytes((octet,)) + b"b"), 400)
      for octet in (*range(9), *range(11, 13), *range(14, 32), 127)),
    # 13: request lines
    *((request(line=line), 400) for line in (
        b"G\0T / HTTP/1.1", b"GET / HTTP/1.1 ", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1", b"GET / HTTP/1.1x", b"GET / HTTP/1.", b"GET / HTTP/11",
        b"GET / HTTP/1.10", b"GET / HTTP/4294967297.1", b"GET / HTTP/1.\xb2", b"GET / http/1.1",
        b"GET / HTTPS/1.1", b"GET / HTTP/+1.1", b"GET / HTTP/ 1.1", b"GET / ICY/1.1", b"GET /",
        b"GET", b"GET HTTP/1.1", b"GET / a HTTP/1.1", b"(GET) / HTTP/1.1", b"G\xc3T / HTTP/1.1",
        b"GET /\x00 HTTP/1.1", b"GET /\x1b[2J HTTP/1.1", b"GET /\x7f HTTP/1.1",
        b"GET /a\tb HTTP/1.1", b"GET /a#b HTTP/1.1", b"GET /a\rb HTTP/1.1",
        b"GET /a\nb HTTP/1.1", b"GET\x0b/ HTTP/1.1", b"{\"a\": 1}")),
    *((request(line=line), 505) for line in (
        b"GET / HTTP/2.0", b"GET / HTTP/0.9", b"GET / HTTP/3.1", b"GET / HTTP/9.9")),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    # target forms
    *((request(line=line), 400) for line in (
        b"GET * HTTP/1.1", b"GET x HTTP/1.1", b"GET ?q HTTP/1.1", b"GET example.com:443 HTTP/1.1",
        b"OPTIONS ** HTTP/1.1", b"CONNECT / HTTP/1.1", b"CONNECT example.com HTTP/1.1",
        b"CONNECT http://example.com:80/ HTTP/1.1", b"CONNECT u@example.com:443 HTTP/1.1",
        b"CONNECT example.com:4430000 HTTP/1.1", b"CONNECT * HTTP/1.1",
        b"GET http:///x HTTP/1.1", b"GET http:/x HTTP/1.1", b"GET http:x HTTP/1.1",
        b"GET http://u:p@example.com/ HTTP/1.1", b"GET http://:80/ HTTP/1.1",
        b"GET ftp://example.com/ HTTP/1.1", b"GET ://example.com/ HTTP/1.1",
        b"GET http://a\\b/ HTTP/1.1", b"GET http://[::1/ HTTP/1.1")),
    # 14: Host
    *((request(host=b"Host: " + host + b"\r\n"), 400) for host in (
        b"example.com/abc?bar=", b"user@example.com", b"a b", b"a#b", b"a?b", b"a\\b", b"a, b",
        b"http://a", b"a:b", b"a:1:2", b"[::1", b"::1", b"a\xc3\xa9", b"a:123456", b"a<b",
        b"%zz", b'"a"', b"a\tb")),
    (request(b"Host: y"), 400),
    (request(b"Host: x"), 400),
    (request(b"hOsT: x", line=b"GET / HTTP/1.0"), 400),
    (request(host=b""), 400),
    (request(host=b"Hos: x\r\n"), 400),
    # 26: a long value that is bad at its very end
    (request(b"X: " + b" a" * 3500 + b"\x10"), 400),
    (request(b"X: " + b"\t " * 3500 + b"\x10"), 400),
    (request(b"Content-Length: " + b" " * 7000 + b"x"), 400),
    # expectations
    *((request(b"Expect: " + value, *LENGTH), 417) for value in (
        b"200-ok", b"100-continue, x", b"", b"100-continue=1", b"100")),
    (request(b"Expect: 100-continue", b"Expect: 100-continue", *LENGTH), 417),
    # 29: floods
    (b"G" * 8191, 414),
    (b"GET /" + b"x" * 8190, 414),
    (request(line=b"GET /" + b"x" * 8177 + b" HTTP/1.1"), 414),
    (request(b"X: " + b"x" * 8188), 431),
    (request(b"X: " + b"x" * 8188)[:-4], 431),
    (request(b"x" * 8200), 431),
    (request(*[b"A: b"] * 100), 431),
    (request(*[b"A: b"] * 10000), 431),
    (request(*[b"A: " + b"x" * 8000] * 9), 431),
    (request(b"X: " + b"x" * 2 ** 20), 431),
    (request(b"x" * 2 ** 20 + b": 1"), 431),
    (request(line=b"GET /" + b"x" * 2 ** 20 + b" HTTP/1.1"), 414),
]


def brief(value: object) -> str | None:
    return repr(value[:60]) if isinstance(value, bytes) else None


@pytest.mark.parametrize("data, status", HEADS, ids=brief)
def test_rejected_heads(data: bytes, status: int | tuple[int, ...]) -> None:
    found = rejection(data)
    assert found in (status if isinstance(status, tuple) else (status,))
    assert len(outcome(data)) == 1, "a head came out"


def test_the_limits_are_exact() -> None:
    limits = Limits(line=20, field=10, fields=3, head=50)
    fits = [
        request(line=b"GET /12345 HTTP/1.1"), request(line=b"GET /123456 HTTP/1.1"),
        request(b"A: 3456789"), request(b"A: 34567890")[:0] + request(b"A:34567890"),
        request(b"A: 1", b"B: 2"), request(b"A:34567890", b"B:34567")]
    for data in fits:
        assert outcome(data, limits)[0][0][0] == "GET", data
    assert rejection(request(line=b"GET /1234567 HTTP/1.1"), limits) == 414
    assert rejection(request(b"A: 34567890"), limits) == 431
    assert rejection(request(b"A:1", b"B:2", b"C:3"), limits) == 431
    assert rejection(request(b"A:34567890", b"B:34567890"), limits) == 431


# Bodies.

def test_content_length() -> None:
    data = request(b"Content-Length: 5", line=b"POST / HTTP/1.1", body=b"hello")
    first, second = outcome(data + LAST)
    assert first[1:] == [b"hello", True] and second[0][1] == "/pipelined"
    [alone] = outcome(request(b"Content-Length: 0"))
    assert alone[0][7] == 0 and alone[1:] == [b"", True]
    assert only(request(b"Content-Length: 007")).content_length == 7


@pytest.mark.parametrize("body, expected", [
    (b"0\r\n\r\n", b""),
    (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    (b"00005\r\nhello\r\n000\r\n\r\n", b"hello"),
    (b"5;a\r\nhello\r\n0;b=c\r\n\r\n", b"hello"),
    (b"5;a=b;c=\"d \\\" ;\"\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"5 ; a = b\r\nhello\r\n0\r\n\r\n", b"hello"),
    (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    (b"1\r\n0\r\n0\r\nX-Sum: 1\r\nY: \xff\r\n\r\n", b"0"),
])
def test_chunked(body: bytes, expected: bytes) -> None:
    first, second = outcome(CHUNKED + body + LAST)
    assert first[0][7:9] == (None, True) and first[1:] == [expected, True]
    assert second[0][1] == "/pipelined" and second[0][5] == "Host: behind\r\n"
    [alone] = outcome(CHUNKED.replace(b"chunked", b" \tCHUNKED ") + body)
    assert alone[1:] == [expected, True]


@pytest.mark.parametrize("body", [
    # 4 and 5: sizes
    *(size + b"\r\nhello\r\n0\r\n\r\n" for size in (
        b"+5", b"-5", b"5_0", b"0x5", b" 5", b"5 ", b"\t5", b"5\t", b"", b"g", b"\xef\xbc\x95",
        b"5,", b"5.0", b"\x0b5", b"5\x00", b"10000000000000005", b"f" * 16, b"f" * 2000,
        b"0" * 2000 + b"5", b"f" * 5000, b"5 5")),
    # 6: what ends the data
    b"5\r\nhelloXX0\r\n\r\n", b"5\r\nhello0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello\r\r\n0\r\n\r\n", b"5\r\nhello\rX", b"5\r\nhello!\r\n0\r\n\r\n",
    b"4\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\n\r0\r\n\r\n",
    # 7: trailers
    b"0\r\nGET /x HTTP/1.1\r\nHost: y\r\n\r\n", b"0\r\nX\r\n\r\n", b"0\r\nX : 1\r\n\r\n",
    b"0\r\n X: 1\r\n\r\n", b"0\r\nX: 1\r\n 2\r\n\r\n", b"0\r\n: 1\r\n\r\n", b"0\r\nX: a\rb\r\n\r\n",
    b"0\r\nX: a\0b\r\n\r\n", b"0\r\nX: 1\n\r\n", b"0\r\nX: 1\r\n\n", b"0\r\n\n", b"0\r\n\rX\r\n",
    *(b"0\r\n" + name + b": 1\r\n\r\n" for name in (
        b"Content-Length", b"transfer-encoding", b"HOST", b"Trailer", b"Authorization",
        b"X-Forwarded-For", b"Cookie", b"Content-Type", b"Expect", b"Connection")),
    # 8: extensions and line ends
    b"5;a\nb\r\nhello\r\n0\r\n\r\n", b"5;\r\nhello\r\n0\r\n\r\n", b"5;\rhello\r\n0\r\n\r\n",
    b"5;a\0\r\nhello\r\n0\r\n\r\n", b"5;a=\r\nhello\r\n0\r\n\r\n", b"5;=a\r\nhello\r\n0\r\n\r\n",
    b"5;a b\r\nhello\r\n0\r\n\r\n", b"5;a=\"b\r\nhello\r\n0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n",
    b"5\n\nhello\r\n0\r\n\r\n", b"5\r\r\nhello\r\n0\r\n\r\n", b"\r\n5\r\nhello\r\n0\r\n\r\n",
    b"5;" + b"a" * 2 ** 20 + b"\r\nhello\r\n0\r\n\r\n", b"5;" + b"a" * 2 ** 20,
    b"".join(b"1;" + b"a" * 900 + b"\r\nx\r\n" for _ in range(20)),
    # 9: trailer floods
    b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n", b"0\r\n" + b"A: b\r\n" * 10000 + b"\r\n",
    b"0\r\n" + b"A: " + b"b" * 2 ** 20, b"0\r\n" + (b"A: " + b"b" * 8000 + b"\r\n") * 10,
], ids=brief)
def test_rejected_chunks(body: bytes) -> None:
    assert rejection(CHUNKED + body) == 400


@pytest.mark.parametrize("data", [
    request(b"Content-Length: 5", body=b"hell"), request(b"Content-Length: 5"),
    CHUNKED, CHUNKED + b"5", CHUNKED + b"5\r\nhel", CHUNKED + b"5\r\nhello",
    CHUNKED + b"5\r\nhello\r\n", CHUNKED + b"5\r\nhello\r\n0\r\n", CHUNKED + b"0\r\nX: 1\r\n",
])
def test_a_body_cut_short_is_never_complete(data: bytes) -> None:
    [first, error] = outcome(data)
    assert first[2] is False and error[2] == 400 and "ended inside" in error[3]


@pytest.mark.parametrize("data, events", [
    (b"", 0), (b"\r\n", 0), (request(), 1), (request() + b"\r\n", 1)])
def test_an_end_between_requests_is_quiet(data: bytes, events: int) -> None:
    found = outcome(data)
    assert len(found) == events and (not found or found[0][2])


@pytest.mark.parametrize("end", range(1, len(request()) - 1))
def test_an_end_inside_a_head(end: int) -> None:
    [error] = outcome(request()[:end])
    assert error[2] == 400 and "ended inside" in error[3]


def test_trailers_never_become_headers() -> None:
    parser = RequestParser()
    assert parser.head(CHUNKED + b"0\r\nX-User: root\r\n\r\n" + LAST)
    fields = parser.fields
    assert parser.body(b"") == b"" and parser.body_complete and parser.fields == fields
    assert parser.head(b"") and "X-User" not in parser.fields


# Connections.

def test_pipelined_requests_come_in_order() -> None:
    data = b"".join(
        request(b"N: %d" % number, line=b"GET /%d HTTP/1.1" % number) if number % 3 else
        request(b"Content-Length: 3", line=b"POST /%d HTTP/1.1" % number, body=b"\r\n\n")
        for number in range(12))
    found = outcome(data + CHUNKED + b"1\r\nx\r\n0\r\n\r\n" + LAST)
    assert [head[1] for head, _, _ in found] == [
        *(f"/{number}" for number in range(12)), "/", "/pipelined"]
    assert all(complete for _, _, complete in found)


def test_nothing_of_a_request_is_left_for_the_next() -> None:
    """Every property of a head is decided again, even if the framing lines are alike."""
    data = (request(b"Connection: keep-alive", line=b"GET http://a/1 HTTP/1.0", host=b"")
            + request(b"Connection: keep-alive", *LENGTH, line=b"POST /2 HTTP/1.1", body=b"12345")
            + request(b"Connection: keep-alive", b"Expect: 100-continue", *LENGTH, body=b"12345")
            + request(b"Connection: keep-alive", *LENGTH, body=b"12345")
            + request(b"Connection: keep-alive", line=b"GET /3 HTTP/1.1")
            + request(b"Connection: keep-alive", line=b"GET /4 HTTP/1.0", host=b""))
    found = [head for head, _, _ in outcome(data)]
    assert [(head[2], head[3], head[6], head[7], head[10]) for head in found] == [
        ("/1", "HTTP/1.0", "a", None, False), ("/2", "HTTP/1.1", None, 5, False),
        ("/", "HTTP/1.1", None, 5, True), ("/", "HTTP/1.1", None, 5, False),
        ("/3", "HTTP/1.1", None, None, False), ("/4", "HTTP/1.0", None, None, False)]


def test_a_missing_host_after_a_good_request_is_an_error() -> None:
    first, error = outcome(request() + request(host=b"") + LAST)
    assert first[2] and error[2] == 400


def test_nothing_is_parsed_after_a_close() -> None:
    [only_one] = outcome(request(b"Connection: close") + LAST)
    assert only_one[0][1] == "/"


@pytest.mark.parametrize("bad, status", [
    (request(b"X : 1"), 400), (request(line=b"GET / HTTP/2.0"), 505), (b"\0", 400)])
def test_nothing_is_served_after_an_error(bad: bytes, status: int) -> None:
    first, error = outcome(request() + bad + LAST)
    assert first[0][1] == "/" and error[2] == status


@pytest.mark.parametrize("line, fields, waits", [
    (b"POST / HTTP/1.1", (b"Expect: 100-continue", *LENGTH), True),
    (b"POST / HTTP/1.1", (b"expect: 100-Continue", b"Transfer-Encoding: chunked"), True),
    (b"POST / HTTP/1.1", (b"Expect: 100-continue",), False),
    (b"POST / HTTP/1.1", (b"Expect: 100-continue", b"Content-Length: 0"), False),
    (b"POST / HTTP/1.0", (b"Expect: 100-continue", *LENGTH), False),
    (b"POST / HTTP/1.0", (b"Expect: 200-ok", *LENGTH), False),
])
def test_expect(line: bytes, fields: tuple[bytes, ...], waits: bool) -> None:
    parser = RequestParser()
    assert parser.head(request(*fields, line=line)) and parser.expect_continue is waits


def test_a_body_that_looks_like_a_request_stays_a_body() -> None:
    """Row 22: an expected body that is not read is never parsed as the next request."""
    parser = RequestParser()
    head = request(b"Expect: 100-continue", b"Content-Length: %d" % len(LAST))
    assert parser.head(head + LAST) and parser.expect_continue and not parser.body_complete
    assert parser.body(b"") == LAST and parser.body_complete and parser.buffered == b""


def test_memory_is_bounded_while_a_head_does_not_end() -> None:
    parser = RequestParser()
    with pytest.raises(ProtocolError):
        for _ in range(1000):
            assert len(parser.buffered) <= 65536
            parser.head(b"A: b\r\n" * 100 if parser.buffered else b"GET / HTTP/1.1\r\n")
