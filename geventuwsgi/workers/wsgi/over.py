"""Requests that are over: what takes the connection's place for them, and what they still hold.

A greenlet or handle that something still refers to is not used for the next request.
"""

import sys
from collections.abc import Iterable
from typing import Any, NoReturn
from weakref import getweakrefcount

from greenlet import greenlet

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


def _references_of_an_attribute() -> int:
    """Count the references to an object that only an attribute refers to."""
    owner = _Owner()
    owner.handle = object()     # type: ignore[attr-defined]
    return sys.getrefcount(owner.handle)    # type: ignore[attr-defined]


ATTRIBUTE_REFERENCES = _references_of_an_attribute()
OVER: Any = OverTransport()


def has_other_references(candidate: greenlet) -> bool:
    """Whether anything but the caller can reach this idle greenlet.

    A timer that an application left running, a greenlet that it wants to kill later, a
    thread-local: all of them belong to one connection and must not reach the next. A
    greenlet that something still refers to is therefore not used again.
    """
    return sys.getrefcount(candidate) > _VARIABLE_REFERENCES or getweakrefcount(candidate) > 0


def _references_of_a_variable() -> int:
    """Count the references to an object that only a caller's variable refers to."""
    def count(candidate: object) -> int:
        return sys.getrefcount(candidate)
    pool = [object()]
    candidate = pool.pop()
    return count(candidate)


_VARIABLE_REFERENCES = _references_of_a_variable()
