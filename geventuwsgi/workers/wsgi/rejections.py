"""Requests rejected before the application: an error response, a log line, and a close.

Rules:

- Nothing is closed silently: the error log names the peer and the reason. Requests that
  find the queue full are only counted; `queue_limit` logs the count once a second.
- The request log has a line for every response, as those of nginx and gunicorn do.
"""

import logging
from time import monotonic
from typing import Any

from ...app.wsgi import WsgiExchange
from ...errors import ClientDisconnected, Overloaded, ProtocolError
from ...net.stream import Stream
from ...protocol import proxy
from ...protocol.response import RETRY, error_response
from ..messages import NOT_SENT, log_rejection

log = logging.getLogger("geventuwsgi.error")


def reject(connection: Any, error: ProtocolError) -> bool:
    """Send an error to a peer that breaks the protocol or a limit.

    Returns:
        Whether to linger on closing, as the peer may still be sending.
    """
    is_head = "HEAD" == (connection.first_line()[0] if connection.rejected is None
                         else connection.rejected.method)
    if isinstance(error, Overloaded):
        connection.service.rejected += 1
        octets = error_response(503, connection.response_defaults, is_head=is_head, extra=RETRY)
        return send_error(connection, octets, 503) and has_unread_input(connection)
    silent = log_rejection(connection.peer, error)
    octets = error_response(error.status, connection.response_defaults, is_head=is_head)
    return not silent and send_error(connection, octets, error.status)


def has_unread_input(connection: Any) -> bool:
    """Whether the request is incomplete or the next one has begun to arrive.

    A close that leaves input unread resets the connection, and the response may be lost.
    """
    parser = connection.parser
    return not parser.body_complete or bool(parser.buffered)


def send_error(connection: Any, octets: bytes, status: int) -> bool:
    """Send an error response and log the request; return whether the peer is still connected."""
    if connection.service.access is not None:
        environ = {"REMOTE_ADDR": connection.host, "REMOTE_PORT": connection.port}
        method, target, version = connection.first_line()
        exchange = connection.rejected or WsgiExchange(
            connection, environ, method, target, version, True, False)
        exchange.replaced(status, octets)
        connection.log_request(exchange, 0.0)
    try:
        connection.stream.send(octets)
    except ClientDisconnected as gone:
        log.debug(NOT_SENT, connection.peer, status, gone)
        return False
    return True


# The PROXY header that may begin a connection, and names the real client.

def read_header(connection: Any) -> bytes:
    """Read the PROXY header if a trusted peer sends one; return the bytes after it.

    The connection takes the addresses that it names for the peer's.

    Raises:
        ProtocolError: 400 for a broken one, 408 if it does not come whole in time.
    """
    service = connection.service
    if connection.host and connection.host not in service.proxies:
        return b""
    timeout = service.limits.head_timeout
    start = monotonic()
    stream: Stream = connection.stream
    connection.idle = True  # nothing of a request has arrived
    try:
        data = stream.receive_now(timeout)
        if not data:
            return b""  # a health check that only connects
        header, rest = stream.read_proxy_header(proxy.parse, data, start, timeout)
    finally:
        connection.idle = False
    if header.source is not None:
        connection.host, connection.port = header.source[0], str(header.source[1])
        connection.trusted = connection.host in service.forwarders
    return rest
