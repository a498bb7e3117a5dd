"""The scope of one request, from a checked HTTP head or a uwsgi packet (ASGI 3.0).

Rules:

- A scope and the lists and dicts in it are new for each request: applications change them.
- Parsed field lines are cached, since clients send the same ones again and again.
- A field whose name contains "_" is dropped, as for WSGI: frameworks turn names into
  variables, where `X_Forwarded_For` would pass for `X-Forwarded-For`.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from ...app.environ import scheme as scheme_of
from ...app.environ import without_dot_segments
from ...net.allowlist import AllowList
from ...protocol.http1 import RequestParser
from ...protocol.uwsgi import PacketParser

Scope = dict[str, Any]
Pair = tuple[bytes, bytes]

ASGI = {"version": "3.0", "spec_version": "2.5"}
# ASGI's extensions that all connections support, also over the uwsgi protocol.
EXTENSIONS: dict[str, dict[str, Any]] = {
    "http.response.pathsend": {}, "http.response.zerocopysend": {}}
HTTP_EXTENSIONS: dict[str, dict[str, Any]] = {
    **EXTENSIONS, "http.response.early_hint": {}, "http.response.trailers": {}}
WEBSOCKET_EXTENSIONS: dict[str, dict[str, Any]] = {"websocket.http.response": {}}

# An extension of this server: variables that a front end adds (`http-var` of the router,
# `uwsgi_param` of nginx), as a dict of text.
VARIABLES = "geventuwsgi.variables"
# Variables of a packet that the scope has in another form.
_IN_SCOPE = frozenset(
    "REQUEST_METHOD REQUEST_URI PATH_INFO QUERY_STRING SERVER_PROTOCOL SCRIPT_NAME SERVER_NAME "
    "SERVER_PORT REMOTE_ADDR REMOTE_PORT CONTENT_TYPE CONTENT_LENGTH REQUEST_SCHEME HTTPS "
    "UWSGI_SCHEME".split())

_CACHED_LINES = 2048
_LONGEST_CACHED = 256  # longer lines (cookies) mostly differ each time


class _Pairs(dict[str, Pair | None]):
    """Map a field line as received to (name in lower case, value); None if dropped.

    Attributes:
        dropped: a line was dropped since this was last reset.
    """

    dropped = False

    def __missing__(self, line: str) -> Pair | None:
        name, _, value = line.partition(":")
        if "_" in name:
            self.dropped = True
            return None
        pair = name.lower().encode("latin-1"), value.strip(" \t").encode("latin-1")
        if len(line) <= _LONGEST_CACHED:
            if len(self) >= _CACHED_LINES:
                self.clear()
            self[line] = pair
        return pair


_pairs = _Pairs()


def headers_of(parser: RequestParser) -> list[Pair]:
    """Return the header fields in order. If the target names a host, Host is that one."""
    pairs = _pairs
    lines = parser.fields[:-2].split("\r\n") if parser.fields else ()  # HTTP/1.0 needs none
    found: list[Any] = list(map(pairs.__getitem__, lines))
    if pairs.dropped:
        pairs.dropped = False
        found = [pair for pair in found if pair is not None]
    if parser.authority is not None:
        found = [pair for pair in found if pair[0] != b"host"]
        found.insert(0, (b"host", parser.authority.encode("latin-1")))
    return found


def path_of(raw: str) -> str:
    """Decode a path as UTF-8, after removing dot segments; "//" stays."""
    if "/." in raw:
        raw = without_dot_segments(raw)
    if raw.isascii() and "%" not in raw:
        return raw
    return unquote_to_bytes(raw.encode("latin-1")).decode("utf-8", "replace")


def from_http(base: Scope, parser: RequestParser) -> Scope:
    """Build the scope of a request from its HTTP head.

    Args:
        base: the items that all scopes of the connection have: type, asgi, scheme, client,
            server, root_path.
        parser: a parser whose `head()` returned True.
    """
    scope = base.copy()
    target = parser.path or parser.target
    path, _, query = target.partition("?")
    scope["http_version"] = "1.1" if parser.http11 else "1.0"
    scope["method"] = parser.method
    scope["raw_path"] = path.encode("latin-1")
    scope["query_string"] = query.encode("latin-1")
    scope["path"] = base["root_path"] + path_of(path)
    scope["headers"] = headers_of(parser)
    return scope


def is_handshake(scope: Scope) -> bool:
    """Whether a request with `Connection: upgrade` is a WebSocket handshake."""
    return scope["method"] == "GET" and any(
        name == b"upgrade" and value.lower() == b"websocket" for name, value in scope["headers"])


def accepts_trailers(scope: Scope) -> bool:
    """Whether the client takes trailer fields: `TE: trailers` (RFC 9110 section 10.1.4)."""
    return any(name == b"te" and b"trailers" in map(bytes.strip, value.lower().split(b","))
               for name, value in scope["headers"])


def from_packet(base: Scope, parser: PacketParser) -> Scope:
    """Build the scope from the variables of a uwsgi packet, whose sender is trusted.

    `path` is SCRIPT_NAME and PATH_INFO as sent, `raw_path` the undecoded path of REQUEST_URI.
    Field names come from `HTTP_*`, with "-" for "_".
    """
    variables = parser.vars
    get = variables.get
    scope = base.copy()
    script_name = _text(get("SCRIPT_NAME", "").rstrip("/"))
    scope["root_path"] = base["root_path"] + script_name
    scope["path"] = scope["root_path"] + _text(get("PATH_INFO", ""))
    uri = get("REQUEST_URI", "").partition("?")[0]
    scope["raw_path"] = (uri or get("PATH_INFO", "")).encode("latin-1")
    scope["query_string"] = get("QUERY_STRING", "").encode("latin-1")
    version = (get("SERVER_PROTOCOL") or "HTTP/1.1").rpartition("/")[2]
    # A front end's "HTTP/2.0" is "2" to ASGI.
    scope["http_version"] = version if version.startswith("1.") else version.partition(".")[0]
    scope["method"] = get("REQUEST_METHOD") or "GET"
    scope["scheme"] = scheme_of(variables, True, "http")
    if get("REMOTE_ADDR"):
        scope["client"] = get("REMOTE_ADDR"), _number(get("REMOTE_PORT", ""))
    if get("SERVER_NAME"):
        scope["server"] = get("SERVER_NAME"), _number(get("SERVER_PORT", ""))
    headers = [(name[5:].replace("_", "-").lower().encode("latin-1"), value.encode("latin-1"))
               for name, value in variables.items() if name.startswith("HTTP_")]
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if get(name):
            headers.append((name.replace("_", "-").lower().encode(), get(name, "").encode(
                "latin-1")))
    scope["headers"] = headers
    return scope


def added_variables(parser: PacketParser) -> dict[str, str]:
    """Return the variables of a packet that its scope does not hold."""
    return {name: _text(value) for name, value in parser.vars.items()
            if name not in _IN_SCOPE and not name.startswith("HTTP_")}


def _text(octets: str) -> str:
    """Decode a variable: latin-1 text of octets that most likely are UTF-8."""
    if octets.isascii():
        return octets
    return octets.encode("latin-1").decode("utf-8", "replace")


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def apply_forwarded(scope: Scope, forwarders: AllowList) -> None:
    """Set scheme and client from the `X-Forwarded-*` fields of a trusted peer.

    The client is the last address of X-Forwarded-For that is not itself trusted: any client
    could have sent those before it. If all are trusted it is the first.
    """
    forwarded: dict[str, str] = {}
    addresses: list[str] = []
    for name, value in scope["headers"]:
        if name == b"x-forwarded-for":
            addresses += value.decode("latin-1").split(",")
        elif name == b"x-forwarded-proto" or name == b"x-forwarded-ssl":
            forwarded.setdefault("HTTP_" + name.decode().upper().replace("-", "_"),
                                 value.decode("latin-1"))
    if forwarded:
        scope["scheme"] = scheme_of(forwarded, True, scope["scheme"])
    found = client_of([address.strip() for address in addresses], forwarders)
    if found:
        scope["client"] = found, 0


def client_of(addresses: Sequence[str], forwarders: AllowList) -> str:
    """Return the client's address from X-Forwarded-For, without its port; "" if none. Empty
    entries do not count (RFC 9110 section 5.6.1.2)."""
    host = ""
    for address in filter(None, map(_without_port, reversed(addresses))):
        host = address
        if host not in forwarders:
            break
    return host


def _without_port(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    if address.count(":") == 1:
        return address.partition(":")[0]
    return address


def file_variables(scope: Scope, uri: str) -> dict[str, str]:
    """Return what `app.static` reads of a request. Files whose names are not UTF-8 are not found.

    Args:
        scope: its scope, before an application was chosen.
        uri: the target as sent.
    """
    path: str = scope["path"].removeprefix(scope["root_path"])
    variables = {"REQUEST_METHOD": scope["method"], "REQUEST_URI": uri,
                 "PATH_INFO": path.encode("utf-8", "replace").decode("latin-1"),
                 "DOCUMENT_ROOT": scope["extensions"].get(VARIABLES, {}).get("DOCUMENT_ROOT", "")}
    for name, value in scope["headers"]:
        key = "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        text = value.decode("latin-1")
        variables[key] = f"{variables[key]}, {text}" if key in variables else text
    return variables


class Variables:
    """A scope under the names of an environ, for log formats (`record.environ`)."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def get(self, name: str, default: Any = None) -> Any:
        """Return the text of a variable."""
        scope = self._scope
        if name == "REMOTE_ADDR":
            return scope["client"][0] if scope.get("client") else default
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = name.removeprefix("HTTP_").replace("_", "-").lower().encode("latin-1")
            values = [value.decode("latin-1") for field, value in scope["headers"] if field == key]
            return ", ".join(values) if values else default
        known = {"REQUEST_METHOD": "method", "PATH_INFO": "path", "SCRIPT_NAME": "root_path",
                 "REQUEST_SCHEME": "scheme"}.get(name)
        if known is not None:
            return scope.get(known, default)
        if name == "QUERY_STRING":
            return scope["query_string"].decode("latin-1")
        if name == "SERVER_NAME" and scope.get("server"):
            return scope["server"][0]
        return default
