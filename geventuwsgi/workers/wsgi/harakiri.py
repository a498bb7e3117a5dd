"""Requests that run long: the slow log, harakiri, and clients that go away meanwhile.

Rules:

- `LongRequests` runs on the hub, in the sweep, and sees only requests that have been inside
  the application for a while. A quick request costs only the number `began` on its
  connection.
- `harakiri` and `client_gone` act on a request. Each runs in a hub callback of its own, as
  `throw` switches to the request's greenlet. By then the request may have ended and the
  next one begun, so they first check that it is still the same request.
"""

import logging
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic
from typing import Any, Protocol

from ...errors import Harakiri, RequestCancelled
from ...protocol.response import error_response
from ..hangups import GONE_AGE, hung_up
from ..limits import RequestTimeouts
from ..messages import NOT_SENT
from . import stacks

log = logging.getLogger("geventuwsgi.error")


class LongRequest:
    """The record of one request that has been running for a while.

    Attributes:
        request: its number on its connection.
        harakiri_at: monotonic seconds at which it is ended or, after its harakiri, its
            connection is closed; inf for never.
        slow_at: monotonic seconds at which its stack is logged; inf for never.
        gone: its client is gone.
        gone_early: its client was gone before a response head was sent.
        killed: its harakiri has taken place.
    """

    __slots__ = ("request", "harakiri_at", "slow_at", "gone", "gone_early", "killed")

    def __init__(self, request: int, harakiri_at: float, slow_at: float) -> None:
        self.request = request
        self.harakiri_at = harakiri_at
        self.slow_at = slow_at
        self.gone = self.gone_early = False
        self.killed = False


class Connection(Protocol):
    """What is needed of a connection with a request inside the application."""

    stream: Any
    exchange: Any
    requests: int
    began: float
    running: LongRequest | None

    @property
    def taken(self) -> bool: ...
    @property
    def finished(self) -> bool: ...


Action = Callable[[Any, LongRequest], None]


class LongRequests:
    """Check the requests of a worker that run long.

    Args:
        loop: the hub's loop.
        timeouts: how long requests may run.
        harakiri: called in a hub callback for a request that has to end.
        client_gone: called in a hub callback for a request whose client is gone.
        log_slow: called in the sweep with the connection of a slow request.

    Attributes:
        age: how long a request runs before it is checked, in seconds.
    """

    def __init__(self, loop: Any, timeouts: RequestTimeouts, *, harakiri: Action,
                 client_gone: Action, log_slow: Callable[[Any], None]) -> None:
        self._loop = loop
        self._harakiri, self._client_gone, self._log_slow = harakiri, client_gone, log_slow
        self._timeouts = timeouts
        self._slow = timeouts.slow or inf
        self.age = min(GONE_AGE, timeouts.harakiri or inf, self._slow,
                       *(seconds or inf for _, seconds in timeouts.paths))

    def check(self, connections: Iterable[Connection], now: float) -> None:
        """Check requests that have been running for at least `age` seconds."""
        later = self._loop.run_callback
        polled = {}
        for connection in connections:
            running = connection.running
            if running is None or running.request != connection.requests:
                running = connection.running = self._begin(connection)
            if running.harakiri_at <= now:
                later(self._harakiri, connection, running)
            if connection.taken or connection.finished:
                continue  # a tunnel, or a response being sent: the application has finished
            if running.slow_at <= now:
                running.slow_at = inf
                self._log_slow(connection)
            if not running.gone:
                fd = connection.stream.sock.fileno()
                if fd >= 0:
                    polled[fd] = connection, running
        for fd, _ in hung_up(polled):
            connection, running = polled[fd]
            running.gone = True
            later(self._client_gone, connection, running)

    def _begin(self, connection: Connection) -> LongRequest:
        path = ""
        if self._timeouts.paths:
            environ = connection.exchange.environ
            path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        limit = self._timeouts.limit(path)
        began = connection.began
        return LongRequest(connection.requests, began + limit, began + self._slow)


def harakiri(connection: Any, running: LongRequest) -> None:
    """End a request that has been inside the application for too long."""
    exchange = connection.exchange
    if exchange is None or running.request != connection.requests:
        return
    if running.killed:
        running.harakiri_at = inf
        _abandon(connection)
        return
    call = connection.call
    if call is not None and call.ended and not call.begun:
        return  # the response is just about to be sent
    running.killed = True
    stacks.harakiri(connection)
    if call is not None:
        running.harakiri_at = inf
        _interrupt(connection, Harakiri, connection.service.timeouts.grace)
        return
    exchange.transport = DeadTransport(connection, exchange.head_sent)
    running.harakiri_at = monotonic() + connection.service.timeouts.grace
    connection.greenlet.throw(Harakiri())


def _interrupt(connection: Any, kind: type[BaseException], grace: float) -> None:
    """End a request in a native thread. Its client has a response at once, whatever the thread
    does; a thread that goes on for `grace` seconds costs the worker (`ThreadPool.lost`)."""
    connection.service.pool.interrupt(connection.call, kind, grace)
    connection.greenlet.throw(kind())


def report_lost(service: Any, now: float) -> None:
    """Ask for another worker in place of one with a thread that goes on after its harakiri."""
    for call in service.pool.lost(now):
        log.critical("%s %s ignores its harakiri and keeps its thread; worker %d will be replaced:"
                     "\n%s", call.exchange.method, call.exchange.uri, service.worker,
                     stacks.of_call(call))
        service.slot_lost()


class DeadTransport:
    """The transport of a request after its harakiri.

    Whatever the application still returns is discarded, and each attempt to send it raises
    Harakiri again.
    """

    def __init__(self, connection: Any, head_sent: bool) -> None:
        self.head_sent = head_sent
        self.response_defaults = connection.response_defaults
        self.persists = False
        self.body = None
        self.stream = self
        self.release = connection.release

    def send(self, *_: object) -> None:
        raise Harakiri

    send_pair = send_file = send


def _abandon(connection: Any) -> None:
    """Close the connection of a request that ignored its harakiri, and replace the worker."""
    exchange, service = connection.exchange, connection.service
    connection.abandoned = True
    log.critical("%s: %s %s ignores its harakiri; the connection is cut and worker %d "
                 "will be replaced", connection.peer, exchange.method, exchange.uri,
                 service.worker)
    if not exchange.head_sent:
        try:
            connection.stream.send_now(error_response(504, connection.response_defaults,
                                                      is_head=exchange.method == "HEAD"))
        except OSError as error:
            log.debug(NOT_SENT, connection.peer, 504, error)
    if exchange.broken_off:
        connection.stream.abort()
    else:
        connection.stream.close()
    connection.disconnected.set()
    service.slots.lose()
    service.closed(connection)
    service.slot_lost()


def client_gone(connection: Any, running: LongRequest) -> None:
    """Notify a request that its client closed the connection, or its sending side."""
    exchange = connection.exchange
    if exchange is None or running.request != connection.requests or connection.finished:
        return
    running.gone_early = not exchange.head_sent
    connection.disconnected.set()
    if connection.service.timeouts.cancel and not running.killed:
        if connection.call is not None:
            # It has as long as its harakiri would have left it; without one it may go on.
            _interrupt(connection, RequestCancelled, running.harakiri_at - monotonic()
                       + connection.service.timeouts.grace)
        else:
            connection.greenlet.throw(RequestCancelled())


class Disconnected:
    """`environ['geventuwsgi.disconnected']`: whether the client has gone away.

    A client that only shut down its sending side counts as gone, as in nginx. The object may
    outlive the request, in a greenlet that the application spawned: it then says True. The next
    request of the connection gets the same object only if nothing else refers to it.

    Args:
        stream: the connection.
        event_type: the class of an event that blocks what runs the application: a greenlet or
            a native thread.

    Attributes:
        over: the request is over.
    """

    __slots__ = ("over", "_stream", "_event_type", "_event")

    def __init__(self, stream: Any, event_type: Callable[[], Any]) -> None:
        self.over = False
        self._stream = stream
        self._event_type = event_type
        self._event: Any = None

    def __call__(self) -> bool:
        """Return whether the client is gone now. One system call, and no switch."""
        fd = self._stream.sock.fileno()
        if fd < 0 or self.over:
            return True
        return bool(hung_up((fd,)))

    is_set = __call__

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the client is gone, for at most `timeout` seconds.

        It is noticed within three quarters of a second. Returns whether the client is gone.
        """
        if self._event is None:
            self._event = self._event_type()
        if self():
            return True
        return bool(self._event.wait(timeout))

    def end(self) -> None:
        """Say True from now on: the request is over."""
        self.over = True
        self.set()

    def renew(self) -> None:
        """Serve another request."""
        self.over = False
        self._event = None

    def set(self) -> None:
        """Wake what waits."""
        if self._event is not None:
            self._event.set()
