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
        """Add the line of one finished request (`log.format.Record`)."""
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
