"""Locked files: no two instances of one purpose at a time (`flock`).

The lock is the system's (flock(2)) and the master's: it ends with the master, however that
ends. Called in the master only.
"""

import fcntl
import logging
import os
from collections.abc import Iterable

from ..errors import ConfigError

logger = logging.getLogger("geventuwsgi.error")


class FileLocks:
    """The files that this instance has locked.

    Attributes:
        fds: their descriptors, to be kept through an upgrade in place.
    """

    def __init__(self) -> None:
        self.fds: list[int] = []

    def adopt(self, fds: Iterable[int]) -> None:
        """Go on with the locks of the version before, which has become this one."""
        for fd in fds:
            os.set_inheritable(fd, False)
            self.fds.append(fd)

    def take(self, path: str, *, wait: bool) -> None:
        """Lock a file, which is made if it is not there.

        Args:
            path: the file.
            wait: wait for whoever has it, instead of giving up.

        Raises:
            ConfigError: it cannot be opened, or somebody else has it.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(f"cannot lock {path}: {error.strerror}") from None
        self.fds.append(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise ConfigError(f"{path} is locked by another process") from None
            logger.info("%s is locked by another process: waiting for it", path)
            fcntl.flock(fd, fcntl.LOCK_EX)
            logger.info("%s is ours", path)
        except OSError as error:
            raise ConfigError(f"cannot lock {path}: {error.strerror}") from None
