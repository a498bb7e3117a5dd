"""More requests than slots: whom to take although there is no slot, and what to say of it.

The rules of this room: without `queue-limit` a worker that has no free slot stops
accepting, and what it cannot take waits in the kernel's queue for it or another worker.
With `queue-limit` it must accept, be it only to refuse; but as long as another worker of
the instance has a free slot, a connection is left to that one. Who has is told by the
scoreboard, which is written when a worker becomes full and when it no longer is.
"""

import logging
from time import monotonic_ns
from typing import Any

from ...ipc import scoreboard
from .service import WsgiService

log = logging.getLogger("geventuwsgi.error")

# Between two looks whether the others are full too, in seconds.
YIELD = 0.01
# A worker that gave no sign of life for so long, in nanoseconds, takes no connection
# though its row says so. It gives four a second.
LIVELY = 1_000_000_000


class Overload:
    """Accept beyond the slots, and count what is refused.

    Args:
        service: the worker's.
        loop: the hub's.
        board: the scoreboard.
        row: the worker's own row there.
    """

    def __init__(self, service: WsgiService, loop: Any, board: scoreboard.Scoreboard,
                 row: scoreboard.Row) -> None:
        self._service = service
        self._board = board
        self._row = row
        self._timer = loop.timer(YIELD, YIELD)
        self._told = 0
        self._told_at = 0.0

    def room(self) -> int:
        """A connection waits and no slot is free: how many to take all the same."""
        slots = self._service.slots
        self._row.cells[scoreboard.ACCEPTING] = 0
        slots.wanted = True  # so that `resumed` is called
        if self._others():
            self._timer.again(self._look)
            return 0
        # Into the queue first: whoever finds that full is refused at the next look, by when
        # another worker may have had a place in its own.
        places = slots.limit - slots.waiting
        return places if places > 0 else self._service.max_connections

    def resumed(self) -> None:
        """A slot is free again."""
        if self._service.slots.free:
            self._timer.stop()
            self._row.cells[scoreboard.ACCEPTING] = 1

    def close(self) -> None:
        self._timer.close()

    def _look(self) -> None:
        if not self._others():
            self._timer.stop()
            self._service.resume()

    def _others(self) -> bool:
        """Whether another worker takes connections."""
        since = monotonic_ns() - LIVELY
        return any(row.cells[scoreboard.ACCEPTING] and row.index != self._row.index
                   and row.cells[scoreboard.HEARTBEAT_NS] > since for row in self._board.rows())

    def tell(self, now: float) -> None:
        """Log how many were refused, once a second while there are any."""
        service = self._service
        count = service.refused - self._told
        if count and now - self._told_at >= 1.0:
            self._told, self._told_at = service.refused, now
            log.warning("worker %d: %d requests were refused with 503: all %d slots are busy "
                        "and %d requests wait (queue-limit)", service.worker, count,
                        service.slots.count, service.slots.waiting)
