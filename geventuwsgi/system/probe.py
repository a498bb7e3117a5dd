"""Asking a socket from outside: whether somebody listens, lives, or has something to say.

For commands (`--ping`, `--connect-and-read`) and for `wait-for-socket`; everything blocks, up
to a time.
"""

import errno
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping

from ..errors import GeventuwsgiError
from ..net import address as addresses
from ..protocol.uwsgi import PING

HEADER = struct.Struct("<BHB")  # modifier1, size of what follows, modifier2
PIECE = 16384                   # bytes read at a time


def connect(name: str, seconds: float) -> socket.socket:
    """Connect to an address, with this timeout from then on.

    Args:
        name: as `net.address` has it; no host is this machine.
        seconds: for each step.

    Raises:
        OSError: nobody is there.
        BindError: it is no address.
    """
    address = addresses.parse(name)
    if address.is_unix:
        return _connected(address.family, address.path, seconds)
    family, _, _, _, found = socket.getaddrinfo(address.host or "127.0.0.1", address.port,
                                                type=socket.SOCK_STREAM)[0]
    return _connected(family, found, seconds)


def _connected(family: int, target: object, seconds: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.settimeout(seconds)
    try:
        sock.connect(target)  # type: ignore[arg-type]
    except OSError:
        sock.close()
        raise
    return sock


def ping(name: str, seconds: float, write: Callable[[str], object]) -> None:
    """Ask over the uwsgi protocol whether a server lives.

    Args:
        name: its address.
        seconds: for each step.
        write: called with the warning that it may answer with.

    Raises:
        GeventuwsgiError: it does not answer in time, or otherwise.
    """
    try:
        with connect(name, seconds) as sock:
            sock.sendall(HEADER.pack(PING, 0, 0))
            modifier, size, _ = HEADER.unpack(_received(sock, HEADER.size))
            if modifier != PING:
                raise GeventuwsgiError(f"{name} does not speak the uwsgi protocol")
            if size:
                write(f"{name}: {_received(sock, size).decode('utf-8', 'replace')}\n")
    except OSError as error:
        raise GeventuwsgiError(f"{name} does not answer: {error.strerror or error}") from None


def _received(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise OSError("the connection was closed")
        data += piece
    return data


def read_all(name: str, seconds: float, write: Callable[[str], object]) -> None:
    """Write what a socket sends to whoever connects, until it closes the connection.

    Args:
        name: its address.
        seconds: for connecting, and for each piece.
        write: called with each piece.

    Raises:
        GeventuwsgiError: nobody is there, or goes on and says nothing.
    """
    try:
        with connect(name, seconds) as sock:
            while piece := sock.recv(PIECE):
                write(piece.decode("utf-8", "replace"))
    except OSError as error:
        raise GeventuwsgiError(f"{name}: {error.strerror or error}") from None


# Waiting for what the machine is still to bring: a file, a mount, an interface, a server.
#
# It blocks, so it is called before a loop runs: in the master before it binds, in a template
# before it loads the application, in a hook.

logger = logging.getLogger("geventuwsgi.error")

LOOK_EVERY = 0.1    # seconds
CONNECT_TIME = 3.0  # seconds for one attempt to connect


def until_there(kind: str, name: str, seconds: float) -> None:
    """Wait until something is there.

    Args:
        kind: a word of `KINDS`.
        name: a path, an address, the name of a network interface.
        seconds: how long at most.

    Raises:
        TimeoutError: it is not there.
        BindError: the address is none.
    """
    look, what = KINDS[kind]
    if look(name):
        return
    logger.info("waiting for %s %s (max %g seconds) ...", what, name, seconds)
    end = time.monotonic() + seconds
    while not look(name):
        if time.monotonic() >= end:
            raise TimeoutError(errno.ETIMEDOUT, f"{what} {name} is not there after {seconds:g} "
                                                "seconds")
        time.sleep(LOOK_EVERY)
    logger.info("%s %s is there", what, name)


def _interface(name: str) -> bool:
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def _listens(name: str) -> bool:
    """Whether somebody takes connections at an address."""
    try:
        connect(name, CONNECT_TIME).close()
    except OSError:
        return False
    return True


# Each kind: how to see whether it is there, and what it is called.
KINDS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "interface": (_interface, "interface"), "fs": (os.path.lexists, "path"),
    "file": (os.path.isfile, "file"), "dir": (os.path.isdir, "directory"),
    "mountpoint": (os.path.ismount, "mount"), "socket": (_listens, "socket")}
