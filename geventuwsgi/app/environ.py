"""The WSGI environ of one request, from a checked HTTP head or a uwsgi packet (PEP 3333).

Every environ is a new plain dict that starts as a copy of its listener's template. The keys
`wsgi.*`, `uwsgi.*` and `geventuwsgi.*` are the server's and never come from the peer. A
header name with "_" is dropped, so that `X_Forwarded_For` cannot pass for
`X-Forwarded-For`, and so is `Proxy`, which would become HTTP_PROXY (CVE-2016-1000111).
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from ..protocol.http1 import RequestParser
from ..protocol.uwsgi import PacketParser

Environ = dict[str, Any]

# Field names as received -> environ key, "" for a field that is dropped. The cache is
# bounded because peers can invent names.
_CACHED_KEYS = 2048
_keys: dict[str, str] = {
    "Content-Type": "CONTENT_TYPE", "content-type": "CONTENT_TYPE",
    "Content-Length": "CONTENT_LENGTH", "content-length": "CONTENT_LENGTH"}
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def template(*, errors: Any, file_wrapper: Any, multithread: bool, multiprocess: bool,
             server_name: str, server_port: str, scheme: str, software: str,
             version: bytes, node: bytes) -> Environ:
    """Make the variables that all environs of a listener have in common.

    Args:
        errors: the `wsgi.errors` stream.
        file_wrapper: the `wsgi.file_wrapper` class, None to leave the key out.
        multithread: more than one request at a time in this process.
        multiprocess: more than one worker process.
        server_name, server_port: of the listener; a uwsgi packet brings its own.
        scheme: of the listener, "http" or "https".
        software: SERVER_SOFTWARE.
        version, node: `uwsgi.version` and `uwsgi.node`, bytes as in uWSGI.
    """
    environ: Environ = {
        "SERVER_NAME": server_name, "SERVER_PORT": server_port,
        "SERVER_SOFTWARE": software, "SCRIPT_NAME": "", "QUERY_STRING": "",
        "REMOTE_ADDR": "", "REQUEST_SCHEME": scheme,
        "wsgi.version": (1, 0), "wsgi.url_scheme": scheme, "wsgi.errors": errors,
        "wsgi.multithread": multithread, "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False, "wsgi.input_terminated": True,
        "uwsgi.version": version, "uwsgi.node": node}
    if file_wrapper is not None:
        environ["wsgi.file_wrapper"] = file_wrapper
    return environ


def from_http(base: Environ, parser: RequestParser) -> Environ:
    """Build the environ of the request in `parser`.

    RAW_URI (gunicorn) is the target as sent. So is REQUEST_URI (uWSGI), but of an absolute-form
    target its path and query only: rules with a path in mind hold for it too. For PATH_INFO the
    dot segments are removed and the rest is then decoded, as in uWSGI: "//" stays, "%2F" becomes
    "/". Repeated fields are joined by ", ", Cookie by "; " (RFC 9110 5.3, RFC 6265 5.4).
    """
    environ = base.copy()
    environ["REQUEST_METHOD"] = parser.method
    environ["SERVER_PROTOCOL"] = parser.version
    environ["RAW_URI"] = parser.target
    path = parser.path
    environ["REQUEST_URI"] = path or parser.target
    if not path and parser.target == "*":
        path = "*"      # as uWSGI and gunicorn have it
    query = path.find("?")
    if query >= 0:
        environ["QUERY_STRING"] = path[query + 1:]
        path = path[:query]
    if "%" in path or "/." in path:
        path = decode(path)
    environ["PATH_INFO"] = path
    keys = _keys
    for line in parser.fields[:-2].split("\r\n"):
        name, colon, value = line.partition(":")
        key = keys.get(name)
        if key is None:
            key = _key(name)
        if key in environ:
            _join(environ, key, value.strip(" \t"))
        elif key:
            environ[key] = value.strip(" \t")
    if parser.authority is not None:
        environ["HTTP_HOST"] = parser.authority
    return environ


def from_packet(base: Environ, parser: PacketParser) -> Environ:
    """Build the environ from the variables of a uwsgi packet, each as it was sent.

    Web servers send what their configuration names, so what an environ must have (PEP 3333)
    gets a default. A request without REQUEST_METHOD is a GET, as for uWSGI and gunicorn.
    """
    environ = {**base, **parser.vars}
    if not environ.get("REQUEST_METHOD"):
        environ["REQUEST_METHOD"] = "GET"
    if "PATH_INFO" not in environ:
        environ["PATH_INFO"] = ""
    if not environ.get("SERVER_PROTOCOL"):
        environ["SERVER_PROTOCOL"] = "HTTP/1.1"
    if "REQUEST_URI" in environ:
        environ["RAW_URI"] = environ["REQUEST_URI"]
    return environ


def scheme(environ: Mapping[str, Any], trusted: bool, listener: str) -> str:
    """Decide `wsgi.url_scheme`, for WSGI and ASGI alike.

    Args:
        environ: the request's variables.
        trusted: the peer may set the scheme (`forwarded-allow-ips`).
        listener: the scheme of the listening socket.

    Only "http" and "https" are accepted from a peer, and "ws" and "wss", which Traefik sends for
    WebSockets, as the same. X-Forwarded-Proto wins over X-Forwarded-Ssl; of several values the
    first one counts.
    """
    if not trusted:
        return listener
    value = environ.get("UWSGI_SCHEME") or environ.get("HTTP_X_FORWARDED_PROTO")
    if value:
        return _SCHEMES.get(value.split(",", 1)[0].strip().lower(), listener)
    flag = environ.get("HTTPS") or environ.get("HTTP_X_FORWARDED_SSL")
    if flag:
        return "https" if flag == "1" or flag.lower() == "on" else listener
    return listener


def _key(name: str) -> str:
    upper = name.upper().replace("-", "_")
    if not name or "_" in name or upper == "PROXY":
        key = ""
    elif upper in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = upper
    else:
        key = "HTTP_" + upper
    if len(_keys) < _CACHED_KEYS:
        _keys[name] = key
    return key


def _join(environ: Environ, key: str, value: str) -> None:
    separator = "; " if key == "HTTP_COOKIE" else ", "
    environ[key] = f"{environ[key]}{separator}{value}"


def decode(path: str) -> str:
    """Return a path as in PATH_INFO: dot segments removed, then escapes decoded."""
    if "/." in path:
        path = without_dot_segments(path)
    if "%" in path:
        return unquote_to_bytes(path.encode("latin-1")).decode("latin-1")
    return path


def without_dot_segments(path: str) -> str:
    """Remove "." and ".." (RFC 3986 section 5.2.4); empty segments stay, as in uWSGI."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
