"""Connections: calls that block a greenlet, on a raw, non-blocking socket.

- A `Stream` belongs to the greenlet that reads from it. Every wait has a deadline, which is
  only a number: a sweeper compares it a few times a second and calls `expire()` on the hub (a
  timer per request costs some 5 us).
- A `_socket.socket` and one reusable watcher replace gevent's cooperative socket: an operation
  is one system call without a Python frame, 8.3 us for a wait, a recv and a send.
- Every failure of the peer is a `ClientDisconnected`.
"""

import _socket
import os
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, Protocol, TypeVar

from gevent import getcurrent
from gevent.exceptions import ConcurrentObjectUseError
from gevent.socket import socket as cooperative_socket
from greenlet import GreenletExit, greenlet

from ..errors import ClientDisconnected, ProtocolError, RequestOver
from .acceptor import Batch, adopt
from .deadlines import HALF_PROXY_HEADER, RESET, SENDFILE_SIZE

READ, WRITE = 1, 2
_RECEIVE = 65536
# From this size on the kernel joins a head and its body (sendmsg).
_GATHER = 65536
SENDS = "another greenlet sends on this connection"


Header = TypeVar("Header")


class HeadParser(Protocol):
    """A parser of requests, as in `protocol.http1` and `protocol.uwsgi`."""

    def head(self, data: bytes) -> bool: ...
    def eof(self) -> None: ...


class Expired(ClientDisconnected):
    """The deadline of a wait has passed."""


class NothingSent(ClientDisconnected):
    """The connection was broken before the response began."""


class Stream:
    """One accepted connection.

    Args:
        sock: a connected, non-blocking `_socket.socket`.
        hub: the hub of this thread.
        timeout: seconds without progress after which a send gives up.

    Attributes:
        deadline: monotonic seconds at which the current wait ends, inf outside of waits.
        buffered: `receive` may have bytes without waiting.
        sending: a greenlet waits until the peer takes the rest of what it sends.
    """

    buffered = False

    __slots__ = ("sock", "deadline", "timeout", "_hub", "_reader", "_waiter", "sending")

    def __init__(self, sock: _socket.socket, hub: Any, timeout: float) -> None:
        self.sock = sock
        self.deadline = inf
        self.timeout = timeout
        self._hub = hub
        # Created for the first wait: a connection of one request often has none.
        self._reader: Any = None
        self._waiter: Any = None
        self.sending = False

    def receive(self, timeout: float, size: int = _RECEIVE) -> bytes:
        """Wait for bytes and return them; b"" after the peer's last byte.

        Raises:
            ConcurrentObjectUseError: another greenlet waits for them.
            Expired: nothing came for `timeout` seconds.
            ClientDisconnected: the connection broke.
        """
        while True:
            reader = self._reader
            if reader is None:
                fd = self.sock.fileno()
                if fd < 0:
                    raise ClientDisconnected("the connection is closed")
                reader = self._reader = self._hub.loop.io(fd, READ)
            elif reader.active:
                raise ConcurrentObjectUseError("another greenlet receives from this connection")
            self.deadline = monotonic() + timeout
            self._waiter = getcurrent()
            try:
                self._hub.wait(reader)
            finally:
                self.deadline = inf
                self._waiter = None
            try:
                return self.sock.recv(size)
            except BlockingIOError:
                continue
            except OSError as error:
                raise ClientDisconnected(*error.args) from error

    def receive_now(self, timeout: float) -> bytes:
        """Like `receive`, but try before waiting: on a new connection the bytes have usually
        arrived, and a wait costs a system call and a turn of the loop."""
        try:
            return self.sock.recv(_RECEIVE)
        except BlockingIOError:
            return self.receive(timeout)
        except OSError as error:
            raise ClientDisconnected(*error.args) from error

    def read_head(self, parser: HeadParser, timeout: float) -> bool:
        """Read until a head that has begun is complete.

        Returns:
            False if the peer closed the connection before a head.

        Raises:
            ProtocolError: 408, or an error of the parser.
            ClientDisconnected: the connection broke.
        """
        start = monotonic()
        end = start + timeout
        while True:
            try:
                data = self.receive(max(end - monotonic(), 0.0))
            except Expired:
                waited = min(monotonic() - start, timeout)  # less if its place was needed
                raise ProtocolError(
                    408, f"no whole request head within {round(waited, 1):g} seconds") from None
            if not data:
                parser.eof()
                return False
            if parser.head(data):
                return True

    def read_proxy_header(self, parse: Callable[[bytes, bool], tuple[Header, int] | None],
                          data: bytes, start: float, timeout: float) -> tuple[Header, bytes]:
        """Read until a PROXY header is complete.

        Args:
            parse: returns the header and its size, or None while it is incomplete; its second
                argument says that nothing more will come.
            data: the first bytes of the connection.
            start: monotonic seconds at which the wait for the header began.
            timeout: seconds for the whole header.

        Returns:
            The header, and the bytes after it.

        Raises:
            ProtocolError: 408, or an error of `parse`.
            ClientDisconnected: the connection broke.
        """
        end, ended = start + timeout, False
        while True:
            found = parse(data, ended)
            if found is not None:
                header, size = found
                return header, data[size:]
            try:
                more = self.receive(max(end - monotonic(), 0.0))
            except Expired:
                raise ProtocolError(408, HALF_PROXY_HEADER.format(timeout)) from None
            ended = not more
            data += more

    def send(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            ConcurrentObjectUseError: another greenlet is sending.
            Expired: the peer accepted nothing for `timeout` seconds.
            ClientDisconnected: the connection broke.
        """
        if self.sending:
            raise ConcurrentObjectUseError(SENDS)
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise ClientDisconnected(*error.args) from error
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:])

    def send_now(self, data: bytes) -> None:
        """Send as much as possible without waiting; for the hub, where `send` must not be called.

        Raises:
            OSError: nothing could be sent.
        """
        self.sock.send(data)

    def send_pair(self, head: bytes, body: bytes) -> None:
        """Send a head and its body, in one system call if the kernel accepts all of it.

        Raises:
            Expired, ClientDisconnected: as for `send`.
            NothingSent: the connection was broken before.
        """
        if self.sending:
            raise ConcurrentObjectUseError(SENDS)
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

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """Send `count` octets of a regular file from `offset`, by sendfile.

        Returns:
            How many were sent: fewer if the file has become shorter.

        Raises:
            ClientDisconnected: the connection broke.
        """
        if self.sending:
            raise ConcurrentObjectUseError(SENDS)
        left = count
        out = self.sock.fileno()
        writer = self._hub.loop.io(out, WRITE)
        try:
            while left:
                try:
                    sent = os.sendfile(out, fd, offset, min(left, SENDFILE_SIZE))
                except BlockingIOError:
                    self._await(writer)
                    continue
                except OSError as error:
                    raise ClientDisconnected(*error.args) from error
                if sent == 0:
                    break
                offset += sent
                left -= sent
        finally:
            writer.close()
        return count - left

    def _await(self, watcher: Any) -> None:
        self.sending = True
        self.deadline = monotonic() + self.timeout
        self._waiter = getcurrent()
        try:
            self._hub.wait(watcher)
        finally:
            self.sending = False
            self.deadline = inf
            self._waiter = None

    def expire(self) -> None:
        """End the current wait if its deadline has passed. Only for the hub."""
        if self.deadline <= monotonic():
            self._waiter.throw(Expired("the peer made no progress in time"))

    def interrupt(self) -> None:
        """End the current wait immediately. Only for the hub."""
        if self.deadline != inf:
            self._waiter.throw(GreenletExit)

    # For a relay, which watches two connections and must not wait for either of them.

    def take(self, size: int = _RECEIVE) -> bytes | None:
        """Return bytes that have arrived, b"" at the end, None if there are none.

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
        """Return the octets to `push` for `data`; without TLS they are the same."""
        return data

    def push(self, octets: bytes) -> bytes:
        """Send what the kernel accepts now, and return the rest.

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
        """Shut down the sending direction; the other one stays open."""
        try:
            self.sock.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # broken, which the reader notices

    def readable(self) -> bool:
        """Whether a read would return at once, with bytes or at the end."""
        return has_input(self.sock)

    def linger(self, seconds: float, octets: int) -> None:
        """Close so that the peer can read the last response (RFC 9112 section 9.6).

        Closing with unread input resets the connection, and a reset may destroy the response.
        So the sending direction is shut down, and input is discarded, within limits.
        """
        end = monotonic() + seconds
        try:
            self.sock.shutdown(_socket.SHUT_WR)
            while octets > 0:
                # Not `self.receive`: TLS input need not be decrypted.
                data = Stream.receive(self, max(end - monotonic(), 0.0))
                if not data:
                    break
                octets -= len(data)
        except (OSError, GreenletExit):
            pass  # reset, out of time, or interrupted
        self.close()

    def abort(self) -> None:
        """Close with a reset, so that the peer knows that the response is incomplete.

        If the end of the connection ends the body (uwsgi, HTTP/1.0), only a reset shows that:
        after a FIN nginx ended the client's response normally. For a unix socket, which has no
        resets, this is a normal close.
        """
        try:
            self.sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, RESET)
        except OSError:
            pass  # closed already
        self.deadline = inf
        self.forget()

    def forget(self) -> None:
        """Close this process's descriptor only: another process may have the connection."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None     # libev would start it again, and abort
        self.sock.close()

    def close(self) -> None:
        """Close the connection; a second call does nothing.

        It ends even if a process that the application has forked still has a copy.
        """
        self.deadline = inf
        try:
            self.sock.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass  # closed already, or handed over to the application
        self.forget()


def has_input(sock: _socket.socket) -> bool:
    """Whether a read would return at once, with bytes or at the end."""
    try:
        sock.recv(1, _socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def in_greenlets(hub: Any, serve: Callable[..., None]) -> Callable[[Batch], None]:
    """Return a function that serves each connection of a batch in a greenlet of its own.

    Args:
        hub: the hub of this thread.
        serve: called with socket, peer's address and listener; it runs at once, until its
            first wait.
    """
    def serve_batch(batch: Batch) -> None:
        for fd, address, listener in batch:
            sock = adopt(fd, listener.address.family)
            greenlet(serve, hub).switch(sock, address, listener)
    return serve_batch


# What says something about a connection without taking it. A descriptor is asked for in order
# to use it, so `fileno` takes.
LOOKING = frozenset(("family", "type", "proto", "getpeername", "getsockname", "getsockopt"))


class HandedSocket:
    """The connection as a socket for upgrade libraries (`geventuwsgi.socket`).

    Every connection has one, so it must cost nothing: the real cooperative socket, a duplicate
    of the connection's, is created on first use. After that the connection belongs to the
    library, and the server sends nothing more on it.

    Attributes:
        over: the request is over, and can no longer take the connection.
        detached: the application keeps the connection after the request, on purpose.
    """

    __slots__ = ("over", "detached", "_stream", "_real", "_shut_down")

    def __init__(self, stream: Stream) -> None:
        self.over = self.detached = False
        self._stream = stream
        self._real: Any = None

    @property
    def taken(self) -> bool:
        """Whether the application has used the socket."""
        return self._real is not None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._real is None and name in LOOKING:
            return self._look(name)
        if name == "detach":
            self.set_detached()
        return getattr(self.take(), name)

    def _look(self, name: str) -> Any:
        """Return an attribute that says something about the connection and takes nothing."""
        if self.over:
            raise RequestOver
        return getattr(self._stream.sock, name)

    def set_detached(self) -> None:
        """Leave the connection open when the request is over."""
        self.detached = True

    def shut_down(self) -> None:
        """End a connection that was taken: the library may have kept a duplicate."""
        if not self.detached:
            try:
                self._shut_down(_socket.SHUT_RDWR)
            except OSError:
                pass  # the client or the library has ended it

    def take(self) -> Any:
        """Return the real socket; from the first call on the connection is the library's."""
        if self._real is None:
            if self.over:
                raise RequestOver
            self._real = self._take()
        return self._real

    def _take(self) -> Any:
        stream: Any = self._stream
        sock = stream.sock
        self._shut_down = sock.shutdown
        stream.sock = HandedOver(sock)
        return cooperative_socket(
            sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))


class HandedOver:
    """The socket of a stream that was handed over: it can only be closed."""

    def __init__(self, sock: _socket.socket) -> None:
        self.fileno = sock.fileno
        self.close = sock.close

    def send(self, *_: object) -> int:
        raise BrokenPipeError("the connection was handed over to the application")

    sendmsg = recv = shutdown = setsockopt = send
