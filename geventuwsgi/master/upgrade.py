"""The upgrade in place: the master's process executes the new version of this server (SIGUSR2).

    check       the new version reads the configuration in a process of its own; if it
                cannot, the upgrade ends here
    exec        all signals are blocked, so that none is lost or kills a process that has no
                handlers yet; the listening sockets, the control sockets and the console
                stay open
    take over   the new version takes over the children (`inherited`), reaps those that have
                died, unblocks the signals and starts a generation of its own; the old one
                drains when that serves, and keeps serving if it fails

The process id does not change, so pid files and service managers need not know.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .attached.attached import Attached
from .posix_spawn import spawn_plain

logger = logging.getLogger("geventuwsgi.error")

VARIABLE = "GEVENTUWSGI_HANDOVER"   # the descriptor of a memfd with the state
FORMAT = 1                          # of that state
CHECK_TIMEOUT = 60.0                   # seconds to read the configuration


def command() -> list[str]:
    """Return the command line that started this process."""
    return [sys.executable, *sys.orig_argv[1:]]


def check_command() -> list[str]:
    """Return the command that has the version on disk read the configuration."""
    argv = command()
    place = len(argv) - len(sys.argv[1:])
    return [*argv[:place], "--show-config", *argv[place:]]


class Upgrade(Attached):
    """Checks the new version and executes it.

    Args:
        environ: the environment that this process was started with.
        idle: returns whether no start and no reload is in progress.
        execute: executes the new version; returns only if that fails.
    """

    def __init__(self, environ: Mapping[str, str], idle: Callable[[], bool],
                 execute: Callable[[], None]) -> None:
        self._environ = environ
        self._idle = idle
        self._exec = execute
        self._requested = False
        self._checked = False
        self._pid = 0
        self._deadline = 0.0
        self._output = -1

    @property
    def done(self) -> bool:
        """Whether no check is running."""
        return not self._pid

    def request(self) -> None:
        """Upgrade as soon as no start or reload is in progress."""
        if self._requested:
            logger.info("an upgrade is in progress")
            return
        self._requested = True
        if not self._idle():
            logger.info("the upgrade will follow the start or reload in progress")

    def poll(self, now: float) -> float:
        """Check, then execute."""
        if self._requested and not self._pid and self._idle():
            if self._checked:
                self._requested = self._checked = False
                self._exec()
            else:
                self._check(now)
        if self._pid and now >= self._deadline:
            os.kill(self._pid, signal.SIGKILL)
            self._deadline = now + CHECK_TIMEOUT
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
            self._requested = False
            logger.error("upgrade failed: cannot start %s: %s", sys.executable, error.strerror)
            return
        self._deadline = now + CHECK_TIMEOUT

    def exited(self, pid: int, status: int) -> bool:
        """Record the exit of the check."""
        if pid != self._pid or not pid:
            return False
        self._pid = 0
        output = os.pread(self._output, 4000, 0).decode("utf-8", "replace").strip()
        os.close(self._output)
        if status == 0:
            self._checked = True
        else:
            self._requested = False
            logger.error("upgrade failed: the version on disk does not start (%s); this one "
                         "keeps serving: %s", f"exit status {status}" if status > 0
                         else f"killed by signal {-status}", output)
        return True

    def stop(self, now: float) -> None:
        """Give up."""
        self._requested = False
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)


def execute(state: Mapping[str, Any], fds: Sequence[int], environ: Mapping[str, str]) -> None:
    """Execute the version on disk; the caller has blocked all signals.

    Args:
        state: for the new version; JSON.
        fds: descriptors that stay open under their numbers.
        environ: the environment to start with.

    Raises:
        OSError: the system refuses; nothing has changed.
    """
    memory = os.memfd_create("geventuwsgi-handover", os.MFD_CLOEXEC)
    with open(memory, "wb", closefd=False) as file:
        file.write(json.dumps({**state, "form": FORMAT}).encode("utf-8", "surrogateescape"))
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
    """Return the state that the previous version handed over, None at a normal start.

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
