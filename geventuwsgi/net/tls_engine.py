"""The server's side of a TLS connection: bytes in, bytes out.

- There is no I/O and no gevent. OpenSSL only uses memory (`ssl.MemoryBIO`); the caller
  receives, sends and waits. With the socket itself OpenSSL is as fast for a small request
  (12 us of CPU), but makes a system call for each 16 KiB record: 88 us for 100 KB, instead of
  66.
- Every method may leave bytes to send (handshake messages, session tickets, replies to key
  updates, alerts). The caller sends `output()` at the latest before it waits for the peer.
- After an error `output()` has the alert for the peer, and the connection is unusable.
"""

import errno
import ssl
from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import ClientDisconnected
from . import tls

# The largest plaintext of a record (RFC 8446 section 5.1), and the size of a piece to encrypt.
# A memory BIO never shrinks: a connection keeps this much and a third more. Larger pieces save
# system calls but no CPU: 100 KB take 74 us, in pieces of 32 KiB 80.
RECORD = 16384
RECEIVE = 20480  # more than a record with its header, tag and padding


class HandshakeFailed(ClientDisconnected):
    """The peer and this server did not agree on a TLS connection."""


class TlsEngine:
    """One connection.

    Args:
        context: of the listener.

    Attributes:
        tls: OpenSSL's object, for what the handshake negotiated.
        established: the handshake is complete, and neither an error nor our close_notify
            has ended the connection.
        feed: adds bytes that the peer sent, at most `RECEIVE` at a time.
        output: returns the bytes to send to the peer, possibly none.
    """

    __slots__ = ("tls", "established", "feed", "output", "_incoming", "_outgoing", "_read",
                 "_write")

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        # Bound methods, as each request calls them.
        self.feed: Callable[[bytes], int] = self._incoming.write
        self.output: Callable[[], bytes] = self._outgoing.read
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._read: Any = self.tls.read
        self._write: Any = self.tls.write
        self.established = False

    def do_handshake(self) -> bool:
        """Process the handshake messages that were fed; return whether it is complete.

        Raises:
            HandshakeFailed: there is no common version or cipher, a certificate is wrong, or
                the peer does not speak TLS.
        """
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise HandshakeFailed(tls.reason_of(error)) from None
        self.established = True
        return True

    def has_input(self) -> bool:
        """Whether there are bytes that were fed but not read."""
        return bool(self._incoming.pending or self.tls.pending())

    def read(self, size: int = RECORD) -> bytes | None:
        """Return decrypted bytes; b"" after the peer's close_notify, None if more has to be fed.

        Raises:
            ClientDisconnected: a record was not valid.
        """
        if not (self._incoming.pending or self.tls.pending()):
            return None
        try:
            return self._read(size)  # type: ignore[no-any-return]
        except ssl.SSLWantReadError:
            return None  # an incomplete record, or one without data
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLError as error:
            self.established = False
            raise ClientDisconnected(tls.reason_of(error)) from error

    def encrypt(self, data: bytes | memoryview) -> None:
        """Encrypt up to `RECORD` bytes; `output()` then returns them.

        Raises:
            ClientDisconnected: the connection cannot be written to any more.
        """
        write = self._write
        try:
            sent = write(data) if data else 0
            while sent < len(data):  # a client may ask for smaller records (RFC 6066)
                sent += write(memoryview(data)[sent:])
        except ssl.SSLError as error:
            raise ClientDisconnected(tls.reason_of(error)) from error

    def close_notify(self) -> bool:
        """Announce the end of our data; return whether that is to be sent now.

        The alert makes a body that ends with the connection known to be complete; it is sent
        once, and only on an established connection.
        """
        if not self.established:
            return False
        self.established = False
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # it would read the peer's close_notify, which is not needed
        return True

    def detach(self) -> "TlsEngine":
        """Move the connection to a new engine; this one can neither read nor write any more."""
        moved = TlsEngine.__new__(TlsEngine)
        for name in self.__slots__:
            setattr(moved, name, getattr(self, name))
        self.established = False
        self._read = self._write = _detached
        return moved


def _detached(*_: object) -> NoReturn:
    raise ClientDisconnected(errno.EPIPE, "the TLS connection was handed over to the application")
