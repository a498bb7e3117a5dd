"""Errors and log lines of a connection that both kinds of worker have."""

import logging

from ..errors import NotOurProtocol, ProtocolError

log = logging.getLogger("geventuwsgi.error")

# Formats of log lines.
GONE_DURING = "%s: client gone during %s: %r"
CONNECTED_ONLY = "%s: sent nothing for %g seconds; closed"
FORBIDDEN_PEER = "Forbidden uWSGI request from IP %s (see uwsgi-allow-from)"
FOREIGN_USER = "a process of user %d connected to the socket between router and workers; closed"
NO_APPLICATION = "--- no python application found for %s, check your startup logs for errors ---"
NOT_SENT = "%s: could not send a %d: %s"


def log_rejection(peer: str, error: ProtocolError) -> bool:
    """Log why the bytes of a peer are rejected; return whether it gets no response.

    Args:
        peer: its name in the log.
        error: what is wrong.
    """
    silent = isinstance(error, NotOurProtocol)
    log.warning("%s: %s; closed%s", peer, error.reason,
                "" if silent else f" with {error.status}")
    return silent


def body_too_large(limit: int, length: int | None = None) -> ProtocolError:
    """Return the error of a body over `limit-post`.

    Args:
        limit: limit-post, in octets.
        length: of the body, if it was declared.
    """
    if length is None:
        return ProtocolError(413, f"a body of more than {limit} bytes (limit-post)")
    return ProtocolError(413, f"a body of {length} bytes (limit-post is {limit})")


def no_head(seconds: float) -> ProtocolError:
    """Return the error of a request head that has not arrived as a whole.

    Args:
        seconds: how long it had.
    """
    return ProtocolError(408, f"no whole request head within {round(seconds, 1):g} seconds")
