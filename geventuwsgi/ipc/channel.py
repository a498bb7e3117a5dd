"""The control socket: the messages between the master, templates and workers.

A SOCK_SEQPACKET pair per process: a message arrives whole or not at all, and end-of-file
means that the other side has gone. A message is one short line of words:

    master -> template   fork ID ROW         with the worker's control socket, and the memory of
                                             its row, as SCM_RIGHTS
                         die
    template -> master   loaded MS           the application is loaded (0 with lazy-apps)
                         failed STATUS WHY   it is not; the template exits with STATUS
                         found-asgi          go on with the role's alternative and this template
    both -> master       files PATHS         imported files, separated by NUL (autoreload)
                         wrong-interface     start the role's alternative; the process exits
    worker -> master     forked PID          sent on its behalf by the process that forked it
                         pid N               its first own message, before it boots; the master
                                             takes the pid from the kernel (SO_PASSCRED)
                         ready               it accepts connections
                         failed STATUS WHY   it could not boot; it exits with STATUS
                         replace WHY         it keeps serving, but should be replaced
    master -> worker     drain               stop accepting, finish the requests, exit 0
                         unready             a stop is near: fail readiness checks
                         pause               accept nothing, serve the present requests
                         resume              accept again
                         stop                as drain, and close idle connections at once
                         die                 exit at once
                         stacks              with one end of a socket pair as SCM_RIGHTS: send
                                             a file with the stacks of all greenlets there
    master -> both       log NAME            a log file that it opened for them, as SCM_RIGHTS

`drain` and `die` never change: a later version of the master sends them to older workers.

The master may be root, and the others not: what it accepts from them is in `master.reports`.
"""

import array
import socket
from collections.abc import Sequence

from . import credentials

DRAIN = b"drain"
STOP = b"stop"
UNREADY = b"unready"
PAUSE = b"pause"
RESUME = b"resume"
DIE = b"die"
READY = b"ready"
STACKS = b"stacks"
FORK = b"fork "
LOADED = b"loaded "
FAILED = b"failed "
FORKED = b"forked "
PID = b"pid "
FILES = b"files "
REPLACE = b"replace "
WRONG_INTERFACE = b"wrong-interface"
FOUND_ASGI = b"found-asgi"
LOG = b"log "
LIMIT = 4352    # longer than any message: `files ` with one path of PATH_MAX, 4096
REASON = 1000   # bytes of a reason; the log has all of it


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends; neither is inherited by an exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def failed(status: int, reason: str) -> bytes:
    """Return a `failed` message."""
    return FAILED + b"%d %s" % (status, reason.encode("utf-8", "replace")[:REASON])


def due_for_replacement(reason: str) -> bytes:
    """Return a `replace` message."""
    return REPLACE + reason.encode("utf-8", "replace")[:REASON]


def send(sock: socket.socket, message: bytes, *, wait: bool = False) -> bool:
    """Send one message; return False if the other side has gone or does not read.

    Args:
        wait: wait until it reads; for a blocking socket.
    """
    try:
        sock.send(message, socket.MSG_NOSIGNAL | (0 if wait else socket.MSG_DONTWAIT))
    except OSError:
        return False
    return True


def send_with_descriptor(sock: socket.socket, message: bytes, fd: int) -> bool:
    """Send one message together with a descriptor; otherwise as `send`."""
    return send_with_descriptors(sock, message, (fd,))


def send_with_descriptors(sock: socket.socket, message: bytes, fds: Sequence[int]) -> bool:
    """Send one message together with descriptors; otherwise as `send`."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
    try:
        sock.sendmsg([message], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def receive_with_sender(sock: socket.socket) -> tuple[bytes | None, int, int]:
    """Return the next message, and pid and uid of its sender as the kernel says.

    The message is b"" at end-of-file, None if there is none yet; one that is too long is cut
    to more than LIMIT bytes. The socket was prepared by `credentials.require`.
    """
    try:
        message, ancillary, _, _ = sock.recvmsg(LIMIT + 1, credentials.SPACE, socket.MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        return None, 0, 0
    except OSError:  # ECONNRESET: it died before it had read our messages
        return b"", 0, 0
    pid, uid, _ = credentials.sender(ancillary)
    return message, pid, uid


def peer_closed(sock: socket.socket) -> bool:
    """Whether the other side has gone; no message is consumed."""
    try:
        return not sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def receive_with_descriptor(sock: socket.socket) -> tuple[bytes | None, int | None]:
    """Return the next message, and the descriptor that came with it, if one did.

    The message is b"" at end-of-file, None if there is none yet; a blocking socket waits.
    """
    message, fds = receive_with_descriptors(sock, 1)
    return message, fds[0] if fds else None


def receive_with_descriptors(sock: socket.socket, most: int) -> tuple[bytes | None, list[int]]:
    """Return the next message, as `receive_with_descriptor`, and the descriptors with it.

    Args:
        most: how many are taken. CMSG_LEN, not CMSG_SPACE: in the space of the padding the
            kernel would put further ones, which stay open.
    """
    found = array.array("i")
    try:
        message, ancillary, _, _ = sock.recvmsg(LIMIT, socket.CMSG_LEN(most * found.itemsize),
                                                socket.MSG_CMSG_CLOEXEC)
    except (BlockingIOError, InterruptedError):
        return None, []
    except OSError:  # ECONNRESET, as in `receive_with_sender`
        return b"", []
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[:len(data) - len(data) % found.itemsize])
    return message, found.tolist()
