"""The upgrade in place: the same process becomes the new version of this server (SIGUSR2).

    check       the new version, in a process of its own, reads the configuration; if it
                cannot, nothing has happened
    exec        all signals are blocked, so that none is lost or kills a process whose
                handlers are not there yet; the listening sockets, the control sockets and
                the console stay open
    take over   the new version adopts the children (`adopted`), reaps who died meanwhile,
                unblocks the signals, and starts a generation of its own; the old one
                drains when that serves, and serves on if it does not

The process id stays, and so do pid files and what a service manager knows.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .attached.attached import Attached
from .spawn import spawn_plain

logger = logging.getLogger("geventuwsgi.error")

VARIABLE = "GEVENTUWSGI_HANDOVER"   # holds the number of a memfd with what is handed over
FORM = 1                            # of what is handed over
CHECK_TIME = 60.0                   # seconds for the new version to read the configuration


def command() -> list[str]:
    """Return the command line that started this process."""
    return [sys.executable, *sys.orig_argv[1:]]


def check_command() -> list[str]:
    """Return the command that has the version on disk read the configuration."""
    argv = command()
    place = len(argv) - len(sys.argv[1:])
    return [*argv[:place], "--show-config", *argv[place:]]


class Upgrade(Attached):
    """From the order to the exec; an `Attached` of the master.

    Args:
        environ: the environment that this process was started with.
        idle: tells whether no start and no reload is on its way.
        go: execs; it returns only if that fails.
    """

    def __init__(self, environ: Mapping[str, str], idle: Callable[[], bool],
                 go: Callable[[], None]) -> None:
        self._environ = environ
        self._idle = idle
        self._go = go
        self._asked = False
        self._checked = False
        self._pid = 0
        self._deadline = 0.0
        self._output = -1

    @property
    def done(self) -> bool:
        """Whether no check is running."""
        return not self._pid

    def request(self) -> None:
        """Upgrade as soon as nothing else is on its way."""
        if self._asked:
            logger.info("an upgrade is on its way")
            return
        self._asked = True
        if not self._idle():
            logger.info("an upgrade follows what is on its way")

    def poll(self, now: float) -> float:
        """Check, then exec."""
        if self._asked and not self._pid and self._idle():
            if self._checked:
                self._asked = self._checked = False
                self._go()
            else:
                self._check(now)
        if self._pid and now >= self._deadline:
            os.kill(self._pid, signal.SIGKILL)
            self._deadline = now + CHECK_TIME
        return now + 1.0

    def _check(self, now: float) -> None:
        logger.info("upgrade: the version on disk reads the configuration")
        try:
            self._output = os.memfd_create("geventuwsgi-check", os.MFD_CLOEXEC)
            try:
                self._pid = spawn_plain(check_command(), self._environ, self._output)
            except OSError:
                os.close(self._output)
                raise
        except OSError as error:
            self._asked = False
            logger.error("upgrade failed: cannot start %s: %s", sys.executable, error.strerror)
            return
        self._deadline = now + CHECK_TIME

    def exited(self, pid: int, status: int) -> bool:
        """Take note of the end of the check."""
        if pid != self._pid or not pid:
            return False
        self._pid = 0
        said = os.pread(self._output, 4000, 0).decode("utf-8", "replace").strip()
        os.close(self._output)
        if status == 0:
            self._checked = True
        else:
            self._asked = False
            logger.error("upgrade failed: the version on disk does not start (%s); this one "
                         "serves on: %s", f"exit status {status}" if status > 0
                         else f"killed by signal {-status}", said)
        return True

    def stop(self, now: float) -> None:
        """Give it up."""
        self._asked = False
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)


def execute(state: Mapping[str, Any], fds: Sequence[int], environ: Mapping[str, str]) -> None:
    """Become the version on disk; all signals are blocked by the caller.

    Args:
        state: what the new version is to know, as JSON has it.
        fds: descriptors that stay open under their numbers.
        environ: the environment to start with.

    Raises:
        OSError: the system refuses; all is as before.
    """
    memory = os.memfd_create("geventuwsgi-handover", os.MFD_CLOEXEC)
    with open(memory, "wb", closefd=False) as file:
        file.write(json.dumps({**state, "form": FORM}).encode("utf-8", "surrogateescape"))
    kept = [*fds, memory]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        for fd in kept:
            os.set_inheritable(fd, True)
        os.execve(sys.executable, command(), {**environ, VARIABLE: str(memory)})
    except OSError:
        for fd in kept:
            os.set_inheritable(fd, False)
        os.close(memory)
        raise


def handed_over(environ: dict[str, str] | os._Environ[str]) -> dict[str, Any] | None:
    """Return what an earlier version handed over to this process, None at a usual start.

    Args:
        environ: the variable is removed from it.
    """
    number = environ.pop(VARIABLE, "")
    if not number:
        return None
    with os.fdopen(int(number), "rb") as file:
        file.seek(0)
        state: dict[str, Any] = json.loads(file.read().decode("utf-8", "surrogateescape"))
    return state
