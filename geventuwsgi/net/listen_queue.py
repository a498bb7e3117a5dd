"""The number of connections in the kernel that are waiting to be accepted.

For TCP it is in the TCP_INFO of the listening socket (Linux; `tcpi_unacked`, and its limit in
`tcpi_sacked`), for unix sockets in sock_diag(7) (UNIX_DIAG_RQLEN, Linux 3.3), which uWSGI does
not use. If it cannot be read, as in a sandbox without netlink, the socket counts as 0 and
`measurable` returns False.
"""

import os
import socket
import struct
from collections.abc import Iterable

_TCP_INFO_SIZE = 104            # what every kernel since 2.6 has
_UNACKED = 24                   # offset of tcpi_unacked, and after it tcpi_sacked
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = 1                    # NLM_F_REQUEST
_SHOW_QUEUE = 0x10              # UDIAG_SHOW_RQLEN
_QUEUE = 4                      # UNIX_DIAG_RQLEN
_ANY = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")       # struct nlmsghdr
_DIAG_REQUEST = struct.Struct("=BBHIIIII")       # struct unix_diag_req
_DIAG_MESSAGE = 16                            # size of struct unix_diag_msg
_ATTRIBUTE = struct.Struct("=HH")       # struct nlattr


class Backlog:
    """The queues of listening sockets.

    Args:
        sockets: the caller closes them; a closed one counts as 0.
    """

    def __init__(self, sockets: Iterable[socket.socket]) -> None:
        self._sockets = tuple(sockets)

    def waiting(self) -> int:
        """Return the length of the longest queue."""
        return max((length(sock) or 0 for sock in self._sockets), default=0)

    def measurable(self) -> bool:
        """Whether the length of every queue can be read."""
        return all(length(sock) is not None for sock in self._sockets)


def length(sock: socket.socket) -> int | None:
    """Return the number of connections in a socket's queue, None if it cannot be read."""
    found = measure(sock)
    return None if found is None else found[0]


def measure(sock: socket.socket) -> tuple[int, int] | None:
    """Return how many connections are in a socket's queue and how many may be.

    Returns:
        None if it cannot be read.
    """
    try:
        if sock.family == socket.AF_UNIX:
            return _unix(os.fstat(sock.fileno()).st_ino)
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        waiting, maximum = struct.unpack_from("=II", info, _UNACKED)
        return waiting, maximum
    except (OSError, struct.error):
        return None


def _unix(inode: int) -> tuple[int, int] | None:
    request = _DIAG_REQUEST.pack(socket.AF_UNIX, 0, 0, _ANY, inode, _SHOW_QUEUE, _ANY, _ANY)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(0.1)
        netlink.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST,
                                  1, 0) + request)
        response = netlink.recv(4096)
    size, kind, _, _, _ = _HEADER.unpack_from(response)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return None
    at = _HEADER.size + _DIAG_MESSAGE
    while at + _ATTRIBUTE.size <= size:
        span, number = _ATTRIBUTE.unpack_from(response, at)
        if number == _QUEUE:
            waiting, maximum = struct.unpack_from("=II", response, at + _ATTRIBUTE.size)
            return waiting, maximum
        at += max(span + 3 & ~3, _ATTRIBUTE.size)
    return None
