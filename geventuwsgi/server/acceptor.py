"""Accept connections of one listening socket, lean, and only as many as can be served.

The rules of this room: it runs in hub callbacks and never blocks. Where each request is
a new connection (every `uwsgi_pass`) the accept path is the request path: `_accept()` in
a loop until EAGAIN, a raw socket around the descriptor, a bare greenlet: 41 us from
accept to close against 53 with `StreamServer` as it comes.
"""

import errno
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from gevent.server import StreamServer
from greenlet import greenlet

from ..net.listener import Listener
from ..net.stream import adopt

log = logging.getLogger("geventuwsgi.error")

# Connections taken in one turn of the loop: enough to share the cost of the turn, few
# enough that other workers get their part.
BATCH = 16
# Out of descriptors or memory: seconds before the next try; said once a second.
BACK_OFF = 0.1
_SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_ABORTED = {errno.EAGAIN, errno.ECONNABORTED, errno.EINTR, errno.EPERM, errno.EPROTO}


class Acceptor(StreamServer):
    """A `StreamServer` that pauses when the worker is full.

    Args:
        listener: the listening socket, non-blocking.
        handle: called in a greenlet of its own with (raw socket, peer address, listener).
        room: how many more connections the worker can serve now.
        hub: the worker's hub, parent of every connection's greenlet.
    """

    def __init__(self, listener: Listener, handle: Callable[..., None],
                 room: Callable[[], int], hub: Any) -> None:
        super().__init__(listener.socket, handle=handle, spawn=None)
        self.listener = listener
        self._hub = hub
        self._room = room
        self._family = listener.socket.family
        self._complained = 0.0
        self.paused = False

    def _do_read(self) -> None:
        room = self._room()
        if room <= 0:
            self.paused = True
            self.stop_accepting()
            return
        self.max_accept = min(BATCH, room)
        super()._do_read()

    def do_read(self) -> tuple[Any, Any] | None:
        try:
            fd, address = self.socket._accept()
        except OSError as error:
            if error.errno in _SHORTAGE:
                self._back_off(error)
                return None
            if error.errno in _ABORTED:
                return None
            raise
        return adopt(fd, self._family), address

    def do_handle(self, *args: Any) -> None:
        sock, address = args
        self.loop.run_callback(
            greenlet(self._handle, self._hub).switch, sock, address, self.listener)

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

    def overflow(self, count: int) -> None:
        """Take up to `count` connections that wait, although the acceptor is paused."""
        if self.started:
            for _ in range(count):
                taken = self.do_read()
                if taken is None:
                    break
                self.do_handle(*taken)

    def finish(self) -> None:
        """Take what already waits in the queue, as far as there is room, and close.

        With the last descriptor the kernel resets what is left there: of a server that
        stops, or of a socket that a reload removed.
        """
        if self.started and not self.paused:
            self._do_read()
        self.close()

    def resume(self) -> None:
        """Take connections again after a pause."""
        if self.paused and self.started:
            self.paused = False
            self.start_accepting()
