"""Files whose touch means something: `touch-reload` and its family, one watcher for all.

A look once a second, as uWSGI has it: it sees network file systems and container mounts,
where inotify sees nothing. A file is touched when it appears, when its modification time
changes, or when another file takes its name (a deployment that switches a symbolic link).
One that disappears is touched too, as in uWSGI.

Called in the master only.
"""

import glob
import logging
import os
import re
from collections.abc import Callable, Iterable

from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

INTERVAL = 1.0  # seconds; uWSGI's check-interval

Stamp = tuple[int, int, int]  # device, inode, modification time


class Watch(Attached):
    """The watched files of one instance; an `Attached` of the master.
    """

    def __init__(self) -> None:
        self._touches: list[Touch] = []
        self._due: float | None = None

    def add(self, pattern: str, action: Callable[[], None], what: str) -> None:
        """Watch a file, or all that match a pattern.

        Args:
            pattern: a path; with `*`, `?` or `[` in it a pattern, and a new match counts.
            action: called once per look, however many of the files were touched.
            what: what follows, for the log: "grace them all !!!".
        """
        touch = Touch(pattern, action, what)
        if self._due is not None:
            touch.look()
        self._touches.append(touch)

    def clear(self) -> None:
        """Watch nothing, before the files of a new configuration are added."""
        self._touches.clear()

    def start(self, now: float) -> None:
        """Take the present state as untouched."""
        for touch in self._touches:
            touch.look()
        self._due = now + INTERVAL

    def poll(self, now: float) -> float:
        """Look, if it is time, and act on what was touched."""
        if self._due is None or not self._touches:
            return now + INTERVAL
        if now >= self._due:
            self._due = now + INTERVAL
            for touch in tuple(self._touches):  # an action may clear and add
                path = touch.look()
                if path is not None:
                    logger.info("*** %s has been touched... %s ***", path, touch.what)
                    touch.action()
        return self._due

    def stop(self, now: float) -> None:
        """Look no more."""
        self._due = None

    def kill(self, now: float) -> None:
        """Look no more."""
        self._due = None


class Touch:
    """A pattern, what its files looked like last, and what to do when one is touched."""

    def __init__(self, pattern: str, action: Callable[[], None], what: str) -> None:
        self.pattern = pattern
        self.action = action
        self.what = what
        self._seen: dict[str, Stamp] | None = None

    def look(self) -> str | None:
        """Return the path of a file that was touched since the last look."""
        before, self._seen = self._seen, self._stamps()
        if before is None:
            if not self._seen:
                logger.warning("unable to stat() %s, events will be triggered as soon as the "
                               "file is created", self.pattern)
            return None
        return next((path for path in {**before, **self._seen}
                     if before.get(path) != self._seen.get(path)), None)

    def _stamps(self) -> dict[str, Stamp]:
        found = {}
        paths = glob.glob(self.pattern) if glob.has_magic(self.pattern) else [self.pattern]
        for path in paths:
            try:
                state = os.stat(path)
            except OSError:
                continue
            found[path] = (state.st_dev, state.st_ino, state.st_mtime_ns)
        return found


# Mountpoints that an instance cannot do without (`mount-check`): it ends with the first.
#
# The kernel's own list is read and not the mountpoints: a file system whose server does not
# answer would hold up whoever asks it.
#
# Called in the master only.

LIST = "/proc/self/mountinfo"


class Mounts(Attached):
    """The mountpoints of one instance; an `Attached` of the master.

    Args:
        paths: those that have to be there.
        listed: the kernel's list of them, proc(5).

    Attributes:
        verdict: 1 once one of them is gone.
    """

    def __init__(self, paths: Iterable[str], listed: str = LIST) -> None:
        self.exit_status: int | None = None
        self._paths: tuple[str, ...] = ()
        self._list = listed
        self._due: float | None = None
        self.replace(paths)

    def replace(self, paths: Iterable[str]) -> None:
        """Look after these from now on."""
        self._paths = tuple(os.path.abspath(path) for path in paths)

    def start(self, now: float) -> None:
        """Look from now on."""
        self._due = now

    def poll(self, now: float) -> float:
        """Look, if it is time."""
        if self._due is None or not self._paths:
            return now + INTERVAL
        if now >= self._due:
            self._due = now + INTERVAL
            there = mountpoints(self._list)
            for path in self._paths:
                if path not in there and self.exit_status is None:
                    logger.critical("%s is no mountpoint any more (mount-check): the instance "
                                    "ends", path)
                    self.exit_status = 1
        return self._due


def mountpoints(path: str = LIST) -> frozenset[str]:
    """Return all mountpoints that this process sees."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        fields = (line.split(" ") for line in file)
        return frozenset(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), one[4])
                         for one in fields if len(one) > 4)
