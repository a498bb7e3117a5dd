"""A `Stream` over TLS, and the socket of such a connection for upgrade libraries.

- The engine encrypts and decrypts; `Stream` does the waiting.
- OpenSSL's own output (handshake messages, tickets, replies to key updates) is sent with the
  next response or before the next wait, to save system calls.
- A close sends close_notify, so that the client knows that a body which ends with the
  connection is complete; an abort does not.
"""

import _socket
import os
import ssl
from math import inf
from time import monotonic
from typing import Any

from gevent import getcurrent, socket, spawn
from gevent.exceptions import ConcurrentObjectUseError
from gevent.lock import RLock
from greenlet import GreenletExit

from ..errors import ClientDisconnected
from .acceptor import adopt
from .deadlines import NEVER
from .stream import SENDS, HandedOver, HandedSocket, Stream
from .tls_engine import RECEIVE, RECORD, HandshakeFailed, TlsEngine


class SecureStream(Stream):
    """A connection that speaks TLS from here on.

    Args:
        plain: the stream so far, which must not be used any more.
        context: of the listener.
    """

    __slots__ = ("engine",)

    def __init__(self, plain: Stream, context: ssl.SSLContext) -> None:
        for name in Stream.__slots__:  # socket, watcher and hub
            setattr(self, name, getattr(plain, name))
        self.engine = TlsEngine(context)

    def handshake(self, data: bytes, timeout: float) -> None:
        """Do the server's part of the handshake.

        Args:
            data: the bytes that were received before.
            timeout: seconds for the whole handshake.

        Raises:
            HandshakeFailed: as for `TlsEngine.do_handshake`; the alert was sent.
            Expired: it took too long.
            ClientDisconnected: the connection ended.
        """
        end = monotonic() + timeout
        engine = self.engine
        while True:
            if not data:
                raise ClientDisconnected("it ended within the TLS handshake")
            engine.feed(data)
            try:
                if engine.do_handshake():
                    return
            except HandshakeFailed:
                self._try(engine.output())
                raise
            self._flush()
            data = Stream.receive(self, max(end - monotonic(), 0.0))

    def receive(self, timeout: float, size: int = RECORD) -> bytes:
        engine = self.engine
        size = min(size, RECORD)
        end = 0.0
        while True:
            try:
                data = engine.read(size)
            except ClientDisconnected:
                self._try(engine.output())
                raise
            if data is not None:
                return data
            self._flush()
            now = monotonic()
            # One deadline for a whole record, whose bytes may come one by one.
            end = end or now + timeout
            data = Stream.receive(self, max(end - now, 0.0), RECEIVE)
            if not data:
                return b""
            engine.feed(data)

    def receive_now(self, timeout: float) -> bytes:
        return self.receive(timeout)

    def send(self, data: bytes) -> None:
        if self.sending:
            raise ConcurrentObjectUseError(SENDS)
        if len(data) <= RECORD:
            self.engine.encrypt(data)
            self._flush()
            return
        self._send_records(memoryview(data), 0)

    def send_pair(self, head: bytes, body: bytes) -> None:
        if self.sending:
            raise ConcurrentObjectUseError(SENDS)
        engine = self.engine
        if len(head) + len(body) <= RECORD:
            engine.encrypt(head + body)
            Stream.send_pair(self, b"", engine.output())
            return
        view = memoryview(body)
        engine.encrypt(head)
        engine.encrypt(view[:RECORD])
        Stream.send_pair(self, b"", engine.output())
        self._send_records(view, RECORD)

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """Send a part of a file; it has to be read, as sendfile cannot encrypt it."""
        left = count
        while left and (data := os.pread(fd, min(left, RECORD), offset)):
            self.send(data)
            offset += len(data)
            left -= len(data)
        return count - left

    def send_now(self, data: bytes) -> None:
        self.engine.encrypt(data)
        self._try(self.engine.output())

    def take(self, size: int = RECORD) -> bytes | None:
        engine = self.engine
        size = min(size, RECORD)
        while (found := engine.read(size)) is None:
            data = Stream.take(self, RECEIVE)
            if not data:
                return data
            engine.feed(data)
        return found

    def seal(self, data: bytes) -> bytes:
        engine = self.engine
        pieces = []
        for start in range(0, len(data), RECORD):
            engine.encrypt(data[start:start + RECORD])
            pieces.append(engine.output())
        return b"".join(pieces)

    def finish(self) -> None:
        self._close_notify()
        Stream.finish(self)

    @property
    def buffered(self) -> bool:  # type: ignore[override]
        return self.engine.has_input()

    def readable(self) -> bool:
        return self.buffered or Stream.readable(self)

    def linger(self, seconds: float, octets: int) -> None:
        try:
            self._close_notify()
        except GreenletExit:
            seconds = 0.0   # interrupted
        Stream.linger(self, seconds, octets)

    def abort(self) -> None:
        self.engine.established = False
        Stream.abort(self)

    def close(self) -> None:
        self._close_notify()
        Stream.close(self)

    def _send_records(self, view: memoryview, start: int) -> None:
        encrypt = self.engine.encrypt
        for start in range(start, len(view), RECORD):
            encrypt(view[start:start + RECORD])
            self._flush()

    def _flush(self) -> None:
        if data := self.engine.output():
            Stream.send(self, data)

    def _try(self, data: bytes) -> bytes:
        """Send without waiting; return what the kernel did not accept."""
        try:
            return data[self.sock.send(data):] if data else b""
        except BlockingIOError:
            return data
        except OSError:
            return b""  # the connection is gone

    def _close_notify(self) -> None:
        """Send close_notify; wait for space in the kernel's buffer unless on the hub."""
        if not self.engine.close_notify():
            return
        rest = self._try(self.engine.output())
        if rest and not self.sending and getcurrent() is not self._hub:
            try:
                Stream.send(self, rest)
            except ClientDisconnected:
                pass  # as above
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
        # The raw one: gevent's would make the wait of `_copy_out` fail, and reset the connection.
        self._shut_down = inner._sock.shutdown
        tunnel = _TunnelStream(stream)
        stream.sock = HandedOver(stream.sock)
        inward = spawn(_copy_in, tunnel, inner)
        spawn(_copy_out, tunnel, inner, inward)
        return outer


class _TunnelStream(SecureStream):
    """The TLS side of a tunnel, which two greenlets use at the same time.

    Args:
        stream: its connection and TLS state move here; it can no longer use them.
    """

    __slots__ = ("_lock",)

    def __init__(self, stream: SecureStream) -> None:
        for name in Stream.__slots__:
            setattr(self, name, getattr(stream, name))
        self.engine = stream.engine.detach()
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
        while data := tunnel.receive(NEVER, RECORD):
            inner.sendall(data)
        inner.shutdown(socket.SHUT_WR)
    except ClientDisconnected:
        inner.close()  # the library notices that the connection is broken
    except OSError:
        pass  # the library has closed its socket, which the other greenlet notices


def _copy_out(tunnel: _TunnelStream, inner: socket.socket, inward: Any) -> None:
    """Copy what the library sends, until it closes its socket; then end the connection."""
    try:
        while data := inner.recv(RECORD):
            tunnel.send(data)
    except OSError:
        tunnel.abort()
    inward.kill()
    tunnel.close()
    inner.close()
