"""Which line goes to which logger, and what is made of it: uWSGI's log-route, filters, encoders.

    a line of the log        dropped by log-drain; dropped if there is a log-filter and none matches
    -> its routes            each logger whose log-route matches takes it
    -> else                  every logger without a name, or where it went before there were any
    -> encoders              those of that logger, one after the other

Request lines carry `REQUEST` in front as long as there is something of their own for them
(`req-logger`, `log-req-route`, `log-req-encoder`); then no filter is theirs, as in uWSGI.
"""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from geventuwsgi.log.loggers import Encoder, encoder
from geventuwsgi.log.sinks import Sink

REQUEST = b"\x1e"   # a control character, which no request line holds (`log.escape`)
ORDER = b"\x1d"     # in front of an order, see `log.scribe`
MAX_LINE = 65536    # bytes; what is longer is taken in pieces


class Outlet:
    """One logger: a sink, and the encoders that are for it."""

    def __init__(self, sink: Sink, encoders: Sequence[Encoder] = ()) -> None:
        self.sink = sink
        self._encoders = tuple(encoders)

    def send(self, messages: Sequence[bytes]) -> None:
        """Encode and write whole lines."""
        if self._encoders:
            now = time.time()
            encoded = []
            for message in messages:
                for encode in self._encoders:
                    message = encode(message, now)
                encoded.append(message)
            messages = encoded
        self.sink.messages(messages)


class Stream(NamedTuple):
    """What is done with one of the two kinds of lines.

    Attributes:
        named: the loggers that have a name, by their names.
        unnamed: what takes a line that no route takes.
        routes: (name, expression) of each route.
    """

    named: dict[str, Outlet]
    unnamed: tuple[Outlet, ...]
    routes: tuple[tuple[Outlet, re.Pattern[bytes]], ...]


def stream(loggers: Iterable[tuple[str, Sink]], routes: Iterable[tuple[str, str]],
           encoders: Iterable[str], fallback: Callable[[], Sink]) -> Stream:
    """Put together the loggers of one kind of lines.

    Args:
        loggers: (name or "", sink) of each.
        routes: (name, expression) of each.
        encoders: as written.
        fallback: opens what takes a line where there is no logger without a name.
    """
    made = [encoder(text) for text in encoders]
    named: dict[str, Outlet] = {}
    unnamed: list[Outlet] = []
    for name, sink in loggers:
        outlet = Outlet(sink, [encode for whose, encode in made if whose == name])
        if name:
            named[name] = outlet
        else:
            unnamed.append(outlet)
    if not unnamed:
        unnamed.append(Outlet(fallback(), [encode for whose, encode in made if not whose]))
    return Stream(named, tuple(unnamed), tuple(
        (named[name], re.compile(expression.encode())) for name, expression in routes
        if name in named))


class Dispatcher:
    """Hand lines to their loggers.

    Args:
        log: for all lines.
        requests: for the lines that begin with `REQUEST`.
        drains, filters: expressions of log-drain and log-filter.
    """

    def __init__(self, log: Stream, requests: Stream, *, drains: Iterable[str] = (),
                 filters: Iterable[str] = ()) -> None:
        self._log = log
        self._requests = requests
        self._drains = [re.compile(text.encode()) for text in drains]
        self._filters = [re.compile(text.encode()) for text in filters]

    def take(self, lines: Iterable[bytes]) -> None:
        """Hand on whole lines; neighbours that go the same way go together."""
        for outlets, group in groupby(lines, self._way):
            messages = list(group)
            if messages[0].startswith(REQUEST):
                messages = [message[1:] for message in messages]
            for outlet in outlets:
                outlet.send(messages)

    def _way(self, line: bytes) -> tuple[Outlet, ...]:
        if line.startswith(REQUEST):
            stream = self._requests
        else:
            stream = self._log
            if any(one.search(line) for one in self._drains) or (
                    self._filters and not any(one.search(line) for one in self._filters)):
                return ()
        if stream.routes:
            found = tuple(dict.fromkeys(
                outlet for outlet, expression in stream.routes if expression.search(line)))
            if found:
                return found
        return stream.unnamed

    def sinks(self) -> tuple[Sink, ...]:
        """Return every sink, once."""
        return tuple(dict.fromkeys(
            outlet.sink for one in (self._log, self._requests)
            for outlet in (*one.named.values(), *one.unnamed)))


class Splitter:
    r"""Cut what was read into lines; the beginning of one waits for its end.

    Lines end with \n alone: a \r is part of one.
    """

    def __init__(self) -> None:
        self._rest = b""

    def split(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete."""
        pieces = (self._rest + data).split(b"\n")
        self._rest = pieces.pop()
        lines = [piece + b"\n" for piece in pieces]
        if len(self._rest) >= MAX_LINE:
            lines += self.rest()
        return lines

    @property
    def waits(self) -> bool:
        """Whether the beginning of a line waits."""
        return bool(self._rest)

    def rest(self) -> list[bytes]:
        """Return the beginning that has no end so far, as a line, if there is one."""
        rest, self._rest = self._rest, b""
        return [rest + b"\n"] if rest else []
