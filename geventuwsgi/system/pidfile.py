"""The pid file: replaced in one step, and removed only while it holds our pid.

A file that may be written but not replaced (in a directory of root's, or mounted by itself into
a container) is written in place, and emptied at the end.
"""

import logging
import os

from ..errors import ConfigError
from ..rights import User, open_file, reaching, rename

logger = logging.getLogger("geventuwsgi.error")


class PidFile:
    """A file that holds the pid of this process and a newline.

    Args:
        path: made absolute at once, because the current directory may change.
        owner: (uid, gid) of the file, set if this process is root; None = ours, -1 leaves either
            unchanged.
        user: the one of `uid`, see `rights`.
    """

    def __init__(self, path: str, owner: tuple[int, int] | None = None,
                 user: User | None = None) -> None:
        self.path = os.path.abspath(path)
        self._owner = owner
        self._user = user

    def write(self) -> None:
        """Write our pid, replacing the file of an earlier process.

        The file is written under another name and renamed, so that an init script never
        reads half a number. The pid of another living process in it is only logged: pids are
        reused, and a second instance on the same address has already failed to bind.

        Raises:
            ConfigError: the file cannot be written.
        """
        other = self.read()
        if other and other != os.getpid():
            if alive(other):
                logger.warning("%s held the pid of another process (%d); it holds ours now",
                               self.path, other)
            else:
                logger.info("%s held the pid of a process that is gone (%d)", self.path, other)
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise ConfigError(f"cannot write the pid file {self.path}: it is not a regular file")
        try:
            self._replace()
        except OSError as error:
            if not self._overwrite(f"{os.getpid()}\n"):
                raise ConfigError(
                    f"cannot write the pid file {self.path}: {error.strerror}") from None

    def _replace(self) -> None:
        draft = f"{self.path}.{os.getpid()}"
        fd = open_file(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, self._user).fd
        with os.fdopen(fd, "w") as file:
            try:
                file.write(f"{os.getpid()}\n")
                file.flush()
                rename(draft, self.path, self._user)
            except OSError:
                with reaching(draft, self._user) as name:
                    os.unlink(name)
                raise
            if os.geteuid() == 0:   # last, as in a sticky directory a user renames only their own
                os.fchown(fd, *self._owner or (os.geteuid(), os.getegid()))

    def _overwrite(self, text: str) -> bool:
        """Write the existing file in place, never through a link; return whether that worked."""
        try:
            fd = open_file(self.path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW,
                           user=self._user).fd
            with os.fdopen(fd, "w") as file:
                file.write(text)
        except OSError:
            return False
        return True

    def read(self) -> int | None:
        """Return the pid in the file, or None."""
        return read(self.path)

    def remove(self) -> bool:
        """Remove the file if it holds our pid, or empty it if it must stay; return whether."""
        if self.read() != os.getpid():
            return False
        try:
            with reaching(self.path, self._user) as name:
                os.unlink(name)
        except OSError as error:
            if self._overwrite(""):
                return True
            logger.warning("cannot remove the pid file %s: %s", self.path, error.strerror)
            return False
        return True


def read(path: str) -> int | None:
    """Return the pid in a file, or None; another user may have put a FIFO there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb", 0) as file:
            text = (file.read(32) or b"").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None    # of bytes: ASCII only


def alive(pid: int) -> bool:
    """Whether there is a process with this pid, running or not yet reaped."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
