"""Watched files and mountpoints: `touch-reload` and the other touch options, `mount-check`.

Files are checked once a second, as in uWSGI. Unlike inotify this works on network file
systems and container mounts. A file has been touched if it appears or disappears, if its
modification time changes, or if another file gets its name (a deployment that switches a
symbolic link).
"""

import glob
import logging
import os
import re
from collections.abc import Callable, Iterable

from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

INTERVAL = 1.0  # seconds; uWSGI's check-interval

MOUNTINFO = "/proc/self/mountinfo"   # proc_pid_mountinfo(5)

Stamp = tuple[int, int, int]  # device, inode, modification time


class Watch(Attached):
    """The watched files of an instance."""

    def __init__(self) -> None:
        self._touches: list[Touch] = []
        self._due: float | None = None

    def add(self, pattern: str, action: Callable[[], None], message: str) -> None:
        """Watch a file, or all files that match a pattern.

        Args:
            pattern: a path; with `*`, `?` or `[` in it a pattern, and a new match counts.
            action: called once per check, even if several files were touched.
            message: the end of the log line: "grace them all !!!".
        """
        touch = Touch(pattern, action, message)
        if self._due is not None:
            touch.check()
        self._touches.append(touch)

    def clear(self) -> None:
        """Remove all, before the files of a new configuration are added."""
        self._touches.clear()

    def start(self, now: float) -> None:
        """Start to watch, from the present state."""
        for touch in self._touches:
            touch.check()
        self._due = now + INTERVAL

    def poll(self, now: float) -> float:
        """Check, if it is time, and call the actions of touched files."""
        if self._due is None or not self._touches:
            return now + INTERVAL
        if now >= self._due:
            self._due = now + INTERVAL
            for touch in tuple(self._touches):  # an action may clear and add
                path = touch.check()
                if path is not None:
                    logger.info("*** %s has been touched... %s ***", path, touch.message)
                    touch.action()
        return self._due

    def stop(self, now: float) -> None:
        """Stop watching."""
        self._due = None


class Touch:
    """A pattern, the state of its files at the last check, and the action."""

    def __init__(self, pattern: str, action: Callable[[], None], message: str) -> None:
        self.pattern = pattern
        self.action = action
        self.message = message
        self._seen: dict[str, Stamp] | None = None

    def check(self) -> str | None:
        """Return the path of a file that was touched since the last check."""
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


class Mounts(Attached):
    """The required mountpoints of an instance (`mount-check`).

    The kernel's list is read, not the mountpoints: those of a server that does not respond
    would block.

    Args:
        paths: the mountpoints.
        mountinfo: the kernel's list.

    Attributes:
        exit_status: 1 when one of them has gone.
    """

    def __init__(self, paths: Iterable[str], mountinfo: str = MOUNTINFO) -> None:
        self.exit_status: int | None = None
        self._paths: tuple[str, ...] = ()
        self._mountinfo = mountinfo
        self._due: float | None = None
        self.replace(paths)

    def replace(self, paths: Iterable[str]) -> None:
        """Check these from now on."""
        self._paths = tuple(os.path.abspath(path) for path in paths)

    def start(self, now: float) -> None:
        """Start to check."""
        self._due = now

    def poll(self, now: float) -> float:
        """Check, if it is time."""
        if self._due is None or not self._paths:
            return now + INTERVAL
        if now >= self._due:
            self._due = now + INTERVAL
            there = mountpoints(self._mountinfo)
            for path in self._paths:
                if path not in there and self.exit_status is None:
                    logger.critical("%s is no longer a mountpoint (mount-check): the instance "
                                    "stops", path)
                    self.exit_status = 1
        return self._due


def mountpoints(path: str = MOUNTINFO) -> frozenset[str]:
    """Return all mountpoints that this process sees."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        fields = (line.split(" ") for line in file)
        return frozenset(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), one[4])
                         for one in fields if len(one) > 4)
