"""The controlling terminal: keep its modes, and detach from it (`daemonize`).

Called in the master only. To daemonize, the command that was typed becomes the starter. It
forks twice, and its grandchild is the server: in a session of its own, without a terminal, its
output in the log file. The starter waits until the server is ready and ends with status 0. If
the start fails, it prints what the log says and ends with the server's exit status, so that a
script knows whether the server runs. (uWSGI's starter ends at once with status 0.) A signal
that would end the starter is passed on to the server.
"""

import os
import select
import signal
import stat
import sys
import termios
from types import FrameType
from typing import Any, BinaryIO

from ..rights import User, open_file

FOLLOW_INTERVAL = 0.1   # seconds between two reads of the log
NO_REPORT = 3           # exit status for a server that ended without reporting one


class TerminalModes:
    """The modes of the terminal at a descriptor, as they are now; nothing if it is not one.

    A debugger's line editor turns echo and line mode off while it waits. A worker that is
    killed there leaves the terminal so, and what is typed next cannot be seen.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        try:
            self._modes: list[Any] | None = termios.tcgetattr(fd)
        except (termios.error, OSError):  # not a terminal, or one that has hung up
            self._modes = None

    def restore(self) -> None:
        """Restore the modes, also from a background process group, which SIGTTOU would stop."""
        if self._modes is None:
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTOU,))
        try:
            termios.tcsetattr(self._fd, termios.TCSANOW, self._modes)
        except (termios.error, OSError):
            self._modes = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StartupPipe:
    """The server's end of the pipe on which it reports to its starter, once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def report(self, status: int) -> None:
        """Report that the server is ready (0), or that it ends with `status`."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                os.write(fd, b"%d" % status)
            except OSError:
                pass  # the starter was killed
            os.close(fd)


def detach(log: str, *, verbose: bool, user: User | None = None) -> StartupPipe | int:
    """Run in the background.

    Args:
        log: the file for all output, opened here so that an error is reported at once.
        verbose: the starter prints the log until the server is ready (`daemonize2`).
        user: the one of `uid`, see `rights`.

    Returns:
        In the server, the pipe to its starter; in the starter, its exit status.

    Raises:
        OSError: the log cannot be opened, or the fork failed.
    """
    output = open_file(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640, user).fd
    regular = stat.S_ISREG(os.fstat(output).st_mode)
    start = os.lseek(output, 0, os.SEEK_END) if regular else -1
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    starter = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            server = os.fork()
        except OSError:
            os._exit(1)
        if server != 0:
            os.write(theirs, b"%d\n" % server)
            os._exit(0)
        os.close(ours)
        _redirect_output(output, starter)
        return StartupPipe(theirs)
    os.close(theirs)
    os.waitpid(child, 0)
    with os.fdopen(ours, "rb", 0) as report, os.fdopen(output, "wb", 0):
        if start < 0:
            return _wait(report, None, verbose)
        with open(f"/proc/self/fd/{output}", "rb", 0) as file:  # the path may lead elsewhere now
            file.seek(start)
            return _wait(report, file, verbose)


def _redirect_output(output: int, starter: int) -> None:
    """Replace standard input, output and error, which may be the terminal."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    os.close(output)
    if os.environ.get("LISTEN_PID") == str(starter):
        os.environ["LISTEN_PID"] = str(os.getpid())  # the sockets are for the server


def _wait(report: BinaryIO, log: BinaryIO | None, verbose: bool) -> int:
    """Wait for the server's report; return the starter's exit status."""
    server = int(_line(report) or 0)
    if not server:
        print("geventuwsgi: error: cannot fork", file=sys.stderr)
        return NO_REPORT

    def pass_on(number: int, frame: FrameType | None) -> None:
        try:
            os.kill(server, signal.SIGTERM)
        except ProcessLookupError:
            pass
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    while not select.select([report], [], [], FOLLOW_INTERVAL)[0]:
        if verbose:
            _copy_new(log)
    data = report.read(16)
    status = int(data) if data else NO_REPORT
    if verbose or status:
        _copy_new(log)
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


def _copy_new(log: BinaryIO | None) -> None:
    """Copy new text of the log to the standard error."""
    if log is not None:
        while data := log.read(65536):
            os.write(2, data)
