"""Ways of cutting bytes into pieces, and how a connection drives a parser with them."""

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
    """Cut `data` at `places` (any numbers; they are brought into range)."""
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in zip(marks, marks[1:])] or [data]


def drive(parser: Any, pieces: Pieces, seen: Callable[[Any], Any]) -> list[Any]:
    """Feed `pieces`, then the end, as a connection does; return what came out.

    `seen(parser)` tells about a head. A request is (that, body, complete); an error is
    ("error", class, status, reason) and ends the conversation.
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
            piece = parser.body(b"") if not parser.body_complete else b""
            while True:
                events[-1][1] += piece
                if parser.body_complete:
                    break
                data = next(feed, None)
                if data is None:
                    parser.eof()
                    return events
                piece = parser.body(data)
            events[-1][2] = True
            if not parser.keep_alive:
                return events
    except ProtocolError as error:
        events.append(("error", isinstance(error, NotOurProtocol), error.status, error.reason))
    return events
