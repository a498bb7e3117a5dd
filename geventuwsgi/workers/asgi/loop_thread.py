"""The native thread with the event loop, and the two ways between it and the hub.

The rules of this room:

- It is the only one that both threads enter. Hub to loop: `call`. Loop to hub: `tell`, a
  deque that the watcher's callback drains wholly, as wake-ups coalesce.
- The loop is made by its thread, after the fork. What it needs is imported before: the
  import lock is a gevent lock in a process that imports on two threads.
- The hub never waits for the thread, except for a moment at the very end.
"""

import asyncio
import importlib
import logging
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ...errors import ConfigError

log = logging.getLogger("geventuwsgi.error")

# Others than the import of asyncio pulls in, and used by a loop at its first need of them.
for _name in ("encodings.idna", "concurrent.futures.thread", "asyncio.selector_events"):
    importlib.import_module(_name)


def loop_maker(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes the event loop.

    Args:
        kind: "auto", "asyncio" or "uvloop".

    Raises:
        ConfigError: uvloop is wanted and not installed.
    """
    if kind != "asyncio":
        try:
            maker: Callable[[], asyncio.AbstractEventLoop] = (
                importlib.import_module("uvloop").new_event_loop)
            return maker
        except ImportError:
            if kind == "uvloop":
                raise ConfigError("uvloop is not installed: pip install uvloop",
                                  option="asgi-loop") from None
    return asyncio.new_event_loop


class LoopThread:
    """One event loop in a thread of its own.

    Args:
        hub: the hub of the main thread.
        make: makes the loop.
        died: called on the hub if the loop ends with an error.
    """

    def __init__(self, hub: Any, make: Callable[[], asyncio.AbstractEventLoop],
                 died: Callable[[], object]) -> None:
        self.loop = make()
        self._died = died
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._waker = hub.loop.async_()
        self._waker.start(self._on_readable)
        self._thread = threading.Thread(target=self._run, name="asgi-loop", daemon=True)
        self._main: Callable[[], Coroutine[Any, Any, None]]

    def start(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function on the loop; the thread ends with it."""
        self._main = main
        self._thread.start()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have a function called on the loop's thread. Called on the hub."""
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            log.debug("the event loop has ended: %r was not called", function)

    def tell(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have a function called on the hub. Called on the loop's thread."""
        self._calls.append((function, arguments))
        self._waker.send()

    def join(self, seconds: float) -> bool:
        """Wait for the thread's end, and close what belongs to the hub."""
        self._thread.join(seconds)
        ended = not self._thread.is_alive()
        if ended:
            self._waker.close()
        return ended

    def stack(self) -> str:
        """The stack of the loop's thread now, innermost call last."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        if frame is None:
            return "  (the thread has no Python frame)"
        return "".join(traceback.format_stack(frame)).rstrip()

    def _on_readable(self) -> None:
        calls = self._calls
        while calls:
            function, arguments = calls.popleft()
            function(*arguments)

    def _run(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._main())
            _cancel_rest(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        except BaseException:
            log.critical("the event loop ended with an error", exc_info=True)
            self.tell(self._died)


def _cancel_rest(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the tasks that nobody awaits any more, and let them end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
