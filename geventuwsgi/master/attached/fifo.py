"""The master FIFO: a named pipe through which one character is one order (`master-fifo`).

    echo r > /run/app.fifo

Rules of the room:

- Up to ten paths are ten slots, of which one is open; a digit opens another one. What is
  left of the former stays on disk, for the next instance to take.
- The pipe is made anew when it is opened, and when somebody removed it: a file that another
  process had open before is not listened to.
- It is opened for reading and writing, so that the end of a writer is no end-of-file.
- Only who runs the workers may write to it (mode 0600), and root.

Called in the master only.
"""

import logging
import os
import selectors
import stat
from collections.abc import Callable, Mapping, Sequence

from ...errors import ConfigError
from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

INTERVAL = 1.0      # seconds between two looks whether the file is still there
BATCH = 512         # bytes, which are orders, that are read at a time


class Fifo(Attached):
    """The pipes of an instance; an `Attached` of the master.

    Args:
        paths: the slots, in order.
        owner: (uid, gid) that they are to belong to, if we are root; None of either stays.

    Attributes:
        orders: what each character does; filled by whoever knows the orders.
    """

    def __init__(self, paths: Sequence[str],
                 owner: tuple[int | None, int | None] = (None, None)) -> None:
        self.paths = [os.path.abspath(path) for path in paths]
        self.orders: Mapping[str, Callable[[], object]] = {}
        self._owner = tuple(-1 if one is None else one for one in owner)
        self._slot = 0
        self._fd = -1
        self._made: tuple[int, int] | None = None   # device and number of our file
        self._selector: selectors.BaseSelector | None = None
        self._due = 0.0
        self._told = ""     # why it could not be made anew

    @property
    def path(self) -> str:
        """The path of the open slot."""
        return self.paths[self._slot]

    def open(self) -> None:
        """Make the pipe of the present slot.

        Raises:
            ConfigError: it cannot be made.
        """
        if not self.paths:
            return
        path = self.path
        try:
            if not stat.S_ISFIFO(os.lstat(path).st_mode):
                raise ConfigError(f"cannot make {path}: the file exists and is no FIFO",
                                  option="master-fifo")
            os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _failure(path, error) from None
        try:
            os.mkfifo(path, 0o600)
            fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise _failure(path, error) from None
        if os.geteuid() == 0:
            os.fchown(fd, *self._owner)
        made = os.fstat(fd)
        self._fd, self._made = fd, (made.st_dev, made.st_ino)

    def listen(self, selector: selectors.BaseSelector,
               orders: Mapping[str, Callable[[], object]]) -> None:
        """Obey from now on.

        Args:
            selector: the master's; the data of a key is what to call.
            orders: what each character does.
        """
        self.orders = orders
        self._selector = selector
        if self._fd >= 0:
            selector.register(self._fd, selectors.EVENT_READ, self._read)

    def close(self, *, remove: bool = False) -> None:
        """Listen no more.

        Args:
            remove: remove the file too, if it is still ours.
        """
        if self._fd < 0:
            return
        if self._selector is not None and self._selector.get_map():  # else the loop is over
            self._selector.unregister(self._fd)
        os.close(self._fd)
        self._fd = -1
        if remove and self._stands():
            os.unlink(self.path)

    def _stands(self) -> bool:
        """Whether the file at our path is the one that we made."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._made

    def _reopen(self) -> None:
        """Go on with the present slot's file, made anew; failing to is told and survived."""
        self.close()
        try:
            self.open()
        except ConfigError as error:
            if str(error) != self._told:
                self._told = str(error)
                logger.error("%s", error)
            return
        self._told = ""
        if self._selector is not None and self._fd >= 0:
            self._selector.register(self._fd, selectors.EVENT_READ, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, BATCH)
        except BlockingIOError:
            return
        for byte in data:
            self._obey(chr(byte))

    def _obey(self, character: str) -> None:
        if character.isdigit():
            self._choose(int(character))
        elif character in self.orders:
            self.orders[character]()
        elif character not in " \t\r\n":
            logger.warning("master-fifo: there is no order %r; there are: %s", character,
                           " ".join(sorted(self.orders)))

    def _choose(self, slot: int) -> None:
        """Go on with another slot; the first one if there is none of this number."""
        slot = slot if slot < len(self.paths) else 0
        if slot != self._slot:
            self.close()
            self._slot = slot
            self._reopen()
        logger.info("active master fifo is now %s", self.path)

    # What the master calls; `now` is time.monotonic().

    def poll(self, now: float) -> float:
        """Make the file anew if somebody removed it."""
        if not self.paths or self._selector is None:
            return now + 3600.0
        if now >= self._due:
            self._due = now + INTERVAL
            if not self._stands():
                self._reopen()
                if self._fd >= 0:
                    logger.warning("%s was gone or not ours any more, and is made anew", self.path)
        return self._due

    def stop(self, now: float) -> None:
        """Make no file anew any more."""
        self._due = float("inf")


def _failure(path: str, error: OSError) -> ConfigError:
    return ConfigError(f"cannot make the FIFO {path}: {error.strerror}", option="master-fifo")
