"""Wait for the threads of the application before the end of the process, as Python does."""

import logging
import threading

from ..log import error
from . import kernel

# A wait that is shorter is not logged, in seconds: executors end their idle threads.
_SHORT = 0.5


def wait_for_threads(process: str) -> None:
    """End executors, and wait for their calls and for all threads that are not daemons.

    The master limits the wait (`worker-reload-mercy`).

    Args:
        process: its name in the log.
    """
    if not _waited_for():
        return
    over: list[bool] = []
    kernel.original("_thread", "start_new_thread")(_log, (process, over))
    # Python's own function for this, which calls what executors have registered. It knows no
    # threads that gevent has made greenlets.
    threading._shutdown()   # type: ignore[attr-defined]
    while left := _waited_for():
        left[0].join()
    over.append(True)


def _waited_for() -> list[threading.Thread]:
    """Return the threads that are not daemons, except those that Python has not started."""
    # The dictionary itself, as `threading.enumerate` takes a lock.
    active: dict[int, threading.Thread] = threading._active     # type: ignore[attr-defined]
    return [one for one in tuple(active.values())
            if not one.daemon and one is not threading.main_thread()
            and not isinstance(one, threading._DummyThread)]    # type: ignore[attr-defined]


def _log(process: str, over: list[bool]) -> None:
    """The body of a native thread, as the waiting one may have patched locks."""
    kernel.original("time", "sleep")(_SHORT)
    names = [one.name for one in _waited_for()]
    if names and not over:
        error.log_unlocked(logging.INFO, f"{process} waits for {len(names)} thread"
                           f"{'s' * (len(names) != 1)} of the application: {', '.join(names)}")
