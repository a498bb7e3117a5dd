"""Taking connections from a listening socket, one system call each.

The rules of this room: nothing here waits. What is no connection is None (nothing waits, or
it was gone already); what the machine is short of is a `Shortage`.
"""

import _socket
import errno
import socket
from typing import Any

# Connections taken in one turn of the loop: enough to share the cost of the turn, few
# enough that other workers get their part.
BATCH = 16
# Out of descriptors or memory: seconds before the next try; said once a second.
BACK_OFF = 0.1
SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
ABORTED = {errno.EAGAIN, errno.ECONNABORTED, errno.EINTR, errno.EPERM, errno.EPROTO}


class Shortage(OSError):
    """The process or the machine is out of descriptors or memory."""


def accept(listening: Any) -> tuple[int, Any] | None:
    """Accept one connection of a non-blocking socket; return (descriptor, peer's address).

    Raises:
        Shortage: there is one, and it cannot be taken now.
        OSError: the listening socket itself is broken.
    """
    try:
        found: tuple[int, Any] = listening._accept()
        return found
    except OSError as error:
        if error.errno in ABORTED:
            return None
        if error.errno in SHORTAGE:
            raise Shortage(*error.args) from error
        raise


def adopt(fd: int, family: int) -> _socket.socket:
    """Make the raw, non-blocking socket of an accepted descriptor."""
    sock = _socket.socket(family, socket.SOCK_STREAM, 0, fileno=fd)
    sock.setblocking(False)
    return sock
