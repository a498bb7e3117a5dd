"""The master FIFO: a named pipe on which each character is a command (`master-fifo`).

    echo r > /run/app.fifo

Rules:

- Up to ten paths are slots, and one of them is open; a digit opens another slot. The file
  of the previous slot stays on disk, for the next instance to use.
- The file is created again whenever it is opened, and when it has been removed: a pipe that
  another process has opened before is not read.
- It is opened for reading and writing, so that there is no end-of-file when a writer closes.
- Only the user of the workers may write to it (mode 0600), and root.
"""

import logging
import os
import selectors
import stat
from collections.abc import Callable, Mapping, Sequence

from ...errors import ConfigError
from ...rights import User, give_away, reaching
from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

PATH_INTERVAL = 1.0      # seconds between two checks whether the file still exists
BATCH = 512         # commands that are read at a time


class Fifo(Attached):
    """The FIFO of an instance.

    Args:
        paths: the slots, in order.
        owner: (uid, gid) of the file; -1 leaves either unchanged.
        user: the one of `uid`, see `rights`.

    Attributes:
        commands: what each character does.
    """

    def __init__(self, paths: Sequence[str], owner: tuple[int, int] = (-1, -1),
                 user: User | None = None) -> None:
        self.paths = [os.path.abspath(path) for path in paths]
        self.commands: Mapping[str, Callable[[], object]] = {}
        self._owner = owner
        self._user = user
        self._slot = 0
        self._fd = -1
        self._made: tuple[int, int] | None = None   # device and inode of our file
        self._selector: selectors.BaseSelector | None = None
        self._due = 0.0
        self._logged = ""     # the last error of a reopen

    @property
    def path(self) -> str:
        """The path of the open slot."""
        return self.paths[self._slot]

    def open(self) -> None:
        """Create and open the file of the present slot.

        Raises:
            ConfigError: it cannot be created.
        """
        if not self.paths:
            return
        try:
            with reaching(self.path, self._user) as path:
                self._remove_old(path)
                os.mkfifo(path, 0o600)
                self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
            made = give_away(self.path, self._owner, user=self._user)
        except OSError as error:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1
            raise ConfigError(f"cannot make the FIFO {self.path}: {error.strerror}",
                              option="master-fifo") from None
        self._made = made.st_dev, made.st_ino

    def _remove_old(self, path: str) -> None:
        try:
            if not stat.S_ISFIFO(os.lstat(path).st_mode):
                raise ConfigError(f"cannot make {self.path}: the file exists and is not a FIFO",
                                  option="master-fifo")
            os.unlink(path)
        except FileNotFoundError:
            pass

    def listen(self, selector: selectors.BaseSelector,
               commands: Mapping[str, Callable[[], object]]) -> None:
        """Start to read commands.

        Args:
            selector: the master's; the data of a key is the callback.
            commands: what each character does.
        """
        self.commands = commands
        self._selector = selector
        if self._fd >= 0:
            selector.register(self._fd, selectors.EVENT_READ, self._read)

    def close(self, *, remove: bool = False) -> None:
        """Close the file.

        Args:
            remove: remove it from disk too, if it is still ours.
        """
        if self._fd < 0:
            return
        if self._selector is not None and self._selector.get_map():  # else the loop is over
            self._selector.unregister(self._fd)
        os.close(self._fd)
        self._fd = -1
        if remove and self._is_ours():
            try:
                with reaching(self.path, self._user) as path:
                    os.unlink(path)
            except OSError as error:
                logger.warning("cannot remove the FIFO %s: %s", self.path, error.strerror)

    def _is_ours(self) -> bool:
        """Whether the file at our path is the one that we created."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._made

    def _reopen(self) -> None:
        """Create and open the file of the present slot again; an error is logged."""
        self.close()
        try:
            self.open()
        except ConfigError as error:
            if str(error) != self._logged:
                self._logged = str(error)
                logger.error("%s", error)
            return
        self._logged = ""
        if self._selector is not None and self._fd >= 0:
            self._selector.register(self._fd, selectors.EVENT_READ, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, BATCH)
        except BlockingIOError:
            return
        for byte in data:
            self._dispatch(chr(byte))

    def _dispatch(self, character: str) -> None:
        if character.isascii() and character.isdigit():
            self._choose(int(character))
        elif character in self.commands:
            self.commands[character]()
        elif character not in " \t\r\n":
            logger.warning("master-fifo: unknown command %r; there are: %s", character,
                           " ".join(sorted(self.commands)))

    def _choose(self, slot: int) -> None:
        """Open another slot; the first one if there is none with this number."""
        slot = slot if slot < len(self.paths) else 0
        if slot != self._slot:
            self.close()
            self._slot = slot
            self._reopen()
        logger.info("active master fifo is now %s", self.path)

    def poll(self, now: float) -> float:
        """Create the file again if it has been removed."""
        if not self.paths or self._selector is None:
            return now + 3600.0
        if now >= self._due:
            self._due = now + PATH_INTERVAL
            if not self._is_ours():
                self._reopen()
                if self._fd >= 0:
                    logger.warning("%s had been removed or replaced, and was created again",
                                   self.path)
        return self._due

    def stop(self, now: float) -> None:
        """Stop checking."""
        self._due = float("inf")
