"""Which connections a process at its limit closes for new ones.

As in nginx (`ngx_reusable_connection`): first the one that has waited longest without an octet of
its first or next request, then a request head that has taken half of its time. A connection that
serves a request, a WebSocket or a tunnel is never closed.

How long a connection has waited follows from its deadline, and a list is made when the limit is
met: requests pay nothing for it.
"""

import logging
from collections.abc import Collection
from math import inf
from time import monotonic
from typing import Any, Protocol

from .acceptor import BATCH
from .deadlines import LINGER_HEAD_OCTETS, LINGER_OCTETS, LINGER_SECONDS

log = logging.getLogger("geventuwsgi.error")

# What a connection does that is neither idle nor with a request.
READING_HEAD, LINGERING = 1, 2

# Whether it reads a head, and since when it has waited, in monotonic seconds.
Order = tuple[bool, float]


class Reusable(Protocol):
    """A connection, as seen from here."""

    def reuse_order(self, now: float) -> Order | None:
        """Return its place among those that may be closed; None if it must not be."""

    def give_way(self) -> bool:
        """Close it; return False if a request has just arrived."""


class ReusableConnections:
    """The connections of a process that may be closed for new ones.

    Args:
        connections: all connections; the live collection.
        limit: the largest number of them.
        option: the option with the limit, for the log.
    """

    def __init__(self, connections: Collection[Any], limit: int, option: str) -> None:
        self._connections = connections
        self._candidates: list[tuple[Order, int, Reusable]] = []
        self._exhausted = False
        self._places = max(1, min(BATCH, limit // 64))
        self._limit = f"{option} = {limit}"
        self._closed = 0
        self._logged_at = -inf

    def close_longest(self, now: float) -> int:
        """Close the connections that have waited longest; return how many.

        A few at a time, if the limit is large enough: one for each connection that is likely to
        be accepted in a turn of the loop.

        Args:
            now: monotonic seconds.
        """
        closed, listed = 0, False
        while closed < self._places:
            if not self._candidates:
                if listed or not self._find(now):
                    break
                listed = True
            order, _, connection = self._candidates.pop()
            if connection.reuse_order(now) == order and connection.give_way():
                closed += 1
        self._closed += closed
        return closed

    def _find(self, now: float) -> bool:
        """List the connections that may be closed, the first one last."""
        if not self._exhausted:
            self._candidates = sorted(
                ((order, id(one), one) for one in self._connections
                 if (order := one.reuse_order(now)) is not None), reverse=True)
            # Else not again before the next sweep: it would find next to nothing.
            self._exhausted = len(self._candidates) < self._places
        return bool(self._candidates)

    def sweep(self, now: float) -> None:
        """Forget the list, which changes; log what was closed, at most once a second."""
        self._candidates.clear()
        self._exhausted = False
        if self._closed and now - self._logged_at >= 1.0:
            log.warning("%d idle connections were closed for new ones (%s, or the limit of open "
                        "files)", self._closed, self._limit)
            self._closed, self._logged_at = 0, now


def linger_octets(parser: Any) -> int:
    """Return how many octets to read from a peer after its last response."""
    with_body = parser is not None and not parser.body_complete
    return LINGER_OCTETS if with_body else LINGER_HEAD_OCTETS


class GreenletConnection:
    """The part of a connection served by a greenlet that may be closed for another.

    Attributes:
        stream: the connection.
        idle: it waits for a request, and nothing of that has arrived.
        phase: READING_HEAD, LINGERING, or 0.
        head_waited: seconds that the head of a request took whose body comes next.
    """

    __slots__ = ("stream", "idle", "phase", "head_waited")

    stream: Any
    idle: bool
    phase: int
    head_waited: float

    def idle_timeout(self) -> float:
        """Return the seconds that it may wait for a request now."""
        raise NotImplementedError

    def head_timeout(self) -> float:
        """Return the seconds for a whole request head."""
        raise NotImplementedError

    def reuse_order(self, now: float) -> Order | None:
        deadline: float = self.stream.deadline
        if deadline == inf:
            return None
        if self.phase == LINGERING:
            return False, deadline - LINGER_SECONDS
        if self.idle:
            return False, deadline - self.idle_timeout()
        if self.phase == READING_HEAD:
            timeout = self.head_timeout()
            if deadline - timeout / 2 <= now:
                return True, deadline - timeout
        return None

    def give_way(self) -> bool:
        stream = self.stream
        if self.phase == READING_HEAD:
            stream.deadline = 0.0
            stream.expire()     # it responds, and then lingers
        if self.phase != LINGERING and stream.readable():
            return False
        stream.interrupt()
        return True

    def read_head(self, parser: Any) -> bool:
        """Read the rest of a request head, as `Stream.read_head`."""
        self.phase = READING_HEAD
        began = monotonic()
        try:
            complete: bool = self.stream.read_head(parser, self.head_timeout())
        finally:
            self.phase = 0
        if not parser.body_complete:
            self.head_waited = monotonic() - began
        return complete

    def take_head_waited(self) -> float:
        """Return `head_waited`, which the next request does not have."""
        waited, self.head_waited = self.head_waited, 0.0
        return waited

    def linger(self, parser: Any) -> None:
        """Close as `Stream.linger`.

        Args:
            parser: of the requests; None before the first one.
        """
        self.phase = LINGERING
        self.stream.linger(LINGER_SECONDS, linger_octets(parser))
