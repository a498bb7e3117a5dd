"""Which group of nodes a request is for: by host and path, by subscription, or the default.

The rules of this room: looking is cheap and changes nothing. A route of the configuration
wins over a subscription, and that over the default, since an announcement must not be able
to take what an operator wrote.
"""

from collections.abc import Callable, Mapping, Sequence

from ..app.environ import decode
from ..protocol.http1 import RequestParser
from .balance import NodeGroup, NoNodeAvailable


class Routes:
    """All routes of a router.

    Args:
        default: for what nothing else is for; None = nothing.
        written: groups by (host, path prefix), either of which may be "" for any; a host
            may be `*.domain`.
        subscribed: finds the group that has subscribed to a host; None = nobody can.
    """

    def __init__(self, default: NodeGroup | None,
                 written: Mapping[tuple[str, str], NodeGroup] | None = None,
                 subscribed: Callable[[str], NodeGroup | None] | None = None) -> None:
        self.default = default
        self.subscribed = subscribed
        self._written: list[tuple[str, str, NodeGroup]] = sorted(
            ((host, path, group) for (host, path), group in (written or {}).items()),
            key=_precedence)
        # Most routers have one group, and then there is nothing to find out.
        self.only = default if not self._written and subscribed is None else None

    def groups(self) -> Sequence[NodeGroup]:
        """List the groups of the configuration."""
        found = [group for _, _, group in self._written]
        return [*found, self.default] if self.default is not None else found

    def find(self, parser: RequestParser) -> NodeGroup:
        """Return the group for a request.

        Raises:
            NoRoom: there is none.
        """
        if self.only is not None:
            return self.only
        host = host_of(parser).lower()
        name = without_port(host)
        path = decode(parser.path.partition("?")[0])  # as an application sees it
        for wanted, prefix, group in self._written:
            if _fits(wanted, name) and (not prefix or path == prefix
                                        or path.startswith(prefix.rstrip("/") + "/")):
                return group
        if self.subscribed is not None:
            found = self.subscribed(host)
            if found is not None:
                return found
        if self.default is None:
            raise NoNodeAvailable(f"nobody has subscribed to {host[:255]!r}")
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
    """Return a host without the port behind it."""
    name, colon, port = host.rpartition(":")
    return name if colon and (port.isdigit() or not port) else host


def _fits(wanted: str, name: str) -> bool:
    if wanted.startswith("*."):
        return name.endswith(wanted[1:])
    return not wanted or wanted == name


def _precedence(route: tuple[str, str, NodeGroup]) -> tuple[int, int, int]:
    """Exact hosts before patterns before any, long patterns and long paths first."""
    host, path, _ = route
    kind = 2 if not host else 1 if host.startswith("*.") else 0
    return kind, -len(host), -len(path)
