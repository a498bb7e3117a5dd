"""Going to the background: `daemonize`, and a starter that tells how it ended.

The command that was typed becomes the starter. It forks, and the child of its child is
the server: in a session of its own, without a terminal, its output in the log file. The
starter waits until the server is ready and then ends with status 0; if the start fails it
shows what the log says and ends with the server's own exit status. So a script that
starts the server knows whether it runs. (uWSGI's starter ends at once with status 0.)

A signal that would end the starter is handed on to the server.
"""

import os
import select
import signal
import sys
import termios
from types import FrameType
from typing import Any, BinaryIO

FOLLOWED = 0.1      # seconds between two looks at the log
LOST = 3            # the exit status of a server that ended without a word


class StartupPipe:
    """The server's side: what it tells its starter, once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def tell(self, status: int) -> None:
        """Say that the server is ready (0), or that it ends with `status`."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                os.write(fd, b"%d" % status)
            except OSError:
                pass  # the starter was killed
            os.close(fd)


def detach(log: str, *, verbose: bool) -> StartupPipe | int:
    """Go to the background.

    Args:
        log: the file for all output; it is opened here, so that a mistake is told at once.
        verbose: whether the starter shows the log of the start (`daemonize2`).

    Returns:
        In the server, how it tells its starter; in the starter, its exit status.

    Raises:
        OSError: the log cannot be opened, or there is no other process.
    """
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    start = os.lseek(output, 0, os.SEEK_END) if os.path.isfile(log) else -1
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    starter = os.getpid()
    between = os.fork()
    if between == 0:
        try:
            os.setsid()
            server = os.fork()
        except OSError:
            os._exit(1)
        if server != 0:
            os.write(theirs, b"%d\n" % server)
            os._exit(0)
        os.close(ours)
        _settle(output, starter)
        return StartupPipe(theirs)
    os.close(theirs)
    os.close(output)
    os.waitpid(between, 0)
    with os.fdopen(ours, "rb", 0) as report:
        if start < 0:
            return _wait(report, None, verbose)
        with open(log, "rb", 0) as told:
            told.seek(start)
            return _wait(report, told, verbose)


def _settle(output: int, starter: int) -> None:
    """Take leave of the terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    os.close(output)
    if os.environ.get("LISTEN_PID") == str(starter):
        os.environ["LISTEN_PID"] = str(os.getpid())  # the sockets were meant for the server


def _wait(report: BinaryIO, told: BinaryIO | None, verbose: bool) -> int:
    """Wait for the server's word; return the starter's exit status."""
    server = int(_line(report) or 0)
    if not server:
        print("geventuwsgi: error: cannot fork", file=sys.stderr)
        return LOST

    def hand_on(number: int, frame: FrameType | None) -> None:
        try:
            os.kill(server, signal.SIGTERM)
        except ProcessLookupError:
            pass
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, hand_on)
    while not select.select([report], [], [], FOLLOWED)[0]:
        if verbose:
            _show(told)
    word = report.read(16)
    status = int(word) if word else LOST
    if verbose or status:
        _show(told)
    if status:
        print(f"geventuwsgi: error: the start in the background failed (exit status {status})",
              file=sys.stderr)
    return status


def _line(report: BinaryIO) -> bytes:
    line = b""
    while byte := report.read(1):
        if byte == b"\n":
            return line
        line += byte
    return b""


def _show(told: BinaryIO | None) -> None:
    """Copy what is new in the log to the standard error."""
    if told is not None:
        while data := told.read(65536):
            os.write(2, data)


# The terminal's modes, kept over the death of a debugger.
#
# A debugger's line editor turns echo and line mode off while it waits; a worker that is killed
# there leaves the terminal so, and what is typed next cannot be seen. Called in the master
# only.

class TerminalModes:
    """The terminal at a descriptor, if it is one, as it is now.

    Args:
        fd: the descriptor.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        try:
            self._modes: list[Any] | None = termios.tcgetattr(fd)
        except (termios.error, OSError):  # no terminal, or none any more
            self._modes = None

    def restore(self) -> None:
        """Put the modes back, also from the background, where that would stop us."""
        if self._modes is None:
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTOU,))
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, self._modes)
        except (termios.error, OSError):
            self._modes = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
