"""Responses: nothing unchecked is sent, and the framing suits the client."""

import http.client
import io
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventuwsgi.errors import ResponseError
from geventuwsgi.protocol.response import (
    CONTINUE, Response, ResponseDefaults, check_fields, error_response, imf_fixdate, informational,
)

Headers = list[tuple[str, str]]
BARE = ResponseDefaults("", False)


def head_of(status: str = "200 OK", headers: Iterable[tuple[str, str]] = (), *,
            defaults: ResponseDefaults = BARE, http11: bool = True, is_head: bool = False,
            keep_alive: bool = True, known: int | None = None) -> tuple[Response, list[str]]:
    """Return the response and the lines of its head, without the empty one."""
    response = Response(status, headers)
    octets = response.head(
        defaults, http11=http11, is_head=is_head, keep_alive=keep_alive, known=known)
    assert octets.endswith(b"\r\n\r\n") and response.head_size == len(octets)
    return response, octets.decode("latin-1").split("\r\n")[:-2]


def read(octets: bytes, method: str = "GET") -> tuple[http.client.HTTPResponse, bytes]:
    """Read a response with the standard library's client."""
    class Wire:
        def makefile(self, mode: str) -> io.BytesIO:
            return io.BytesIO(octets)
    received = http.client.HTTPResponse(Wire(), method=method)  # type: ignore[arg-type]
    received.begin()
    return received, received.read()


# What must not be sent.

@pytest.mark.parametrize("name", [
    "", "A B", "A:", "A\r\nB", "A\n", "A\0", "A\t", " A", "A ", "(A)", "A\x7f", "caf\xe9",
    "\u212a", '"A"', "A/B", b"A", None, 1])
def test_bad_names(name: str) -> None:
    with pytest.raises(ResponseError):
        Response("200 OK", [(name, "1")])
    with pytest.raises(ResponseError):
        check_fields([(name, "1")])


@pytest.mark.parametrize("value", [
    "a\r\nSet-Cookie: b", "a\rb", "a\nb", "a\r\n b", "\r\n", "a\n", "a\0", "\0", "a\x0b",
    "a\x1b[2J", "a\x7f", "\u20ac", "\ud800", b"a", None, 1, ["a"]])
@pytest.mark.parametrize("name", ["X-A", "Date", "Server", "Location", "Set-Cookie"])
def test_bad_values(name: str, value: str) -> None:
    with pytest.raises(ResponseError):
        Response("200 OK", [("A", "fine"), (name, value)])
    with pytest.raises(ResponseError):
        check_fields([(name, value)])


@pytest.mark.parametrize("value", ["a\tb", "", " a ", "caf\xe9", "\xff\x80", "a: b, \"c\"; d=e"])
def test_values_that_are_sent_as_they_are(value: str) -> None:
    response, lines = head_of(headers=[("X-A", value)], known=0)
    assert f"X-A: {value}" in lines and response.header_count == 1


@pytest.mark.parametrize("status", [
    "", "OK", "200OK", "20", "2000 OK", "200\tOK", " 200 OK", "200 O\r\nK", "200 OK\r\n",
    "200 OK\n",
    "200 \0", "200 \x1b", "\u0662\u0660\u0660 OK", "2\xb20 OK", "000 x", "099 x", "-20 x",
    "+20 x", "200 \u20ac", b"200 OK", 200, None, "100 Continue", "103 Early Hints"])
def test_bad_statuses(status: str) -> None:
    with pytest.raises(ResponseError):
        Response(status, [])


@pytest.mark.parametrize("status, line", [
    ("200 OK", "HTTP/1.1 200 OK"), ("200", "HTTP/1.1 200 OK"), ("404", "HTTP/1.1 404 Not Found"),
    ("299", "HTTP/1.1 299 "),
    ("600 x", "HTTP/1.1 600 x"), ("999", "HTTP/1.1 999 "), ("299 ", "HTTP/1.1 299 "),
    ("418 I'm a caf\xe9", "HTTP/1.1 418 I'm a caf\xe9"),
    ("101 Switching Protocols", "HTTP/1.1 101 Switching Protocols")])
def test_statuses(status: str, line: str) -> None:
    for _ in range(2):  # the second comes from memory
        response, lines = head_of(status, known=0)
        assert lines[0] == line and response.code == int(status[:3])


@pytest.mark.parametrize("headers", [
    [("A",)], [("A", "b", "c")], ["Ab"[:1]], [None], [1], None, 5, [("A", "1"), "xyz"]])
def test_headers_that_are_not_pairs(headers: Headers) -> None:
    with pytest.raises(ResponseError):
        Response("200 OK", headers)


@pytest.mark.parametrize("lengths", [
    ["abc"], ["-1"], ["+1"], [" 1"], ["1 "], ["1_0"], ["1.0"], [""], ["\xb2"], ["\u0665"],
    ["9" * 19], ["1" * 5000], ["1", "1"], ["1", "2"], ["1, 1"], ["1\r\nX: y"], [5]])
def test_bad_lengths(lengths: list[str]) -> None:
    with pytest.raises(ResponseError):
        Response("200 OK", [("content-LENGTH", length) for length in lengths])


def test_caches_are_bounded_and_still_checked() -> None:
    for number in range(3000):
        _, lines = head_of(f"299 Phrase {number}", [(f"X-{number}", "1")], known=0)
        assert lines[:2] == [f"HTTP/1.1 299 Phrase {number}", f"X-{number}: 1"]
    with pytest.raises(ResponseError):
        Response("299 late\r\n", [])
    with pytest.raises(ResponseError):
        Response("200 OK", [("X-late\r\n", "1")])
    assert head_of(headers=[("X-Very-Late", "1"), ("TRANSFER-encoding", "x")], known=0)[1] == [
        "HTTP/1.1 200 OK", "X-Very-Late: 1", "Content-Length: 0"]


# Framing and persistence.

CLOSE, KEEP, CHUNKED = "Connection: close", "Connection: keep-alive", "Transfer-Encoding: chunked"


@pytest.mark.parametrize("http11, keep_alive, length, known, framing, stays", [
    (True, True, "5", None, ["Content-Length: 5"], True),
    (True, True, "5", 5, ["Content-Length: 5"], True),
    (True, True, "5", 6, ["Content-Length: 5", CLOSE], False),
    (True, True, "5", 4, ["Content-Length: 5", CLOSE], False),
    (True, True, "5", 0, ["Content-Length: 5", CLOSE], False),
    (False, True, "5", 6, ["Content-Length: 5", CLOSE], False),
    (True, True, None, 5, ["Content-Length: 5"], True),
    (True, True, None, 0, ["Content-Length: 0"], True),
    (True, True, None, None, [CHUNKED], True),
    (True, False, "5", None, ["Content-Length: 5", CLOSE], False),
    (True, False, None, None, [CHUNKED, CLOSE], False),
    (False, True, "5", None, ["Content-Length: 5", KEEP], True),
    (False, True, None, 5, ["Content-Length: 5", KEEP], True),
    (False, True, None, None, [CLOSE], False),
    (False, False, "5", None, ["Content-Length: 5", CLOSE], False),
    (False, False, None, None, [CLOSE], False),
])
def test_framing(http11: bool, keep_alive: bool, length: str | None, known: int | None,
                 framing: list[str], stays: bool) -> None:
    headers = [("Content-Length", length)] if length else []
    response, lines = head_of(headers=headers, http11=http11, keep_alive=keep_alive, known=known)
    assert lines[1:] == framing and response.keep_alive is stays
    assert response.chunked is (CHUNKED in framing) and not response.bodiless


@pytest.mark.parametrize("status, is_head, length, known, framing", [
    ("200 OK", True, "5", None, ["Content-Length: 5"]),
    ("200 OK", True, "5", 6, ["Content-Length: 5"]),
    ("200 OK", True, "5", 0, ["Content-Length: 5"]),
    ("200 OK", True, None, 5, ["Content-Length: 5"]),
    ("200 OK", True, None, 0, []),       # no body, so its length is unknown
    ("200 OK", True, None, None, []),
    ("204 No Content", False, None, None, []),
    ("204 No Content", False, None, 0, []),
    ("204 No Content", False, "0", None, []),
    ("204 No Content", False, None, 7, []),
    ("304 Not Modified", False, None, None, []),
    ("304 Not Modified", False, None, 0, []),
    ("304 Not Modified", False, "5", None, ["Content-Length: 5"]),
    ("304 Not Modified", True, None, 3, []),
])
def test_responses_without_a_body(status: str, is_head: bool, length: str | None,
                                  known: int | None, framing: list[str]) -> None:
    headers = [("Content-Length", length)] if length else []
    response, lines = head_of(status, headers, is_head=is_head, known=known)
    assert lines[1:] == framing and response.bodiless and response.keep_alive
    assert response.encode(b"hello") == b"" and response.encode(b"") == b""
    assert response.end() == b""
    # Five octets that are not sent: only a Content-Length of 0 differs from them.
    assert bool(response.length_error) == (length == "0")


def test_upgrade() -> None:
    response, lines = head_of("101 Switching Protocols", [
        ("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", "x")])
    assert lines == ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket",
                     "Connection: Upgrade", "Sec-WebSocket-Accept: x"]
    assert response.bodiless and not response.keep_alive and not response.chunked
    assert "Upgrade: h2c" in head_of("426 Upgrade Required", [("Upgrade", "h2c")])[1]
    assert "Upgrade: h2c" not in head_of("200 OK", [("Upgrade", "h2c")])[1]


@pytest.mark.parametrize("name, value", [
    ("Transfer-Encoding", "chunked"), ("transfer-encoding", "gzip"), ("Keep-Alive", "timeout=5"),
    ("TE", "trailers"), ("Proxy-Connection", "keep-alive"),
    ("Connection", "keep-alive"), ("Connection", "X-A")])
def test_hop_by_hop_fields_belong_to_the_server(name: str, value: str) -> None:
    response, lines = head_of(headers=[(name, value), ("A", "b")], known=3)
    assert lines[1:] == ["A: b", "Content-Length: 3"] and response.keep_alive
    assert response.header_count == 1


@pytest.mark.parametrize("value", ["close", "Close", "foo, close"])
def test_the_application_may_close(value: str) -> None:
    response, lines = head_of(headers=[("CONNECTION", value)], known=3)
    assert lines[1:] == ["Content-Length: 3", CLOSE] and not response.keep_alive


def test_pieces_in_chunks() -> None:
    response, _ = head_of()
    assert response.encode(b"hello") == b"5\r\nhello\r\n" and response.encode(b"") == b""
    assert response.encode(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert response.end() == b"0\r\n\r\n" and not response.length_error


def test_no_more_than_content_length() -> None:
    response, _ = head_of(headers=[("Content-Length", "5")])
    assert response.encode(b"hel") == b"hel" and response.remaining == 2
    assert response.encode(b"lo, world") == b"lo"
    assert response.remaining is not None and response.remaining < 0
    assert "7 bytes longer" in response.length_error
    assert response.encode(b"more") == b"" and response.remaining < 0
    assert response.end() == b""


def test_fewer_bytes_than_content_length() -> None:
    response, _ = head_of(headers=[("Content-Length", "5")])
    assert response.encode(b"hell") == b"hell" and response.encode(b"") == b""
    assert response.remaining == 1 and "1 bytes shorter" in response.length_error


# Over the uwsgi protocol.

def test_raw_heads() -> None:
    defaults = ResponseDefaults("geventuwsgi", True, [("X-Added", "1")])
    defaults.tick(0)
    response = Response("200", [("A", "b")])
    octets = response.raw_head(defaults, is_head=False)
    assert octets == b"HTTP/1.1 200 OK\r\nA: b\r\nX-Added: 1\r\n\r\n"
    assert response.head_size == len(octets)
    assert not response.chunked and not response.keep_alive and not response.bodiless
    assert response.encode(b"hello") == b"hello" and response.end() == b""
    assert not response.length_error
    known = Response("200 OK", []).raw_head(BARE, is_head=False, known=5)
    assert known == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    head = Response("200 OK", [])
    assert head.raw_head(BARE, is_head=True) and head.encode(b"hello") == b""
    assert not head.length_error
    short = Response("200 OK", [("Content-Length", "5")])
    short.raw_head(BARE, is_head=False)
    assert short.encode(b"hell") == b"hell" and short.length_error


# The fields of all responses.

def test_default_fields() -> None:
    defaults = ResponseDefaults("geventuwsgi", True, [("X-Added", "1")])
    defaults.tick(784111777.9)
    date = "Date: Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110 section 5.6.7
    assert head_of(defaults=defaults, known=0)[1][2:] == ["Server: geventuwsgi", date, "X-Added: 1"]
    own = [("date", "x"), ("SERVER", "y")]
    assert head_of(headers=own, defaults=defaults, known=0)[1][1:] == [
        "date: x", "SERVER: y", "Content-Length: 0", "X-Added: 1"]
    assert head_of(headers=own[:1], defaults=defaults, known=0)[1][3:] == [
        "Server: geventuwsgi", "X-Added: 1"]
    assert head_of(headers=own[1:], defaults=defaults, known=0)[1][3:] == [date, "X-Added: 1"]
    defaults.tick(784111778.0)
    assert "Date: Sun, 06 Nov 1994 08:49:38 GMT" in head_of(defaults=defaults, known=0)[1]
    assert head_of(known=0)[1] == ["HTTP/1.1 200 OK", "Content-Length: 0"]


def test_added_fields_that_the_server_sends_too_come_once() -> None:
    defaults = ResponseDefaults("geventuwsgi", True, [("SERVER", "mine"), ("X-Added", "1")])
    defaults.tick(0)
    date = "Date: Thu, 01 Jan 1970 00:00:00 GMT"
    assert head_of(defaults=defaults, known=0)[1][2:] == ["SERVER: mine", date, "X-Added: 1"]
    assert head_of(headers=[("Server", "app")], defaults=defaults, known=0)[1][1:] == [
        "Server: app", "Content-Length: 0", date, "X-Added: 1"]
    raw = Response("200 OK", []).raw_head(defaults, is_head=False)
    assert raw == b"HTTP/1.1 200 OK\r\nSERVER: mine\r\nX-Added: 1\r\n\r\n"
    raw = Response("200 OK", [("Server", "app")]).raw_head(defaults, is_head=False)
    assert raw == b"HTTP/1.1 200 OK\r\nServer: app\r\nX-Added: 1\r\n\r\n"


def test_an_added_connection_field_is_a_decision_and_not_a_text() -> None:
    close = ResponseDefaults("", False, [("connection", "Close"), ("X-Added", "1")])
    response, lines = head_of(defaults=close, known=0)
    assert lines[1:] == ["Content-Length: 0", "Connection: close", "X-Added: 1"]
    assert not response.keep_alive
    keep = ResponseDefaults("", False, [("Connection", "Keep-Alive"), ("Keep-Alive", "timeout=9")])
    response, lines = head_of(defaults=keep, known=0)
    assert lines[1:] == ["Content-Length: 0"] and response.keep_alive
    assert head_of(headers=[("Connection", "close")], defaults=keep, known=0)[1][1:] == [
        "Content-Length: 0", "Connection: close"]


@pytest.mark.parametrize("server", ["a\r\nb", "\u20ac"])
def test_default_fields_are_checked_too(server: str) -> None:
    with pytest.raises(ResponseError):
        ResponseDefaults(server, False)
    with pytest.raises(ResponseError):
        ResponseDefaults("", False, [("X", server)])


@given(st.integers(0, 253402300799))
def test_dates(seconds: int) -> None:
    """Invariant: a date is parsed back to the same second."""
    text = imf_fixdate(seconds)
    assert parsedate_to_datetime(text).timestamp() == seconds and len(text) == 29


def test_informational() -> None:
    assert CONTINUE == informational(100, [])
    assert informational(103, [("Link", "</a.css>; rel=preload")]) == (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    with pytest.raises(ResponseError):
        informational(103, [("Link", "a\r\nb")])


@pytest.mark.parametrize("status", [
    400, 403, 404, 408, 413, 414, 417, 431, 500, 501, 503, 504, 505])
def test_error_responses(status: int) -> None:
    defaults = ResponseDefaults("geventuwsgi", True)
    defaults.tick(0)
    received, body = read(error_response(status, defaults, extra=[("Retry-After", "1")]))
    assert received.status == status and str(status).encode() in body
    assert int(received.headers["Content-Length"]) == len(body)
    assert received.headers["Connection"] == "close" and received.headers["Date"]
    assert received.headers["Retry-After"] == "1"
    received, body = read(error_response(status, defaults, is_head=True), "HEAD")
    assert received.status == status and body == b""
    assert error_response(status, defaults, is_head=True).endswith(b"\r\n\r\n")


# Fuzz.

texts = st.text(st.one_of(st.characters(max_codepoint=255), st.sampled_from("\r\n\0 \t:\u20ac")),
                max_size=12)
names = st.one_of(texts, st.sampled_from(["Content-Length", "connection", "Date", "TE", "X-A"]))


@given(st.one_of(st.just("200 OK"), texts.map("200 ".__add__)),
       st.lists(st.tuples(names, texts), max_size=5), st.booleans())
def test_nothing_is_injected(status: str, headers: Headers, http11: bool) -> None:
    """Invariant: a head is either rejected, or has one line for the status, one for each field
    that is counted, and at most two for the framing; none of them by the application's text."""
    try:
        response, lines = head_of(status, headers, http11=http11)
    except ResponseError:
        return
    assert 1 + response.header_count <= len(lines) <= 3 + response.header_count
    given_lines = [f"{name}: {text}" for name, text in headers]
    assert all(line in given_lines for line in lines[1:1 + response.header_count])
    assert set(lines[1 + response.header_count:]) <= {CLOSE, KEEP, CHUNKED}
    assert not any(set(line) & set("\r\n\0") for line in lines)


@given(st.lists(st.binary(max_size=30), max_size=6), st.one_of(st.none(), st.integers(0, 100)),
       st.booleans(), st.booleans())
def test_a_client_reads_what_was_sent(
        pieces: list[bytes], length: int | None, http11: bool, is_head: bool) -> None:
    """Invariant: a client sees the body, cut to Content-Length; more is never on the wire, and
    if the body is shorter than Content-Length, `length_error` says so."""
    body = b"".join(pieces)
    response = Response("200 OK", [] if length is None else [("Content-Length", str(length))])
    octets = response.head(BARE, http11=http11, is_head=is_head, keep_alive=True)
    octets += b"".join(response.encode(piece) for piece in pieces) + response.end()
    if is_head:
        assert octets.endswith(b"\r\n\r\n") and octets.count(b"\r\n\r\n") == 1
        return
    short = length is not None and len(body) < length
    assert ("shorter" in response.length_error) is short
    if short:
        with pytest.raises(http.client.IncompleteRead):
            read(octets)
        return
    received, found = read(octets + (b"next" if response.keep_alive else b""))
    assert found == body[:length]
    assert response.keep_alive is (length is not None or http11)


def test_the_fields_as_pairs() -> None:
    fields = [("X-A", "1: 2"), ("x-a", ""), ("X-B", "next\x85line")]
    assert Response("200 OK", [*fields, ("Connection", "close")]).pairs == fields
    assert Response("200 OK", []).pairs == []
