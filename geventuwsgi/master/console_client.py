"""The client of the console: finds a master by its pid file, sends a command, waits.

Runs in a process of its own (`geventuwsgi --stop FILE`). A pid file may be out of date: the
process has gone, or its pid belongs to another program. Both are reported, and nothing is
sent to a process that is not a master of this server.
"""

import os
import select
import socket
import time
from collections.abc import Callable, Sequence

from ..errors import ConfigError, GeventuwsgiError
from ..ipc.credentials import peer_credentials
from . import console

RESPONSE_TIMEOUT = 600.0    # seconds for the result: an application may load slowly
CONNECT_TIMEOUT = 2.0   # seconds for a master that starts, or upgrades itself, to listen


def pid_in(path: str) -> int:
    """Return the pid in a file.

    Raises:
        ConfigError: the file cannot be read, or contains no pid.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(64).strip()
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
                raise GeventuwsgiError(
                    f"process {pid} has not finished {words[0]!r} after {timeout:.0f} seconds; "
                    "see its log") from None
            except OSError:
                message = b""
            kind, _, rest = message.decode("utf-8", "replace").partition(" ")
            if kind == "out":
                write(rest)
                continue
            break
    if kind == "end":
        status, _, reason = rest.partition(" ")
        if int(status):
            failure = GeventuwsgiError(reason)
            failure.exit_status = int(status)
            raise failure
    elif not until_gone:
        what = "disconnected" if os.path.exists(f"/proc/{pid}") else "exited"
        raise GeventuwsgiError(f"process {pid} {what} before it had finished {words[0]!r}; its "
                               "log may say why")
    if until_gone:
        _wait_until_gone(pid, deadline)
    return 0


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
