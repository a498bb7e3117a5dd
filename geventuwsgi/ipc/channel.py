"""The control socket: the messages between the master, templates and workers.

A SOCK_SEQPACKET pair per process: a message arrives whole or not at all, and end-of-file
means that the other side has gone. A message is one short line of words:

    master -> template   fork ID ROW         with the worker's control socket as SCM_RIGHTS
                         die
    template -> master   loaded MS           the application is loaded (0 with lazy-apps)
                         failed STATUS WHY   it is not; the template exits with STATUS
                         found-asgi          go on with the role's alternative and this template
    both -> master       files PATHS         imported files, separated by NUL (autoreload)
                         wrong-interface     start the role's alternative; the process exits
    worker -> master     forked PID          sent on its behalf by the process that forked it
                         pid N               its first own message, before it boots
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
"""

import array
import socket

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


def parse_failed(message: bytes) -> tuple[int, str]:
    """Return (status, reason) of a `failed` message."""
    _, status, reason = message.split(b" ", 2)
    return int(status), reason.decode("utf-8", "replace")


def due_for_replacement(reason: str) -> bytes:
    """Return a `replace` message."""
    return REPLACE + reason.encode("utf-8", "replace")[:REASON]


def parse_replacement(message: bytes) -> str:
    """Return the reason of a `replace` message."""
    return message.removeprefix(REPLACE).decode("utf-8", "replace")


def parse_files(message: bytes) -> list[str]:
    """Return the paths of a `files` message."""
    return message.removeprefix(FILES).decode("utf-8", "surrogateescape").split("\0")


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
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    try:
        sock.sendmsg([message], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def receive(sock: socket.socket) -> bytes | None:
    """Return the next message, b"" at end-of-file, None if there is none yet."""
    try:
        return sock.recv(LIMIT, socket.MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:  # ECONNRESET: it died before it had read our messages
        return b""


def peer_closed(sock: socket.socket) -> bool:
    """Whether the other side has gone; no message is consumed."""
    try:
        return not sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def receive_with_descriptor(sock: socket.socket) -> tuple[bytes | None, int | None]:
    """Return the next message, as `receive`, and the descriptor that came with it.

    A blocking socket waits for one.
    """
    size = array.array("i").itemsize
    try:
        message, ancillary, _, _ = sock.recvmsg(LIMIT, socket.CMSG_SPACE(size),
                                                socket.MSG_CMSG_CLOEXEC)
    except (BlockingIOError, InterruptedError):
        return None, None
    except OSError:  # ECONNRESET, as in `receive`
        return b"", None
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return message, array.array("i", data[:size])[0]
    return message, None
