"""Cut bytes into pieces, and feed a parser with them as a connection does."""

from collections.abc import Callable, Iterator
from typing import Any

from geventuwsgi.errors import NotOurProtocol, ProtocolError

Pieces = list[bytes]


def splittings(data: bytes) -> Iterator[Pieces]:
    """Yield `data` whole, byte by byte, and cut in two at every offset."""
    yield [data]
    yield [data[at:at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def cut(data: bytes, places: list[int]) -> Pieces:
    """Cut `data` at `places` (any numbers, modulo its length)."""
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in zip(marks, marks[1:])] or [data]


def body(parser: Any, data: bytes, events: list[Any]) -> bytes:
    try:
        piece: bytes = parser.body(data)
    except ProtocolError:
        events[-1][1] = None
        raise
    return piece


def drive(parser: Any, pieces: Pieces, seen: Callable[[Any], Any]) -> list[Any]:
    """Feed `pieces`, then the end, as a connection does; return the events.

    `seen(parser)` returns the properties of a head. The event of a request is [these, body,
    complete]. An error is ("error", is it another protocol, status, reason) and the last
    event. The body is None before an error in it, as its length then depends on the pieces.
    """
    events: list[Any] = []
    feed = iter(pieces)
    try:
        while True:
            ready = parser.head(b"")
            while not ready:
                data = next(feed, None)
                if data is None:
                    parser.eof()
                    return events
                ready = parser.head(data)
            events.append([seen(parser), b"", False])
            piece = b"" if parser.body_complete else body(parser, b"", events)
            while True:
                events[-1][1] += piece
                if parser.body_complete:
                    break
                data = next(feed, None)
                if data is None:
                    parser.eof()
                    return events
                piece = body(parser, data, events)
            events[-1][2] = True
            if not parser.keep_alive:
                return events
    except ProtocolError as error:
        events.append(("error", isinstance(error, NotOurProtocol), error.status, error.reason))
    return events
