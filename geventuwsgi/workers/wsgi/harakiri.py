"""Requests that run long: told as slow, ended by harakiri, or left by their client.

The rules of this room: it runs on the hub, in the sweep, and sees only requests that have
been inside the application for a while, so that a quick one pays for none of this but
the number `began` on its connection. What has to happen in a request's greenlet is queued
as a callback, which looks again whether it is still the same request.
"""

import logging
import select
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic
from typing import Any, Protocol

from gevent.event import Event
from gevent.monkey import get_original

from ...errors import Harakiri, RequestCancelled
from ...protocol.response import error_response
from ..limits import RequestTimeouts
from . import stacks

# gevent's own would go through the hub, where we are.
poll = get_original("select", "poll")
# A client that goes away sooner is not worth looking for, in seconds.
GONE_AGE = 0.5


class LongRequest:
    """What is known of one request that has been running for a while.

    Attributes:
        request: its number on its connection.
        harakiri_at: monotonic seconds at which it has to end, or after its harakiri is
            cut off; inf = never.
        slow_at: the same for its stack in the log.
        gone: its client is.
        deserted: its client was gone before anything was answered.
        killed: it had its harakiri.
    """

    __slots__ = ("request", "harakiri_at", "slow_at", "gone", "deserted", "killed")

    def __init__(self, request: int, harakiri_at: float, slow_at: float) -> None:
        self.request = request
        self.harakiri_at = harakiri_at
        self.slow_at = slow_at
        self.gone = self.deserted = False
        self.killed = False


class Connection(Protocol):
    """What this room needs of a connection with a request inside the application."""

    stream: Any
    exchange: Any
    requests: int
    began: float
    running: LongRequest | None

    @property
    def taken(self) -> bool: ...
    @property
    def finished(self) -> bool: ...


Act = Callable[[Any, LongRequest], None]


class LongRequests:
    """Look after the requests of a worker that run long.

    Args:
        loop: the hub's loop.
        patience: how long they may.
        harakiri: called on the hub, by itself, for a request that has to end.
        client_gone: the same for one whose client is gone.
        tell_slow: called in the sweep, with the connection, for one that is slow.

    Attributes:
        age: seconds from which on a request is looked at.
    """

    def __init__(self, loop: Any, patience: RequestTimeouts, *, harakiri: Act, client_gone: Act,
                 tell_slow: Callable[[Any], None]) -> None:
        self._loop = loop
        self._harakiri, self._client_gone, self._tell_slow = harakiri, client_gone, tell_slow
        self._timeouts = patience
        self._slow = patience.slow or inf
        self.age = min(GONE_AGE, patience.harakiri or inf, self._slow,
                       *(seconds or inf for _, seconds in patience.paths))

    def look(self, connections: Iterable[Connection], now: float) -> None:
        """Look at requests that have been running for at least `age` seconds."""
        later = self._loop.run_callback
        poller = poll()
        asked = {}
        for connection in connections:
            running = connection.running
            if running is None or running.request != connection.requests:
                running = connection.running = self._begin(connection)
            if running.harakiri_at <= now:
                later(self._harakiri, connection, running)
            if connection.taken or connection.finished:
                continue  # a tunnel, or an answer that is being sent: the application is done
            if running.slow_at <= now:
                running.slow_at = inf
                self._tell_slow(connection)
            if not running.gone:
                fd = connection.stream.sock.fileno()
                if fd >= 0:
                    # POLLHUP and POLLERR are always told, poll(2).
                    poller.register(fd, select.POLLRDHUP)
                    asked[fd] = connection, running
        if asked:
            for fd, _ in poller.poll(0):
                connection, running = asked[fd]
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


class Disconnected:
    """`environ['geventuwsgi.disconnected']`: whether the client has gone away.

    A client that only shut down its sending side counts as gone, as in nginx. The object
    belongs to the connection and may outlive the request, in a greenlet that the
    application spawned.

    Args:
        stream: the connection.
    """

    __slots__ = ("_stream", "_event")

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._event: Event | None = None

    def __call__(self) -> bool:
        """Look now: True if the client is gone. One system call, and no switch."""
        fd = self._stream.sock.fileno()
        if fd < 0:
            return True
        poller = poll()
        poller.register(fd, select.POLLRDHUP)
        return bool(poller.poll(0))

    is_set = __call__

    def wait(self, timeout: float | None = None) -> bool:
        """Block this greenlet until the client is gone, for at most `timeout` seconds.

        It is noticed within three quarters of a second. Returns whether the client is gone.
        """
        if self():
            return True
        if self._event is None:
            self._event = Event()
        return bool(self._event.wait(timeout))

    def tell(self) -> None:
        """Wake those who wait."""
        if self._event is not None:
            self._event.set()


# What happens to a request in the middle of its application: harakiri, and a client gone.
#
# The rules of this room: called on the hub, from a callback of its own, because `throw`
# gives the turn to the request's greenlet. Between the sweep that queued it and now the
# request may have ended and the next one begun, so each looks first whether it is still
# the one that was meant.

log = logging.getLogger("geventuwsgi.error")


def harakiri(connection: Any, running: LongRequest) -> None:
    """End a request that has been inside the application for too long."""
    exchange = connection.exchange
    if exchange is None or running.request != connection.requests:
        return
    if running.killed:
        running.harakiri_at = inf
        _abandon(connection)
        return
    running.killed = True
    exchange.transport = DeadTransport(connection, exchange.head_sent)
    running.harakiri_at = monotonic() + connection.service.timeouts.grace
    stacks.harakiri(connection)
    connection.greenlet.throw(Harakiri())


def client_gone(connection: Any, running: LongRequest) -> None:
    """Tell a request that its client closed the connection, or its sending side."""
    exchange = connection.exchange
    if exchange is None or running.request != connection.requests or connection.finished:
        return
    running.deserted = not exchange.head_sent
    connection.disconnected.tell()
    if connection.service.timeouts.cancel and not running.killed:
        connection.greenlet.throw(RequestCancelled())


def _abandon(connection: Any) -> None:
    """The greenlet survived its harakiri: cut it off and have the worker replaced."""
    exchange, service = connection.exchange, connection.service
    connection.abandoned = True
    log.critical("%s: %s %s ignores its harakiri; the connection is cut and worker %d "
                 "will be replaced", connection.peer, exchange.method, exchange.uri,
                 service.worker)
    if not exchange.head_sent:
        try:
            connection.stream.send_now(error_response(504, connection.standing))
        except OSError as error:
            log.debug("%s: could not be told of a 504: %s", connection.peer, error)
    if exchange.broken_off:
        connection.stream.abort()
    else:
        connection.stream.close()
    connection.disconnected.tell()
    service.slots.lose()
    service.left(connection)
    service.spoiled()


class DeadTransport:
    """The transport of a request that was told to end: whatever the application still
    returns is discarded, and any attempt to send it ends the request once more."""

    def __init__(self, connection: Any, head_sent: bool) -> None:
        self.head_sent = head_sent
        self.standing = connection.standing
        self.persists = False
        self.body = None
        self.stream = self
        self.release = connection.release

    def send(self, *_: object) -> None:
        raise Harakiri

    send_pair = send_file = send
