"""Daemons that the version before had attached (an upgrade in place): they are ended.

The new version starts its own, as a reload does; what has a pid file lives on and is not
here.
"""

import signal
from collections.abc import Iterable

from .children import kill


class Remnants:
    """Children to be ended: SIGTERM at once, SIGKILL after a while. An `Attached`.

    Args:
        pids: theirs; they are children of this process that nobody has reaped.
        mercy: seconds between the two.

    Attributes:
        verdict: always None: they end no instance.
    """

    verdict: int | None = None

    def __init__(self, pids: Iterable[int], mercy: float) -> None:
        self._pids = set(pids)
        self._mercy = mercy
        self._deadline: float | None = None

    @property
    def gone(self) -> bool:
        """Whether none is left."""
        return not self._pids

    def begin(self, now: float) -> None:
        """Ask them to end."""
        self._deadline = now + self._mercy
        self._signal(signal.SIGTERM)

    def tend(self, now: float) -> float:
        """Kill those that do not."""
        if self._deadline is not None and self._pids and now >= self._deadline:
            self._signal(signal.SIGKILL)
            self._deadline = now + self._mercy
        return now + 1.0

    def exited(self, pid: int, status: int) -> bool:
        """Take note of the end of one."""
        if pid not in self._pids:
            return False
        self._pids.remove(pid)
        return True

    def reloaded(self, now: float) -> None:
        """Go on as before."""

    def stop(self, now: float) -> None:
        """Go on as before, until they are gone."""
        self.tend(now)

    def kill(self, now: float) -> None:
        """End them at once."""
        self._signal(signal.SIGKILL)

    def statistics(self) -> dict[str, object]:
        """Return their pids."""
        return {"remnants": sorted(self._pids)}

    def _signal(self, number: int) -> None:
        for pid in self._pids:
            kill(pid, number)
