"""The log collector: a process that reads all log lines and passes them to loggers.

It does the work of uWSGI's master logging when lines go to uWSGI's loggers, or to a file that
is rotated by its size. The standard output and error of every process are then one pipe that
the collector reads; waiting for a disk delays no other process. It ends at the end of the
pipe, when the last process that could write is gone.

    a line of the log        dropped if it matches log-drain, or if there is a log-filter and
                             none matches
    -> its routes            each logger whose log-route matches
    -> otherwise             every logger without a name, or the original destination
    -> encoders              those of that logger, one after the other

Request lines begin with `REQUEST` if options treat them separately (`req-logger`,
`log-req-route`, `log-req-encoder`); filters then do not apply to them, as in uWSGI. Commands
are lines of the same pipe, so that they take effect between the lines before and after them.
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
from geventuwsgi.rights import User

REQUEST = b"\x1e"   # a control character, which no request line contains (`log.escape`)
COMMAND = b"\x1d"   # in front of a command
REOPEN = COMMAND + b"reopen\n"
ROTATE = COMMAND + b"rotate\n"
PLAN = COMMAND + b"plan\n"
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
        requests: for the lines that begin with `REQUEST`.
        drains, filters: expressions of log-drain and log-filter.
    """

    def __init__(self, log: Stream, requests: Stream, *, drains: Iterable[str] = (),
                 filters: Iterable[str] = ()) -> None:
        self._log = log
        self._requests = requests
        self._drains = [re.compile(text.encode()) for text in drains]
        self._filters = [re.compile(text.encode()) for text in filters]

    def dispatch(self, lines: Iterable[bytes]) -> None:
        """Pass on whole lines; neighbours with the same targets are written together."""
        for targets, group in groupby(lines, self._targets):
            messages = list(group)
            if messages[0].startswith(REQUEST):
                messages = [message[1:] for message in messages]
            for target in targets:
                target.send(messages)

    def _targets(self, line: bytes) -> tuple[RouteTarget, ...]:
        if line.startswith(REQUEST):
            stream = self._requests
        else:
            stream = self._log
            if any(one.search(line) for one in self._drains) or (
                    self._filters and not any(one.search(line) for one in self._filters)):
                return ()
        if stream.routes:
            found = tuple(dict.fromkeys(
                target for target, expression in stream.routes if expression.search(line)))
            if found:
                return found
        return stream.unnamed

    def sinks(self) -> tuple[Sink, ...]:
        """Return every sink, once."""
        return tuple(dict.fromkeys(
            target.sink for one in (self._log, self._requests)
            for target in (*one.named.values(), *one.unnamed)))


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
        fd: the pipe.
        plan: returns the plan, see `dispatcher`; called again for the command `PLAN`.
    """

    def __init__(self, fd: int, plan: Callable[[], Mapping[str, Any]]) -> None:
        self._fd = fd
        self._plan = plan
        self._errors = StreamSink(2)
        self._lines = dispatcher(plan(), self._warn)
        self._splitter = LineSplitter()

    def _warn(self, text: str) -> None:
        self._errors.write(f"geventuwsgi: log: {text}\n".encode())

    def run(self) -> None:
        """Pass on lines until the end of the pipe."""
        splitter = self._splitter
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        waiting = False
        while True:
            if (waiting or splitter.pending) and not poll.poll(RETRY * 1000):
                self._lines.dispatch(splitter.rest())
            elif data := os.read(self._fd, PIPE_SIZE):
                self._process(splitter.split(data))
            else:
                break
            waiting = not self._flushed()
        self._lines.dispatch(splitter.rest())
        self._end()

    def _end(self) -> None:
        deadline = time.monotonic() + LAST
        while not self._flushed() and time.monotonic() < deadline:
            time.sleep(RETRY / 10)
        for sink in self._lines.sinks():
            sink.close()

    def _flushed(self) -> bool:
        return all([sink.flush() for sink in self._lines.sinks()])

    def _process(self, lines: list[bytes]) -> None:
        """Pass on lines, and execute the commands among them."""
        start = 0
        for place, line in enumerate(lines):
            if line.startswith(COMMAND) and line in (REOPEN, ROTATE, PLAN):
                self._lines.dispatch(lines[start:place])
                start = place + 1
                self._execute(line)
        self._lines.dispatch(lines[start:])

    def _execute(self, command: bytes) -> None:
        if command == PLAN:
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
            if command == REOPEN:
                sink.reopen()
            elif isinstance(sink, RotatedFile):
                sink.rotate()
