"""The pause: workers accept no connections until they are resumed.

For SIGTSTP, `--pause` and the master FIFO's `p`, as in uWSGI. Requests in progress finish,
kept connections end, and new connections wait in the sockets' queues. Workers that become
ready during a pause are paused too, so a reload does not end it.
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
    """Pauses and resumes the workers.

    Args:
        generations: the master's list.

    Attributes:
        paused: whether the workers are paused.
    """

    def __init__(self, generations: Iterable[Generation]) -> None:
        self._generations = generations
        self._paused_workers: set[Worker] = set()
        self.paused = False

    def toggle(self) -> None:
        """Pause, or resume."""
        self.set(not self.paused)

    def set(self, paused: bool) -> None:
        """Pause or resume all workers."""
        if paused == self.paused:
            return
        self.paused = paused
        if paused:
            logger.info("workers are paused: new connections wait in the sockets' queues")
            self._pause_ready()
            return
        logger.info("workers are resumed")
        for worker in self._paused_workers:
            channel.send(worker.control, channel.RESUME)
        self._paused_workers.clear()

    def pause_command(self, caller: Caller, arguments: Sequence[str]) -> None:
        """Run the console command `pause`."""
        self.set(True)
        caller.end()

    def resume_command(self, caller: Caller, arguments: Sequence[str]) -> None:
        """Run the console command `resume`."""
        self.set(False)
        caller.end()

    def _pause_ready(self) -> None:
        """Pause those that are not yet; if a message cannot be sent now, it is sent later."""
        workers = {worker for generation in self._generations if not generation.role.front
                   for worker in generation.all_workers() if worker.ready}
        self._paused_workers &= workers
        self._paused_workers |= {worker for worker in workers - self._paused_workers
                                 if channel.send(worker.control, channel.PAUSE)}

    def poll(self, now: float) -> float:
        """Pause workers that have become ready since."""
        if self.paused:
            self._pause_ready()
        return now + 1.0

    def stop(self, now: float) -> None:
        """Pause no more workers."""
        self.paused = False
