"""Blocking checks with a time limit: ping a server, read a socket, wait for a resource.

For the commands `--ping` and `--connect-and-read` and the options `wait-for-*`. Everything here
blocks, so it is called before a loop runs: in the master before it binds sockets, in a template
before it loads the application, in a hook.
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

logger = logging.getLogger("geventuwsgi.error")

HEADER = struct.Struct("<BHB")  # modifier1, size of the body, modifier2
READ_SIZE = 16384               # bytes
POLL_INTERVAL = 0.1             # seconds
CONNECT_TIMEOUT = 3.0           # seconds for one attempt to connect


def connect(name: str, seconds: float) -> socket.socket:
    """Connect to an address and return the socket.

    Args:
        name: an address as in `net.address`; without a host it is this machine.
        seconds: timeout of the socket.

    Raises:
        OSError: the connection fails.
        BindError: the address is invalid.
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
    """Check over the uwsgi protocol whether a server is alive.

    Args:
        name: its address.
        seconds: timeout of each step.
        write: called with the server's warning, if it sends one.

    Raises:
        GeventuwsgiError: there is no response in time, or not one to a ping.
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
    """Connect, and write what the server sends until it closes the connection.

    Args:
        name: its address.
        seconds: timeout of connecting and of each read.
        write: called with each piece of text.

    Raises:
        GeventuwsgiError: the connection fails, or the server sends nothing for too long.
    """
    try:
        with connect(name, seconds) as sock:
            while piece := sock.recv(READ_SIZE):
                write(piece.decode("utf-8", "replace"))
    except OSError as error:
        raise GeventuwsgiError(f"{name}: {error.strerror or error}") from None


def wait_for(kind: str, name: str, seconds: float) -> None:
    """Wait until a resource exists.

    Args:
        kind: a key of `KINDS`.
        name: a path, an address or the name of a network interface.
        seconds: the longest time to wait.

    Raises:
        TimeoutError: it does not exist in time.
        BindError: the address is invalid.
    """
    exists, what = KINDS[kind]
    if exists(name):
        return
    logger.info("waiting for %s %s (max %g seconds) ...", what, name, seconds)
    end = time.monotonic() + seconds
    while not exists(name):
        if time.monotonic() >= end:
            raise TimeoutError(errno.ETIMEDOUT, f"{what} {name} is not there after {seconds:g} "
                                                "seconds")
        time.sleep(POLL_INTERVAL)
    logger.info("%s %s is there", what, name)


def _interface(name: str) -> bool:
    try:
        return socket.if_nametoindex(name) > 0
    except OSError:
        return False


def _listens(name: str) -> bool:
    """Whether a server accepts connections at an address."""
    try:
        connect(name, CONNECT_TIMEOUT).close()
    except OSError:
        return False
    return True


# Kind of resource: (test whether it exists, its name in messages).
KINDS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "interface": (_interface, "interface"), "fs": (os.path.lexists, "path"),
    "file": (os.path.isfile, "file"), "dir": (os.path.isdir, "directory"),
    "mountpoint": (os.path.ismount, "mount"), "socket": (_listens, "socket")}
