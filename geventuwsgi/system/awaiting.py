"""Waiting for what the machine is still to bring: a file, a mount, an interface, a server.

It blocks, so it is called before a loop runs: in the master before it binds, in a template
before it loads the application, in a hook.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

from .probe import connect

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
