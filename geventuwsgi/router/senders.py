"""Who may announce nodes: processes of this machine, those that sign, or the owners of files."""

import ipaddress
import os
from collections.abc import Sequence
from time import time
from typing import Any

from ..errors import ProtocolError
from ..net.signature import Verifier
from ..protocol import subscription
from ..protocol.subscription import Announcement


class Senders:
    """Checks who announces a node.

    Args:
        verifier: checks signatures (`subscriptions-sign-check`); None = they are not needed.
        tolerance: seconds by which the time of a signature may differ from now.
        unsigned: users whose announcements over a unix socket need none.
        directories: each may have a file with the name of a key; only the user and group that own
            one may announce the key, over a unix socket (`subscriptions-credentials-check`).
    """

    def __init__(self, verifier: Verifier | None = None, tolerance: float = 0.0,
                 unsigned: Sequence[int] = (), directories: Sequence[str] = ()) -> None:
        self._verifier = verifier
        self._tolerance = tolerance
        self._unsigned = frozenset(unsigned)
        self._directories = tuple(directories)

    def check(self, data: bytes, sender: Any, user: tuple[int, int] | None) -> Announcement:
        """Parse a datagram and check its sender.

        Args:
            data: the datagram.
            sender: its address.
            user: uid and gid of the sender, where the kernel says so.

        Raises:
            ProtocolError: it is not valid, or the sender may not announce this.
        """
        if self._verifier is None and not of_this_machine(sender):
            raise ProtocolError(403, "it is from another machine, and announcements are not signed")
        one = subscription.parse(data)
        if self._verifier is not None and (user is None or user[0] not in self._unsigned):
            self._check_signature(one, data, self._verifier)
        else:
            one = one._replace(unix=0)      # which was not checked
        if self._directories and not self._owns(user, one.key):
            raise ProtocolError(403, f"no file allows its sender the key {one.key} "
                                     "(subscriptions-credentials-check)")
        return one._replace(uid=None if user is None else user[0])

    def _check_signature(self, one: Announcement, data: bytes, verifier: Verifier) -> None:
        block, signature = subscription.signature_of(data)
        if not signature:
            raise ProtocolError(403, "it is not signed")
        if abs(time() - one.unix) > self._tolerance:
            raise ProtocolError(403, f"it was signed {time() - one.unix:.0f} seconds ago "
                                     "(subscriptions-sign-check-tolerance)")
        verifier.check(one.key, block, signature)

    def _owns(self, user: tuple[int, int] | None, key: str) -> bool:
        if user is None or "/" in key:
            return False
        for directory in self._directories:
            try:
                found = os.stat(directory + key)    # uWSGI puts no slash in between
            except OSError:
                continue
            if (found.st_uid, found.st_gid) == user:
                return True
        return False


def of_this_machine(sender: Any) -> bool:
    """Whether an address is one of loopback, or that of a unix socket."""
    if not isinstance(sender, tuple):
        return True
    found = ipaddress.ip_address(sender[0].partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback
