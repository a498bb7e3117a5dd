"""What takes the connection's place for a request that is over."""

import sys
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


class _Owner:
    __slots__ = ("handle",)


def _own_references() -> int:
    """Count the references to an object that only an attribute refers to."""
    owner = _Owner()
    owner.handle = object()     # type: ignore[attr-defined]
    return sys.getrefcount(owner.handle)    # type: ignore[attr-defined]


OWN_REFERENCES = _own_references()
OVER: Any = OverTransport()
