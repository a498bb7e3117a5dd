"""One node: where it is, what it may be given, how it has been doing.

The rules of this room: a node is either up or left out until a point in time, after which
one request tries it again. What a request meant for its health is said by who served it
(`succeeded`, `failed`); nothing here waits but `connect`.
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

# The first time that a failing node is left out, in seconds; doubled with each failure in a
# row up to `http-gracetime`.
FIRST_PAUSE = 1.0


# A connection that we open: to a node behind the router.
#
# The rules of this room are those of `net.stream`; it adds nothing but the connecting.

_UNDERWAY = (errno.EINPROGRESS, errno.EALREADY)


class NodeStream(Stream):
    """A stream to a listener somewhere.

    Attributes:
        address: where to.
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
            ClientDisconnected: nobody listens there, or there is no way.
        """
        address = self.address
        name: Any = address.path
        if not address.is_unix:
            name = (address.host or "127.0.0.1", address.port)
            if address.family == socket.AF_UNSPEC:
                name = self._resolve(address, connect_timeout)
        self.timeout = connect_timeout
        code = self.sock.connect_ex(name)
        if code == errno.EAGAIN:  # a unix socket's queue is full, and nothing will tell
            raise ClientDisconnected(code, "its queue is full")
        if code in _UNDERWAY:
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
            with Timeout(timeout, Expired("its name is looked up for too long")):
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
    """One connection to a node, and the parser of its answers.

    Attributes:
        used: it served a request before.
        idle_since: monotonic seconds, while it waits in the pool.
    """

    __slots__ = ("stream", "parser", "used", "idle_since")

    def __init__(self, stream: NodeStream, limits: Limits) -> None:
        self.stream = stream
        self.parser = ResponseParser(limits)
        self.used = False
        self.idle_since = 0.0


class Node:
    """A server that requests are handed to.

    Args:
        name: as the operator wrote it, for logs and statistics.
        address: where it is.
        protocol: "uwsgi" (one request a connection), "http", or "routed" (HTTP to workers
            of this instance, who are told of the client).
        weight: its share of the requests.
        limit: how many requests it is given at once; 0 = any number.
        gracetime: the longest that it is left out, in seconds.
        modifiers: modifier1 and modifier2 of its packets.

    Attributes:
        busy: requests that it serves now.
        failures: in a row.
        down_until: monotonic seconds; 0 = it is up.
        trying: a request tries whether it is back.
        turn: its standing in the round robin.
        gone: it is no longer a node; kept for the requests that it still serves.
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
        self.trying = False
        self.turn = 0
        self.gone = False
        self.hits = self.failed_requests = self.sent = self.received = 0
        self.answered_at = 0.0
        self._gracetime = gracetime
        self._pool: deque[NodeConnection] = deque()

    # Connections.

    def pooled(self) -> NodeConnection | None:
        """Take a connection that waits for a request, the one used last; or None."""
        pool = self._pool
        while pool:
            link = pool.pop()
            if not link.stream.readable():  # the end, or an answer to nothing
                return link
            link.stream.close()
        return None

    def link(self, hub: Any, limits: Limits) -> NodeConnection:
        """Make a connection that is to be connected."""
        return NodeConnection(NodeStream(self.address, hub), limits)

    def keep(self, link: NodeConnection, now: float) -> None:
        """Put a connection back for the next request."""
        if self.gone or self._crowded:
            link.stream.close()
            return
        link.used = True
        link.idle_since = now
        self._pool.append(link)

    @property
    def _crowded(self) -> bool:
        """Whether our workers are fewer than the connections to them.

        A worker accepts one for each slot. Where there are more, one of them waits in the
        socket's queue with a request on it, and nobody would take it while the others stay.
        """
        return (self.protocol == "routed" and self.limit > 0
                and self.busy + len(self._pool) > self.limit)

    def shrink(self, before: float) -> None:
        """Close connections that have waited since before a point in time."""
        pool = self._pool
        while pool and pool[0].idle_since < before:
            pool.popleft().stream.close()

    # Health.

    def available(self, now: float) -> bool:
        """Whether it may be given a request now; of those that failed one at a time."""
        if self.limit and self.busy >= self.limit:
            return False
        return not self.down_until or (self.down_until <= now and not self.trying)

    def succeeded(self, now: float) -> None:
        """It has answered."""
        self.answered_at = now
        if self.failures:
            self.failures = 0
            self.down_until = 0.0
            self.trying = False

    def failed(self, now: float) -> float:
        """It could not be reached or did not answer; return the seconds it is left out.

        Requests that fail while it is left out were given to it before, or for want of
        others: they say nothing new, and do not double the pause.
        """
        if self.down_until > now:
            return self.down_until - now
        pause = min(FIRST_PAUSE * 2.0 ** min(self.failures, 16), self._gracetime)
        self.failures += 1
        self.down_until = now + pause
        self.trying = False
        self.shrink(float("inf"))
        return pause

    def close(self) -> None:
        """Forget it: it is no node any more."""
        self.gone = True
        self.shrink(float("inf"))

    def statistics(self) -> dict[str, Any]:
        """Its counters, under uWSGI's names where it has them."""
        return {
            "name": self.name, "hits": self.hits, "failures": self.failed_requests,
            "grace": max(0, round(self.down_until - monotonic())) if self.down_until else 0,
            "active": self.busy, "weight": self.weight, "tx": self.sent, "rx": self.received,
            "failcnt": self.failures, "idle": len(self._pool), "protocol": self.protocol}
