"""The control socket: what master, template and workers say to each other.

A SOCK_SEQPACKET pair per process, so that a message is whole or not there, and its
end-of-file means that the other side is gone. One message is one short line of words:

    master -> template   fork ID ROW         with the worker's control socket as SCM_RIGHTS
                         die
    template -> master   loaded MS           the application is there (0 with lazy-apps)
                         failed STATUS WHY   it is not; the template ends with STATUS
                         otherwise           it takes the role's other row; the template ends
    both -> master       files PATHS         what they imported, apart by NUL (`modules`)
    worker -> master     forked PID          said for it by those that forked it
                         pid N               the first thing it says, before any boot
                         ready               it accepts connections
                         failed STATUS WHY   it could not boot; it ends with STATUS
    worker -> master     worn WHY            it serves on, but is to be replaced
    master -> worker     drain               stop accepting, finish, exit 0
                         leave               a stop is near: readiness checks are to fail
                         pause               accept nothing, serve those who are there
                         resume              accept again
                         stop                the same, and let no idle connection wait
                         die                 exit at once
                         stacks              with one end of a socket pair as SCM_RIGHTS: send
                                             a file with the stacks of all greenlets there
    master -> both       log NAME            a log file that it opened for them, as SCM_RIGHTS

`drain` and `die` are frozen: a later master may speak them to an older worker.
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
FILES = b"files "
REPLACE = b"replace "
OTHERWISE = b"otherwise"
LOG = b"log "
LIMIT = 4096    # longer than any message
REASON = 1000   # bytes of a reason; the whole of it is in the log


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends; neither is inherited by an exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def failed(status: int, reason: str) -> bytes:
    """Say that this process could not boot and will end with `status`."""
    return b"failed %d %s" % (status, reason.encode("utf-8", "replace")[:REASON])


def parse_failed(message: bytes) -> tuple[int, str]:
    """Return (status, reason) of a `failed` message."""
    _, status, reason = message.split(b" ", 2)
    return int(status), reason.decode("utf-8", "replace")


def due_for_replacement(reason: str) -> bytes:
    """Say that this worker should be replaced, and why."""
    return REPLACE + reason.encode("utf-8", "replace")[:REASON]


def parse_replacement(message: bytes) -> str:
    """Return the reason of a `worn` message."""
    return message.removeprefix(REPLACE).decode("utf-8", "replace")


def send(sock: socket.socket, message: bytes, *, wait: bool = False) -> bool:
    """Send one message; False if the other side is gone or does not read.

    Args:
        wait: wait until it does; for a blocking socket.
    """
    try:
        sock.send(message, socket.MSG_NOSIGNAL | (0 if wait else socket.MSG_DONTWAIT))
    except OSError:
        return False
    return True


def send_with_descriptor(sock: socket.socket, message: bytes, fd: int) -> bool:
    """Send one message and a descriptor with it; as `send`."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    try:
        sock.sendmsg([message], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def receive(sock: socket.socket) -> bytes | None:
    """Return one message that is there, b"" at the end, None if there is none yet."""
    try:
        return sock.recv(LIMIT, socket.MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:  # ECONNRESET: it died with our messages unread
        return b""


def parse_files(message: bytes) -> list[str]:
    """Return the paths of a `files` message."""
    return message[len(FILES):].decode("utf-8", "surrogateescape").split("\0")


def peer_closed(sock: socket.socket) -> bool:
    """Whether the other side is gone; takes no message."""
    try:
        return not sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        return True


def receive_with_descriptor(sock: socket.socket) -> tuple[bytes | None, int | None]:
    """Return one message, as `receive`, and the descriptor that came with it.

    It waits for one if the socket is blocking.
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
