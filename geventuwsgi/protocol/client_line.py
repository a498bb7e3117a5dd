"""The field by which the router names the client of a request to a worker of its own instance.

    Geventuwsgi-Client: HOST PORT SCHEME SERVER SERVER_PORT TLS [NAME=VALUE ...]

It is the first field of the head. Only the router writes it, and workers accept it on the
router's socket alone; from a client it is dropped. `-` is an empty word; SERVER, TLS and the
values are percent-encoded.
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

from ..errors import ProtocolError

FIELD = "Geventuwsgi-Client"
_PREFIX = f"{FIELD}: "
# Octets that this field and the forwarding fields may add to a head that was within the limits.
# OpenSSL accepts 100 KiB of certificates from a client; here they stand twice, in PEM and
# percent-encoded.
ALLOWANCE = 1 << 19


class ClientLine(NamedTuple):
    """What a worker cannot see of a client that is connected to the router.

    Attributes:
        host, port: the client's address; "" if it has none (a Unix socket).
        scheme: "http" or "https".
        server, server_port: the address it connected to; `server` is a path for a Unix socket.
        tls: the TLS connection as JSON (`net.tls.extension`); "" without TLS.
        variables: `http-var`, and uWSGI's variables for the client's certificate.
    """

    host: str
    port: str
    scheme: str
    server: str
    server_port: str
    tls: str = ""
    variables: Mapping[str, str] = {}


def encode(client: ClientLine) -> str:
    """Return the field line without its CRLF."""
    words = [client.host or "-", client.port or "-", client.scheme,
             quote(client.server, safe="/:") or "-", client.server_port, quote(client.tls) or "-"]
    words += [f"{name}={quote(value)}" for name, value in client.variables.items()]
    return _PREFIX + " ".join(words)


def parse(fields: str) -> tuple[ClientLine, str]:
    """Split the field off a head.

    Args:
        fields: the field lines of a head, each with its CRLF.

    Returns:
        The client, and the remaining field lines.

    Raises:
        ProtocolError: 400, the head does not begin with this field.
    """
    line, _, rest = fields.partition("\r\n")
    words = line[len(_PREFIX):].split(" ")
    if not line.startswith(_PREFIX) or len(words) < 6:
        raise ProtocolError(400, "a request on the router's socket that names no client")
    host, port, scheme, server, server_port, tls = ["" if word == "-" else word
                                                    for word in words[:6]]
    pairs = [word.partition("=") for word in words[6:]]
    return ClientLine(host, port, scheme, unquote(server), server_port, unquote(tls),
                      {name: unquote(value) for name, _, value in pairs}), rest
