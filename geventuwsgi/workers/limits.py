"""The limits of a worker's connections and requests, as plain values.

Times are in seconds, sizes in octets.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from ..net.arrival import ArrivalLimits

# Up to this much of an unread request body is read to keep the connection. For more, closing
# costs both sides less, and the head of the response says so: a proxy that believes the
# connection kept sends its next request into the close, which is a 502.
DRAIN = 262144
# From the harakiri of a request to the end of its connection, if the request ignores it.
HARAKIRI_GRACE = 5.0
# For the peer's part of a WebSocket's closing handshake (RFC 6455 section 7.1.1).
CLOSE_TIMEOUT = 10.0


def can_drain(length: int | None, received: int) -> bool:
    """Return whether the rest of a request body is read to keep the connection.

    Args:
        length: of the body; None if it is chunked.
        received: octets of it so far.
    """
    return length is not None and length - received <= DRAIN


class ConnectionLimits(NamedTuple):
    """Timeouts and sizes of a connection. A timeout without a limit is `net.deadlines.NEVER`;
    a size of 0: no limit.

    Attributes:
        head_timeout: for a complete request head, from its first octet.
        keepalive: between two requests; 0 closes after each response.
        io_timeout: without progress in a body; in ASGI in a response too.
        limit_post: of a request body.
        post_buffering: WSGI only: bodies are read completely before the application runs, in
            memory up to this size and otherwise in a file; 0 streams them.
        chunk_timeout: WSGI only: without progress in a chunked body.
        send_timeout: WSGI only: without progress in a response.
        arrival: how slowly a request may arrive.
    """

    head_timeout: float = 30.0
    keepalive: float = 75.0
    io_timeout: float = 30.0
    limit_post: int = 0
    post_buffering: int = 0
    chunk_timeout: float = 30.0
    send_timeout: float = 30.0
    arrival: ArrivalLimits = ArrivalLimits()


class RequestTimeouts(NamedTuple):
    """How long a request may run; 0 means no limit.

    Attributes:
        harakiri: until it is ended.
        paths: (prefix, seconds): the same for paths with this prefix; the longest one counts.
        slow: until its stack is logged.
        grace: from its harakiri until its connection is closed.
        cancel: WSGI only: end it when its client is gone.
        verbose: WSGI only: log all stacks of the worker at a harakiri.
    """

    harakiri: float = 0.0
    paths: Sequence[tuple[str, float]] = ()
    slow: float = 0.0
    grace: float = HARAKIRI_GRACE
    cancel: bool = False
    verbose: bool = False

    @property
    def endless(self) -> bool:
        """Whether no request is ever checked."""
        return not (self.harakiri or self.paths or self.slow)

    def limit(self, path: str) -> float:
        """Return the seconds after which a request for this path is ended."""
        found, length = self.harakiri, -1
        for prefix, seconds in self.paths:
            if path.startswith(prefix) and len(prefix) > length:
                found, length = seconds, len(prefix)
        return found or inf

    def first(self, path: str) -> float:
        """Return the seconds after which a request for this path is first checked."""
        return min(self.limit(path), self.slow or inf)


class WebSocketLimits(NamedTuple):
    """The limits of WebSockets.

    Attributes:
        ping_interval: between two pings; 0 sends none.
        ping_timeout: for a pong.
        max_size: of a message.
        max_queue: messages that wait for the application before reading stops.
        deflate: whether messages may be compressed.
    """

    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    max_size: int = 16 << 20
    max_queue: int = 32
    deflate: bool = True
