"""Who is at the other end of a unix socket, or sent a message, as the kernel says (unix(7)).

A process without privileges cannot claim another pid or user.
"""

import socket
import struct
from collections.abc import Iterable
from typing import Protocol

# struct ucred: pid_t is signed; uid_t and gid_t are unsigned, and user namespaces map ids
# above 2**31.
_UCRED = struct.Struct("=iII")

SPACE = socket.CMSG_SPACE(_UCRED.size)  # of a message with credentials, and with nothing else
NONE = (0, 0xffffffff, 0xffffffff)      # a message without credentials


class _Connected(Protocol):
    """A socket, or an object with the same method."""

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        """Return a socket option of `size` octets."""


def peer_credentials(sock: _Connected) -> tuple[int, int, int]:
    """Return (pid, uid, gid) of the process that connected, or that listened.

    Raises:
        OSError: it is not a unix socket.
    """
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(data)
    return pid, uid, gid


def require(sock: socket.socket) -> None:
    """Have the kernel add the sender's credentials to each message from now on (SO_PASSCRED)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)


def sender(ancillary: Iterable[tuple[int, int, bytes]]) -> tuple[int, int, int]:
    """Return (pid, uid, gid) of the sender of a message, from its ancillary data.

    They are `NONE` for a message that was sent before `require`.
    """
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            return _UCRED.unpack(data)
    return NONE
