"""The terminal's modes, kept over the death of a debugger.

A debugger's line editor turns echo and line mode off while it waits; a worker that is killed
there leaves the terminal so, and what is typed next cannot be seen. Called in the master
only.
"""

import signal
import termios
from typing import Any


class Keyboard:
    """The terminal at a descriptor, if it is one, as it is now.

    Args:
        fd: the descriptor.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        try:
            self._modes: list[Any] | None = termios.tcgetattr(fd)
        except (termios.error, OSError):  # no terminal, or none any more
            self._modes = None

    def restore(self) -> None:
        """Put the modes back, also from the background, where that would stop us."""
        if self._modes is None:
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTOU,))
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, self._modes)
        except (termios.error, OSError):
            self._modes = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
