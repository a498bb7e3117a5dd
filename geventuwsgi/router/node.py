"""One node: its address, its connections, its limits and its health.

Rules: a node is either up or down until a point in time, after which one request tries it
again. The exchange reports how a request went (`succeeded`, `failed`); nothing here waits
except `NodeStream.connect`.
"""

import _socket
import errno
import os
import socket
from collections import deque
from time import monotonic
from typing import Any

from gevent import Timeout
from gevent.socket import getaddrinfo

from ..errors import ClientDisconnected
from ..net.address import Address
from ..net.stream import WRITE, Expired, Stream
from ..protocol.http1_response import ResponseParser
from ..protocol.message import Limits

# Seconds that a node is left out after its first failure; doubled with each failure in a row
# up to `http-gracetime`.
_FIRST_PAUSE = 1.0
_IN_PROGRESS = (errno.EINPROGRESS, errno.EALREADY)


class NodeStream(Stream):
    """A `Stream` that this process opens.

    Attributes:
        address: of the listener to connect to.
    """

    __slots__ = ("address",)

    def __init__(self, address: Address, hub: Any) -> None:
        family, self.address = address.family, address
        if family == socket.AF_UNSPEC:
            family = socket.AF_INET
        super().__init__(_new(family), hub, 0.0)

    def connect(self, connect_timeout: float, timeout: float) -> None:
        """Connect.

        Args:
            connect_timeout: seconds for it.
            timeout: seconds without progress in a later send.

        Raises:
            Expired: it took too long.
            ClientDisconnected: nothing listens there, or it cannot be reached.
        """
        address = self.address
        name: Any = address.path
        if not address.is_unix:
            name = (address.host or "127.0.0.1", address.port)
            if address.family == socket.AF_UNSPEC:
                name = self._resolve(address, connect_timeout)
        self.timeout = connect_timeout
        code = self.sock.connect_ex(name)
        if code == errno.EAGAIN:  # a Unix socket's queue is full: no event will follow
            raise ClientDisconnected(code, "its listen queue is full")
        if code in _IN_PROGRESS:
            writer = self._hub.loop.io(self.sock.fileno(), WRITE)
            try:
                self._await(writer)
            finally:
                writer.close()
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise ClientDisconnected(code, os.strerror(code))
        self.timeout = timeout

    def _resolve(self, address: Address, timeout: float) -> Any:
        """Look a host name up, in a thread of the hub's pool; IPv4 first."""
        try:
            with Timeout(timeout, Expired("looking up its name took too long")):
                found = getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except Expired:
            raise
        except OSError as error:
            raise ClientDisconnected(f"no address for the name {address.host!r} "
                                     f"({error.strerror})") from error
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        family, _, _, _, name = found[0]
        if family != self.sock.family:
            self.sock.close()
            self.sock = _new(family)
        return name


def _new(family: int) -> _socket.socket:
    sock = _socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class NodeConnection:
    """One connection to a node, and the parser of its responses.

    Attributes:
        used: it has served a request before.
        idle_since: monotonic seconds, while it is in the pool.
    """

    __slots__ = ("stream", "parser", "used", "idle_since")

    def __init__(self, stream: NodeStream, limits: Limits) -> None:
        self.stream = stream
        self.parser = ResponseParser(limits)
        self.used = False
        self.idle_since = 0.0


class Node:
    """A server that requests are sent to.

    Args:
        name: as the operator wrote it, for logs and statistics.
        address: where it listens.
        protocol: "uwsgi" (one request per connection), "http", or "routed" (HTTP to workers
            of this instance, with a field that names the client).
        weight: its share of the requests.
        limit: how many requests it gets at once; 0 = any number.
        gracetime: the longest that it is left out, in seconds.
        modifiers: modifier1 and modifier2 of its packets.

    Attributes:
        busy: requests that it serves now.
        failures: in a row.
        down_until: monotonic seconds; 0 if it is up.
        probing: a request tries whether it is back.
        current_weight: state of the smooth round robin.
        responded_at: monotonic seconds of its last complete response.
        removed: it no longer gets requests, and finishes those that it has.
    """

    def __init__(self, name: str, address: Address, protocol: str, *, weight: int = 1,
                 limit: int = 0, gracetime: float = 30.0,
                 modifiers: tuple[int, int] = (0, 0)) -> None:
        self.name = name
        self.address = address
        self.protocol = protocol
        self.weight = weight
        self.limit = limit
        self.modifiers = modifiers
        self.busy = 0
        self.failures = 0
        self.down_until = 0.0
        self.probing = False
        self.current_weight = 0
        self.removed = False
        self.hits = self.failed_requests = self.sent = self.received = 0
        self.responded_at = 0.0
        self._gracetime = gracetime
        self._pool: deque[NodeConnection] = deque()

    # Connections.

    def pooled(self) -> NodeConnection | None:
        """Take the most recently used idle connection; None if there is none."""
        pool = self._pool
        while pool:
            connection = pool.pop()
            if not connection.stream.readable():  # not its end, nor an unrequested response
                return connection
            connection.stream.close()
        return None

    def new_connection(self, hub: Any, limits: Limits) -> NodeConnection:
        """Return a connection that has yet to be connected."""
        return NodeConnection(NodeStream(self.address, hub), limits)

    def keep(self, connection: NodeConnection, now: float) -> None:
        """Return a connection to the pool, for the next request."""
        if self.removed or self._exceeds_slots:
            connection.stream.close()
            return
        connection.used = True
        connection.idle_since = now
        self._pool.append(connection)

    @property
    def _exceeds_slots(self) -> bool:
        """Whether there are more connections to our workers than these have slots.

        A worker accepts one connection per slot. An additional one would wait in the listen
        queue, with a request on it, for as long as the others stay open.
        """
        return (self.protocol == "routed" and self.limit > 0
                and self.busy + len(self._pool) > self.limit)

    def close_idle(self, before: float) -> None:
        """Close connections that have been idle since before a point in time."""
        pool = self._pool
        while pool and pool[0].idle_since < before:
            pool.popleft().stream.close()

    def forget(self) -> None:
        """Close this process's descriptors only, in a forked process."""
        while self._pool:
            self._pool.pop().stream.forget()

    # Health.

    def available(self, now: float) -> bool:
        """Return whether it may get a request now; after a failure, one at a time."""
        if self.limit and self.busy >= self.limit:
            return False
        return not self.down_until or (self.down_until <= now and not self.probing)

    def succeeded(self, now: float) -> None:
        """Record a complete response."""
        self.responded_at = now
        if self.failures:
            self.failures = 0
            self.down_until = 0.0
            self.probing = False

    def failed(self, now: float) -> float:
        """Record that it was unreachable or did not respond; return for how long it is left out.

        Requests that fail while it is left out were sent before, or for lack of another node:
        they do not double the pause.
        """
        if self.down_until > now:
            return self.down_until - now
        pause = min(_FIRST_PAUSE * 2.0 ** min(self.failures, 16), self._gracetime)
        self.failures += 1
        self.down_until = now + pause
        self.probing = False
        self.close_idle(float("inf"))
        return pause

    def close(self) -> None:
        """Remove the node: it gets no more requests."""
        self.removed = True
        self.close_idle(float("inf"))

    def statistics(self) -> dict[str, Any]:
        """Return its counters, under uWSGI's names where these exist."""
        return {
            "name": self.name, "hits": self.hits, "failures": self.failed_requests,
            "grace": max(0, round(self.down_until - monotonic())) if self.down_until else 0,
            "active": self.busy, "weight": self.weight, "tx": self.sent, "rx": self.received,
            "failcnt": self.failures, "idle": len(self._pool), "protocol": self.protocol}
