"""What an application left running while it was imported, and a fork would break.

A forked worker has none of the template's threads, its greenlets would run in every
worker, and a connection would be shared by all of them. This room only looks and warns.
"""

import gc
import logging
import os
import sys

from ..system import kernel

logger = logging.getLogger("geventuwsgi.error")


def warn(control: int) -> None:
    """Log a warning that names what is left over, if anything is.

    Args:
        control: the template's own connected socket, which does not count.
    """
    found = greenlets() + threads() + connections(control)
    if found:
        logger.warning("the import of the application left behind: %s; workers are forked from "
                       "this process and would lose or share it. Start it after the fork, or "
                       "set lazy-apps = true", ", ".join(found))


def greenlets() -> list[str]:
    """Name the greenlets that wait or are scheduled to run, the hub apart."""
    greenlet, hub = sys.modules.get("greenlet"), sys.modules.get("gevent.hub")
    if greenlet is None:
        return []
    own = (greenlet.getcurrent(), greenlet.getcurrent().parent)
    # By type(): isinstance() asks for __class__, which wakes the application's lazy objects.
    return [f"greenlet {found!r}" for found in gc.get_objects()
            if issubclass(type(found), greenlet.greenlet) and found and found not in own
            and not (hub is not None and isinstance(found, hub.Hub))]


def threads() -> list[str]:
    """Name the native threads beside the main one."""
    found = []
    for task in os.listdir("/proc/self/task"):
        if int(task) != os.getpid():
            try:
                with open(f"/proc/self/task/{task}/comm") as file:
                    found.append(f"native thread {task} ({file.read().strip()})")
            except OSError:
                continue  # it has just ended
    return found


def connections(control: int) -> list[str]:
    """Name the connected sockets by their peers."""
    found = []
    sock_type = kernel.original("socket", "socket")  # the patched one would start the hub
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd == control or not os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                continue
            duplicate = sock_type(fileno=os.dup(fd))
        except OSError:
            continue  # the descriptor of the listing itself
        with duplicate:
            try:
                peer = duplicate.getpeername()
            except OSError:
                continue  # listening, or not connected
        if peer:  # the ends of a socketpair have no name
            text = peer if isinstance(peer, str) else ":".join(map(str, peer[:2]))
            found.append(f"connection to {text}")
    return found
