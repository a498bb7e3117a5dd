"""A request as a node gets it: an HTTP head, or a uwsgi packet.

Rules:

- A head is generated and never passed through: a node gets one framing, chosen by the router.
- Hop-by-hop fields are dropped (RFC 9110 section 7.6.1), those that `Connection` names too;
  so are names with "_", which CGI cannot distinguish from "-", and `Proxy`
  (CVE-2016-1000111).
- The router states who the client is. Fields of other proxies (`X-Forwarded-*`, `Forwarded`,
  `X-Real-IP`) are continued for trusted peers, and dropped for others.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ..app import environ as environs
from ..protocol import client_line, uwsgi
from ..protocol.http1 import RequestParser

_KEPT, _DROPPED, _CONNECTION, _UPGRADE, _FORWARDED, _FOR, _PROTO, _HOST = range(8)
_SPECIAL = {
    "connection": _CONNECTION, "upgrade": _UPGRADE, "host": _HOST,
    "content-length": _DROPPED, "transfer-encoding": _DROPPED, "keep-alive": _DROPPED,
    "proxy-connection": _DROPPED, "te": _DROPPED, "trailer": _DROPPED, "expect": _DROPPED,
    "http2-settings": _DROPPED, "proxy": _DROPPED, "proxy-authorization": _DROPPED,
    client_line.FIELD.lower(): _DROPPED,
    "forwarded": _FORWARDED, "x-real-ip": _FORWARDED, "x-forwarded-for": _FOR,
    "x-forwarded-proto": _PROTO}
# Options of Connection that drop no field: close is not a field, and fields meant for all
# recipients must not be named (RFC 9110 section 7.6.1).
_NOT_HOPS = frozenset(("close", "keep-alive", "upgrade", "host", "content-type", ""))
UPGRADE = "Connection: Upgrade\r\nUpgrade: "
_kinds: dict[str, int] = {}
_MOST_KINDS = 2048      # names of fields, which clients choose
# The environ keys of fields that are dropped. CONTENT_LENGTH is set anew.
_HOPS = ("HTTP_CONNECTION", "HTTP_UPGRADE", "HTTP_KEEP_ALIVE", "HTTP_PROXY_CONNECTION",
         "HTTP_TE", "HTTP_TRAILER", "HTTP_TRANSFER_ENCODING", "HTTP_EXPECT",
         "HTTP_HTTP2_SETTINGS", "HTTP_PROXY_AUTHORIZATION", "HTTP_GEVENTUWSGI_CLIENT",
         "RAW_URI")


@dataclass(slots=True)
class Origin:
    """The connection that a request comes from.

    Attributes:
        host, port: of the client; "" if it has none.
        scheme: "http" or "https".
        server_name, server_port: of this machine, for nodes.
        trusted: whether the client's forwarding fields are trusted.
        variables: uWSGI's variables for the client's certificate.
        server: the address that the client connected to: a host, or the path of a Unix socket.
        tls: the TLS connection as JSON; "" without TLS.
    """

    host: str
    port: str
    scheme: str
    server_name: str
    server_port: str
    trusted: bool
    variables: Mapping[str, str]
    server: str = ""
    tls: str = ""
    _line: str = ""

    def client_line(self, variables: Iterable[tuple[str, str]]) -> str:
        """Return the field that names the client to a worker of this instance.

        Args:
            variables: `http-var`.
        """
        if not self._line:
            self._line = client_line.encode(client_line.ClientLine(
                self.host, self.port, self.scheme, self.server, self.server_port, self.tls,
                {**self.variables, **dict(variables)}))
        return self._line


class ForwardingOptions(NamedTuple):
    """How requests are forwarded, from the configuration.

    Attributes:
        forwarded: add X-Forwarded-For and X-Forwarded-Proto.
        upgrades: forward WebSocket handshakes.
        any_upgrade: forward other upgrades too.
        variables: for each request (`http-var`).
    """

    forwarded: bool = True
    upgrades: bool = True
    any_upgrade: bool = False
    variables: tuple[tuple[str, str], ...] = ()


class Request:
    """A request on its way to a node.

    Args:
        parser: holds its head.
        origin: where it comes from.
        forwarding: how requests are forwarded.

    Attributes:
        upgrade: the protocol that the client asks for, "" for none.
    """

    __slots__ = ("upgrade", "_parser", "_origin", "_forwarding", "_kept", "_for", "_proto", "_host",
                 "_nominated", "_encoded")

    def __init__(self, parser: RequestParser, origin: Origin,
                 forwarding: ForwardingOptions) -> None:
        self._parser = parser
        self._origin = origin
        self._forwarding = forwarding
        self._encoded: tuple[object, bytes] | None = None  # for an identical head
        trusted = origin.trusted
        kept: list[str] = []
        chain: list[str] = []
        options: list[str] = []
        self._proto = self._host = requested = ""
        for line in parser.fields[:-2].split("\r\n") if parser.fields else ():
            name, _, value = line.partition(":")
            kind = _kinds[name] if name in _kinds else _kind(name)
            if not kind:
                kept.append(line)
            elif kind == _HOST:
                self._host = value.strip(" \t")
            elif kind == _CONNECTION:
                options += [word.strip(" \t").lower() for word in value.split(",")]
            elif kind == _UPGRADE:
                requested = value.strip(" \t")
            elif kind >= _FORWARDED and trusted:
                if kind == _FOR:
                    chain.append(value.strip(" \t"))
                elif kind == _PROTO:
                    self._proto = value.strip(" \t")
                else:
                    kept.append(line)
        nominated = set(options) - _NOT_HOPS
        if nominated:
            kept = [line for line in kept if line.partition(":")[0].lower() not in nominated]
        self._nominated = nominated
        self._kept = kept
        if origin.host:
            chain.append(origin.host)
        self._for = ", ".join(chain)
        self.upgrade = requested if "upgrade" in options and self._upgrades(requested) else ""

    def _upgrades(self, requested: str) -> bool:
        """Return whether an upgrade is forwarded.

        HTTP/2 would be a second protocol with a framing of its own that this router does not
        parse (h2c smuggling).
        """
        parser, forwarding, token = self._parser, self._forwarding, requested.lower()
        if not parser.http11 or not parser.body_complete or parser.method == "CONNECT":
            return False
        if token == "websocket":
            return forwarding.upgrades
        return (forwarding.any_upgrade and bool(token) and "," not in token
                and not token.startswith(("h2", "http", "tls")))

    def http(self, framing: str, routed: bool = False) -> bytes:
        """Return the head for an HTTP node.

        Args:
            framing: the field that frames the body, with its CRLF; "" for none.
            routed: the node is a worker of this instance.
        """
        encoded = self._encoded
        if encoded is not None and encoded[0] == (framing, routed):
            return encoded[1]
        parser, origin = self._parser, self._origin
        lines = [f"{parser.method} {parser.path or parser.target} HTTP/1.1"]
        if routed:
            lines.append(origin.client_line(self._forwarding.variables))
        lines.append(f"Host: {parser.authority or self._host or self._own_host()}")
        lines += self._kept
        if self._forwarding.forwarded:
            if self._for:
                lines.append(f"X-Forwarded-For: {self._for}")
            lines.append(f"X-Forwarded-Proto: {self._proto or origin.scheme}")
        if self.upgrade:
            lines.append(f"{UPGRADE}{self.upgrade}")
        lines.append(framing + "\r\n")
        head = "\r\n".join(lines).encode("latin-1")
        self._encoded = (framing, routed), head
        return head

    def _own_host(self) -> str:
        """Return the host for a request without one (HTTP/1.0), as HTTP/1.1 requires it."""
        origin = self._origin
        port = "" if origin.server_port in ("80", "443") else f":{origin.server_port}"
        return f"{origin.server_name}{port}"

    def packet(self, length: int | None, modifiers: tuple[int, int]) -> bytes:
        """Return the packet for a uwsgi node.

        Args:
            length: of the body; None for one that is forwarded in chunks as it arrives.
            modifiers: modifier1 and modifier2.

        Raises:
            ProtocolError: 431, it does not fit in a packet.
        """
        encoded = self._encoded
        if encoded is not None and encoded[0] == (length, modifiers):
            return encoded[1]
        parser, origin = self._parser, self._origin
        environ = environs.from_http({
            "SCRIPT_NAME": "", "QUERY_STRING": "", "SERVER_NAME": origin.server_name,
            "SERVER_PORT": origin.server_port, "UWSGI_ROUTER": "http"}, parser)
        for key in _HOPS:
            environ.pop(key, None)
        for name in self._nominated:
            environ.pop("HTTP_" + name.upper().replace("-", "_"), None)
        for key in [key for key in environ if key.startswith("HTTP_X_FORWARDED_")
                    or key in ("HTTP_FORWARDED", "HTTP_X_REAL_IP")]:
            if not origin.trusted or key in ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"):
                del environ[key]
        environ["REMOTE_ADDR"] = origin.host
        environ["REMOTE_PORT"] = origin.port
        environ["CONTENT_LENGTH"] = str(length) if length else ""
        if length is None:
            environ["HTTP_TRANSFER_ENCODING"] = "chunked"
        if origin.scheme == "https":
            environ["HTTPS"] = "on"
        if self._forwarding.forwarded:
            if self._for:
                environ["HTTP_X_FORWARDED_FOR"] = self._for
            environ["HTTP_X_FORWARDED_PROTO"] = self._proto or origin.scheme
        if self.upgrade:
            environ["HTTP_UPGRADE"] = self.upgrade
            environ["HTTP_CONNECTION"] = "Upgrade"
        packet = uwsgi.encode(_pairs(environ, origin.variables, self._forwarding.variables),
                              *modifiers)
        self._encoded = (length, modifiers), packet
        return packet


def _pairs(environ: Mapping[str, str], certificate: Mapping[str, str],
           added: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [*environ.items(), *certificate.items(), *added]


def _kind(name: str) -> int:
    lower = name.lower()
    kind = _DROPPED if "_" in name else _SPECIAL.get(lower, _KEPT)
    if not kind and lower.startswith("x-forwarded-"):
        kind = _FORWARDED
    if len(_kinds) < _MOST_KINDS:
        _kinds[name] = kind
    return kind
