"""The pause: workers take no connections until they are told to go on.

uWSGI's SIGTSTP, `--pause` and the `p` of its FIFO. Requests in progress finish, kept
connections end, who comes waits in the sockets' queues. Workers that become ready during a
pause join in, so a reload does not end it.

Called in the master only.
"""

import logging
from collections.abc import Iterable, Sequence

from ..ipc import channel
from .attached.attached import Attached
from .children import Worker
from .console import Caller
from .generation import Generation

logger = logging.getLogger("geventuwsgi.error")


class Pause(Attached):
    """Whether the workers pause; an `Attached` of the master.

    Args:
        generations: the living ones; the list itself, as it changes.

    Attributes:
        paused: whether they pause.
    """

    def __init__(self, generations: Iterable[Generation]) -> None:
        self._generations = generations
        self._told: set[Worker] = set()
        self.paused = False

    def toggle(self) -> None:
        """Pause, or go on."""
        self.set(not self.paused)

    def set(self, paused: bool) -> None:
        """Have all workers pause or go on."""
        if paused == self.paused:
            return
        self.paused = paused
        if paused:
            logger.info("workers pause: new connections wait in the sockets' queues")
            self._tell()
            return
        logger.info("workers go on")
        for worker in self._told:
            channel.send(worker.control, channel.RESUME)
        self._told.clear()

    def order_pause(self, caller: Caller, arguments: Sequence[str]) -> None:
        """Take the order `pause`."""
        self.set(True)
        caller.end()

    def order_resume(self, caller: Caller, arguments: Sequence[str]) -> None:
        """Take the order `resume`."""
        self.set(False)
        caller.end()

    def _tell(self) -> None:
        """Tell those that have not been told; whoever cannot take it now is told later."""
        workers = {worker for generation in self._generations if not generation.role.front
                   for worker in generation.everybody() if worker.ready}
        self._told &= workers
        self._told |= {worker for worker in workers - self._told
                       if channel.send(worker.control, channel.PAUSE)}

    def poll(self, now: float) -> float:
        """Have those pause too that have become ready meanwhile."""
        if self.paused:
            self._tell()
        return now + 1.0

    def stop(self, now: float) -> None:
        """Pause nobody any more."""
        self.paused = False
