"""More requests than slots: whom to take although there is no slot, and what to say of it.

The rules of this room: without `queue-limit` a worker that has no free slot stops
accepting, and what it cannot take waits in the kernel's queue for it or another worker.
With `queue-limit` it must accept, be it only to refuse; but a connection that another
worker could serve is left to that one for a moment first. Alone, it takes everything.
"""

import logging
from collections.abc import Sequence
from typing import Any

from .acceptor import Acceptor
from .service import Service

log = logging.getLogger("geventuwsgi.error")

# A worker with a free slot takes a waiting connection within a turn of its loop. What
# still waits after so long, in seconds, nobody else wants.
YIELD = 0.01
# Connections taken at such a moment: a turn of the loop that long (some 15 ms, each is
# answered) is what a flood may cost the requests that are being served.
BATCH = 256


class Overload:
    """Accept beyond the slots, and count what is refused.

    Args:
        service: the worker's.
        acceptors: of its sockets.
        loop: the hub's.
        alone: there is no other worker.
    """

    def __init__(self, service: Service, acceptors: Sequence[Acceptor], loop: Any, *,
                 alone: bool) -> None:
        self._service = service
        self._acceptors = acceptors
        self._alone = alone
        self._timer = loop.timer(YIELD)
        self._told = 0
        self._told_at = 0.0

    def accepts(self) -> bool:
        """A connection waits and no slot is free: whether to take it at once."""
        if not self._alone and not self._timer.active:
            self._timer.start(self._overflow)
        return self._alone

    def _overflow(self) -> None:
        service = self._service
        if service.slots.free or service.draining:
            return  # the acceptors are at work again
        spare = service.max_connections - len(service.connections)
        for acceptor in self._acceptors:
            acceptor.overflow(min(BATCH, spare))
        self._timer.start(self._overflow)

    def tell(self, now: float) -> None:
        """Log how many were refused, once a second while there are any."""
        service = self._service
        count = service.refused - self._told
        if count and now - self._told_at >= 1.0:
            self._told, self._told_at = service.refused, now
            log.warning("worker %d: %d requests were refused with 503: all %d slots are busy "
                        "and %d requests wait (queue-limit)", service.worker, count,
                        service.slots.count, service.slots.waiting)
