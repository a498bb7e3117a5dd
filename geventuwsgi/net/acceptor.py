"""Accept connections of one listening socket, in batches.

The rules of this room: it runs in callbacks of a loop and never blocks. It makes no object
per connection: a batch of descriptors is handed over, to another thread maybe. (The workers
of a WSGI application have an acceptor of their own, which goes by their slots.)
"""

import _socket
import errno
import logging
import socket
from collections.abc import Callable
from time import monotonic
from typing import Any

from .listener import Listener

log = logging.getLogger("geventuwsgi.error")

READ = 1
Batch = list[tuple[int, Any, Listener]]


class Acceptor:
    """The watcher of one listening socket; it pauses when there is no room.

    Args:
        listener: the listening socket, non-blocking.
        hand_over: called with a batch of (descriptor, peer address, listener).
        room: how many more connections can be taken now.
        loop: a hub's loop.
    """

    def __init__(self, listener: Listener, hand_over: Callable[[Batch], object],
                 room: Callable[[], int], loop: Any) -> None:
        self.listener = listener
        self._hand_over = hand_over
        self._room = room
        self._watcher = loop.io(listener.socket.fileno(), READ)
        self._timer = loop.timer(BACK_OFF)
        self._complained = 0.0
        self._closed = False
        self.paused = False
        self.suspended = False

    def start(self) -> None:
        """Take connections from now on."""
        if not self.suspended:
            self._watcher.start(self._accept)

    def suspend(self) -> None:
        """Leave connections in the kernel's queue until `wake`: an operator said so."""
        self.suspended = True
        self._watcher.stop()

    def wake(self) -> None:
        """Take connections again, if there is room."""
        self.suspended = False
        if not self.paused and not self._closed:
            self.start()

    def close(self) -> None:
        """Take no more, for good; what waits in the kernel's queue is for others."""
        if not self._closed:
            self._closed = True
            self._watcher.close()
            self._timer.close()
            self.listener.close()

    def finish(self) -> None:
        """Take what already waits in the queue, as far as there is room, and close.

        With the last descriptor the kernel resets what is left there: of a server that
        stops, or of a socket that a reload removed.
        """
        if not self._closed and not self.paused:
            self._accept()
        self.close()

    def resume(self) -> None:
        """Take connections again after a pause."""
        if self.paused and not self._closed:
            self.paused = False
            self.start()

    def _accept(self) -> None:
        room = self._room()
        if room <= 0:
            self.paused = True
            self._watcher.stop()
            return
        listener = self.listener
        batch: Batch = []
        try:
            for _ in range(min(room, BATCH)):
                found = accept(listener.socket)
                if found is None:
                    break
                batch.append((*found, listener))
        except OutOfDescriptors as error:
            self._back_off(error)
        if batch:
            self._hand_over(batch)

    def _back_off(self, error: OSError) -> None:
        """Leave the waiting connections in the kernel's queue for a moment."""
        self._watcher.stop()
        self._timer.stop()
        self._timer.start(self.start)
        now = monotonic()
        if now - self._complained >= 1.0:
            self._complained = now
            log.error("cannot accept connections on %s: %s; trying again",
                      self.listener.url, error.strerror)


# Taking connections from a listening socket, one system call each.
#
# The rules of this room: nothing here waits. What is no connection is None (nothing waits, or
# it was gone already); what the machine is short of is a `OutOfDescriptors`.

# Connections taken in one turn of the loop: enough to share the cost of the turn, few
# enough that other workers get their part.
BATCH = 16
# Out of descriptors or memory: seconds before the next try; said once a second.
BACK_OFF = 0.1
SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
ABORTED = {errno.EAGAIN, errno.ECONNABORTED, errno.EINTR, errno.EPERM, errno.EPROTO}


class OutOfDescriptors(OSError):
    """The process or the machine is out of descriptors or memory."""


def accept(listening: Any) -> tuple[int, Any] | None:
    """Accept one connection of a non-blocking socket; return (descriptor, peer's address).

    Raises:
        Shortage: there is one, and it cannot be taken now.
        OSError: the listening socket itself is broken.
    """
    try:
        found: tuple[int, Any] = listening._accept()
        return found
    except OSError as error:
        if error.errno in ABORTED:
            return None
        if error.errno in SHORTAGE:
            raise OutOfDescriptors(*error.args) from error
        raise


def adopt(fd: int, family: int) -> _socket.socket:
    """Make the raw, non-blocking socket of an accepted descriptor."""
    sock = _socket.socket(family, socket.SOCK_STREAM, 0, fileno=fd)
    sock.setblocking(False)
    return sock
