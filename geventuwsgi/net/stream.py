"""The only room that waits on a connection: blocking calls on a raw, non-blocking socket.

The rules of this room:

- A `Stream` belongs to the greenlet that reads from it; every wait carries a deadline as
  a plain number. No timer is armed: a sweeper compares the numbers a few times a second
  and calls `expire()` on the hub (a timer per request costs some 5 us).
- `_socket.socket` and one reusable watcher instead of gevent's cooperative socket: one
  system call and no Python frame per operation, 8.3 us for a wait, a recv and a send.
- Every failure of the peer is a `ClientDisconnected`.
"""

import _socket
import os
import struct
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

from gevent import getcurrent
from gevent.socket import socket as cooperative_socket
from greenlet import GreenletExit, greenlet

from ..errors import ClientDisconnected
from .acceptor import Batch, adopt

READ, WRITE = 1, 2
_RECEIVE = 65536
# One call of sendfile blocks the whole worker while the file is read from disk.
_SENDFILE = 1 << 20
# struct linger: on, no seconds. The close sends a reset, socket(7).
_RESET = struct.pack("ii", 1, 0)
# Above this a head and its body are gathered by the kernel instead of being joined here.
_GATHER = 65536


class Expired(ClientDisconnected):
    """The peer let the deadline of a wait pass."""


class NothingSent(ClientDisconnected):
    """The connection was broken already when a response was about to begin."""


class Stream:
    """One accepted connection.

    Args:
        sock: a connected, non-blocking `_socket.socket`.
        hub: the hub of this thread.
        timeout: seconds without progress after which a send gives up.

    Attributes:
        deadline: monotonic seconds at which the present wait ends, inf outside of one.
    """

    __slots__ = ("sock", "deadline", "timeout", "_hub", "_reader", "_waiter")

    def __init__(self, sock: _socket.socket, hub: Any, timeout: float) -> None:
        self.sock = sock
        self.deadline = inf
        self.timeout = timeout
        self._hub = hub
        # Made when the first wait comes: a connection of one request often has none.
        self._reader: Any = None
        self._waiter: Any = None

    def receive(self, timeout: float, size: int = _RECEIVE) -> bytes:
        """Wait until bytes come and return them; b"" when the peer sends no more.

        Raises:
            Expired: nothing came for `timeout` seconds.
            ClientDisconnected: the connection broke.
        """
        while True:
            self.deadline = monotonic() + timeout
            self._waiter = getcurrent()
            reader = self._reader
            if reader is None:
                reader = self._reader = self._hub.loop.io(self.sock.fileno(), READ)
            try:
                self._hub.wait(reader)
            finally:
                self.deadline = inf
            try:
                return self.sock.recv(size)
            except BlockingIOError:
                continue
            except OSError as error:
                raise ClientDisconnected(*error.args) from error

    def receive_now(self, timeout: float) -> bytes:
        """As `receive`, but look before waiting: on a fresh connection the bytes are
        mostly there, and a wait costs a system call and a turn of the loop."""
        try:
            return self.sock.recv(_RECEIVE)
        except BlockingIOError:
            return self.receive(timeout)
        except OSError as error:
            raise ClientDisconnected(*error.args) from error

    def send(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            Expired: the peer took nothing for `timeout` seconds.
            ClientDisconnected: the connection broke.
        """
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise ClientDisconnected(*error.args) from error
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def send_now(self, data: bytes) -> None:
        """Send what fits without waiting, on the hub too, where `send` may not be called.

        Raises:
            OSError: nothing could be sent.
        """
        self.sock.send(data)

    def send_pair(self, head: bytes, body: bytes) -> None:
        """Send a head and its body in one system call, as far as the kernel takes them.

        Raises:
            Expired, ClientDisconnected: as `send`.
            NothingSent: the connection was broken before.
        """
        if len(body) >= _GATHER:
            self._gather(head, body)
            return
        data = head + body
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise NothingSent(*error.args) from error
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def _gather(self, head: bytes, body: bytes) -> None:
        try:
            sent = self.sock.sendmsg((head, body))
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise NothingSent(*error.args) from error
        if sent < len(head):
            self._send_rest(memoryview(head)[sent:])
            sent = len(head)
        if sent < len(head) + len(body):
            self._send_rest(memoryview(body)[sent - len(head):])

    def _send_rest(self, rest: memoryview) -> None:
        writer = self._hub.loop.io(self.sock.fileno(), WRITE)
        try:
            while rest:
                self._await(writer)
                try:
                    rest = rest[self.sock.send(rest):]
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise ClientDisconnected(*error.args) from error
        finally:
            writer.close()

    def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send `count` octets of a regular file from `offset`, by sendfile.

        Raises:
            ClientDisconnected: the connection broke, or the file ended early, so that
                what was promised cannot be kept.
        """
        out = self.sock.fileno()
        writer = self._hub.loop.io(out, WRITE)
        try:
            while count:
                try:
                    sent = os.sendfile(out, fd, offset, min(count, _SENDFILE))
                except BlockingIOError:
                    self._await(writer)
                    continue
                except OSError as error:
                    raise ClientDisconnected(*error.args) from error
                if sent == 0:
                    raise ClientDisconnected(f"the file ended {count} bytes early")
                offset += sent
                count -= sent
        finally:
            writer.close()

    def _await(self, watcher: Any) -> None:
        self.deadline = monotonic() + self.timeout
        self._waiter = getcurrent()
        try:
            self._hub.wait(watcher)
        finally:
            self.deadline = inf

    def expire(self) -> None:
        """End the present wait if its deadline has passed. Called on the hub only."""
        if self.deadline <= monotonic():
            self._waiter.throw(Expired("the peer made no progress in time"))

    def interrupt(self) -> None:
        """End the present wait for reading or writing at once. Called on the hub only."""
        if self.deadline != inf:
            self._waiter.throw(GreenletExit)

    # For those who watch two connections at once and may not wait for one of them.

    def take(self, size: int = _RECEIVE) -> bytes | None:
        """Return what is there, b"" at the end, None if nothing is.

        Raises:
            ClientDisconnected: the connection broke.
        """
        try:
            return self.sock.recv(size)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ClientDisconnected(*error.args) from error

    def seal(self, data: bytes) -> bytes:
        """Return the octets to `push` for `data`: here the same."""
        return data

    def push(self, octets: bytes) -> bytes:
        """Send what the kernel takes now, and return the rest.

        Raises:
            ClientDisconnected: the connection broke.
        """
        try:
            sent = self.sock.send(octets)
        except BlockingIOError:
            return octets
        except OSError as error:
            raise ClientDisconnected(*error.args) from error
        return octets[sent:]

    def finish(self) -> None:
        """Say that nothing more will be sent; the other direction goes on."""
        try:
            self.sock.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # broken: the reader will notice

    def readable(self) -> bool:
        """Whether something waits to be read (end-of-file included)."""
        try:
            self.sock.recv(1, _socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def linger(self, seconds: float, octets: int) -> None:
        """Close so that the peer can read the last response (RFC 9112 section 9.6).

        Closing with unread input resets the connection, and a reset may destroy what was
        sent before. So: half-close, then take what still comes, within bounds.
        """
        end = monotonic() + seconds
        try:
            self.sock.shutdown(_socket.SHUT_WR)
            while octets > 0:
                # Not `self.receive`: what comes through TLS is not even decrypted.
                data = Stream.receive(self, max(end - monotonic(), 0.0))
                if not data:
                    break
                octets -= len(data)
        except OSError:
            pass  # reset or out of time: it is closed next either way
        self.close()

    def abort(self) -> None:
        """Close with a reset: what the peer has is not all of it.

        Where the end of the connection ends the body (uwsgi, HTTP/1.0), nothing else can
        say so: nginx gave the client a clean end after a FIN. A unix socket knows no
        reset; there it is a close.
        """
        try:
            self.sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET)
        except OSError:
            pass  # closed already
        self.close()

    def close(self) -> None:
        """Close the connection; a second call does nothing."""
        self.deadline = inf
        if self._reader is not None:
            self._reader.close()
        self.sock.close()


def in_greenlets(hub: Any, serve: Callable[..., None]) -> Callable[[Batch], None]:
    """Return what serves each connection of a batch in a greenlet of its own.

    Args:
        hub: the hub of this thread.
        serve: called with socket, peer's address and listener; it runs at once, until its
            first wait.
    """
    def take(batch: Batch) -> None:
        for fd, address, listener in batch:
            sock = adopt(fd, listener.address.family)
            greenlet(serve, hub).switch(sock, address, listener)
    return take


class HandedSocket:
    """The connection as a socket for upgrade libraries (`geventuwsgi.socket`).

    Made with every connection, so it must cost nothing: the real cooperative socket, a
    duplicate with a life of its own, comes into being when it is first used. From then
    on the connection is the library's, and the server sends nothing more on it.
    """

    __slots__ = ("_stream", "_real")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._real: Any = None

    @property
    def taken(self) -> bool:
        """Whether the application has used the socket."""
        return self._real is not None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._real is None:
            self._real = self._take()
        return getattr(self._real, name)

    def _take(self) -> Any:
        stream: Any = self._stream
        sock = stream.sock
        stream.sock = HandedOver(sock)
        return cooperative_socket(
            sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))


class HandedOver:
    """What a stream keeps of a socket that was handed over: it can only be closed."""

    def __init__(self, sock: _socket.socket) -> None:
        self.fileno = sock.fileno
        self.close = sock.close

    def send(self, *_: object) -> int:
        raise BrokenPipeError("the connection was handed over to the application")

    sendmsg = recv = shutdown = setsockopt = send
