"""Apply a changed configuration to open listening sockets, in the master at a reload.

A socket that stays is never closed, so that no connection in its queue is lost. Its options
are set again; connections that were accepted before keep theirs.
"""

import logging
import socket
from collections.abc import Sequence

from ..errors import BindError
from ..rights import User
from . import address as addresses
from .address import Address
from .listener import Listener, backlog_of, bind_name, owner_of

logger = logging.getLogger("geventuwsgi.error")

Pair = tuple[str, Listener]


def find(pairs: Sequence[Pair], text: str) -> Listener | None:
    """Return the open socket of an address: the same text, or else the same address.

    Args:
        pairs: (text as it was written, listener).
        text: as it is written now.

    Raises:
        BindError: the address names an inherited descriptor.
    """
    for written, listener in pairs:
        if written == text:
            return listener
    address = addresses.parse(text)
    for _, listener in pairs:
        if _same(listener.address, address):
            return listener
    if address.inherited:
        raise BindError(f"{text}: descriptors are inherited only at the start")
    return None


def _same(bound: Address, wanted: Address) -> bool:
    if wanted.inherited or bound.is_unix != wanted.is_unix:
        return False
    if not wanted.is_unix and (not wanted.port or wanted.family not in (0, bound.family)):
        return False
    return bind_name(bound) == bind_name(wanted)


def adjust(listener: Listener, *, listen: int | None, chmod: int | None, chown: str | None,
           keepalive: bool, sndbuf: int | None, rcvbuf: int | None,
           fast_open: int | None = None, user: User | None = None, **_: object) -> None:
    """Set the options of an open socket; errors are logged.

    An option that is no longer configured keeps its value, except for the length of the queue
    and SO_KEEPALIVE.

    Args:
        listener: of an inherited one only a configured queue length is set.
        listen: length of the accept queue; None = somaxconn.
        chmod: mode of the unix socket's file.
        chown: its owner, `user[:group]`.
        keepalive: SO_KEEPALIVE on accepted connections.
        sndbuf: SO_SNDBUF in bytes.
        rcvbuf: SO_RCVBUF in bytes.
        fast_open: TCP_FASTOPEN.
        user: the one of `uid`, see `rights`.
    """
    sock = listener.socket
    try:
        if listener.owned or listen is not None:
            sock.listen(backlog_of(listen))
        if not listener.owned:
            return
        if not listener.is_unix:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(keepalive))
            if fast_open:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, fast_open)
        for option, size in ((socket.SO_SNDBUF, sndbuf), (socket.SO_RCVBUF, rcvbuf)):
            if size:
                sock.setsockopt(socket.SOL_SOCKET, option, size)
        if listener.has_file and (chmod is not None or chown is not None):
            listener.give_away(owner_of(chown) if chown else (-1, -1), chmod, user)
    except (OSError, BindError) as error:
        logger.error("%s: its options cannot be changed: %s", listener.address.text, error)
