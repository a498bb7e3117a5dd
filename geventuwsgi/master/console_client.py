"""The caller's side of the console: find a master by its pid file, give it an order, wait.

Runs in a process of its own (`geventuwsgi --stop FILE`). What a pid file says may be long
out of date: the process is gone, or its number belongs to another program. Both are
told, and nothing is ever sent to a process that is not a master of ours.
"""

import os
import select
import socket
import time
from collections.abc import Callable, Sequence

from ..errors import ConfigError, GeventuwsgiError
from ..net.credentials import peer_credentials
from . import console

PATIENCE = 600.0        # seconds for the whole of an answer: an application may load slowly
CONNECT_TIME = 2.0      # seconds for a master that starts, or upgrades itself, to listen


def pid_in(path: str) -> int:
    """Return the pid that a file holds.

    Raises:
        ConfigError: it cannot be read, or holds no number.
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
         until_gone: bool = False, patience: float = PATIENCE) -> int:
    """Give the master of a pid file an order, and wait for how it ends.

    Args:
        path: the pid file.
        words: the order and its arguments.
        write: called with each piece of text for the standard output.
        until_gone: also wait for the end of the process.
        patience: seconds to wait.

    Returns:
        The exit status: 0.
    Raises:
        ConfigError: the pid file is wrong (1).
        GeventuwsgiError: with the status and reason that the master gave.
    """
    pid = pid_in(path)
    deadline = time.monotonic() + patience
    with _connect(pid, path) as sock:
        try:
            sock.send(" ".join(words).encode())
        except OSError:
            pass  # it has answered before, with a refusal
        while True:
            sock.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                message = _receive(sock)
            except TimeoutError:
                raise GeventuwsgiError(
                    f"process {pid} has not answered {words[0]!r} for {patience:.0f} "
                    "seconds; its log says more") from None
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
        what = "broke off" if os.path.exists(f"/proc/{pid}") else "ended"
        raise GeventuwsgiError(f"process {pid} {what} before it had answered {words[0]!r}; its log "
                               "may say why")
    if until_gone:
        _wait_until_gone(pid, deadline)
    return 0


def _receive(sock: socket.socket) -> bytes:
    try:
        return sock.recv(2 * console.PIECE)
    except ConnectionResetError:    # it did not read the order; what it said is still there
        return sock.recv(2 * console.PIECE)


def _connect(pid: int, path: str) -> socket.socket:
    """Connect to the console of a process, and make sure that it is that process's.

    Raises:
        GeventuwsgiError: the process is gone, or is no master of ours.
    """
    end = time.monotonic() + CONNECT_TIME
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(CONNECT_TIME)
        try:
            sock.connect(console.name_of(pid))
        except OSError:
            sock.close()
        else:
            if peer_credentials(sock)[0] == pid:
                return sock
            sock.close()
            raise GeventuwsgiError(f"another process answers in the place of {pid}, which {path} "
                                   "names: is it in another container?")
        if not os.path.exists(f"/proc/{pid}"):
            raise GeventuwsgiError(f"process {pid} is gone: the pid file {path} is stale")
        if time.monotonic() > end:
            raise GeventuwsgiError(f"process {pid} ({_program(pid)}) takes no orders: it is no "
                                   f"geventuwsgi, and the pid file {path} is stale")
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
    """Whether a process runs Python or bears our title, so that it may be about to listen."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read().lower()
    except OSError:
        return False
    return b"python" in line or b"uwsgi" in line


def _wait_until_gone(pid: int, deadline: float) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:
        _poll_until_gone(pid, deadline)
        return
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    gone = poll.poll(max(deadline - time.monotonic(), 0.0) * 1000)
    os.close(fd)
    if not gone:
        raise GeventuwsgiError(f"process {pid} is still there")


def _poll_until_gone(pid: int, deadline: float) -> None:
    """The same where the kernel has no pidfd (before Linux 5.3)."""
    while os.path.exists(f"/proc/{pid}"):
        if time.monotonic() > deadline:
            raise GeventuwsgiError(f"process {pid} is still there")
        time.sleep(0.05)
