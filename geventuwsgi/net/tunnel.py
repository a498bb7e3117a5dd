"""A connection through TLS handed over as a plain socket, for upgrade libraries.

A library that speaks WebSocket wants a real socket, with a descriptor that it may poll. So
it gets one end of a socket pair, and two greenlets carry what passes between the other end
and TLS. That costs two copies and only where it happens: the connection's own requests know
nothing of it.
"""

import _socket
import os
import ssl
from typing import Any

from gevent import socket, spawn
from gevent.lock import RLock

from ..errors import ClientDisconnected
from .accept import adopt
from .tls_stream import SecureStream
from .stream import HandedSocket, Stream, Surrendered

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
        stream.sock = Surrendered(stream.sock)
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
