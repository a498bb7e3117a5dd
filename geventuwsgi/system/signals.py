"""Signals as bytes in a pipe.

A handler may run between any two instructions, so it does nothing: the interpreter
writes the signal's number into a wake-up pipe (`signal.set_wakeup_fd`), and the loop
reads it there like any other event. A full pipe drops bytes; a repeat of a signal that
waits unread says nothing new.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

logger = logging.getLogger("geventuwsgi.error")


class SignalPipe:
    """The wake-up pipe of one process.

    Attributes:
        fd: becomes readable when a signal came; register it with a selector or poll.
    """

    def __init__(self) -> None:
        self.fd, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def install(self, taken: Iterable[int], ignored: Iterable[int] = ()) -> None:
        """Take these signals from now on; main thread only."""
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in taken:
            signal.signal(number, _nothing)

    def read(self) -> list[int]:
        """Return the signals that came, each once, in the order of their first arrival."""
        try:
            return list(dict.fromkeys(os.read(self.fd, 4096)))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Let go of the pipe, as a forked child does with the one of its parent."""
        signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._write_end)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Do nothing; installed so that the interpreter writes the byte."""


def reset(numbers: Iterable[int], action: Callable[..., object] | int = signal.SIG_DFL) -> None:
    """Give these signals one action."""
    for number in numbers:
        signal.signal(number, action)  # type: ignore[arg-type]


@contextmanager
def ending() -> Iterator[None]:
    """End the process with status 0 if it is told to stop meanwhile.

    For a master that waits before its loop runs; as PID 1 it has no default actions.
    """
    def end(number: int, frame: FrameType | None) -> None:
        logger.info("stopped before the start was complete")
        raise SystemExit(0)
    before = {number: signal.signal(number, end)
              for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def block_all() -> None:
    """Let all signals wait, through an exec too."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def unblock_all() -> None:
    """Clear the signal mask."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
