"""The PROXY header in front of a connection: who really is at its other end."""

from time import monotonic
from typing import Any

from ...errors import ProtocolError
from ...net.stream import Expired
from ...protocol import proxy


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
    timeout = service.policy.head_timeout
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
