"""Lock files, which keep two instances from running at the same time (options `flock*`).

Called in the master only. The lock is flock(2): the kernel releases it when the master ends,
however it ends.
"""

import fcntl
import logging
import os
from collections.abc import Iterable

from ..errors import ConfigError
from ..rights import User, open_file

logger = logging.getLogger("geventuwsgi.error")


class FileLocks:
    """The files that this instance has locked.

    Attributes:
        fds: their descriptors, which an upgrade in place keeps open.
    """

    def __init__(self) -> None:
        self.fds: list[int] = []

    def inherit(self, fds: Iterable[int]) -> None:
        """Keep the locks of the previous version after an upgrade in place."""
        for fd in fds:
            os.set_inheritable(fd, False)
            self.fds.append(fd)

    def lock(self, path: str, *, wait: bool, user: User | None = None) -> None:
        """Lock a file; create it if it does not exist.

        Args:
            path: the file.
            wait: wait until another process releases it, instead of failing.
            user: the one of `uid`, see `rights`.

        Raises:
            ConfigError: it cannot be opened, or another process has locked it.
        """
        try:
            fd = open_file(path, os.O_RDWR | os.O_CREAT, 0o644, user).fd
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
            logger.info("%s is locked", path)
        except OSError as error:
            raise ConfigError(f"cannot lock {path}: {error.strerror}") from None
