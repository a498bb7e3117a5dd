"""The native thread with the event loop, and the calls between it and the hub.

Rules:

- Both threads use this module. Hub to loop: `call_in_loop`. Loop to hub: `call_in_hub`, a
  deque that the watcher's callback drains completely, as wake-ups coalesce.
- The loop is created after the fork. The modules that it needs are imported before: the
  import lock is a gevent lock in a process that imports on two threads.
- The hub never waits for the thread, except for a moment at the end.
"""

import asyncio
import concurrent.futures
import importlib
import logging
import os
import select
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from ...errors import ConfigError
from ...system import forked

log = logging.getLogger("geventuwsgi.error")

FAILED = "the event loop ended with an error"

# A loop imports these when it first needs them, and `import asyncio` does not.
for _name in ("encodings.idna", "concurrent.futures.thread", "asyncio.selector_events"):
    importlib.import_module(_name)


def loop_maker(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the function that creates the event loop.

    Args:
        kind: "auto", "asyncio" or "uvloop".

    Raises:
        ConfigError: uvloop is required and not installed.
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
        make_loop: creates the loop.
        on_failure: called on the hub if the loop ends with an error.

    Attributes:
        on_exit: called on the hub with a SystemExit or KeyboardInterrupt of a task of the
            application, after which the loop runs on; None: the loop ends with it.
    """

    def __init__(self, hub: Any, make_loop: Callable[[], asyncio.AbstractEventLoop],
                 on_failure: Callable[[], object]) -> None:
        self.loop = make_loop()
        self._on_failure = on_failure
        self.on_exit: Callable[[BaseException], object] | None = None
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._waker = hub.loop.async_()
        self._waker.start(self._run_calls)
        self._thread = threading.Thread(target=self._run, name="asgi-loop", daemon=True)
        self._main: Callable[[], Coroutine[Any, Any, None]]
        self._forked = False

    def start(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine function on the loop; the thread ends with it."""
        self._main = main
        self._thread.start()

    def call_in_loop(self, function: Callable[..., object], *arguments: Any) -> None:
        """Schedule a call on the loop's thread. Called on the hub."""
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            log.debug("the event loop has ended: %r was not called", function)

    def call_in_hub(self, function: Callable[..., object], *arguments: Any) -> None:
        """Schedule a call on the hub. Called on the loop's thread."""
        self._calls.append((function, arguments))
        self._waker.send()

    def join(self, seconds: float) -> bool:
        """Wait for the thread to end, and close its watcher on the hub."""
        self._thread.join(seconds)
        ended = not self._thread.is_alive()
        if ended:
            self._waker.close()
        return ended

    def forget(self) -> None:
        """Detach a forked process from the loop, and end it when it returns to the loop.

        Both processes have the same queue of events in the kernel: what this one adds or removes
        there would be added or removed for the other too.
        """
        self._forked = True
        loop: Any = self.loop
        selector = getattr(loop, "_selector", None)
        with select.epoll() as own:
            os.dup2(own.fileno(), loop._get_backend_id() if selector is None
                    else selector.fileno(), False)
        if threading.get_ident() == self._thread.ident:
            loop.call_soon(forked.leave, RuntimeError(
                "a forked process cannot wait in the event loop of its parent"))
        loop.call_soon_threadsafe = _leave_thread

    def stack(self) -> str:
        """Return the present stack of the loop's thread, innermost call last."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        if frame is None:
            return "  (the thread has no Python frame)"
        return "".join(traceback.format_stack(frame)).rstrip()

    def _run_calls(self) -> None:
        calls = self._calls
        while calls:
            function, arguments = calls.popleft()
            function(*arguments)

    def _run(self) -> None:
        # Nothing waits for a loop that does not end, but for threads of the application.
        self._thread._daemonic = False  # type: ignore[attr-defined]
        loop = self.loop
        asyncio.set_event_loop(loop)
        try:
            self._run_main(loop.create_task(self._main()))
            _cancel_rest(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        except BaseException as error:
            if self._forked:
                forked.leave(error)
            log.critical(FAILED, exc_info=True)
            self.call_in_hub(self._on_failure)

    def _run_main(self, main: asyncio.Task[None]) -> None:
        while not main.done():
            try:
                self.loop.run_until_complete(main)
            except (SystemExit, KeyboardInterrupt) as error:
                if self.on_exit is None or main.done():
                    raise
                self.call_in_hub(self.on_exit, error)


def _leave_thread(*call: Any, **_: Any) -> NoReturn:
    """Take the place of `call_soon_threadsafe` in a process that an executor's thread has forked.

    There it reports that the application has returned.
    """
    for argument in call:
        if isinstance(argument, BaseException):
            forked.leave(argument)
        if isinstance(argument, concurrent.futures.Future):
            forked.leave(argument.exception())
    forked.leave(None)


def _cancel_rest(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the remaining tasks, and let them end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=1.0))
