"""asyncio in greenlets: each has a running loop of its own.

To asyncio the running loop is that of a native thread. While one request was in `asyncio.run`,
another could not call it, and Django took the synchronous code of all others for a coroutine's.
As long as there are loops, a function called at each switch of greenlets sets aside what asyncio
keeps for the thread. Without loops it costs nothing. Each native thread has its own greenlets, and
its own such function. uvloop, which blocks all greenlets while it waits, is left alone.
"""

import sys
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import greenlet
from gevent.selectors import GeventSelector

from ..system import kernel

_select, _close = GeventSelector.select, GeventSelector.close
_set_aside: WeakKeyDictionary[greenlet.greenlet, tuple[Any, Any]] = WeakKeyDictionary()


class _Thread(kernel.original("_thread", "_local")):    # type: ignore[misc]
    """What a native thread has; patched, it would be a greenlet's."""

    def __init__(self) -> None:
        self.selectors: WeakSet[Any] = WeakSet()    # of loops
        self.tracers: list[Any] = []    # the one before ours


_thread = _Thread()


def install() -> None:
    """Have this done by every loop that is made in a patched process."""
    GeventSelector.select, GeventSelector.close = _on_select, _on_close


def _on_select(self: Any, timeout: float | None = None) -> Any:
    """Take the place of `GeventSelector.select`, the first call of a loop that may switch."""
    events: Any = sys.modules.get("asyncio.events")
    if self not in _thread.selectors and events and events._get_running_loop():
        _thread.selectors.add(self)
        if not _thread.tracers:
            _thread.tracers.append(greenlet.settrace(_on_switch))
    return _select(self, timeout)


def _on_close(self: Any) -> None:
    """Take the place of `GeventSelector.close`."""
    _close(self)
    _thread.selectors.discard(self)
    if _thread.tracers and not _thread.selectors:
        greenlet.settrace(_thread.tracers.pop())


def _on_switch(event: str, greenlets: tuple[greenlet.greenlet, greenlet.greenlet]) -> None:
    origin, target = greenlets
    events = sys.modules["asyncio.events"]
    loop = events._get_running_loop()   # type: ignore[attr-defined]
    if loop is not None:
        _set_aside[origin] = loop, sys.get_asyncgen_hooks()     # which are the thread's, too
        events._set_running_loop(None)  # type: ignore[attr-defined]
        sys.set_asyncgen_hooks(None, None)
    found = _set_aside.pop(target, None)
    if found is not None:
        events._set_running_loop(found[0])  # type: ignore[attr-defined]
        sys.set_asyncgen_hooks(*found[1])
    if _thread.tracers and _thread.tracers[0] is not None:
        _thread.tracers[0](event, greenlets)
