"""The request log: lines are collected and written together, once per turn of the loop."""

from collections.abc import Callable
from typing import Any

from geventuwsgi.log.format import Formatter
from geventuwsgi.log.sinks import Sink

# The largest number of lines in a batch. It bounds the memory of a batch, and how many
# lines a crash can lose.
MAX_BATCH = 1000


class AccessLog:
    """Format finished requests and write their lines in batches.

    There is no system call per line; a crash loses at most the lines of one turn of the loop.

    Args:
        format: makes the line of a finished request (`log.format`).
        sink: where the lines go.
        schedule: called with `flush` when a batch begins; has to call it at the end of this
            turn of the loop. Without it every line is written at once.
    """

    def __init__(self, format: Formatter, sink: Sink,
                 schedule: Callable[[Callable[[], object]], object] | None = None) -> None:
        self.format = format
        self.sink = sink
        self._schedule = schedule
        self._lines: list[str] = []
        self._written = 0

    def add(self, record: Any) -> None:
        """Add the line of one finished request (`log.record.RequestRecord`)."""
        lines = self._lines
        lines.append(self.format(record))
        if len(lines) == 1 and self._schedule is not None:
            self._schedule(self.flush)
        elif self._schedule is None or len(lines) >= MAX_BATCH:
            self.flush()

    def flush(self) -> bool:
        """Write the batch; return whether no line is waiting for a slow reader.

        Call it a few times a second as well: nothing announces that a full pipe accepts
        data again.
        """
        lines = self._lines
        if not lines:
            return self.sink.flush()
        data = "".join(lines).encode()
        self._written += len(lines)
        lines.clear()
        self.sink.write(data)
        return self.sink.flush()

    def close(self) -> None:
        """Write the batch and close the sink."""
        self.flush()
        self.sink.close()

    def statistics(self) -> dict[str, int]:
        """Return the lines written and dropped, and the bytes that wait for a slow reader."""
        return {"lines": self._written, **self.sink.statistics()}


Wanted = Callable[[Any], bool]
CLIENT_GONE = 499   # nginx's status of a request whose client left


class SelectiveLog(AccessLog):
    """The log of the requests that meet a condition.

    Args:
        wanted: returns whether a finished request is logged.
    """

    def __init__(self, format: Formatter, sink: Sink,
                 schedule: Callable[[Callable[[], object]], object] | None = None, *,
                 wanted: Wanted) -> None:
        super().__init__(format, sink, schedule)
        self._wanted = wanted

    def add(self, record: Any) -> None:
        """Add the line of a finished request that meets the condition."""
        if self._wanted(record):
            super().add(record)


def selection(*, client_errors: bool = False, server_errors: bool = False, slow: float = 0,
              big: int = 0, empty: bool = False, sendfile: bool = False,
              broken: bool = False) -> Wanted:
    """Make the condition of uWSGI's log-4xx, log-5xx, log-slow and similar options: a request
    is logged if any of them applies.

    Args:
        client_errors, server_errors: the status is 4xx, 5xx.
        slow: it took at least this many seconds; 0 = off.
        big: the response's body has at least this many bytes; 0 = off.
        empty: the response has no body.
        sendfile: the response was sent with sendfile.
        broken: the client disconnected before the end.
    """
    conditions: list[Wanted] = []
    if client_errors:
        conditions.append(lambda record: 400 <= record.status <= 499)
    if server_errors:
        conditions.append(lambda record: 500 <= record.status <= 599)
    if slow:
        conditions.append(lambda record: bool(record.duration >= slow))
    if big:
        conditions.append(lambda record: bool(record.body_size >= big))
    if empty:
        conditions.append(lambda record: record.body_size == 0)
    if sendfile:
        conditions.append(lambda record: record.via.startswith("sendfile"))
    if broken:
        conditions.append(_broken)
    if len(conditions) == 1:
        return conditions[0]

    def any_of(record: Any) -> bool:
        for condition in conditions:    # any() with a generator costs twice as much
            if condition(record):
                return True
        return False

    return any_of


def _broken(record: Any) -> bool:
    """Whether the client disconnected: a WSGI exchange has not ended, an ASGI record is `gone`."""
    return bool(record.status == CLIENT_GONE
                or (record.head_sent and not getattr(record, "ended", True))
                or (getattr(record, "gone", False) and not record.complete))
