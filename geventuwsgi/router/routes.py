"""Which group of nodes a request is for: by host and path, by subscription, or the default.

Rules: a look-up is cheap and changes nothing. A route of the configuration wins over a
subscription, and that over the default, so that an announcement cannot take over what an
operator configured.
"""

from collections.abc import Callable, Mapping

from ..app.environ import decode
from ..protocol.http1 import RequestParser
from .balance import NodeGroup, NoNodeAvailable


class Routes:
    """All routes of a router.

    Args:
        default: for requests that no route matches; None if there is no default.
        configured: groups by (host, path prefix), either of which may be "" for any; a host
            may be `*.domain`.
        subscribed: finds the group that has subscribed to a host; None without a
            subscription server.
    """

    def __init__(self, default: NodeGroup | None,
                 configured: Mapping[tuple[str, str], NodeGroup] | None = None,
                 subscribed: Callable[[str], NodeGroup | None] | None = None) -> None:
        self.default = default
        self.subscribed = subscribed
        self._configured: list[tuple[str, str, NodeGroup]] = sorted(
            ((host, path, group) for (host, path), group in (configured or {}).items()),
            key=_precedence)
        # Most routers have one group, and then there is nothing to look up.
        self.only = default if not self._configured and subscribed is None else None

    def find(self, parser: RequestParser) -> NodeGroup:
        """Return the group for a request.

        Raises:
            NoNodeAvailable: there is none.
        """
        if self.only is not None:
            return self.only
        host = host_of(parser).lower()
        name = without_port(host)
        if name.endswith("."):  # the root of the DNS, RFC 3986 section 3.2.2
            host, name = name[:-1] + host[len(name):], name[:-1]
        path = decode(parser.path.partition("?")[0])  # as an application sees it
        for pattern, prefix, group in self._configured:
            if _matches(pattern, name) and (not prefix or path == prefix
                                            or path.startswith(prefix.rstrip("/") + "/")):
                return group
        if self.subscribed is not None:
            found = self.subscribed(host)
            if found is not None:
                return found
        if self.default is None:
            raise NoNodeAvailable(f"no node has subscribed to {host[:255]!r}")
        return self.default


def host_of(parser: RequestParser) -> str:
    """Return the host that a request names, with its port as sent; "" if it names none."""
    if parser.authority is not None:
        return parser.authority
    for line in parser.fields.split("\r\n"):
        if line[:5].lower() == "host:":
            return line[5:].strip(" \t")
    return ""


def without_port(host: str) -> str:
    """Return a host without its port."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isascii() and (port.isdigit() or not port) else host


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    return not pattern or pattern == name


def _precedence(route: tuple[str, str, NodeGroup]) -> tuple[int, int, int]:
    """Exact hosts before patterns before any; long patterns and long paths first."""
    host, path, _ = route
    kind = 2 if not host else 1 if host.startswith("*.") else 0
    return kind, -len(host), -len(path)
