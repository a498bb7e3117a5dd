"""Accept connections of one listener of the router.

The rules of this room are those of `server.acceptor`: hub callbacks, nothing blocks. A
router has no application slots; only the number of its connections is bounded.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from greenlet import greenlet

from ..net.accept import BACK_OFF, BATCH, Shortage, accept, adopt
from ..net.listener import Listener
from ..net.stream import READ

log = logging.getLogger("geventuwsgi.error")


class Acceptor:
    """Take connections as long as there is room.

    Args:
        hub: the hub of this thread.
        listener: the listening socket.
        serve: called with socket, address and listener, in a greenlet of its own.
        room: returns how many more connections may come.
    """

    def __init__(self, hub: Any, listener: Listener, serve: Callable[..., None],
                 room: Callable[[], int]) -> None:
        self.listener = listener
        self._hub = hub
        self._serve = serve
        self._room = room
        self._family = listener.socket.family
        self._watcher = hub.loop.io(listener.socket.fileno(), READ)
        self._timer = hub.loop.timer(BACK_OFF)
        self._complained = 0.0
        self.paused = False
        self.closed = False

    def start(self) -> None:
        """Begin, or go on after a pause."""
        self.paused = False
        if not self.closed:
            self._watcher.start(self._accept)

    def close(self) -> None:
        """Take no more, and close this process's descriptor."""
        if not self.closed:
            self.closed = True
            self._watcher.close()
            self._timer.close()
            self.listener.close()

    def _accept(self) -> None:
        room = self._room()
        if room <= 0:
            self.paused = True
            self._watcher.stop()
            return
        for _ in range(min(BATCH, room)):
            if self.closed or self.paused:
                return
            try:
                found = accept(self.listener.socket)
            except Shortage as error:
                self._back_off(error)
                return
            if found is None:
                return
            fd, address = found
            greenlet(self._serve, self._hub).switch(adopt(fd, self._family), address,
                                                    self.listener)

    def _back_off(self, error: OSError) -> None:
        self._watcher.stop()
        self._timer.start(self.start)
        now = monotonic()
        if now - self._complained >= 1.0:
            self._complained = now
            log.error("cannot accept connections on %s: %s; trying again",
                      self.listener.url, error.strerror)
