"""Requests that no application sees: answered with an error, logged, and closed.

The rules of this room: nothing is closed in silence. The error log tells peer and reason,
but not of each request that finds the queue full: those are counted, and the count is told
once a second. The request log has a line for every answer, as nginx's and gunicorn's.
"""

import logging
from time import monotonic
from typing import Any

from ...app.wsgi import WsgiExchange
from ...errors import ClientDisconnected, NotOurProtocol, Overloaded, ProtocolError
from ...net.stream import Expired
from ...protocol import proxy
from ...protocol.response import error_response

log = logging.getLogger("geventuwsgi.error")

# What a client is told that found the queue full. Slots become free at any moment.
RETRY = (("Retry-After", "1"),)


def refuse(connection: Any, error: ProtocolError) -> bool:
    """Answer a peer that breaks the protocol or a limit.

    Returns:
        Whether to close with patience, as the peer may still be sending.
    """
    is_head = connection.refused is not None and connection.refused.method == "HEAD"
    if isinstance(error, Overloaded):
        connection.service.refused += 1
        octets = error_response(503, connection.standing, is_head=is_head, extra=RETRY)
        return answer(connection, octets, 503) and unread(connection)
    silent = isinstance(error, NotOurProtocol)
    log.warning("%s: %s; closed%s", connection.peer, error.reason,
                "" if silent else f" with {error.status}")
    octets = error_response(error.status, connection.standing, is_head=is_head)
    return not silent and answer(connection, octets, error.status)


def unread(connection: Any) -> bool:
    """Whether more of the present request is still to come, or of the next one is here: a
    close that finds something unread resets the connection, and the answer may be lost."""
    parser = connection.parser
    return not parser.body_complete or bool(parser.buffered)


def answer(connection: Any, octets: bytes, status: int) -> bool:
    """Send an error and log its request; tell whether the peer is still there."""
    if connection.service.access is not None:
        environ = {"REMOTE_ADDR": connection.host, "REMOTE_PORT": connection.port}
        method, target, version = connection.first_line()
        exchange = connection.refused or WsgiExchange(
            connection, environ, method, target, version, True, False)
        exchange.replaced(status, octets)
        connection.log_request(exchange, 0.0)
    try:
        connection.stream.send(octets)
    except ClientDisconnected as gone:
        log.debug("%s: could not be told of a %d: %s", connection.peer, status, gone)
        return False
    return True


# The PROXY header in front of a connection: who really is at its other end.

def read_header(connection: Any) -> bytes:
    """Read the PROXY header that has to come first; return the bytes behind it.

    The connection takes the addresses that it names for the peer's.

    Raises:
        ProtocolError: 400 for none or a broken one, 408 if it does not come whole in time.
    """
    service = connection.service
    proxies = service.proxies
    if connection.listener.protocol == "uwsgi" or (
            connection.host and proxies is not None and connection.host not in proxies):
        return b""
    timeout = service.limits.head_timeout
    end = monotonic() + timeout
    data: bytes = connection.stream.receive_now(timeout)
    while data:
        found = proxy.parse(data)
        if found is not None:
            break
        try:
            more = connection.stream.receive(max(end - monotonic(), 0.0))
        except Expired:
            raise ProtocolError(
                408, f"no whole PROXY protocol header within {timeout:g} seconds") from None
        if not more:
            raise ProtocolError(400, "truncated PROXY protocol header")
        data += more
    else:
        return b""  # a health check that only connects
    header, size = found
    if header.source is not None:
        connection.host, connection.port = header.source[0], str(header.source[1])
        connection.trusted = connection.host in service.forwarders
    return data[size:]
