"""What the master looks after beside the generations: daemons, errands, watched files.

Each is an object with the methods below. The master calls them in the order in which it
was given them, knows nothing of their kinds, and asks for their wish (`verdict`) as it
asks a generation why it failed. None of the methods may block.
"""

from typing import Protocol


class Attached(Protocol):
    """One of them, as the master sees it. `now` is time.monotonic().

    Attributes:
        verdict: the exit status with which the instance is to end, None as long as it
            is to go on.
    """

    verdict: int | None

    def begin(self, now: float) -> None:
        """Start: the application is loaded. Not called at all where it never is."""

    def tend(self, now: float) -> float:
        """Do what is due; return when to come again."""

    def exited(self, pid: int, status: int) -> bool:
        """Take note of a reaped process; False if it is none of ours."""

    def reloaded(self, now: float) -> None:
        """A newer generation serves in the place of an older one."""

    def stop(self, now: float) -> None:
        """Begin to end; the workers are gone. Called repeatedly until `gone`."""

    def kill(self, now: float) -> None:
        """End at once."""

    @property
    def gone(self) -> bool:
        """Whether none of its processes is left."""

    def statistics(self) -> dict[str, object]:
        """Return its state, by name."""
