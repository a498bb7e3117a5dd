"""The request log: lines are collected and leave together, once per turn of the loop."""

from collections.abc import Callable
from typing import Any

from geventuwsgi.log.format import Formatter
from geventuwsgi.log.sinks import Sink

# A turn of the loop that finishes more requests than this writes in between; it bounds
# the memory of a batch, and what a crash can lose.
MAX_BATCH = 1000


class AccessLog:
    """Format finished requests and write their lines in batches.

    A line costs no system call of its own; a crash loses at most one turn of the loop.

    Args:
        format: a function from a finished request to its line (`log.format`).
        sink: where the lines go.
        schedule: called with `flush` when a batch begins; it has to call it once at the
            end of this turn of the loop. Without it every line is written at once.
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
        """Write the batch; tell whether nothing waits behind a slow reader any more.

        Call it a few times a second as well: a pipe that was full says nothing when it
        has room again.
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
        """Write what waits and close the sink."""
        self.flush()
        self.sink.close()

    def statistics(self) -> dict[str, int]:
        """Tell lines written and dropped, and bytes that wait for a slow reader."""
        return {"lines": self._written, **self.sink.statistics()}


Wanted = Callable[[Any], bool]
CLIENT_GONE = 499   # nginx's status of a request whose client left


class SelectiveLog(AccessLog):
    """The log of requests that fulfil a condition.

    Args:
        wanted: tells of a finished request whether it is logged.
    """

    def __init__(self, format: Formatter, sink: Sink,
                 schedule: Callable[[Callable[[], object]], object] | None = None, *,
                 wanted: Wanted) -> None:
        super().__init__(format, sink, schedule)
        self._wanted = wanted

    def add(self, record: Any) -> None:
        """Add the line of one finished request if it is wanted."""
        if self._wanted(record):
            super().add(record)


def selection(*, client_errors: bool = False, server_errors: bool = False, slow: float = 0,
              big: int = 0, empty: bool = False, sendfile: bool = False,
              broken: bool = False) -> Wanted:
    """Make the condition of uWSGI's log-4xx, log-5xx, log-slow and the like: any of them.

    Args:
        client_errors, server_errors: the status is 4xx, 5xx.
        slow: seconds that it took, or more; 0 = no condition.
        big: bytes of the response's body, or more; 0 = no condition.
        empty: the response has no body.
        sendfile: it was sent with sendfile.
        broken: the client left before the end.
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
    """Whether the client left: a WSGI exchange has not ended then, an ASGI record says so."""
    return bool(record.status == CLIENT_GONE
                or (record.head_sent and not getattr(record, "ended", True))
                or (getattr(record, "gone", False) and not record.complete))
