"""Accept connections of one listening socket, in batches.

`Acceptor` runs in callbacks of a loop and never blocks. It creates no object per connection,
but passes on batches of descriptors, possibly to another thread. WSGI workers have an acceptor
of their own, which creates the connections (`workers.wsgi.acceptor`).
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
# Connections accepted in one turn of the loop: enough to share the cost of the turn, few
# enough to leave some to other workers.
BATCH = 16
# Seconds until the next attempt after running out of descriptors or memory.
BACK_OFF = 0.1
SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
ABORTED = {errno.EAGAIN, errno.ECONNABORTED, errno.EINTR, errno.EPERM, errno.EPROTO}

Batch = list[tuple[int, Any, Listener]]


class OutOfDescriptors(OSError):
    """The process or the machine is out of descriptors or memory."""


def accept(listening: Any) -> tuple[int, Any] | None:
    """Accept one connection of a non-blocking socket; return (descriptor, peer's address).

    Returns:
        None if no connection is waiting, or it was aborted before.

    Raises:
        OutOfDescriptors: a connection is waiting, but cannot be accepted now.
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


class Pausable:
    """The part of an acceptor that pauses, suspends and finishes it.

    It is paused while the process has no capacity, and suspended by an operator's command. A
    subclass has `start_accepting`, which does nothing while it is suspended, `stop_accepting`,
    `accept_batch` and `close`.

    Attributes:
        listener: the listening socket.
        started: whether it was started and is not closed.
        paused, suspended: see above.
    """

    listener: Listener
    started: Any
    start_accepting: Any
    stop_accepting: Any
    accept_batch: Any
    close: Any
    paused = False
    suspended = False
    _logged = 0.0  # when a shortage was logged last

    def suspend(self) -> None:
        """Leave connections in the kernel's queue until `wake`, by an operator's command."""
        self.suspended = True
        self.stop_accepting()

    def wake(self) -> None:
        """Accept connections again after `suspend`, unless paused."""
        self.suspended = False
        if self.started and not self.paused:
            self.start_accepting()

    def resume(self) -> None:
        """Accept connections again after a pause."""
        if self.paused and self.started:
            self.paused = False
            self.start_accepting()

    def finish(self) -> None:
        """Accept what is in the queue, up to the capacity, and close.

        The kernel resets connections that are in the queue when the last descriptor is closed:
        when the server stops, or a reload has removed the socket.
        """
        if self.started and not self.paused:
            self.accept_batch()
        self.close()

    def log_shortage(self, error: OSError) -> None:
        """Log that connections cannot be accepted, at most once a second."""
        now = monotonic()
        if now - self._logged >= 1.0:
            self._logged = now
            log.error("cannot accept connections on %s: %s; trying again",
                      self.listener.url, error.strerror)


class Acceptor(Pausable):
    """The watcher of one listening socket, which passes on batches of descriptors.

    Args:
        listener: the listening socket, non-blocking.
        hand_over: called with a batch of (descriptor, peer address, listener).
        capacity: returns how many more connections can be accepted now.
        loop: a hub's loop.
        shortage: called when the process is out of descriptors.
    """

    def __init__(self, listener: Listener, hand_over: Callable[[Batch], object],
                 capacity: Callable[[], int], loop: Any,
                 shortage: Callable[[], object] = lambda: None) -> None:
        self.listener = listener
        self._hand_over = hand_over
        self._capacity = capacity
        self._shortage = shortage
        self._watcher = loop.io(listener.socket.fileno(), READ)
        self._timer = loop.timer(BACK_OFF)
        self.started = self._closed = False

    def start(self) -> None:
        """Accept connections from now on, unless suspended."""
        self.started = True
        self.start_accepting()

    def start_accepting(self) -> None:
        if not self.suspended:
            self._watcher.start(self.accept_batch)

    def stop_accepting(self) -> None:
        self._watcher.stop()

    def close(self) -> None:
        """Stop accepting for good; the kernel's queue is left to other processes."""
        if not self._closed:
            self._closed, self.started = True, False
            self._watcher.close()
            self._timer.close()
            self.listener.close()

    def accept_batch(self) -> None:
        """Accept connections up to the capacity, at most `BATCH`; pause if there is none."""
        capacity = self._capacity()
        if capacity <= 0:
            self.paused = True
            self._watcher.stop()
            return
        listener = self.listener
        batch: Batch = []
        try:
            for _ in range(min(capacity, BATCH)):
                found = accept(listener.socket)
                if found is None:
                    break
                batch.append((*found, listener))
        except OutOfDescriptors as error:
            self._watcher.stop()
            self._timer.stop()
            self._timer.start(self.start_accepting)  # the connections stay in the queue
            self.log_shortage(error)
            self._shortage()
        if batch:
            self._hand_over(batch)
