"""A connection that we open: to a node behind the router.

The rules of this room are those of `net.stream`; it adds nothing but the connecting.
"""

import _socket
import errno
import os
import socket
from typing import Any

from gevent import Timeout
from gevent.socket import getaddrinfo

from ..errors import ClientDisconnected
from ..net.address import Address
from ..net.stream import WRITE, Expired, Stream

_UNDERWAY = (errno.EINPROGRESS, errno.EALREADY)


class Outgoing(Stream):
    """A stream to a listener somewhere.

    Attributes:
        address: where to.
    """

    __slots__ = ("address",)

    def __init__(self, address: Address, hub: Any) -> None:
        family, self.address = address.family, address
        if family == socket.AF_UNSPEC:
            family = socket.AF_INET
        super().__init__(_new(family), hub, 0.0)

    def connect(self, connect_timeout: float, timeout: float) -> None:
        """Connect.

        Args:
            connect_timeout: seconds for it.
            timeout: seconds without progress in a later send.

        Raises:
            Expired: it took too long.
            ClientDisconnected: nobody listens there, or there is no way.
        """
        address = self.address
        name: Any = address.path
        if not address.is_unix:
            name = (address.host or "127.0.0.1", address.port)
            if address.family == socket.AF_UNSPEC:
                name = self._resolve(address, connect_timeout)
        self.timeout = connect_timeout
        code = self.sock.connect_ex(name)
        if code == errno.EAGAIN:  # a unix socket's queue is full, and nothing will tell
            raise ClientDisconnected(code, "its queue is full")
        if code in _UNDERWAY:
            writer = self._hub.loop.io(self.sock.fileno(), WRITE)
            try:
                self._await(writer)
            finally:
                writer.close()
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise ClientDisconnected(code, os.strerror(code))
        self.timeout = timeout

    def _resolve(self, address: Address, timeout: float) -> Any:
        """Look a host name up, in a thread of the hub's pool; IPv4 first."""
        try:
            with Timeout(timeout, Expired("its name is looked up for too long")):
                found = getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except Expired:
            raise
        except OSError as error:
            raise ClientDisconnected(f"no address for the name {address.host!r} "
                                     f"({error.strerror})") from error
        found.sort(key=lambda entry: entry[0] != socket.AF_INET)
        family, _, _, _, name = found[0]
        if family != self.sock.family:
            self.sock.close()
            self.sock = _new(family)
        return name


def _new(family: int) -> _socket.socket:
    sock = _socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
