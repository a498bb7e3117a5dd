"""A chain reload: worker by worker, where memory is too short for two generations.

The new template loads beside the old one. Then the new worker 1 is started; when it is
ready the old worker 1 drains; when that is gone the next one follows. So there is never
more than one worker above the number, and never one less that serves.

uWSGI's words in the log. There the worker ends before its successor starts.
"""

import logging

from .generation import Generation

logger = logging.getLogger("geventuwsgi.error")

TELL_EVERY = 10.0   # seconds between lines about a worker that is waited for


class Chain:
    """One generation that hands over to another."""

    def __init__(self, old: Generation, new: Generation) -> None:
        self._old = old
        self._new = new
        self._at = 1
        self._told = 0.0
        self._last = min(old.count, new.count)
        new.limit = 1

    @property
    def done(self) -> bool:
        """Whether nothing is left to be handed over one by one."""
        return self._at > self._last

    def step(self, now: float) -> None:
        """Go on as far as it goes now."""
        while not self.done:
            if self._new.wants(self._at) and not self._new.is_ready(self._at):
                return
            if self._old.handed_over < self._at:
                logger.info("chain next victim is worker %d", self._at)
                self._told = now
                self._old.hand_over(self._at, now)
            if self._old.has(self._at):
                if now - self._told >= TELL_EVERY:
                    self._told = now
                    logger.info("chain is still waiting for worker %d...", self._at)
                return
            self._at += 1
            self._new.limit = None if self.done else self._at

    def undo(self) -> None:
        """Let the old generation have all its workers again."""
        self._old.handed_over = 0
