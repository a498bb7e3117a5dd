"""What happens to a request in the middle of its application: harakiri, and a client gone.

The rules of this room: called on the hub, from a callback of its own, because `throw`
gives the turn to the request's greenlet. Between the sweep that queued it and now the
request may have ended and the next one begun, so each looks first whether it is still
the one that was meant.
"""

import logging
from math import inf
from time import monotonic
from typing import Any

from ...errors import Harakiri, RequestCancelled
from ...protocol.response import error_response
from . import report
from .harakiri import Running

log = logging.getLogger("geventuwsgi.error")


def harakiri(connection: Any, running: Running) -> None:
    """End a request that has been inside the application for too long."""
    exchange = connection.exchange
    if exchange is None or running.request != connection.requests:
        return
    if running.killed:
        running.harakiri_at = inf
        _abandon(connection)
        return
    running.killed = True
    exchange.transport = Severed(connection, exchange.head_sent)
    running.harakiri_at = monotonic() + connection.service.patience.grace
    report.harakiri(connection)
    connection.greenlet.throw(Harakiri())


def client_gone(connection: Any, running: Running) -> None:
    """Tell a request that its client closed the connection, or its sending side."""
    exchange = connection.exchange
    if exchange is None or running.request != connection.requests or connection.finished:
        return
    running.deserted = not exchange.head_sent
    connection.disconnected.tell()
    if connection.service.patience.cancel and not running.killed:
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


class Severed:
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
