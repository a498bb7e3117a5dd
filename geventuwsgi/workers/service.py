"""What all connections of one worker share, whatever kind of worker it is.

It reads no settings (`settings.values_of` does). It belongs to one thread, so the counters
are plain numbers.
"""

import contextvars
from bisect import bisect_left
from collections.abc import Callable
from time import time
from typing import Any, NamedTuple

from ..app.applications import Applications
from ..app.exceptions import ExceptionPolicy
from ..app.static.files import StaticFiles
from ..ipc import scoreboard
from ..log.record import RequestRecord
from ..net.address_limit import AddressLimit
from ..net.allowlist import AllowList
from ..net.reusable import ReusableConnections
from ..protocol.message import Limits
from ..protocol.response import ResponseDefaults
from .limits import ConnectionLimits, RequestTimeouts

# Sweeps between two measurements of the process's memory.
MEASURE_EVERY = 4
SHORT = scoreboard.BOUNDS[0]

Callback = Callable[[], None]


class ServiceValues(NamedTuple):
    """The configuration of a worker's connections.

    Attributes:
        limits: timeouts and sizes of a connection.
        head_limits: sizes of the parts of a request head.
        buffer_size: of the largest uwsgi block, in octets.
        max_connections: open connections of this worker.
        timeouts: how long requests may run.
        response_defaults: the fields of every response.
        uwsgi_peers: addresses that may speak uwsgi over TCP.
        forwarders: addresses whose X-Forwarded-* fields are trusted.
        proxies: addresses whose PROXY header is trusted, where the listener allows any.
        exceptions: what follows an exception of the application, besides the log line.
        worker, pid: the number and the pid of this worker.
        static: the files served without the application, None for none.
        max_per_address: open connections of one address; 0 = any number.
    """

    limits: ConnectionLimits
    head_limits: Limits
    buffer_size: int
    max_connections: int
    timeouts: RequestTimeouts
    response_defaults: ResponseDefaults
    uwsgi_peers: AllowList
    forwarders: AllowList
    proxies: AllowList
    exceptions: ExceptionPolicy
    worker: int
    pid: int
    static: StaticFiles | None = None
    max_per_address: int = 0


class Responses(dict[str, list[int]]):
    """Counters by method; those that have no counters of their own share the last ones."""

    def __missing__(self, method: str) -> list[int]:
        return self[scoreboard.METHODS[-1]]


class Service:
    """What all connections of a worker share. Has the attributes of `ServiceValues` too.

    Args:
        values: the configuration.
        applications: the loaded applications.

    Attributes:
        context: each request runs in a copy of it.
        connections: the open ones.
        app_requests: requests by application; the last counter is for requests without one.
        draining: each connection is closed after its present request.
        persistent: connections may be kept alive.
        requests, exceptions, harakiris, bytes_sent, response_time: counters since the start,
            the last in seconds.
        responses: counters since the start by method and first digit of the status.
        durations: the same by `ipc.scoreboard.BOUNDS`, without those up to the first bound,
            `SHORT`, and without upgraded connections.
        upgraded_time: of upgraded connections, in seconds.
        others_requests: requests of the other workers.
        crowded: the acceptors have paused and resume when a connection ends.
        suspended: see `suspend`.
        full: no connection can be closed for one that waits, so each is closed after its present
            request.
        reusable: the connections that can be closed for new ones.
        addresses: how many connections an address may have; None if any number.
    """

    resume: Callback

    def __init__(self, values: ServiceValues, applications: Applications) -> None:
        (self.limits, self.head_limits, self.buffer_size, self.max_connections, self.timeouts,
         self.response_defaults, self.uwsgi_peers, self.forwarders, self.proxies,
         self.exception_policy, self.worker, self.pid, self.static, per_address) = values
        self.applications = applications
        self.context = contextvars.copy_context()
        self.connections: set[Any] = set()
        self.app_requests = [0] * (len(applications) + 1)
        self.draining = False
        self.persistent = values.limits.keepalive > 0
        self.crowded = self.suspended = self.full = False
        self.reusable = ReusableConnections(self.connections, self.max_connections,
                                            "worker-connections")
        self.addresses = AddressLimit(per_address) if per_address else None
        self.requests = 0
        self.others_requests = 0
        self.exceptions = 0
        self.harakiris = 0
        self.bytes_sent = 0
        self.response_time = 0.0
        self.responses = Responses((method, [0] * 10) for method in scoreboard.METHODS)
        self.durations = [0] * len(scoreboard.DURATIONS)
        self.upgraded_time = 0.0

    def complete(self, record: RequestRecord, duration: float) -> None:
        """Set what the request log takes from the worker; the request has been counted.

        Args:
            duration: of the request, in seconds.
        """
        record.duration = duration
        record.started = time() - duration
        record.pid = self.pid
        record.worker = self.worker
        record.app_requests = self.app_requests[record.app]
        record.total_requests = self.requests + self.others_requests

    def count_long(self, status: int, duration: float) -> None:
        """Count a request that took longer than `SHORT` seconds."""
        if status == 101:
            self.upgraded_time += duration
        else:
            self.durations[bisect_left(scoreboard.BOUNDS, duration)] += 1

    def lacks_places(self) -> bool:
        """Whether new connections wait for places, and not for slots."""
        return True

    def set_persistence(self) -> None:
        """Decide anew whether connections may be kept alive."""
        self.persistent = self.limits.keepalive > 0 and not (
            self.draining or self.suspended or self.full)

    def sweep_connections(self, now: float) -> None:
        """Find out a few times a second whether connections can be closed for those that wait."""
        self.reusable.sweep(now)
        if self.addresses is not None:
            self.addresses.sweep(now)
        if self.full:
            self.full = False
            self.set_persistence()
        if self.crowded and self.lacks_places():
            self.resume()

    def counters(self) -> list[int]:
        """Return the counters in the order of `ipc.scoreboard.OF_PROCESS`."""
        responses = [number for counts in self.responses.values()
                     for number in (counts[0] + sum(counts[6:]), *counts[1:6])]
        upgraded = sum(counts[1] for counts in self.responses.values())
        short = self.requests - upgraded - sum(self.durations)
        return [self.requests, self.exceptions, self.harakiris, self.bytes_sent,
                int(self.response_time * 1e6), *responses, short, *self.durations[1:],
                int((self.response_time - self.upgraded_time) * 1e6)]


def noop() -> None:
    """Do nothing: the default of a callback."""
