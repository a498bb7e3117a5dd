"""The interface of what the master's loop polls besides its generations.

No method may block. `now` is time.monotonic().
"""


class Attached:
    """An attached object; a subclass overrides what it needs.

    Attributes:
        exit_status: if not None, the instance is to stop with this exit status.
    """

    exit_status: int | None = None

    @property
    def done(self) -> bool:
        """Whether all of its processes have exited."""
        return True

    def start(self, now: float) -> None:
        """Start: the application is loaded. Not called if loading failed."""

    def poll(self, now: float) -> float:
        """Do what is due; return when to be called again."""
        return now + 3600.0

    def exited(self, pid: int, status: int) -> bool:
        """Record the exit of a reaped process; return False if it is not one of its own."""
        return False

    def reloaded(self, now: float) -> None:
        """React to a reload that has succeeded."""

    def stop(self, now: float) -> None:
        """Stop; the workers have exited. Called repeatedly until `done`."""

    def kill(self, now: float) -> None:
        """Stop at once."""
        self.stop(now)
