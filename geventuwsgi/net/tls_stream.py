"""A `Stream` over TLS, and the socket of such a connection for upgrade libraries.

- OpenSSL only uses memory (`ssl.MemoryBIO`); `Stream` does the waiting. With the socket itself
  OpenSSL is as fast for a small request (12 us of CPU), but makes a system call for each 16 KiB
  record: 88 us for 100 KB, instead of 66.
- OpenSSL's own output (handshake, tickets, key updates) is sent with the next response or
  before the next wait, to save system calls.
- A close sends close_notify, so that the client knows that a body which ends with the
  connection is complete. After an error no close_notify is sent.
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

# The largest plaintext of a record (RFC 8446 section 5.1), and the size of a piece to encrypt.
# A memory BIO never shrinks: a connection keeps this much and a third more. Larger pieces save
# system calls but no CPU: 100 KB take 74 us, in pieces of 32 KiB 80.
_RECORD = 16384
_RECEIVE = 20480  # more than a record with its header and padding
_PIECE = 16384
_NEVER = 1e9  # seconds: there is no time limit for the receiving of an upgraded connection


def _handed_over(*_: object) -> NoReturn:
    raise ssl.SSLError(errno.EPIPE, "the connection was handed over to the application")


class HandshakeFailed(ClientDisconnected):
    """The peer and this server did not agree on a TLS connection."""


class SecureStream(Stream):
    """A connection over TLS.

    Args:
        plain: the stream so far, which must not be used any more.
        context: of the listener.

    Attributes:
        tls: the `SSLObject` of the connection.
    """

    __slots__ = ("tls", "_incoming", "_outgoing", "_read", "_write", "_established")

    def __init__(self, plain: Stream, context: ssl.SSLContext) -> None:
        for name in Stream.__slots__:  # socket, watcher and hub
            setattr(self, name, getattr(plain, name))
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._read: Any = self.tls.read
        self._write: Any = self.tls.write
        self._established = False

    def handshake(self, data: bytes, timeout: float) -> None:
        """Do the server's part of the handshake.

        Args:
            data: the bytes that were received before.
            timeout: seconds for the whole handshake.

        Raises:
            HandshakeFailed: there is no common version or cipher, a certificate is wrong, or
                the peer does not speak TLS; the alert was sent.
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
                raise HandshakeFailed(tls.reason_of(error)) from None
            data = Stream.receive(self, max(end - monotonic(), 0.0))
        self._established = True

    def receive(self, timeout: float, size: int = _RECORD) -> bytes:
        incoming = self._incoming
        end = 0.0
        while True:
            if incoming.pending or self.tls.pending():
                try:
                    return self._read(min(size, _RECORD))
                except ssl.SSLWantReadError:
                    pass  # an incomplete record, or one without data
                except ssl.SSLZeroReturnError:
                    return b""
                except ssl.SSLError as error:
                    self._established = False
                    self._try(self._outgoing.read())
                    raise ClientDisconnected(tls.reason_of(error)) from error
            self._flush()
            now = monotonic()
            # One deadline for a whole record, whose bytes may come one by one.
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
        """Send a part of a file; it has to be read, as sendfile cannot encrypt it."""
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
                    self._established = False
                    raise ClientDisconnected(tls.reason_of(error)) from error
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
        self._established = False
        Stream.abort(self)

    def close(self) -> None:
        self._close_notify()
        Stream.close(self)

    def hand_over(self) -> None:
        """Stop using the TLS state, which belongs to another stream now."""
        self._established = False
        self._read = self._write = _handed_over

    def _encrypt(self, data: bytes | memoryview) -> None:
        write = self._write
        try:
            sent = write(data) if data else 0
            while sent < len(data):  # a client may ask for smaller records (RFC 6066)
                sent += write(memoryview(data)[sent:])
        except ssl.SSLError as error:
            raise ClientDisconnected(tls.reason_of(error)) from error

    def _flush(self) -> None:
        if self._outgoing.pending:
            Stream.send(self, self._outgoing.read())

    def _try(self, data: bytes) -> bytes:
        """Send without waiting; return what the kernel did not accept."""
        try:
            return data[self.sock.send(data):] if data else b""
        except BlockingIOError:
            return data
        except OSError:
            return b""  # the connection is broken

    def _close_notify(self) -> None:
        """Send close_notify; wait for space in the kernel's buffer unless on the hub."""
        if not self._established:
            return
        self._established = False
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # it would read the peer's close_notify, which is not needed
        rest = self._try(self._outgoing.read())
        if rest and getcurrent() is not self._hub:
            try:
                Stream.send(self, rest)
            except ClientDisconnected:
                pass  # the connection is broken
        self.deadline = inf


class TunnelSocket(HandedSocket):
    """`geventuwsgi.socket` of a connection over TLS.

    A WebSocket library needs a real socket, whose descriptor it can poll. It gets one end of a
    socket pair; two greenlets copy between the other end and TLS.
    """

    __slots__ = ()

    def _take(self) -> Any:
        stream: Any = self._stream
        inner, outer = socket.socketpair()
        tunnel = _TunnelStream(stream)
        stream.hand_over()
        stream.sock = HandedOver(stream.sock)
        inward = spawn(_copy_in, tunnel, inner)
        spawn(_copy_out, tunnel, inner, inward)
        return outer


class _TunnelStream(SecureStream):
    """The TLS side of a tunnel, which two greenlets use at the same time.

    Args:
        stream: the stream whose connection and TLS state it takes over.
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
        with self._lock:  # records must be sent in the order in which they were made
            SecureStream._flush(self)


def _copy_in(tunnel: _TunnelStream, inner: socket.socket) -> None:
    """Copy what the client sends, until the end."""
    try:
        while data := tunnel.receive(_NEVER, _PIECE):
            inner.sendall(data)
        inner.shutdown(socket.SHUT_WR)
    except (ClientDisconnected, ssl.SSLError):
        inner.close()  # the library notices that the connection is broken
    except OSError:
        pass  # the library has closed its socket, which the other greenlet notices


def _copy_out(tunnel: _TunnelStream, inner: socket.socket, inward: Any) -> None:
    """Copy what the library sends, until it closes its socket; then end the connection."""
    try:
        while data := inner.recv(_PIECE):
            tunnel.send(data)
    except OSError:
        tunnel.abort()
    inward.kill()
    tunnel.close()
    inner.close()
