"""Who is at the other end of a unix socket, as the kernel says (SO_PEERCRED, unix(7))."""

import socket
import struct
from typing import Protocol

# struct ucred: pid_t is signed; uid_t and gid_t are unsigned, and user namespaces map ids
# above 2**31.
_UCRED = struct.Struct("=iII")


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
