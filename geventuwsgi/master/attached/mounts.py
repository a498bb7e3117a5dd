"""Mountpoints that an instance cannot do without (`mount-check`): it ends with the first.

The kernel's own list is read and not the mountpoints: a file system whose server does not
answer would hold up whoever asks it.

Called in the master only.
"""

import logging
import os
import re
from collections.abc import Iterable

logger = logging.getLogger("geventuwsgi.error")

INTERVAL = 1.0  # seconds, as uWSGI looks
LIST = "/proc/self/mountinfo"


class Mounts:
    """The mountpoints of one instance; an `Attached` of the master.

    Args:
        paths: those that have to be there.
        listed: the kernel's list of them, proc(5).

    Attributes:
        verdict: 1 once one of them is gone.
    """

    gone = True

    def __init__(self, paths: Iterable[str], listed: str = LIST) -> None:
        self.verdict: int | None = None
        self._paths: tuple[str, ...] = ()
        self._list = listed
        self._due: float | None = None
        self.replace(paths)

    def replace(self, paths: Iterable[str]) -> None:
        """Look after these from now on."""
        self._paths = tuple(os.path.abspath(path) for path in paths)

    def begin(self, now: float) -> None:
        """Look from now on."""
        self._due = now

    def tend(self, now: float) -> float:
        """Look, if it is time."""
        if self._due is None or not self._paths:
            return now + INTERVAL
        if now >= self._due:
            self._due = now + INTERVAL
            there = mountpoints(self._list)
            for path in self._paths:
                if path not in there and self.verdict is None:
                    logger.critical("%s is no mountpoint any more (mount-check): the instance "
                                    "ends", path)
                    self.verdict = 1
        return self._due

    def exited(self, pid: int, status: int) -> bool:
        """Say that it was not ours."""
        return False

    def reloaded(self, now: float) -> None:
        """Go on as before."""

    def stop(self, now: float) -> None:
        """Look no more."""

    def kill(self, now: float) -> None:
        """Look no more."""

    def statistics(self) -> dict[str, object]:
        """Return its state, by name."""
        return {"mountpoints": list(self._paths)}


def mountpoints(path: str = LIST) -> frozenset[str]:
    """Return all mountpoints that this process sees."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        fields = (line.split(" ") for line in file)
        return frozenset(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), one[4])
                         for one in fields if len(one) > 4)
