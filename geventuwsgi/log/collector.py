"""Which line goes to which logger, and what is made of it: uWSGI's log-route, filters, encoders.

    a line of the log        dropped by log-drain; dropped if there is a log-filter and none matches
    -> its routes            each logger whose log-route matches takes it
    -> else                  every logger without a name, or where it went before there were any
    -> encoders              those of that logger, one after the other

Request lines carry `REQUEST` in front as long as there is something of their own for them
(`req-logger`, `log-req-route`, `log-req-encoder`); then no filter is theirs, as in uWSGI.
"""

import os
import re
import select
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from geventuwsgi.log.datagrams import open_datagrams
from geventuwsgi.log.loggers import Encoder, Logger, encoder, logger, routed
from geventuwsgi.log.sinks import RotatedFile, Sink, StreamSink, Warn, open_sink

REQUEST = b"\x1e"   # a control character, which no request line holds (`log.escape`)
ORDER = b"\x1d"     # in front of an order, see `log.scribe`
MAX_LINE = 65536    # bytes; what is longer is taken in pieces


class RouteTarget:
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

    named: dict[str, RouteTarget]
    unnamed: tuple[RouteTarget, ...]
    routes: tuple[tuple[RouteTarget, re.Pattern[bytes]], ...]


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
    named: dict[str, RouteTarget] = {}
    unnamed: list[RouteTarget] = []
    for name, sink in loggers:
        outlet = RouteTarget(sink, [encode for whose, encode in made if whose == name])
        if name:
            named[name] = outlet
        else:
            unnamed.append(outlet)
    if not unnamed:
        unnamed.append(RouteTarget(fallback(), [encode for whose, encode in made if not whose]))
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

    def _way(self, line: bytes) -> tuple[RouteTarget, ...]:
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


class LineSplitter:
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


# The scribe: a process of its own that reads all lines of an instance and hands them on.
#
# Where lines go to uWSGI's loggers, or to a file that is rotated by its size, the standard
# output and error of every process are one pipe, and this is who reads it: uWSGI's master
# logging, in a process that may wait for a disk without holding anybody up. It ends at the
# pipe's end, when the last process that could write is gone.
#
# The rules of this room: one line is one message. An order comes in the pipe as well, so that
# it is obeyed between the lines before and those behind it.

REOPEN = ORDER + b"reopen\n"
ROTATE = ORDER + b"rotate\n"
PLAN = ORDER + b"plan\n"
PIECE = 65536   # bytes read at a time: a pipe's usual size
LAST = 0.5      # seconds for what waits at the end
LATER = 0.5     # seconds between two attempts to write what waits


class Loggers:
    """Open the sinks of a plan, each file once.

    Args:
        plan: what the scribe is to do, see `dispatcher`.
        warn: called with one sentence when something is wrong.
    """

    def __init__(self, plan: Mapping[str, Any], warn: Warn) -> None:
        self._plan = plan
        self._warn = warn
        self._files: dict[str, Sink] = {}
        self._stdio: dict[int, Sink] = {}

    def named(self, texts: Sequence[str], fd: int) -> list[tuple[str, Sink]]:
        """Open loggers.

        Args:
            texts: as written.
            fd: what `stdio` stands for.
        """
        return [(one.name, self.open(one, fd)) for one in map(logger, texts)]

    def open(self, one: Logger, fd: int) -> Sink:
        """Open one logger; a file that cannot be opened is told and its lines go to `fd`."""
        plan = self._plan
        if one.kind == "file":
            path = os.path.abspath(one.target)
            if path not in self._files:
                try:
                    self._files[path] = self._file(path, one)
                except OSError as error:
                    self._warn(f"cannot open {path}: {error.strerror}")
                    return self.stdio(fd)
            return self._files[path]
        if one.kind == "stdio":
            return self.stdio(fd)
        if one.kind == "fd":
            try:
                return open_sink(int(one.target), warn=self._warn)
            except OSError as error:
                self._warn(f"cannot write to descriptor {one.target}: {error.strerror}")
                return self.stdio(fd)
        return open_datagrams(one, packet=plan["packet"], split=plan["split"], warn=self._warn)

    def _file(self, path: str, one: Logger) -> Sink:
        if os.path.exists(path) and not os.path.isfile(path):
            return open_sink(path, warn=self._warn)
        user = self._plan["user"] if one.target == self._plan["file"] else None
        return RotatedFile(path, maxsize=one.maxsize, backup=one.backup, mode=self._plan["mode"],
                           owner=tuple(self._plan["owner"]), user=user and tuple(user),
                           warn=self._warn)

    def stdio(self, fd: int) -> Sink:
        """Return where lines went before there were loggers."""
        if fd not in self._stdio:
            self._stdio[fd] = open_sink(fd)
        return self._stdio[fd]


def dispatcher(plan: Mapping[str, Any], warn: Warn) -> Dispatcher:
    """Open what a plan names.

    Args:
        plan: `log`, `requests`: the loggers of both kinds of lines, as written; `log_routes`,
            `request_routes`, `log_encoders`, `request_encoders`, `drains`, `filters`: as
            written; `file`: where a line goes that no logger takes, None = the standard
            error; `maxsize`, `backup`, `user`: of that file; `mode`, `owner`: of all files;
            `packet`, `split`: of rsyslog.
        warn: called with one sentence when something is wrong.
    """
    loggers = Loggers(plan, warn)

    def fallback(fd: int) -> Callable[[], Sink]:
        if plan["file"] is None:
            return lambda: loggers.stdio(fd)
        file = logger("file:x")._replace(target=plan["file"], maxsize=plan["maxsize"],
                                         backup=plan["backup"])
        if plan["datagrams"]:
            file = logger("socket:" + plan["file"])
        return lambda: loggers.open(file, fd)

    log = stream(loggers.named(plan["log"], 2), map(routed, plan["log_routes"]),
                 plan["log_encoders"], fallback(2))
    named = loggers.named(plan["requests"], 1)
    if plan["log"] and all(name for name, _ in named):
        # Request lines have no logger of their own: they go with all others.
        named += [("", outlet.sink) for outlet in log.unnamed]
    requests = stream(named, map(routed, plan["request_routes"]), plan["request_encoders"],
                      fallback(1))
    return Dispatcher(log, requests, drains=plan["drains"], filters=plan["filters"])


class LogCollector:
    """Read lines until there is nobody left to write any.

    Args:
        fd: the pipe.
        plan: returns what is to be done, see `dispatcher`; asked again on an order.
    """

    def __init__(self, fd: int, plan: Callable[[], Mapping[str, Any]]) -> None:
        self._fd = fd
        self._plan = plan
        self._errors = StreamSink(2)
        self._lines = dispatcher(plan(), self._tell)
        self._splitter = LineSplitter()

    def _tell(self, text: str) -> None:
        self._errors.write(f"geventuwsgi: log: {text}\n".encode())

    def run(self) -> None:
        """Copy until the pipe's end."""
        splitter = self._splitter
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        waits = False
        while True:
            if (waits or splitter.waits) and not poll.poll(LATER * 1000):
                self._lines.take(splitter.rest())
            elif data := os.read(self._fd, PIECE):
                self._take(splitter.split(data))
            else:
                break
            waits = not self._flushed()
        self._lines.take(splitter.rest())
        self._end()

    def _end(self) -> None:
        deadline = time.monotonic() + LAST
        while not self._flushed() and time.monotonic() < deadline:
            time.sleep(LATER / 10)
        for sink in self._lines.sinks():
            sink.close()

    def _flushed(self) -> bool:
        return all([sink.flush() for sink in self._lines.sinks()])

    def _take(self, lines: list[bytes]) -> None:
        """Hand lines on, and obey the orders among them."""
        start = 0
        for place, line in enumerate(lines):
            if line.startswith(ORDER) and line in (REOPEN, ROTATE, PLAN):
                self._lines.take(lines[start:place])
                start = place + 1
                self._obey(line)
        self._lines.take(lines[start:])

    def _obey(self, order: bytes) -> None:
        if order == PLAN:
            try:
                lines = dispatcher(self._plan(), self._tell)
            except (OSError, ValueError) as error:
                self._tell(f"the logs stay where they are: {error}")
                return
            self._lines, before = lines, self._lines
            for sink in before.sinks():
                sink.close()
            return
        for sink in self._lines.sinks():
            if order == REOPEN:
                sink.reopen()
            elif isinstance(sink, RotatedFile):
                sink.rotate()
