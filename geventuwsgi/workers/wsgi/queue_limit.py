"""When to accept connections although no slot is free.

Without a free slot a worker stops accepting, and connections wait in the kernel's queue for this
worker or another. There are two reasons to accept nevertheless: with `queue-limit` requests beyond
it get a 503; and a worker with native threads can read requests, and answer those that need no
thread (health checks by rules, files). While another worker of the instance has a free slot,
connections are left to that one. Each worker notes in the scoreboard when it becomes full and when
it no longer is.
"""

import logging
from time import monotonic_ns
from typing import Any

from ...ipc import scoreboard
from .service import WsgiService
from .slots import ThreadSlots

log = logging.getLogger("geventuwsgi.error")

# Between two checks whether the other workers are full too, in seconds.
CHECK_INTERVAL = 0.01
# Without `queue-limit` a worker that became full less than this ago, in nanoseconds, counts as one
# that will soon have a free slot. An accepted connection can no longer go to another worker, and
# would wait for the present request, which may be a long one.
MIN_FULL = 5_000_000
# A worker whose last heartbeat is older than this, in nanoseconds, accepts nothing,
# whatever its row says. It writes four a second.
MAX_HEARTBEAT_AGE = 1_000_000_000


class QueueLimit:
    """Accept connections beyond the slots, and log how many requests are rejected.

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
        self._timer = loop.timer(CHECK_INTERVAL, CHECK_INTERVAL)
        self._logged = 0
        self._logged_at = 0.0

    def capacity(self) -> int:
        """Return how many connections to accept although no slot is free."""
        slots, row = self._service.slots, self._row
        if row.cells[scoreboard.ACCEPTING]:
            row.set(scoreboard.ACCEPTING, 0)
            row.set(scoreboard.FULL_SINCE_NS, monotonic_ns())
        slots.wanted = True  # so that `resumed` is called
        pool = self._service.pool
        if pool is not None and pool.blocked:
            row.set(scoreboard.FULL_SINCE_NS, 0)
            return 0
        if self._others_accept():
            self._timer.again(self._check)
            return 0
        if isinstance(slots, ThreadSlots) and not slots.limit:
            return max(slots.ahead, 0)
        # First fill the queue. Connections beyond it are rejected at the next check; by then
        # another worker may have had a place in its queue.
        places = slots.limit - slots.waiting
        return places if places > 0 else self._service.max_connections

    def resumed(self) -> None:
        """A slot is free again."""
        if self._service.slots.free:
            self._timer.stop()
            self._row.set(scoreboard.ACCEPTING, 1)
        else:   # only the queue is shorter
            self._service.slots.wanted = True

    def close(self) -> None:
        self._timer.close()

    def _check(self) -> None:
        if not self._others_accept():
            self._timer.stop()
            self._service.resume()

    def _others_accept(self) -> bool:
        """Whether another worker accepts connections, or will soon."""
        now = monotonic_ns()
        full_since = now if self._service.slots.limit else now - MIN_FULL
        return any(row.index != self._row.index
                   and row.cells[scoreboard.HEARTBEAT_NS] > now - MAX_HEARTBEAT_AGE
                   and (row.cells[scoreboard.ACCEPTING]
                        or row.cells[scoreboard.FULL_SINCE_NS] > full_since)
                   for row in self._board.rows())

    def log_rejections(self, now: float) -> None:
        """Log how many requests were rejected, at most once a second."""
        service = self._service
        count = service.rejected - self._logged
        if count and now - self._logged_at >= 1.0:
            self._logged, self._logged_at = service.rejected, now
            reason = (f"all {service.slots.count} slots are busy and {service.slots.waiting} "
                      "requests wait (queue-limit)" if service.slots.limit else
                      "their thread is kept by a request that was ended and goes on")
            log.warning("worker %d: %d requests were refused with 503: %s", service.worker, count,
                        reason)
