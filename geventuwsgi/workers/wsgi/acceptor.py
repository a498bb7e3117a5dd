"""Accept connections of one listening socket, and only as many as can be served.

Rules:

- Everything here runs in hub callbacks and never blocks.
- Where each request comes on a new connection (every `uwsgi_pass`), accepting is on the
  path of the request. Hence `_accept()` in a loop until EAGAIN, a raw socket around the
  descriptor, and bare greenlets that are reused: a new greenlet's first frame maps,
  faults in and unmaps Python's data stack, 7 of the 50 us from accept to close.
"""

import logging
from collections.abc import Callable

from gevent import getcurrent
from gevent.server import StreamServer
from greenlet import GreenletExit, greenlet

from ...net.acceptor import ABORTED, BACK_OFF, BATCH, SHORTAGE, Pausable, adopt
from ...net.listener import Listener
from .connection import Connection
from .over import has_other_references, log_late
from .service import WsgiService

log = logging.getLogger("geventuwsgi.error")

# Idle greenlets that are kept for later connections: enough for one turn of the loop.
MAX_IDLE = BATCH


class Acceptor(StreamServer, Pausable):
    """A `StreamServer` that pauses when the worker is full.

    Args:
        listener: the listening socket, non-blocking.
        connection_type: the class of its connections; `serve` runs in a greenlet.
        service: what the worker's connections share.
    """

    def __init__(self, listener: Listener, connection_type: Callable[..., Connection],
                 service: WsgiService) -> None:
        super().__init__(listener.socket, handle=connection_type, spawn=None)
        self.listener = listener
        self._connection_type = connection_type
        self._service = service
        self._hub = service.hub
        self._capacity = service.capacity
        self._accept = listener.socket._accept  # type: ignore[attr-defined]
        self._family = listener.socket.family
        self._idle: list[greenlet] = []

    def _do_read(self) -> None:
        """Accept and serve until the queue is empty, `BATCH` is reached or the worker is full.

        The new connection's greenlet runs at once, until its first wait: going through
        the loop's queue of callbacks costs more and lets the caches go cold.
        """
        capacity = self._capacity()
        if capacity <= 0:
            self.paused = True
            self.stop_accepting()
            return
        for _ in range(min(BATCH, capacity)):
            if self._watcher is None:
                return  # the previous connection's request closed or paused us
            try:
                fd, address = self._accept()
            except OSError as error:
                if error.errno in SHORTAGE:
                    if not self._service.free_places():
                        self._back_off()
                    self.log_shortage(error)
                elif error.errno not in ABORTED:
                    raise
                return
            chosen = self._greenlet()   # with one reference more, as after a wait
            chosen.switch([self._connection_type(self._service, adopt(fd, self._family), address,
                                                 self.listener)])
            del chosen

    def _greenlet(self) -> greenlet:
        """Return an idle greenlet, or a new one."""
        idle = self._idle
        while idle:
            candidate = idle.pop()
            if not has_other_references(candidate):
                return candidate
        return greenlet(self._serve, self._hub)

    def _serve(self, first: list[Connection]) -> None:
        """The body of a greenlet: one connection after the other.

        Args:
            first: the first one, which is taken out; greenlets keep their arguments.
        """
        idle, wait = self._idle, self._hub.switch
        connection = first.pop()
        while True:
            connection.serve()
            current = getcurrent()
            current.gr_context = None
            if connection.continues:
                self._hub.loop.run_callback(self._continue, connection)
            elif len(idle) >= MAX_IDLE:
                return
            else:
                idle.append(current)
            del current, connection
            try:
                connection = wait().pop()
            except GreenletExit:
                return  # nothing refers to this greenlet any more
            except BaseException as error:  # meant for a request that is over
                log_late(self.listener.url, error)
                return

    def _continue(self, connection: Connection) -> None:
        """Serve the next request of a connection in another greenlet, unless only what had
        switched to its own referred to that."""
        candidate, connection.greenlet = connection.greenlet, None
        if self._service.cut:
            return
        if has_other_references(candidate):
            candidate = self._greenlet()
        candidate.switch([connection])

    def _back_off(self) -> None:
        """Leave the waiting connections in the kernel's queue for a moment."""
        self.stop_accepting()
        self._timer = self.loop.timer(BACK_OFF)
        self._timer.start(self._start_accepting_if_started)

    def start_accepting(self) -> None:
        """Watch the socket, unless suspended."""
        if not self.suspended:
            super().start_accepting()

    accept_batch = _do_read
