"""What takes the connection's place for a request that is over."""

from collections.abc import Iterable
from typing import Any, NoReturn

from ...errors import RequestOver


class OverTransport:
    """The transport (`app.wsgi.Transport`) of every request that is over: its use raises."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RequestOver


def early_hints(headers: Iterable[tuple[str, str]]) -> None:
    """Take the place of `wsgi.early_hints` in the environ."""
    raise RequestOver


OVER: Any = OverTransport()
