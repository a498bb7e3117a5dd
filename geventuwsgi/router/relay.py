"""Both directions at once: uploads whose response may come early, and tunnels.

Rules: one greenlet, two streams, and in each direction at most one piece that the receiver has
not accepted yet. Nothing more is read in the meantime, so a slow reader slows the writer and no
body accumulates in memory. Two greenlets, one per direction, would need a lock around the bytes
that TLS sends by itself in the other direction.
"""

from collections.abc import Callable, Iterable
from math import inf
from time import monotonic
from typing import Any, Protocol

from gevent import getcurrent
from gevent.hub import Waiter

from ..errors import ClientDisconnected
from ..net.arrival import Arrival
from ..net.stream import READ, WRITE, Expired, Stream


class Source(Protocol):
    """Where a body comes from: the client's stream, or the file that it was spooled to."""

    def take(self, size: int) -> bytes | None: ...


class NodeDisconnected(ClientDisconnected):
    """The connection to the node broke."""


class StreamPair:
    """Waits until one of two streams is ready.

    Args:
        hub: the hub of this thread.
        one: the stream that holds the deadline of both.
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
            Expired: none became ready in time.
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


class Relay:
    """Carries bytes between a client and a node.

    Args:
        hub: the hub of this thread.
        client, node: the streams.
        timeout: seconds without progress in either direction.
        size: of a piece, in bytes (`http-buffer`).
    """

    def __init__(self, hub: Any, client: Stream, node: Stream, timeout: float,
                 size: int) -> None:
        self._pair = StreamPair(hub, client)
        self._client = client
        self._node = node
        self._timeout = timeout
        self._size = size
        self._arrival: Arrival | None = None
        self._received = 0  # from the client

    def exchange(self, source: Source, up: Callable[[bytes], bytes], sent: Callable[[], bool],
                 down: Callable[[bytes], bytes], done: Callable[[], bool], first: bytes,
                 arrival: Arrival | None = None) -> bool:
        """Send a request's body while its response may come already.

        Args:
            source: where the body comes from.
            up: turns bytes of the source into bytes for the node; b"" is its end.
            sent: returns whether `up` has had all of the body.
            down: turns bytes of the node into bytes for the client; b"" is its end.
            done: returns whether `down` has had all of the response.
            first: bytes for the node, before all others.
            arrival: how slowly the body may come from the client; None if it comes from a file.

        Returns:
            Whether all of the body was sent.

        Raises:
            Expired: no progress.
            NodeDisconnected: the node's connection broke before its response was complete.
            ClientDisconnected: the client's did.
            ProtocolError: raised by `up` or `down`; 408 for a body that comes too slowly.
        """
        to_node, to_client = first, b""
        self._arrival = arrival
        node_closed = False  # to our data; its response may still come
        try:
            while True:
                moved = False
                if to_node and not node_closed:
                    try:
                        rest = self._node.push(to_node)
                    except ClientDisconnected:
                        node_closed, rest = True, b""
                    moved = len(rest) < len(to_node)
                    to_node = rest
                if not to_node and not node_closed and not sent():
                    data = source.take(self._size)
                    if data is not None:
                        self._received += len(data)
                        to_node, moved = up(data), True
                if to_client:
                    rest = self._client.push(to_client)
                    moved = moved or len(rest) < len(to_client)
                    to_client = rest
                elif done():
                    return sent() and not to_node and not node_closed
                else:
                    to_client, came = self._from_node(down)
                    moved = moved or came
                if not moved:
                    self._wait(source, bool(to_node) and not node_closed,
                               not (to_node or node_closed or sent()), bool(to_client))
        finally:
            self._pair.close()

    def _from_node(self, down: Callable[[bytes], bytes]) -> tuple[bytes, bool]:
        try:
            data = self._node.take(self._size)
        except ClientDisconnected as error:
            raise NodeDisconnected(*error.args) from error
        if data is None:
            return b"", False
        return self._client.seal(down(data)), True

    def _wait(self, source: Source, node_write: bool, client_read: bool,
              client_write: bool) -> None:
        wanted: list[tuple[Stream, int]] = [
            (self._client, WRITE) if client_write else (self._node, READ)]
        arrival = None
        if node_write:
            wanted.append((self._node, WRITE))
        elif client_read and source is self._client:
            wanted.append((self._client, READ))
            arrival = self._arrival
        if arrival is None:
            self._pair.wait(wanted, self._timeout)
            return
        allowed = arrival.begin(self._received)
        try:
            self._pair.wait(wanted, min(allowed, self._timeout))
        except Expired:
            if allowed <= self._timeout:
                raise arrival.error() from None
            raise
        finally:
            arrival.end()

    def tunnel(self) -> tuple[int, int]:
        """Carry everything both ways until both sides have ended, or one of them broke.

        Returns:
            How many bytes were sent to the node, and how many to the client.

        Raises:
            Expired: no byte for `timeout` seconds.
        """
        waiting = {self._client: b"", self._node: b""}     # by receiver
        ended: set[Stream] = set()                         # senders at their end
        carried = {self._client: 0, self._node: 0}
        ways = ((self._client, self._node), (self._node, self._client))
        try:
            while len(ended) < 2 or any(waiting.values()):
                moved = False
                for source, target in ways:
                    if waiting[target]:
                        rest = target.push(waiting[target])
                        moved = moved or len(rest) < len(waiting[target])
                        waiting[target] = rest
                    elif source not in ended:
                        data = source.take(self._size)
                        if data:
                            waiting[target] = target.seal(data)
                            carried[target] += len(data)
                            moved = True
                        elif data is not None:
                            ended.add(source)
                            target.finish()
                            moved = True
                if not moved:
                    self._pair.wait(
                        [(target, WRITE) if waiting[target] else (source, READ)
                         for source, target in ways if waiting[target] or source not in ended],
                        self._timeout)
        except Expired:
            raise
        except ClientDisconnected:
            pass  # whichever side broke, that is the end of both
        finally:
            self._pair.close()
        return carried[self._node], carried[self._client]
