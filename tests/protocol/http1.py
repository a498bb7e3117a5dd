"""HTTP/1 requests for tests, and how the parser treats them in all splittings."""

from geventuwsgi.protocol.http1 import RequestParser
from geventuwsgi.protocol.message import Limits
from tests.protocol.pieces import Pieces, drive, splittings

LAST = b"GET /pipelined HTTP/1.1\r\nHost: behind\r\n\r\n"


def seen(parser: RequestParser) -> tuple[object, ...]:
    return (parser.method, parser.target, parser.path, parser.version, parser.http11,
            parser.fields, parser.authority, parser.content_length, parser.chunked,
            parser.keep_alive, parser.expect_continue, parser.head_size)


def long_splittings(data: bytes) -> list[Pieces]:
    """Cut data that is too long to be cut at every offset: whole, in pieces of odd sizes, and
    byte by byte if it is not much too long."""
    return [[data]] + [
        [data[at:at + size] for at in range(0, len(data), size)] for size in (997, 4096, 65536)
    ] + ([[data[at:at + 1] for at in range(len(data))]] if len(data) < 20000 else [])


def outcome(data: bytes, limits: Limits = Limits()) -> list[object]:
    """Parse `data` in all splittings; they must agree; return the events."""
    ways = long_splittings(data) if len(data) > 1500 else splittings(data)
    results = [(pieces, drive(RequestParser(limits), pieces, seen)) for pieces in ways]
    for pieces, result in results[1:]:
        assert result == results[0][1], pieces
    return results[0][1]


def rejection(data: bytes, limits: Limits = Limits()) -> int:
    """Return the status that rejects `data`. It must not depend on what follows, which must
    not be parsed as a request, and no whole body may come before the error."""
    for tail in (b"", LAST):
        *before, (word, _, status, reason) = outcome(data + tail, limits)
        assert word == "error" and "ended inside" not in reason
        for head, _, complete in before:
            assert not complete and head[1] != "/pipelined"
    return status


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1", body: bytes = b"",
            host: bytes = b"Host: x\r\n") -> bytes:
    return line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


def only(data: bytes) -> RequestParser:
    """Return a parser that parsed `data` as one head; the splittings must agree."""
    outcome(data)
    parser = RequestParser()
    assert parser.head(data)
    return parser


CHUNKED = request(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.1")
