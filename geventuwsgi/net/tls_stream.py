"""A stream through TLS, and the plain socket that an upgrade library gets of one.

Rules:

- The engine encrypts and decrypts; the waiting is `Stream`'s.
- What OpenSSL has to send on its own (handshake messages, tickets, replies to key updates)
  leaves with the next response, or before the next wait: no `send` of its own where one
  can be saved.
- A connection is closed with a close_notify, so that a body that ends with it is known to be
  complete; one that is aborted is closed without.
"""

import _socket
import os
import ssl
from math import inf
from time import monotonic
from typing import Any

from gevent import getcurrent, socket, spawn
from gevent.lock import RLock

from ..errors import ClientDisconnected
from .acceptor import adopt
from .stream import HandedOver, HandedSocket, Stream
from .tls_engine import RECEIVE, RECORD, HandshakeFailed, TlsEngine


class SecureStream(Stream):
    """A connection that speaks TLS from here on.

    Args:
        plain: the stream so far, which must not be used any more.
        context: of the listener.
    """

    __slots__ = ("engine",)

    def __init__(self, plain: Stream, context: ssl.SSLContext) -> None:
        for name in Stream.__slots__:  # socket, watcher and hub go over to this one
            setattr(self, name, getattr(plain, name))
        self.engine = TlsEngine(context)

    def handshake(self, data: bytes, timeout: float) -> None:
        """Make the server's part of the handshake.

        Args:
            data: the bytes that were received already.
            timeout: seconds for all of it.

        Raises:
            HandshakeFailed: as `TlsEngine.do_handshake`; the peer was sent the alert.
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
            # One deadline for a whole record: its bytes may come one by one.
            end = end or now + timeout
            data = Stream.receive(self, max(end - now, 0.0), RECEIVE)
            if not data:
                return b""
            engine.feed(data)

    def receive_now(self, timeout: float) -> bytes:
        return self.receive(timeout)

    def send(self, data: bytes) -> None:
        if len(data) <= RECORD:
            self.engine.encrypt(data)
            self._flush()
            return
        self._send_records(memoryview(data), 0)

    def send_pair(self, head: bytes, body: bytes) -> None:
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

    def send_file(self, fd: int, offset: int, count: int) -> None:
        """Send a part of a file, read piece by piece: the kernel cannot encrypt it."""
        while count:
            data = os.pread(fd, min(count, RECORD), offset)
            if not data:
                raise ClientDisconnected(f"the file ended {count} bytes early")
            self.send(data)
            offset += len(data)
            count -= len(data)

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

    def readable(self) -> bool:
        return self.engine.has_input() or Stream.readable(self)

    def linger(self, seconds: float, octets: int) -> None:
        self._close_notify()
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
        if self.engine.has_output():
            Stream.send(self, self.engine.output())

    def _try(self, data: bytes) -> bytes:
        """Send without waiting; return what the kernel did not take."""
        try:
            return data[self.sock.send(data):] if data else b""
        except BlockingIOError:
            return data
        except OSError:
            return b""  # the connection is gone

    def _close_notify(self) -> None:
        """Send the close_notify; wait for room in the kernel unless on the hub."""
        if not self.engine.close_notify():
            return
        rest = self._try(self.engine.output())
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

_NEVER = 1e9  # seconds: how long an upgraded connection may be silent is the library's affair


class TunnelSocket(HandedSocket):
    """`geventuwsgi.socket` of a connection through TLS."""

    __slots__ = ()

    def _take(self) -> Any:
        stream: Any = self._stream
        inner, outer = socket.socketpair()
        carrier = _Carrier(stream)
        stream.sock = HandedOver(stream.sock)
        inward = spawn(_carry_in, carrier, inner)
        spawn(_carry_out, carrier, inner, inward)
        return outer


class _Carrier(SecureStream):
    """The TLS side of a tunnel, which two greenlets use at a time.

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
        with self._lock:  # records leave in the order in which they were made
            SecureStream._flush(self)


def _carry_in(carrier: _Carrier, inner: socket.socket) -> None:
    """Carry what the client sends, until it ends."""
    try:
        while data := carrier.receive(_NEVER, RECORD):
            inner.sendall(data)
        inner.shutdown(socket.SHUT_WR)
    except ClientDisconnected:
        inner.close()  # broken off: the library sees that
    except OSError:
        pass  # the library is gone, which the other greenlet sees


def _carry_out(carrier: _Carrier, inner: socket.socket, inward: Any) -> None:
    """Carry what the library sends, until it closes; then end the connection."""
    try:
        while data := inner.recv(RECORD):
            carrier.send(data)
    except OSError:
        carrier.abort()
    inward.kill()
    carrier.close()
    inner.close()
