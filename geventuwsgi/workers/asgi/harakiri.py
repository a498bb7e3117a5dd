"""How long requests may run, and where they stand.

The rules of this room: a request is looked at by the sweep, once it has run for as long as
`Patience.first` says; a quick one pays for a number and no more. WebSockets are not
requests in this sense.
"""

import sys
import threading
from collections.abc import Sequence
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from ...log import tracebacks
from . import report
from .limits import HARAKIRI_GRACE


class Patience(NamedTuple):
    """How long a request may run; in seconds, 0 = for ever.

    Attributes:
        harakiri: until it is cancelled.
        paths: the same for paths that begin so, instead; the longest prefix counts.
        slow: until its stack is logged.
        grace: what it gets from its harakiri until its connection is cut.
    """

    harakiri: float = 0.0
    paths: Sequence[tuple[str, float]] = ()
    slow: float = 0.0
    grace: float = HARAKIRI_GRACE

    @property
    def endless(self) -> bool:
        """Whether no request is ever looked at."""
        return not (self.harakiri or self.paths or self.slow)

    def limit(self, path: str) -> float:
        """Return the seconds after which a request for this path is cancelled."""
        found, length = self.harakiri, -1
        for prefix, seconds in self.paths:
            if path.startswith(prefix) and len(prefix) > length:
                found, length = seconds, len(prefix)
        return found or inf

    def first(self, path: str) -> float:
        """Return the seconds after which a request for this path is looked at first."""
        return min(self.limit(path), self.slow or inf)


def of_worker(service: Any) -> str:
    """Return where the tasks of the requests and all native threads of a worker stand."""
    now = monotonic()
    parts = []
    for connection in tuple(service.connections):
        exchange = connection.exchange or connection.websocket
        task = getattr(exchange, "task", None)
        if exchange is not None and task is not None:
            parts.append(f"request {exchange.title} from {connection.peer}, running for "
                         f"{now - exchange.began:.1f} seconds:\n{report.stack(task)}")
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    sections = [(f"native thread {number:#x} ({names.get(number, 'unknown')}):", frame)
                for number, frame in sys._current_frames().items()]
    return tracebacks.whole(service.pid, service.worker, sections, "\n\n".join(parts))
