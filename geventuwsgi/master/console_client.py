"""The client of the console: finds a master by its pid file, sends a command, waits.

Runs in a process of its own (`geventuwsgi --stop FILE`). A pid file may be out of date: the
process has gone, or its pid belongs to another program. Both are reported, and nothing is
sent to a process that is not a master of this server.

The application's user may be able to write the file, and names a master of root's there. So what
root is asked to do by a file that others can change is done only if the master says that the file
is its own. What a master answers is escaped, since it may be any process.
"""

import os
import select
import socket
import stat
import time
from collections.abc import Callable, Sequence

from ..errors import ConfigError, GeventuwsgiError, NoAnswer
from ..ipc.credentials import peer_credentials
from ..log import escape
from . import console

RESPONSE_TIMEOUT = 600.0    # seconds for the result: an application may load slowly
CONNECT_TIMEOUT = 2.0   # seconds for a master that starts, or upgrades itself, to listen


def pid_in(path: str) -> int:
    """Return the pid in a file.

    Raises:
        ConfigError: the file cannot be read, or contains no pid.
    """
    try:
        # Another user may have put a FIFO there.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with os.fdopen(fd, "rb", 0) as file:
            text = (file.read(64) or b"").strip()
    except OSError as error:
        raise ConfigError(f"cannot read the pid file {path}: {error.strerror}") from None
    if not text.isdigit() or not 0 < int(text) < 2 ** 31:
        raise ConfigError(f"the pid file {path} holds no process id")
    return int(text)


def call(path: str, words: Sequence[str], write: Callable[[str], object], *,
         until_gone: bool = False, timeout: float = RESPONSE_TIMEOUT) -> int:
    """Send a command to the master of a pid file, and wait for the result.

    Args:
        path: the pid file.
        words: the command and its arguments.
        write: called with each piece of text for the standard output.
        until_gone: also wait until the process has exited.
        timeout: seconds to wait.

    Returns:
        The exit status: 0.
    Raises:
        ConfigError: the pid file is wrong (1).
        GeventuwsgiError: with the exit status and reason that the master sent.
    """
    pid = pid_in(path)
    deadline = time.monotonic() + timeout
    if os.geteuid() == 0 and not _only_root_changes(path):
        _check_pid_file(pid, path, deadline)
    _run(pid, path, words, write, until_gone, deadline)
    if until_gone:
        _wait_until_gone(pid, deadline)
    return 0


def _check_pid_file(pid: int, path: str, deadline: float) -> None:
    """Check that a master regards a file as its pid file.

    Raises:
        GeventuwsgiError: it does not.
    """
    found: list[str] = []
    _run(pid, path, ["pid-files"], found.append, False, deadline)
    own = "".join(found).split("\n")[:-1]
    if os.path.abspath(path) not in own:
        raise GeventuwsgiError(
            f"the pid file {path} can be written by other users than root, and process {pid} is "
            f"a master with {' and '.join(own) or 'no pid file'}: nothing was sent to it")


def _only_root_changes(path: str) -> bool:
    """Whether only root can change a file, and the way to it."""
    for name in (os.path.abspath(path), os.path.realpath(path)):
        while name != "/":
            try:
                found = os.lstat(name)
            except OSError:     # it has just gone
                return False
            open_to_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not (
                stat.S_ISLNK(found.st_mode) or found.st_mode & stat.S_ISVTX)
            if found.st_uid != 0 or open_to_others:
                return False
            name = os.path.dirname(name)
    return True


def _run(pid: int, path: str, words: Sequence[str], write: Callable[[str], object],
         until_gone: bool, deadline: float) -> None:
    """Send one command, and write its result; with `until_gone` it may have none."""
    with _connect(pid, path) as sock:
        try:
            sock.send(" ".join(words).encode())
        except OSError:
            pass  # the master has refused the connection
        while True:
            sock.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                message = _receive(sock)
            except TimeoutError:
                raise NoAnswer(f"process {pid} has not finished {words[0]!r} in time; see its "
                               "log") from None
            except OSError:
                message = b""
            kind, _, rest = escape.lines(message.decode("utf-8", "replace")).partition(" ")
            if kind == "out":
                write(rest)
                continue
            break
    if kind == "end":
        status, _, reason = rest.partition(" ")
        if status == str(console.NOT_PERMITTED):
            raise NoAnswer(reason)
        if status != "0":
            failure = GeventuwsgiError(reason)
            failure.exit_status = int(status) if status in ("1", "2", "3", "4") else 1
            raise failure
    elif not until_gone:
        what = "disconnected" if os.path.exists(f"/proc/{pid}") else "exited"
        raise GeventuwsgiError(f"process {pid} {what} before it had finished {words[0]!r}; its "
                               "log may say why")


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(2 * console.PIECE)
    except ConnectionResetError:    # it did not read the command; its message is still there
        return sock.recv(2 * console.PIECE)


def _connect(pid: int, path: str) -> socket.socket:
    """Connect to the console of a process, and check that the process itself listens there.

    Raises:
        GeventuwsgiError: the process has gone, or is not a master of this server.
    """
    end = time.monotonic() + CONNECT_TIMEOUT
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(CONNECT_TIMEOUT)
        try:
            sock.connect(console.name_of(pid))
        except OSError:
            sock.close()
        else:
            if peer_credentials(sock)[0] == pid:
                return sock
            sock.close()
            raise GeventuwsgiError(f"another process listens in place of {pid}, the pid in {path}: "
                                   "is that pid from another container?")
        if not os.path.exists(f"/proc/{pid}"):
            raise GeventuwsgiError(f"process {pid} has gone: the pid file {path} is stale")
        if time.monotonic() > end:
            raise GeventuwsgiError(f"process {pid} ({_program(pid)}) is not a geventuwsgi master: "
                                   f"the pid file {path} is stale")
        if not _may_be_ours(pid):
            end = 0.0
        time.sleep(0.05)


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def _may_be_ours(pid: int) -> bool:
    """Whether a process runs Python or has our title, so that it may be about to listen."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read().lower()
    except OSError:
        return False
    return b"python" in line or b"uwsgi" in line


def _wait_until_gone(pid: int, deadline: float) -> None:
    """Wait until a process has exited that is not our child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:
        _poll_until_gone(pid, deadline)
        return
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    exited = poll.poll(max(deadline - time.monotonic(), 0.0) * 1000)
    os.close(fd)
    if not exited:
        raise GeventuwsgiError(f"process {pid} is still running")


def _poll_until_gone(pid: int, deadline: float) -> None:
    """Do the same without a pidfd (before Linux 5.3)."""
    while os.path.exists(f"/proc/{pid}"):
        if time.monotonic() > deadline:
            raise GeventuwsgiError(f"process {pid} is still running")
        time.sleep(0.05)
