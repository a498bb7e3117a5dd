"""The subscription server: datagrams in, nodes into the registry.

The rules of this room: without a signature the sender of a datagram may say anything, so
only this machine is listened to: loopback, and unix sockets, whose file has a mode. What
is refused is told, but not more than once a second.
"""

import ipaddress
import logging
import socket
from time import monotonic
from typing import Any

from ..errors import ProtocolError
from ..net.stream import READ
from ..protocol import subscription
from .subscriptions import Registry

log = logging.getLogger("geventuwsgi.error")

_BATCH = 64     # datagrams taken in one turn of the loop


class SubscriptionServer:
    """One socket for announcements.

    Args:
        hub: the hub of this thread.
        sock: a bound datagram socket, non-blocking, shared with other routers.
        registry: what is told.
    """

    def __init__(self, hub: Any, sock: socket.socket, registry: Registry) -> None:
        self._sock = sock
        self._registry = registry
        self._watcher = hub.loop.io(sock.fileno(), READ)
        self._complained = 0.0
        self.refused = 0

    def start(self) -> None:
        """Begin to listen."""
        self._watcher.start(self._hear)

    def close(self) -> None:
        """Listen no more."""
        self._watcher.close()
        self._sock.close()

    def _hear(self) -> None:
        for _ in range(_BATCH):
            try:
                data, sender = self._sock.recvfrom(subscription.LARGEST + 1)
            except BlockingIOError:
                return
            except OSError as error:
                log.debug("subscription server: %s", error)
                return
            if not _of_this_machine(sender):
                self._refuse(sender, "it is not of this machine, and nothing is signed")
                continue
            try:
                told = subscription.parse(data)
            except ProtocolError as error:
                self._refuse(sender, error.reason)
                continue
            self._registry.announce(told)

    def _refuse(self, sender: Any, reason: str) -> None:
        self.refused += 1
        now = monotonic()
        if now - self._complained >= 1.0:
            self._complained = now
            who = f"{sender[0]}:{sender[1]}" if isinstance(sender, tuple) else "a unix socket"
            log.warning("an announcement of %s is refused: %s", who, reason)


def _of_this_machine(sender: Any) -> bool:
    if not isinstance(sender, tuple):
        return True
    found = ipaddress.ip_address(sender[0].partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback
