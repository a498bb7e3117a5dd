"""Notifications to the service manager: ready, reloading, stopping, watchdog (sd_notify(3)).

A notification is a datagram of NAME=VALUE lines to the socket in NOTIFY_SOCKET. Without that
variable nothing is sent. The watchdog is notified at half of WATCHDOG_USEC, and only while
workers serve.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

from .attached import Attached

logger = logging.getLogger("geventuwsgi.error")

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class ServiceManager(Attached):
    """The service manager that started this server.

    Args:
        environ: has the variables.
        pid: of this process; a watchdog for another process is not notified.
        healthy: returns whether workers serve.
    """

    def __init__(self, environ: Mapping[str, str], pid: int, healthy: Callable[[], bool]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._healthy = healthy
        meant_for = environ.get("WATCHDOG_PID", str(pid))
        micros = environ.get("WATCHDOG_USEC", "")
        self._every = (int(micros) / 2e6 if micros.isascii() and micros.isdigit()
                       and meant_for == str(pid) and self._address else 0.0)
        self._due = 0.0

    def ready(self, status: str) -> None:
        """Report that the server serves, after a start or a reload."""
        self._notify(f"READY=1\nMAINPID={os.getpid()}\nSTATUS={status}")

    def reloading(self) -> None:
        """Report that a reload begins; `ready` follows, whether it succeeds or not."""
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the server stops."""
        self._notify("STOPPING=1")

    def poll(self, now: float) -> float:
        """Notify the watchdog, if it is time and workers serve."""
        if not self._every:
            return now + 60.0
        if now >= self._due:
            self._due = now + self._every
            if self._healthy():
                self._notify("WATCHDOG=1")
        return self._due

    def _notify(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(text.encode(), socket.MSG_DONTWAIT, self._address)
            except OSError as error:
                logger.warning("cannot notify the service manager of %r: %s",
                               text.partition("\n")[0], error.strerror)
