"""Signals as bytes in a pipe.

A handler may run between any two instructions, so ours do nothing: the interpreter writes
the signal's number into a wake-up pipe (`signal.set_wakeup_fd`), and the loop reads it like
any other event. A full pipe drops bytes, which only lose repeats of signals still unread.
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
        fd: readable after a signal has arrived; to be registered with a selector or poll.
    """

    def __init__(self) -> None:
        self.fd, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def install(self, handled: Iterable[int], ignored: Iterable[int] = ()) -> None:
        """Handle these signals from now on; main thread only."""
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in handled:
            signal.signal(number, noop)

    def read(self) -> list[int]:
        """Return the signals that have arrived, each once, in order of first arrival."""
        try:
            return list(dict.fromkeys(os.read(self.fd, 4096)))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Close the pipe, as a forked child does with that of its parent."""
        signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._write_end)


def noop(number: int, frame: FrameType | None) -> None:
    """Do nothing; installed so that the interpreter writes the byte."""


def ignore(numbers: Iterable[int]) -> None:
    """Ignore signals here, but not in the programs that the application starts.

    exec keeps SIG_IGN, and resets handlers. SIGTTIN and SIGTTOU have no handler, with which Python
    would try a write to a terminal again and again that these signals interrupt.
    """
    for number in numbers:
        signal.signal(number, signal.SIG_IGN if number in (signal.SIGTTIN, signal.SIGTTOU)
                      else noop)


def reset(numbers: Iterable[int], action: Callable[..., object] | int = signal.SIG_DFL) -> None:
    """Set the same action for several signals."""
    for number in numbers:
        signal.signal(number, action)  # type: ignore[arg-type]


@contextmanager
def exit_on_stop() -> Iterator[None]:
    """Exit with status 0 if a signal asks the process to stop inside this context.

    For the master while it waits before its loop runs; as PID 1 it has no default actions.
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
    """Block all signals; the mask is kept by exec."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def unblock_all() -> None:
    """Clear the signal mask."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
