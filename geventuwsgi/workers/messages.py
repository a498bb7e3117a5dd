"""Errors and log lines of a connection that both kinds of worker have."""

from ..errors import ProtocolError

# Formats of log lines.
GONE_DURING = "%s: client gone during %s: %r"
CONNECTED_ONLY = "%s: sent nothing for %g seconds; closed"
FORBIDDEN_PEER = "Forbidden uWSGI request from IP %s (see uwsgi-allow-from)"
FOREIGN_USER = "a process of user %d connected to the socket between router and workers; closed"
NO_APPLICATION = "--- no python application found for %s, check your startup logs for errors ---"
NOT_SENT = "%s: could not send a %d: %s"


def body_too_large(limit: int, length: int | None = None) -> ProtocolError:
    """Return the error of a body over `limit-post`.

    Args:
        limit: limit-post, in octets.
        length: of the body, if it was declared.
    """
    if length is None:
        return ProtocolError(413, f"a body of more than {limit} bytes (limit-post)")
    return ProtocolError(413, f"a body of {length} bytes (limit-post is {limit})")


def no_progress(seconds: float) -> ProtocolError:
    """Return the error of a request body that has stopped arriving.

    Args:
        seconds: how long nothing has arrived.
    """
    return ProtocolError(408, f"no progress of the request body for {seconds:g} seconds")


def no_head(seconds: float) -> ProtocolError:
    """Return the error of a request head that has not arrived as a whole.

    Args:
        seconds: how long it had.
    """
    return ProtocolError(408, f"no whole request head within {seconds:g} seconds")
