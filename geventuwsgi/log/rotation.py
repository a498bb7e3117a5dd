"""A log file that is given away when it has grown (`log-maxsize`), by the one who writes it.

Only one process writes such a file, the scribe (`log.dispatch`), so that no line can fall
between a rename and somebody else's reopening.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from geventuwsgi.log.sinks import FileSink, Warn


class RotatedFile(FileSink):
    """A file that is renamed and begun anew.

    Args:
        path: the file.
        maxsize: bytes from which on it is rotated before the next batch; 0 = never.
        backup: its new name; "" = its own with the time behind it, as in uWSGI.
        mode: its permissions, None = those of `log.sinks`.
        owner: user and group to give it to, -1 = as it is.
        user: user and group with whose rights it is opened and renamed; None = our own.
        warn: see `Sink`.
    """

    def __init__(self, path: str, *, maxsize: int = 0, backup: str = "", mode: int | None = None,
                 owner: tuple[int, int] = (-1, -1), user: tuple[int, int] | None = None,
                 warn: Warn | None = None) -> None:
        self._maxsize = maxsize
        self._backup = os.path.abspath(backup) if backup else ""
        self._mode = mode
        self._owner = owner
        self._user = user
        self._size = 0
        with acting_as(user):
            super().__init__(path, warn=warn)
        self._settle()

    def write(self, data: bytes) -> None:
        if self._maxsize and self._size >= self._maxsize:
            self.rotate()
        super().write(data)
        self._size += len(data)

    def rotate(self) -> None:
        """Rename the file and begin a new one; where that fails the old one goes on."""
        assert self.path is not None
        now = int(time.time())
        # uWSGI's line, in the old file.
        super().write(f"{time.ctime(now)} - logsize: {self._size}, triggering rotation to "
                      f"{self._backup or f'{self.path}.{now}'}...\n".encode())
        try:
            with acting_as(self._user):
                rename(self.path, self._backup, now)
        except OSError as error:
            if self._warn is not None:
                self._warn(f"cannot rename the log {self.path}: {error.strerror}")
            self._size = 0      # the next attempt comes when as much again has been written
            return
        self.reopen()

    def reopen(self) -> None:
        with acting_as(self._user):
            super().reopen()
        self._settle()

    def _settle(self) -> None:
        self._size = os.fstat(self._fd).st_size
        give(self._fd, self._mode, self._owner)


@contextmanager
def acting_as(user: tuple[int, int] | None) -> Iterator[None]:
    """Have the rights of another for a moment: root opens no file where its user may put links.

    Args:
        user: user and group; None = ourselves.
    """
    if user is None:
        yield
        return
    own = os.geteuid(), os.getegid()
    os.setegid(user[1])
    try:
        os.seteuid(user[0])
        yield
    finally:
        os.seteuid(own[0])
        os.setegid(own[1])


def rename(path: str, backup: str, now: int) -> None:
    """Give a log file its other name.

    Args:
        path: the file.
        backup: its new name, whose former bearer is lost, as in uWSGI; "" = its own with
            the time behind it, and a number where that second has one already.
        now: the time.

    Raises:
        OSError: it cannot be renamed.
    """
    name = backup or f"{path}.{now}"
    number = 0
    while not backup and os.path.lexists(name):
        number += 1
        name = f"{path}.{now}.{number}"
    os.rename(path, name)


def give(fd: int, mode: int | None, owner: tuple[int, int]) -> str:
    """Set permissions and owner of an open file; return what went wrong, "" if nothing."""
    try:
        if mode is not None:
            os.fchmod(fd, mode)
        if owner != (-1, -1):
            os.fchown(fd, *owner)
    except OSError as error:
        return error.strerror or str(error)
    return ""
