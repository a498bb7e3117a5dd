"""Requests that are over: what takes the connection's place for them, and what they still hold.

A greenlet or handle that something still refers to is not used for the next request.
"""

import logging
import sys
import threading
from collections.abc import Iterable
from typing import Any, NoReturn
from weakref import getweakrefcount

from gevent import sleep
from greenlet import getcurrent, greenlet

from ...errors import RequestOver

log = logging.getLogger("geventuwsgi.error")


class OverTransport:
    """The transport (`app.wsgi.Transport`) of every request that is over: its use raises."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RequestOver


def early_hints(headers: Iterable[tuple[str, str]]) -> None:
    """Take the place of `wsgi.early_hints` in the environ."""
    raise RequestOver


def has_weak_references(candidate: greenlet) -> bool:
    """Whether there are weak references to a greenlet whose request is over.

    The one of the thread object that `threading` makes of a greenlet for every log record is
    dropped with that object: the next request gets another one.
    """
    active: dict[int, object] = threading._active   # type: ignore[attr-defined]
    active.pop(id(candidate), None)
    return getweakrefcount(candidate) > 0


def log_late(where: str, error: BaseException) -> None:
    """Log what was thrown into a greenlet whose request is over.

    Args:
        where: the connection or the listening socket.
    """
    log.debug("%s: a late %s for a request that is over", where, type(error).__name__)


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
    """Whether anything but the caller can reach this idle greenlet, or it has attributes.

    A timer that an application left running, a greenlet that it wants to kill later, a
    thread-local: all of them belong to one request and must not reach the next. A greenlet
    that something still refers to is therefore not used again.
    """
    return (sys.getrefcount(candidate) > _VARIABLE_REFERENCES
            or getweakrefcount(candidate) > 0 and has_weak_references(candidate)
            or bool(candidate.__dict__))


def _references_of_a_variable() -> int:
    """Count the references to an object that only a caller's variable refers to."""
    def count(candidate: object) -> int:
        return sys.getrefcount(candidate)
    pool = [object()]
    candidate = pool.pop()
    return count(candidate)


def _count_references(counts: list[int]) -> None:
    """Count the references to the current greenlet that only an attribute refers to, and whatever
    has switched to it."""
    owner = _Owner()
    owner.handle = getcurrent()     # type: ignore[attr-defined]
    counts.append(sys.getrefcount(owner.handle))    # type: ignore[attr-defined]


def _current_references() -> int:
    counts: list[int] = []
    greenlet(_count_references).switch(counts)
    return counts[0]


def references_after_wait(hub: Any) -> int:
    """Return `CURRENT_REFERENCES` for a greenlet that has waited for a watcher: gevent holds some
    while it switches to it. Blocks the calling greenlet."""
    counts: list[int] = []

    def count() -> None:
        with hub.loop.timer(0) as timer:
            hub.wait(timer)
        _count_references(counts)

    hub.loop.run_callback(greenlet(count, hub).switch)
    while not counts:
        sleep(0)
    return counts[0]


_VARIABLE_REFERENCES = _references_of_a_variable()
# The least; whatever has switched to the greenlet may hold more.
CURRENT_REFERENCES = _current_references()
