"""What the master looks after beside its generations, as its loop sees it.

The loop calls the objects in the order in which it was given them and knows nothing of
their kinds. None of the methods may block. `now` is time.monotonic() everywhere.
"""


class Attached:
    """One of them; a subclass overrides what it needs.

    Attributes:
        exit_status: the exit status with which the instance is to end, None while it is to
            go on.
    """

    exit_status: int | None = None

    @property
    def done(self) -> bool:
        """Whether none of its processes is left."""
        return True

    def start(self, now: float) -> None:
        """Start: the application is loaded. Not called if loading failed."""

    def poll(self, now: float) -> float:
        """Do what is due; return when to be called again."""
        return now + 3600.0

    def exited(self, pid: int, status: int) -> bool:
        """Record the end of a reaped process; return False if it belongs to another."""
        return False

    def reloaded(self, now: float) -> None:
        """React to a newer generation that has replaced an older one."""

    def stop(self, now: float) -> None:
        """Begin to end; the workers have ended. Called repeatedly until `done`."""

    def kill(self, now: float) -> None:
        """End at once."""
        self.stop(now)
