"""The log collector: a process that reads all log lines and passes them to loggers.

It does the work of uWSGI's master logging when lines go to uWSGI's loggers, or to a file that
is rotated by its size. The standard output and error of every process are then one pipe that
the collector reads; waiting for a disk delays no other process. Request lines come by a pipe of
their own if options treat them separately (`req-logger`, `log-req-route`, `log-req-encoder`), and
orders of the master by a third: what an application prints is neither. The collector ends at the
end of its pipes, when the last process that could write is gone.

    a line of the log        dropped if it matches log-drain, or if there is a log-filter and
                             none matches
    -> its routes            each logger whose log-route matches
    -> otherwise             every logger without a name, or the original destination
    -> encoders              those of that logger, one after the other

Filters do not apply to separate request lines, as in uWSGI. An order takes effect after the lines
that were in the pipes before.
"""

import fcntl
import os
import re
import select
import sys
import termios
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from geventuwsgi.log.datagrams import open_datagrams
from geventuwsgi.log.loggers import Encoder, Logger, encoder, logger, routed
from geventuwsgi.log.sinks import RotatedFile, Sink, StreamSink, Warn, open_sink
from geventuwsgi.rights import User

REOPEN, ROTATE, PLAN = b"o", b"r", b"p"     # orders
MAX_LINE = 65536    # bytes; longer lines are split
PIPE_SIZE = 65536       # bytes read at a time: the usual size of a pipe
LAST = 0.5          # seconds at the end for lines that are waiting
RETRY = 0.5         # seconds between two attempts to write them


class RouteTarget:
    """A logger: a sink and its encoders."""

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
    """The loggers and routes of one of the two kinds of lines.

    Attributes:
        named: the loggers that have a name, by their names.
        unnamed: the targets of a line that matches no route.
        routes: target and expression of each route.
    """

    named: dict[str, RouteTarget]
    unnamed: tuple[RouteTarget, ...]
    routes: tuple[tuple[RouteTarget, re.Pattern[bytes]], ...]


def stream(loggers: Iterable[tuple[str, Sink]], routes: Iterable[tuple[str, str]],
           encoders: Iterable[str], fallback: Callable[[], Sink]) -> Stream:
    """Combine the loggers and routes of one kind of lines.

    Args:
        loggers: (name or "", sink) of each.
        routes: (name, expression) of each.
        encoders: as written; those without a name apply to every logger, as in uWSGI.
        fallback: opens the target of other lines if there is no logger without a name.
    """
    made = [encoder(text) for text in encoders]
    named: dict[str, RouteTarget] = {}
    unnamed: list[RouteTarget] = []
    for name, sink in loggers:
        target = RouteTarget(sink, [encode for owner, encode in made if owner in ("", name)])
        if name:
            named[name] = target
        else:
            unnamed.append(target)
    if not unnamed:
        unnamed.append(RouteTarget(fallback(), [encode for owner, encode in made if not owner]))
    return Stream(named, tuple(unnamed), tuple(
        (named[name], re.compile(expression.encode())) for name, expression in routes
        if name in named))


class Dispatcher:
    """Pass lines to their loggers.

    Args:
        log: for all lines.
        requests: for separate request lines.
        drains, filters: expressions of log-drain and log-filter.
    """

    def __init__(self, log: Stream, requests: Stream, *, drains: Iterable[str] = (),
                 filters: Iterable[str] = ()) -> None:
        self._log = log
        self._requests = requests
        self._drains = [re.compile(text.encode()) for text in drains]
        self._filters = [re.compile(text.encode()) for text in filters]

    def dispatch(self, lines: Iterable[bytes], requests: bool = False) -> None:
        """Pass on whole lines; neighbours with the same targets are written together.

        Args:
            lines: the lines.
            requests: whether they are separate request lines.
        """
        for targets, group in groupby(lines, self._targets_of_request if requests
                                      else self._targets):
            messages = list(group)
            for target in targets:
                target.send(messages)

    def _targets(self, line: bytes) -> tuple[RouteTarget, ...]:
        if any(one.search(line) for one in self._drains) or (
                self._filters and not any(one.search(line) for one in self._filters)):
            return ()
        return _routed(self._log, line)

    def _targets_of_request(self, line: bytes) -> tuple[RouteTarget, ...]:
        return _routed(self._requests, line)

    def sinks(self) -> tuple[Sink, ...]:
        """Return every sink, once."""
        return tuple(dict.fromkeys(
            target.sink for one in (self._log, self._requests)
            for target in (*one.named.values(), *one.unnamed)))


def _routed(stream: Stream, line: bytes) -> tuple[RouteTarget, ...]:
    found = tuple(dict.fromkeys(
        target for target, expression in stream.routes if expression.search(line)))
    return found or stream.unnamed


class LineSplitter:
    r"""Split data into lines; an incomplete line is kept until the rest comes.

    Only \n ends a line; a \r is part of it.
    """

    def __init__(self) -> None:
        self._rest = b""

    def split(self, data: bytes) -> list[bytes]:
        """Return the lines that are complete now."""
        pieces = (self._rest + data).split(b"\n")
        self._rest = pieces.pop()
        lines = [piece + b"\n" for piece in pieces]
        if len(self._rest) >= MAX_LINE:
            lines += self.rest()
        return lines

    @property
    def pending(self) -> bool:
        """Whether there is an incomplete line."""
        return bool(self._rest)

    def rest(self) -> list[bytes]:
        """Return the incomplete line, ended by a line break, if there is one."""
        rest, self._rest = self._rest, b""
        return [rest + b"\n"] if rest else []


class Loggers:
    """Open the sinks of a plan, each file once.

    Args:
        plan: see `dispatcher`.
        warn: called with one sentence when something is wrong.
    """

    def __init__(self, plan: Mapping[str, Any], warn: Warn) -> None:
        self._plan = plan
        self._warn = warn
        user = plan["user"]
        self._user = user and User(user[0], user[1], tuple(user[2]))
        self._files: dict[str, Sink] = {}
        self._stdio: dict[int, Sink] = {}

    def named(self, texts: Sequence[str], fd: int) -> list[tuple[str, Sink]]:
        """Open loggers.

        Args:
            texts: as written.
            fd: the descriptor that `stdio` means.
        """
        return [(one.name, self.open(one, fd)) for one in map(logger, texts)]

    def open(self, one: Logger, fd: int) -> Sink:
        """Open a logger; if that fails, warn and write to `fd` instead."""
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
            return open_sink(path, user=self._user, warn=self._warn)
        # That of `logto` is opened before uWSGI drops root.
        owner = self._plan["owner" if one.target == self._plan["file"] else "logger_owner"]
        return RotatedFile(path, maxsize=one.maxsize, backup=one.backup, mode=self._plan["mode"],
                           owner=tuple(owner), user=self._user, warn=self._warn)

    def stdio(self, fd: int) -> Sink:
        """Return the original destination of lines."""
        if fd not in self._stdio:
            self._stdio[fd] = open_sink(fd)
        return self._stdio[fd]


def dispatcher(plan: Mapping[str, Any], warn: Warn) -> Dispatcher:
    """Open the loggers of a plan.

    Args:
        plan: `log`, `requests`: the loggers of both kinds of lines, as written; `log_routes`,
            `request_routes`, `log_encoders`, `request_encoders`, `drains`, `filters`: as
            written; `file`: the destination of lines without a logger, None = standard
            error; `datagrams`: whether that is the path of a socket; `maxsize`, `backup`,
            `owner`: of that file; `logger_owner`: of all others; `mode`: of all files; `user`:
            see `rights`; `packet`, `split`: of rsyslog.
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
        # Request lines without a logger of their own go where all other lines go.
        named += [("", target.sink) for target in log.unnamed]
    requests = stream(named, map(routed, plan["request_routes"]), plan["request_encoders"],
                      fallback(1))
    return Dispatcher(log, requests, drains=plan["drains"], filters=plan["filters"])


class LogCollector:
    """Read lines until no process is left that could write any.

    Args:
        log: the pipe of all lines.
        requests: the pipe of separate request lines.
        orders: the master's pipe.
        plan: returns the plan, see `dispatcher`; called again for the order `PLAN`.
    """

    def __init__(self, log: int, requests: int, orders: int,
                 plan: Callable[[], Mapping[str, Any]]) -> None:
        self._requests = requests
        self._orders = orders
        self._plan = plan
        self._errors = StreamSink(2)
        self._lines = dispatcher(plan(), self._warn)
        self._splitters = {log: LineSplitter(), requests: LineSplitter()}   # of the open pipes
        self._poll = select.poll()
        for fd in (log, requests, orders):
            self._poll.register(fd, select.POLLIN)

    def _warn(self, text: str) -> None:
        self._errors.write(f"geventuwsgi: log: {text}\n".encode())

    def run(self) -> None:
        """Pass on lines until the end of the pipes."""
        waiting = False
        while self._splitters:
            waiting = waiting or any(one.pending for one in self._splitters.values())
            ready = [fd for fd, _ in self._poll.poll(RETRY * 1000 if waiting else None)]
            if not ready:
                for fd, splitter in self._splitters.items():
                    self._pass_on(fd, splitter.rest())
            orders = b""
            if self._orders in ready:
                orders = os.read(self._orders, PIPE_SIZE)
                if not orders:
                    self._poll.unregister(self._orders)
            for fd in tuple(self._splitters):
                if orders:
                    self._read_all(fd)
                elif fd in ready:
                    self._read(fd, PIPE_SIZE)
            for order in (REOPEN, ROTATE, PLAN):
                if order in orders:
                    self._execute(order)
            waiting = not self._flushed()
        self._end()

    def _read_all(self, fd: int) -> None:
        """Pass on what is in a pipe now."""
        left = int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
        while left > 0:
            left -= self._read(fd, min(left, PIPE_SIZE))

    def _read(self, fd: int, size: int) -> int:
        """Pass on what can be read, up to `size` bytes; return how many."""
        data = os.read(fd, size)
        splitter = self._splitters[fd]
        if data:
            self._pass_on(fd, splitter.split(data))
        else:
            self._pass_on(fd, splitter.rest())
            self._poll.unregister(fd)
            del self._splitters[fd]
        return len(data)

    def _pass_on(self, fd: int, lines: list[bytes]) -> None:
        self._lines.dispatch(lines, requests=fd == self._requests)

    def _end(self) -> None:
        deadline = time.monotonic() + LAST
        while not self._flushed() and time.monotonic() < deadline:
            time.sleep(RETRY / 10)
        for sink in self._lines.sinks():
            sink.close()

    def _flushed(self) -> bool:
        return all([sink.flush() for sink in self._lines.sinks()])

    def _execute(self, order: bytes) -> None:
        if order == PLAN:
            try:
                lines = dispatcher(self._plan(), self._warn)
            except (OSError, ValueError) as error:
                self._warn(f"the logs stay where they are: {error}")
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
