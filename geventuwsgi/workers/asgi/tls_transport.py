"""TLS between an accepted socket's transport and its connection.

To the socket's transport this is the protocol, to the connection it is the transport, so the
connection knows nothing of TLS. asyncio's own TLS needs a coroutine and a task for each
accepted socket, and passes nothing to the connection before the handshake is complete, so
that no deadline of the connection could cover it.
"""

import ssl
from collections.abc import Callable
from typing import Any

from ...errors import ClientDisconnected
from ...net.tls_engine import RECEIVE, RECORD, HandshakeFailed, TlsEngine


class SecureTransport:
    """One connection through TLS.

    Args:
        plain: the transport of the socket; from now on this is its protocol.
        context: of the listener.
        connection: receives the decrypted bytes, once the handshake is complete.
        secured: called when it is, before the first bytes are passed on.
        failed: called with the reason when it fails; the peer was sent the alert.

    Attributes:
        engine: the state of TLS; None when the connection is closed. A connection's objects
            refer to each other and wait for the garbage collector, OpenSSL's 20 to 60 KB
            must not.
    """

    __slots__ = ("engine", "_plain", "_connection", "_secured", "_failed", "_parting", "_loop",
                 "_reading", "_held", "is_closing", "get_write_buffer_size", "get_extra_info",
                 "pause_writing", "resume_writing")

    is_plain = False

    def __init__(self, plain: Any, context: ssl.SSLContext, connection: Any, loop: Any,
                 secured: Callable[[], None], failed: Callable[[str], None]) -> None:
        self.engine: TlsEngine | None = TlsEngine(context)
        self._plain = plain
        self._connection = connection
        self._loop = loop
        self._secured = secured
        self._failed = failed
        self._parting = False
        self._reading = True
        self._held = False  # the socket is not read before what the engine has was passed on
        self.is_closing = plain.is_closing
        self.get_write_buffer_size = plain.get_write_buffer_size
        self.get_extra_info = plain.get_extra_info
        self.pause_writing = connection.pause_writing
        self.resume_writing = connection.resume_writing
        plain.set_protocol(self)

    @property
    def established(self) -> bool:
        """Whether the handshake is complete and neither side has closed."""
        return self.engine is not None and self.engine.established

    def forget(self) -> None:
        """As that of the socket's transport."""
        self._plain.forget()

    # Called by the socket's transport.

    def feed(self, data: bytes) -> None:
        """Bytes came."""
        if self._parting:
            self._connection.feed(data)  # they are only counted
            return
        for start in range(0, len(data), RECEIVE):
            engine = self.engine
            if engine is None:
                return
            engine.feed(data[start:start + RECEIVE] if len(data) > RECEIVE else data)
            if engine.established or self._do_handshake(engine):
                self._pump()

    def eof_received(self) -> None:
        """The peer closed without a close_notify."""
        self._reading = False
        if self.established or self._parting:
            self._connection.eof_received()
        else:
            self._plain.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        if self.engine is not None:
            self.engine.established = False  # `_pump` may be running
        self.engine = None
        self._connection.connection_lost(error)

    def _do_handshake(self, engine: TlsEngine) -> bool:
        """Make the next step of the handshake; return whether it is complete."""
        try:
            done = engine.do_handshake()
        except HandshakeFailed as error:
            self._flush()
            self._failed(str(error))
            return False
        if not done:
            self._flush()
            return False
        self._secured()
        if engine.tls.version() != "TLSv1.3":
            self._flush()  # else it can wait for the first response: tickets
        return engine.established

    def _pump(self) -> None:
        """Pass on what came, as long as the connection reads."""
        engine = self.engine
        if engine is None:
            return
        while engine.established and self._reading:
            try:
                data = engine.read()
            except ClientDisconnected:
                self._flush()
                self._plain.close()
                return
            if data is None:
                if self._held:
                    self._held = False
                    self._plain.resume_reading()
                return
            if not data:
                self._reading = False
                self._plain.end_reading()
                self._connection.eof_received()
                return
            self._connection.feed(data)

    # Called by the connection.

    def is_reading(self) -> bool:
        """Whether bytes are passed on now."""
        return self._reading

    def pause_reading(self) -> None:
        """Pass on no more bytes."""
        self._reading = False
        self._plain.pause_reading()

    def resume_reading(self) -> None:
        """Pass on bytes again. Those that came already are first, from a callback of the loop;
        until then nothing is read, so that the end of the connection cannot overtake them."""
        self._reading = True
        if self.established and self.engine.has_input():  # type: ignore[union-attr]
            self._held = True
            self._loop.call_soon(self._pump)
        else:
            self._plain.resume_reading()

    def write(self, data: bytes) -> None:
        """Encrypt and send bytes, or keep what the kernel does not accept."""
        engine = self.engine
        if engine is None:
            return
        try:
            for start in range(0, len(data), RECORD):
                engine.encrypt(memoryview(data)[start:start + RECORD] if len(data) > RECORD
                               else data)
                self._flush()
            if self._connection.writing_paused:
                self.pause_writing()  # again, as its deadline compares with all that is unsent
        except ClientDisconnected:
            self._plain.close()

    def write_eof(self) -> None:
        """End our side once all is sent; what still comes is counted, not decrypted."""
        self._close_notify()
        self._parting = True
        self._plain.write_eof()

    def close(self) -> None:
        """Close once all is sent, the close_notify too."""
        self._close_notify()
        self._plain.close()

    def abort(self) -> None:
        """Close with a reset and without a close_notify: what the peer has is incomplete."""
        if self.engine is not None:
            self.engine.established = False
        self._plain.abort()

    def _close_notify(self) -> None:
        engine = self.engine
        if engine is not None and engine.close_notify():
            self._flush()

    def _flush(self) -> None:
        if self.engine is not None and (data := self.engine.output()):
            self._plain.write(data)
