"""The numbers that ASGI connections go by. Times in seconds, sizes in octets."""

from math import inf
from typing import NamedTuple

# Between two looks at all deadlines; a timeout fires at most this much late.
SWEEP = 0.25
# A timeout of 0 is no limit.
NEVER = inf
# Unread rest of a request body that is read away to keep a connection; more than that and
# closing is cheaper for both sides.
DRAIN = 262144
# How long, and for how many octets, a peer may still send after its last answer: nginx writes
# a buffered upload in one go and takes a reset before it has read the answer for a 502.
LINGER_SECONDS = 2.0
LINGER_OCTETS = 64 << 20
# So many octets of a request body wait for the application before reading stops.
BODY_AHEAD = 262144
# A client that has ended its side, but not the connection, gets its answer if that takes no
# longer; then it counts as gone, as with nginx.
HALF_CLOSED = 0.5
# What a request that ignores its cancellation gets before its connection is cut.
HARAKIRI_GRACE = 5.0
# For the peer's part of a WebSocket's closing handshake (RFC 6455 section 7.1.1).
CLOSE_TIMEOUT = 10.0


class ConnectionLimits(NamedTuple):
    """What the settings say; 0 is no limit, `NEVER` for head_timeout and io_timeout.

    Attributes:
        head_timeout: for a whole request head from its first byte.
        keepalive: between two requests; 0 closes after each response.
        io_timeout: without progress in a body or a response.
        limit_post: of a request body.
        ping_interval: between two pings on a WebSocket.
        ping_timeout: for a pong.
        max_size: of a WebSocket message.
        max_queue: messages of a WebSocket that wait for the application.
        deflate: whether WebSocket messages may be compressed.
    """

    head_timeout: float = 30.0
    keepalive: float = 75.0
    io_timeout: float = 30.0
    limit_post: int = 0
    ping_interval: float = 20.0
    ping_timeout: float = 20.0
    max_size: int = 16 << 20
    max_queue: int = 32
    deflate: bool = True
