"""Two connections that one greenlet watches at once: what comes first is dealt with first.

The rules of this room are those of `net.stream`. Two greenlets, one for each direction,
would need a lock around whatever TLS has to say by itself in the other direction.
"""

from collections.abc import Iterable
from math import inf
from time import monotonic
from typing import Any

from gevent import getcurrent
from gevent.hub import Waiter

from ..net.stream import Stream


class Pair:
    """Wait until one of several things can be done on two streams.

    Args:
        hub: the hub of this thread.
        one: the stream whose deadline stands for both.
    """

    __slots__ = ("_hub", "_one", "_watchers")

    def __init__(self, hub: Any, one: Stream) -> None:
        self._hub = hub
        self._one = one
        self._watchers: dict[tuple[int, int], Any] = {}

    def wait(self, wanted: Iterable[tuple[Stream, int]], timeout: float) -> None:
        """Wait until a stream is readable or writable.

        Args:
            wanted: streams, each with READ or WRITE.
            timeout: seconds.

        Raises:
            Expired: nothing happened for so long.
        """
        waiter = Waiter(self._hub)
        started = []
        one: Any = self._one
        one._waiter = getcurrent()
        one.deadline = monotonic() + timeout
        try:
            for stream, event in wanted:
                watcher = self._watcher(stream.sock.fileno(), event)
                watcher.start(waiter.switch, None)
                started.append(watcher)
            waiter.get()
        finally:
            one.deadline = inf
            for watcher in started:
                watcher.stop()

    def close(self) -> None:
        """Release the watchers, before the streams are closed."""
        for watcher in self._watchers.values():
            watcher.close()
        self._watchers.clear()

    def _watcher(self, fd: int, event: int) -> Any:
        watcher = self._watchers.get((fd, event))
        if watcher is None:
            watcher = self._watchers[fd, event] = self._hub.loop.io(fd, event)
        return watcher
