"""Accept connections of one listening socket, lean, and only as many as can be served.

The rules of this room: it runs in hub callbacks and never blocks. Where each request is
a new connection (every `uwsgi_pass`) the accept path is the request path: `_accept()` in
a loop until EAGAIN, a raw socket around the descriptor, and a bare greenlet that waits
for another connection when it has served one. A greenlet's first frame costs a mapping,
a page fault and an unmapping of Python's data stack, 7 of 50 us from accept to close.
"""

import logging
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any
from weakref import getweakrefcount

from gevent import getcurrent
from gevent.server import StreamServer
from greenlet import GreenletExit, greenlet

from ...net.acceptor import ABORTED, BACK_OFF, BATCH, SHORTAGE, adopt
from ...net.listener import Listener
from .connection import Connection
from .service import WsgiService

log = logging.getLogger("geventuwsgi.error")

# Greenlets kept for the connections to come: those of one turn of the loop.
PARKED = BATCH


class Acceptor(StreamServer):
    """A `StreamServer` that pauses when the worker is full.

    Args:
        listener: the listening socket, non-blocking.
        make: the kind of connection; its `serve` runs in a greenlet.
        service: what the worker's connections share.
    """

    def __init__(self, listener: Listener, make: Callable[..., Connection],
                 service: WsgiService) -> None:
        super().__init__(listener.socket, handle=make, spawn=None)
        self.listener = listener
        self._make = make
        self._service = service
        self._hub = service.hub
        self._room = service.room
        self._accept = listener.socket._accept  # type: ignore[attr-defined]
        self._family = listener.socket.family
        self._complained = 0.0
        self._parked: list[greenlet] = []
        self.paused = False
        self.suspended = False

    def _do_read(self) -> None:
        """Accept and serve until nobody waits, `BATCH` is reached or there is no room.

        The new connection's greenlet runs at once, until its first wait: going through
        the loop's queue of callbacks costs more and lets the caches go cold.
        """
        room = self._room()
        if room <= 0:
            self.paused = True
            self.stop_accepting()
            return
        for _ in range(min(BATCH, room)):
            if self._watcher is None:
                return  # closed or paused by what the connection before brought about
            try:
                fd, address = self._accept()
            except OSError as error:
                if error.errno in SHORTAGE:
                    self._back_off(error)
                elif error.errno not in ABORTED:
                    raise
                return
            self._greenlet().switch(adopt(fd, self._family), address)

    def _greenlet(self) -> greenlet:
        """Return a greenlet that waits for a connection, or a new one."""
        parked = self._parked
        while parked:
            server = parked.pop()
            if not has_other_references(server):
                return server
        return greenlet(self._serve, self._hub)

    def _serve(self, sock: Any, address: Any) -> None:
        """The body of a greenlet: one connection after the other."""
        make, service, listener = self._make, self._service, self.listener
        parked, wait = self._parked, self._hub.switch
        while True:
            make(service, sock, address, listener).serve()
            if len(parked) >= PARKED:
                return
            me = getcurrent()
            me.gr_context = None
            parked.append(me)
            del me, sock, address
            try:
                sock, address = wait()
            except GreenletExit:
                return  # the acceptor is gone
            except BaseException as error:  # meant for a request that is over
                log.debug("%s: a late %s for a connection that is closed",
                          listener.url, type(error).__name__)
                return

    def _back_off(self, error: OSError) -> None:
        """Leave the waiting connections in the kernel's queue for a moment."""
        self.stop_accepting()
        self._timer = self.loop.timer(BACK_OFF)
        self._timer.start(self._start_accepting_if_started)
        now = monotonic()
        if now - self._complained >= 1.0:
            self._complained = now
            log.error("cannot accept connections on %s: %s; trying again",
                      self.listener.url, error.strerror)

    def finish(self) -> None:
        """Take what already waits in the queue, as far as there is room, and close.

        With the last descriptor the kernel resets what is left there: of a server that
        stops, or of a socket that a reload removed.
        """
        if self.started and not self.paused:
            self._do_read()
        self.close()

    def suspend(self) -> None:
        """Leave connections in the kernel's queue until `wake`: an operator said so."""
        self.suspended = True
        self.stop_accepting()

    def wake(self) -> None:
        """Take connections again, if there is room."""
        self.suspended = False
        if self.started and not self.paused:
            self.start_accepting()

    def start_accepting(self) -> None:
        """Watch the socket, unless we are suspended."""
        if not self.suspended:
            super().start_accepting()

    def resume(self) -> None:
        """Take connections again after a pause."""
        if self.paused and self.started:
            self.paused = False
            self.start_accepting()


def has_other_references(server: greenlet) -> bool:
    """Whether anybody but the caller can reach this greenlet, which is parked.

    A timer that an application left running, a greenlet it wants to kill later, a
    thread-local: all of them are about one connection and must not see the next. So a
    greenlet that something still refers to is left to die.
    """
    return sys.getrefcount(server) > _UNKNOWN or getweakrefcount(server) > 0


def _references() -> int:
    """Count the references to an object that only a caller's variable refers to."""
    def count(server: object) -> int:
        return sys.getrefcount(server)
    pool = [object()]
    server = pool.pop()
    return count(server)


_UNKNOWN = _references()
