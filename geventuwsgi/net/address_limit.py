"""How many connections one address may have open (`limit-connections-per-address`).

Each process counts its own. Trusted proxies and unix sockets are not counted: their connections
are those of many clients.
"""

import logging
from math import inf

log = logging.getLogger("geventuwsgi.error")


class AddressLimit:
    """The open connections by address.

    Args:
        limit: of one address.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: dict[str, int] = {}
        self._refused = 0
        self._logged_at = -inf

    def enter(self, host: str) -> bool:
        """Count a connection; return False if its address has too many."""
        count = self._open.get(host, 0)
        if count >= self._limit:
            self._refused += 1
            return False
        self._open[host] = count + 1
        return True

    def leave(self, host: str) -> None:
        """Remove a connection that `enter` has counted."""
        count = self._open[host] - 1
        if count:
            self._open[host] = count
        else:
            del self._open[host]

    def sweep(self, now: float) -> None:
        """Log how many connections were closed, at most once a second."""
        if self._refused and now - self._logged_at >= 1.0:
            log.warning("%d connections were closed, as their addresses had %d open already "
                        "(limit-connections-per-address)", self._refused, self._limit)
            self._refused, self._logged_at = 0, now
