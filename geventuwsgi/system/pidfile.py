"""The pid file: written whole, and removed only while it is still ours."""

import logging
import os

from ..errors import ConfigError

logger = logging.getLogger("geventuwsgi.error")


class PidFile:
    """A file that holds our process id and a newline.

    Args:
        path: where; made absolute, for the directory may change.
        owner: (uid, gid) that the file is to belong to, if we are root; None of either
            stays.
    """

    def __init__(self, path: str, owner: tuple[int | None, int | None] = (None, None)) -> None:
        self.path = os.path.abspath(path)
        self._owner = owner

    def write(self) -> None:
        """Write our pid, over whatever a dead process left.

        The file is written under another name and renamed, so that an init script never
        reads half a number. Another living process in it is told, not obeyed: a pid is
        reused, and two instances on one address have already failed to bind.

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
        draft = f"{self.path}.{os.getpid()}"
        try:
            if os.path.exists(self.path) and not os.path.isfile(self.path):
                raise ConfigError(f"cannot write the pid file {self.path}: it is no regular file")
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            with os.fdopen(fd, "w") as file:
                if os.geteuid() == 0:
                    os.fchown(fd, *(-1 if one is None else one for one in self._owner))
                file.write(f"{os.getpid()}\n")
            os.rename(draft, self.path)
        except OSError as error:
            raise ConfigError(f"cannot write the pid file {self.path}: {error.strerror}") from None

    def read(self) -> int | None:
        """Return the pid in the file, None if there is none."""
        try:
            with open(self.path) as file:
                text = file.read(32).strip()
        except (OSError, UnicodeDecodeError):
            return None
        return int(text) if text.isascii() and text.isdigit() else None

    def remove(self) -> bool:
        """Remove the file if it holds our pid, and tell whether we did."""
        if self.read() != os.getpid():
            return False
        try:
            os.unlink(self.path)
        except OSError as error:
            logger.warning("cannot remove the pid file %s: %s", self.path, error.strerror)
            return False
        return True


def alive(pid: int) -> bool:
    """Whether there is a process with this pid, running or not yet reaped."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
