"""A stream through TLS: what `Stream` promises, encrypted.

The rules of this room:

- OpenSSL sees memory only (`ssl.MemoryBIO`), the waiting is `Stream`'s. Handing OpenSSL
  the socket costs as much for a small request (12 us of CPU), but a system call for each
  16 KiB record of a large one: 88 us for 100 KB, 66 this way.
- What OpenSSL wants to say (its part of the handshake, tickets, answers to key updates)
  leaves with the next response, or before the next wait: no `send` of its own where one
  can be saved.
- A connection is closed with a farewell (close_notify), so that a body that ends with it
  is known to be whole; one that breaks off is closed without.
"""

import _socket
import errno
import os
import ssl
from math import inf
from time import monotonic
from typing import Any, NoReturn

from gevent import getcurrent, socket, spawn
from gevent.lock import RLock

from ..errors import ClientDisconnected
from . import tls
from .acceptor import adopt
from .stream import HandedSocket, Stream, HandedOver

# The largest plaintext of a record, RFC 8446 section 5.1, and what is encrypted at a time. A
# memory BIO never shrinks: it keeps so much, and a third more, as long as the connection lives.
# Larger pieces save system calls and no CPU: 100 KB cost 74 us, in pieces of 32 KiB 80.
_RECORD = 16384
_RECEIVE = 20480  # a whole record with what is around it, and a little more


def _surrendered(*_: object) -> NoReturn:
    raise ssl.SSLError(errno.EPIPE, "the connection was handed over to the application")


class HandshakeFailed(ClientDisconnected):
    """The peer and this server did not agree on a TLS connection."""


class SecureStream(Stream):
    """A connection that speaks TLS from here on.

    Args:
        plain: the stream so far, which must not be used any more.
        context: of the listener.

    Attributes:
        tls: the TLS side of the connection.
    """

    __slots__ = ("tls", "_incoming", "_outgoing", "_read", "_write", "_greeted")

    def __init__(self, plain: Stream, context: ssl.SSLContext) -> None:
        for name in Stream.__slots__:  # socket, watcher and hub go over to this one
            setattr(self, name, getattr(plain, name))
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._read: Any = self.tls.read
        self._write: Any = self.tls.write
        self._greeted = False

    def handshake(self, data: bytes, timeout: float) -> None:
        """Make the server's part of the handshake.

        Args:
            data: the bytes that were received already.
            timeout: seconds for all of it.

        Raises:
            HandshakeFailed: there is no version, cipher or certificate to agree on, or the
                peer speaks no TLS at all; it was sent the alert that says so.
            Expired: it took too long.
            ClientDisconnected: the connection ended.
        """
        end = monotonic() + timeout
        while True:
            if not data:
                raise ClientDisconnected("it ended within the TLS handshake")
            self._incoming.write(data)
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
            except ssl.SSLError as error:
                self._try(self._outgoing.read())
                raise HandshakeFailed(tls.why(error)) from None
            data = Stream.receive(self, max(end - monotonic(), 0.0))
        self._greeted = True

    def receive(self, timeout: float, size: int = _RECORD) -> bytes:
        incoming = self._incoming
        end = 0.0
        while True:
            if incoming.pending or self.tls.pending():
                try:
                    return self._read(min(size, _RECORD))
                except ssl.SSLWantReadError:
                    pass  # part of a record, or nothing for the application
                except ssl.SSLZeroReturnError:
                    return b""
                except ssl.SSLError as error:
                    self._greeted = False
                    self._try(self._outgoing.read())
                    raise ClientDisconnected(tls.why(error)) from error
            self._flush()
            now = monotonic()
            # One deadline for a whole record: its bytes may come one by one.
            end = end or now + timeout
            data = Stream.receive(self, max(end - now, 0.0), _RECEIVE)
            if not data:
                return b""
            incoming.write(data)

    def receive_now(self, timeout: float) -> bytes:
        return self.receive(timeout)

    def send(self, data: bytes) -> None:
        if len(data) <= _RECORD:
            self._encrypt(data)
            self._flush()
            return
        view = memoryview(data)
        for start in range(0, len(data), _RECORD):
            self._encrypt(view[start:start + _RECORD])
            self._flush()

    def send_pair(self, head: bytes, body: bytes) -> None:
        if len(head) + len(body) <= _RECORD:
            self._encrypt(head + body)
            Stream.send_pair(self, b"", self._outgoing.read())
            return
        view = memoryview(body)
        self._encrypt(head)
        self._encrypt(view[:_RECORD])
        Stream.send_pair(self, b"", self._outgoing.read())
        for start in range(_RECORD, len(body), _RECORD):
            self._encrypt(view[start:start + _RECORD])
            self._flush()

    def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send a part of a file, read piece by piece: the kernel cannot encrypt it."""
        while count:
            data = os.pread(fd, min(count, _RECORD), offset)
            if not data:
                raise ClientDisconnected(f"the file ended {count} bytes early")
            self.send(data)
            offset += len(data)
            count -= len(data)

    def send_now(self, data: bytes) -> None:
        self._encrypt(data)
        self._try(self._outgoing.read())

    def take(self, size: int = _RECORD) -> bytes | None:
        incoming = self._incoming
        while True:
            if incoming.pending or self.tls.pending():
                try:
                    return self._read(min(size, _RECORD))
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLZeroReturnError:
                    return b""
                except ssl.SSLError as error:
                    self._greeted = False
                    raise ClientDisconnected(tls.why(error)) from error
            data = Stream.take(self, _RECEIVE)
            if not data:
                return data
            incoming.write(data)

    def seal(self, data: bytes) -> bytes:
        pieces = []
        for start in range(0, len(data), _RECORD):
            self._encrypt(data[start:start + _RECORD])
            pieces.append(self._outgoing.read())
        return b"".join(pieces)

    def finish(self) -> None:
        self._close_notify()
        Stream.finish(self)

    def readable(self) -> bool:
        return bool(self._incoming.pending or self.tls.pending()) or Stream.readable(self)

    def linger(self, seconds: float, octets: int) -> None:
        self._close_notify()
        Stream.linger(self, seconds, octets)

    def abort(self) -> None:
        self._greeted = False
        Stream.abort(self)

    def close(self) -> None:
        self._close_notify()
        Stream.close(self)

    def surrender(self) -> None:
        """Never again use the TLS state, which goes over to somebody else."""
        self._greeted = False
        self._read = self._write = _surrendered

    def _encrypt(self, data: bytes | memoryview) -> None:
        write = self._write
        try:
            sent = write(data) if data else 0
            while sent < len(data):  # a client may want smaller records (RFC 6066)
                sent += write(memoryview(data)[sent:])
        except ssl.SSLError as error:
            raise ClientDisconnected(tls.why(error)) from error

    def _flush(self) -> None:
        if self._outgoing.pending:
            Stream.send(self, self._outgoing.read())

    def _try(self, data: bytes) -> bytes:
        """Send without waiting; return what the kernel did not take."""
        try:
            return data[self.sock.send(data):] if data else b""
        except BlockingIOError:
            return data
        except OSError:
            return b""  # gone: nobody is left to be told

    def _close_notify(self) -> None:
        """Say that nothing more will come; wait for room in the kernel unless on the hub."""
        if not self._greeted:
            return
        self._greeted = False
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # it wants to read the peer's, which nobody waits for
        rest = self._try(self._outgoing.read())
        if rest and getcurrent() is not self._hub:
            try:
                Stream.send(self, rest)
            except ClientDisconnected:
                pass  # as above
        self.deadline = inf


# A connection through TLS handed over as a plain socket, for upgrade libraries.
#
# A library that speaks WebSocket wants a real socket, with a descriptor that it may poll. So
# it gets one end of a socket pair, and two greenlets carry what passes between the other end
# and TLS. That costs two copies and only where it happens: the connection's own requests know
# nothing of it.

_PIECE = 16384
_NEVER = 1e9  # seconds: how long an upgraded connection may be silent is the library's affair


class TunnelSocket(HandedSocket):
    """`geventuwsgi.socket` of a connection through TLS."""

    __slots__ = ()

    def _take(self) -> Any:
        stream: Any = self._stream
        inner, outer = socket.socketpair()
        carrier = _Carrier(stream)
        stream.surrender()
        stream.sock = HandedOver(stream.sock)
        inward = spawn(_carry_in, carrier, inner)
        spawn(_carry_out, carrier, inner, inward)
        return outer


class _Carrier(SecureStream):
    """The TLS side of a tunnel, which two greenlets use at a time.

    Args:
        stream: whose connection and TLS state it takes over.
    """

    __slots__ = ("_lock",)

    def __init__(self, stream: SecureStream) -> None:
        for kind in (Stream, SecureStream):
            for name in kind.__slots__:
                setattr(self, name, getattr(stream, name))
        sock: _socket.socket = stream.sock
        self.sock = adopt(os.dup(sock.fileno()), sock.family)
        self._reader = None
        self._lock = RLock()

    def _flush(self) -> None:
        with self._lock:  # records leave in the order in which they were made
            SecureStream._flush(self)


def _carry_in(carrier: _Carrier, inner: socket.socket) -> None:
    """Carry what the client sends, until it ends."""
    try:
        while data := carrier.receive(_NEVER, _PIECE):
            inner.sendall(data)
        inner.shutdown(socket.SHUT_WR)
    except (ClientDisconnected, ssl.SSLError):
        inner.close()  # broken off: the library sees that
    except OSError:
        pass  # the library is gone, which the other greenlet sees


def _carry_out(carrier: _Carrier, inner: socket.socket, inward: Any) -> None:
    """Carry what the library sends, until it closes; then end the connection."""
    try:
        while data := inner.recv(_PIECE):
            carrier.send(data)
    except OSError:
        carrier.abort()
    inward.kill()
    carrier.close()
    inner.close()
