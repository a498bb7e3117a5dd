"""How many connections wait in the kernel for somebody to accept them.

TCP: a listening socket's own TCP_INFO counts them (Linux; `tcpi_unacked`, its limit is
`tcpi_sacked`). Unix: sock_diag(7) tells them (Linux 3.3, UNIX_DIAG_RQLEN), which uWSGI
does not ask. Where neither can be read, in a sandbox without netlink, the socket counts
nothing, and `measurable` says so.
"""

import os
import socket
import struct
from collections.abc import Iterable

_TCP_INFO_SIZE = 104            # as far as every kernel since 2.6 goes
_UNACKED = 24                   # offset of tcpi_unacked in struct tcp_info
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = 1                    # NLM_F_REQUEST
_SHOW_QUEUE = 0x10              # UDIAG_SHOW_RQLEN
_QUEUE = 4                      # UNIX_DIAG_RQLEN
_ANY = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")       # struct nlmsghdr
_ASK = struct.Struct("=BBHIIIII")       # struct unix_diag_req
_ANSWER = 16                            # size of struct unix_diag_msg
_ATTRIBUTE = struct.Struct("=HH")       # struct nlattr


class Backlog:
    """The queues of a few listening sockets.

    Args:
        sockets: they stay their owner's; one that is closed counts nothing.
    """

    def __init__(self, sockets: Iterable[socket.socket]) -> None:
        self._sockets = tuple(sockets)

    def waiting(self) -> int:
        """Return the length of the longest queue."""
        return max((length(sock) or 0 for sock in self._sockets), default=0)

    def measurable(self) -> bool:
        """Whether each of the queues can be read here."""
        return all(length(sock) is not None for sock in self._sockets)


def length(sock: socket.socket) -> int | None:
    """Return how many connections wait on a listening socket; None if nobody can tell."""
    try:
        if sock.family == socket.AF_UNIX:
            return _unix(os.fstat(sock.fileno()).st_ino)
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        waiting: int = struct.unpack_from("=I", info, _UNACKED)[0]
        return waiting
    except (OSError, struct.error):
        return None


def _unix(inode: int) -> int | None:
    ask = _ASK.pack(socket.AF_UNIX, 0, 0, _ANY, inode, _SHOW_QUEUE, _ANY, _ANY)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(0.1)
        netlink.send(_HEADER.pack(_HEADER.size + len(ask), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0)
                     + ask)
        answer = netlink.recv(4096)
    size, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return None
    at = _HEADER.size + _ANSWER
    while at + _ATTRIBUTE.size <= size:
        span, number = _ATTRIBUTE.unpack_from(answer, at)
        if number == _QUEUE:
            waiting: int = struct.unpack_from("=I", answer, at + _ATTRIBUTE.size)[0]
            return waiting
        at += max(span + 3 & ~3, _ATTRIBUTE.size)
    return None
