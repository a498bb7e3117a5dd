"""Responses of nodes: what the parser returns, and that it rejects ambiguous ones."""

import pytest

from geventuwsgi.errors import ProtocolError
from geventuwsgi.protocol.http1_response import ResponseParser
from geventuwsgi.protocol.message import Limits
from tests.protocol.pieces import splittings


def read(pieces: list[bytes], method: str = "GET", limits: Limits = Limits()):
    """Feed a response and the node's close; return (status, fields, body) or (status, reason)."""
    parser = ResponseParser(limits)
    parser.begin(method)
    body = b""
    seen = []
    try:
        feed = iter(pieces)
        while True:
            ready = parser.head(b"")
            while not ready:
                data = next(feed, None)
                if data is None:
                    parser.eof()
                    return seen or ("nothing",)
                ready = parser.head(data)
            seen.append((parser.facts.status, parser.facts.fields))
            if parser.facts.status >= 200:
                break
        body += parser.body(b"")
        for data in feed:
            body += parser.body(data)
        if not parser.body_complete:
            parser.eof()
    except ProtocolError as error:
        return error.status, error.reason
    return seen, body, parser.keep_alive, parser.buffered


WHOLE = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET",
     ([(200, "")], b"ok", True, b"")),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore", "GET",
     ([(200, "")], b"ok", True, b"more")),
    (b"HTTP/1.1 200\r\nA: b\r\n\r\nrest", "GET", ([(200, "A: b\r\n")], b"rest", False, b"")),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "GET",
     ([(200, "")], b"ok", False, b"")),
    (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", "GET",
     ([(200, "")], b"", True, b"")),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nKeep-Alive: timeout=5\r\n\r\n"
     b"2;x=y\r\nok\r\n0\r\nTrailer-X: 1\r\n\r\n", "GET", ([(200, "")], b"ok", True, b"")),
    (b"HTTP/1.1 204 No Content\r\n\r\n", "GET", ([(204, "")], b"", True, b"")),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "GET",
     ([(304, "")], b"", True, b"")),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD", ([(200, "")], b"", True, b"")),
    (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
     "GET", ([(103, "Link: x\r\n"), (200, "")], b"", True, b"")),
    (b"HTTP/1.1 999 Go away\r\nContent-Length: 0\r\n\r\n", "GET", ([(999, "")], b"", True, b"")),
    (b"HTTP/1.1 200 OK\r\nConnection: X-Mine, close\r\nX-Mine: 1\r\nX-Yours: 2\r\n"
     b"Content-Length: 0\r\n\r\n", "GET", ([(200, "X-Yours: 2\r\n")], b"", False, b"")),
]
BROKEN = [
    (b"", "without a response"), (b"HTTP/2 200 OK\r\n\r\n", "not an HTTP response"),
    (b"HTTP/1.1 2x0 OK\r\n\r\n", "malformed"), (b"HTTP/1.1 099 OK\r\n\r\n", "malformed"),
    (b"HTTP/1.1  200 OK\r\n\r\n", "malformed"), (b"HTTP/1.1 200 O\0K\r\n\r\n", "malformed"),
    (b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", "malformed"),
    (b"HTTP/1.1 200 OK\r\n folded\r\n\r\n", "malformed"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "more than one"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", "malformed Content-Length"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", "malformed Content-Length"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\nok", "malformed Content"),
    (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "other than chunked"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     "other than chunked"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", "malformed"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX", "not followed by CRLF"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n", "chunk size"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "within its response"),
]


@pytest.mark.parametrize("data, method, expected", WHOLE)
def test_whole_responses_however_they_are_cut(data: bytes, method: str, expected: tuple) -> None:
    for pieces in splittings(data):
        assert read(pieces, method) == expected


@pytest.mark.parametrize("data, reason", BROKEN)
def test_broken_responses_are_the_nodes_fault(data: bytes, reason: str) -> None:
    for pieces in splittings(data):
        if not data:
            continue
        status, message = read(pieces)
        assert status == 502 and reason in message, pieces


def test_a_head_without_end_is_bounded() -> None:
    limits = Limits(head=1000)
    parser = ResponseParser(limits)
    parser.begin("GET")
    with pytest.raises(ProtocolError, match="more than 1000"):
        parser.head(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            parser.head(b"A: " + b"b" * 50 + b"\r\n")


def test_a_cached_head_is_framed_by_its_own_request() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    for method, complete in (("GET", False), ("HEAD", True), ("GET", False)):
        parser = ResponseParser()
        parser.begin(method)
        assert parser.head(data) and parser.body_complete is complete
