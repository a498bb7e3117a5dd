"""Peer credentials: our own through a socket pair, and ids that a signed field cannot hold."""

import os
import socket
import struct

from geventuwsgi.ipc.credentials import peer_credentials


class FakeSocket:
    """Return these credentials as the kernel lays them out."""

    def __init__(self, pid: int, uid: int, gid: int) -> None:
        self.data = struct.pack("=iII", pid, uid, gid)

    def getsockopt(self, level: int, option: int, size: int, /) -> bytes:
        assert (level, option, size) == (socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return self.data


def test_a_socket_pair() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_credentials(ours) == (os.getpid(), os.geteuid(), os.getegid())


def test_a_uid_above_two_to_the_31() -> None:
    assert peer_credentials(FakeSocket(7, 4000000000, 4000000001)) == (7, 4000000000, 4000000001)
