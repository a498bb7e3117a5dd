"""How slowly a request may arrive, so that no client keeps a place or a slot for ever.

As in Apache's mod_reqtimeout: a body has to come at a least rate (`MinRate`), besides the first
seconds. Only the time counts in which the server waits for the client, not that in which an
application or a node does not read.
"""

from time import monotonic
from typing import NamedTuple

from ..errors import ProtocolError
from .deadlines import NEVER


class ArrivalLimits(NamedTuple):
    """The limits of `Arrival`.

    Attributes:
        total: seconds for a whole request, head and body.
        min_rate: octets of the body per second; 0 = any.
    """

    total: float = NEVER
    min_rate: int = 0


class Arrival:
    """The arrival of one request body.

    Args:
        limits: how slow it may be.
        timeout: seconds without any octet, and before the rate counts.
        waited: seconds that the head took.
    """

    __slots__ = ("_limits", "_timeout", "_waited", "_body_waited", "_since", "_error")

    def __init__(self, limits: ArrivalLimits, timeout: float, waited: float) -> None:
        self._limits = limits
        self._timeout = timeout
        self._waited = waited
        self._body_waited = self._since = 0.0
        self._error = ""

    def begin(self, received: int) -> float:
        """Begin to wait for the client; return for how many seconds.

        Args:
            received: octets of the body that have arrived.
        """
        limits, left = self._limits, self._timeout
        self._error = f"no progress of the request body for {left:g} seconds"
        if limits.min_rate:
            rated = self._timeout + received / limits.min_rate - self._body_waited
            if rated < left:
                left = rated
                self._error = ("the request body comes at less than "
                               f"{limits.min_rate} bytes a second (request-min-rate)")
        if limits.total - self._waited < left:
            left = limits.total - self._waited
            self._error = f"no whole request within {limits.total:g} seconds (request-timeout)"
        self._since = monotonic()
        return max(left, 0.0)

    def end(self) -> None:
        """The wait is over."""
        waited = monotonic() - self._since
        self._waited += waited
        self._body_waited += waited

    def error(self) -> ProtocolError:
        """Return the error of a client that sent nothing for so long."""
        return ProtocolError(408, self._error)
