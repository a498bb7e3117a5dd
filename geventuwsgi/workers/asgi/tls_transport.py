"""TLS between an accepted socket's transport and its connection.

The rules of this room: OpenSSL sees memory only (`ssl.MemoryBIO`). To the socket's transport
this is the protocol, to the connection it is the transport, so the connection knows nothing
of TLS. asyncio's own TLS would want a coroutine and a task for each accepted socket, and
tells the connection nothing before the handshake is over, so that no deadline of ours
could hold for it.
"""

import ssl
from collections.abc import Callable
from typing import Any

from ...net import tls

# The largest plaintext of a record, RFC 8446 section 5.1, and what is encrypted at a time. A
# memory BIO never shrinks: it keeps so much, and a third more, as long as the connection lives.
_RECORD = 16384
_RECEIVE = 20480  # a whole record with what is around it, and a little more


class SecureTransport:
    """One connection through TLS.

    Args:
        plain: the transport of the socket; from now on this is its protocol.
        context: of the listener.
        connection: whom to tell, once the handshake is made.
        secured: called when it is, before the first bytes are told.
        failed: called with the reason when it cannot be made; the peer was sent the alert.

    Attributes:
        tls: the TLS side of the connection; None when that is closed. A connection's objects
            refer to each other and wait for the garbage collector, OpenSSL's 20 to 60 KB
            must not.
        greeted: the handshake is made, and no farewell was said.
    """

    __slots__ = ("tls", "handshake_done", "_plain", "_connection", "_secured", "_failed",
                 "_incoming",
                 "_outgoing", "_parting", "_loop", "is_reading", "is_closing",
                 "get_write_buffer_size", "get_extra_info", "pause_writing", "resume_writing")

    is_plain = False

    def __init__(self, plain: Any, context: ssl.SSLContext, connection: Any, loop: Any,
                 secured: Callable[[], None], failed: Callable[[str], None]) -> None:
        self._plain = plain
        self._connection = connection
        self._loop = loop
        self._secured = secured
        self._failed = failed
        self._incoming: Any = ssl.MemoryBIO()
        self._outgoing: Any = ssl.MemoryBIO()
        self.tls: Any = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.handshake_done = False
        self._parting = False
        self.is_reading = plain.is_reading
        self.is_closing = plain.is_closing
        self.get_write_buffer_size = plain.get_write_buffer_size
        self.get_extra_info = plain.get_extra_info
        self.pause_writing = connection.pause_writing
        self.resume_writing = connection.resume_writing
        plain.set_protocol(self)

    # What the socket's transport tells.

    def take(self, data: bytes) -> None:
        """Bytes came."""
        if self._parting:
            self._connection.take(data)  # they are only counted
            return
        for start in range(0, len(data), _RECEIVE):
            if self.tls is None:
                return
            self._incoming.write(data[start:start + _RECEIVE] if len(data) > _RECEIVE else data)
            if self.handshake_done or self._do_handshake():
                self._pump()

    def eof_received(self) -> None:
        """The peer closed without a farewell."""
        if self.handshake_done or self._parting:
            self._connection.eof_received()
        else:
            self._plain.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        self.handshake_done = False
        self.tls = self._incoming = self._outgoing = None
        self._connection.connection_lost(error)

    def _do_handshake(self) -> bool:
        """Make the next step of the handshake; tell whether it is made."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()
            self._failed(tls.reason_of(error))
            return False
        self.handshake_done = True
        self._secured()
        if self.tls.version() != "TLSv1.3":
            self._flush()  # else it can wait for the first response: tickets
        return self.handshake_done

    def _pump(self) -> None:
        """Tell the connection what came, as long as it wants to know."""
        incoming, secure = self._incoming, self.tls
        if secure is None:
            return
        while (incoming.pending or secure.pending()) and self.handshake_done and self.is_reading():
            try:
                data = secure.read(_RECORD)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError:
                self.handshake_done = False
                self._flush()
                self._plain.close()
                return
            if not data:
                self._plain.pause_reading()
                self._connection.eof_received()
                return
            self._connection.take(data)

    # What the connection asks for.

    def pause_reading(self) -> None:
        """Tell of no more bytes."""
        self._plain.pause_reading()

    def resume_reading(self) -> None:
        """Tell of bytes again, of those that came already from a callback of the loop."""
        self._plain.resume_reading()
        if self.tls is not None and (self._incoming.pending or self.tls.pending()):
            self._loop.call_soon(self._pump)

    def write(self, data: bytes) -> None:
        """Encrypt and send octets, or keep what the kernel does not take."""
        if self.tls is None:
            return
        secure = self.tls.write
        try:
            for start in range(0, len(data), _RECORD):
                piece = memoryview(data)[start:start + _RECORD] if len(data) > _RECORD else data
                sent = secure(piece)
                while sent < len(piece):  # a client may want smaller records (RFC 6066)
                    sent += secure(memoryview(piece)[sent:])
                self._flush()
        except ssl.SSLError:
            self._plain.close()

    def write_eof(self) -> None:
        """End our side once all is sent; what still comes is counted, not decrypted."""
        self._close_notify()
        self._parting = True
        self._plain.write_eof()

    def close(self) -> None:
        """Close once all is sent, the farewell too."""
        self._close_notify()
        self._plain.close()

    def abort(self) -> None:
        """Close with a reset and without a farewell: what the peer has is not all of it."""
        self.handshake_done = False
        self._plain.abort()

    def _close_notify(self) -> None:
        if not self.handshake_done:
            return
        self.handshake_done = False
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # it wants to read the peer's, which nobody waits for
        self._flush()

    def _flush(self) -> None:
        if self._outgoing is not None and self._outgoing.pending:
            self._plain.write(self._outgoing.read())
