"""The master's console: an abstract socket on which other processes send it commands.

Unlike a signal, a command has a result: `--reload` waits for it. A connection carries one
command and its result, in messages of a SOCK_SEQPACKET socket `@geventuwsgi/<pid>`:

    caller -> master     COMMAND ARGUMENT ...    words, separated by blanks
    master -> caller     out TEXT                a piece of text for its standard output
                         end STATUS REASON       its exit status; the reason is for stderr

Rules:

- Only root and the server's own user may connect (SO_PEERCRED). No file is written.
- The master never waits for a caller: what it has not read is queued, up to a limit.
- A command is called with the caller and its arguments. It may keep the caller and end it
  later.
"""

import errno
import logging
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable, Sequence

from ..ipc import channel
from ..ipc.credentials import peer_credentials

logger = logging.getLogger("geventuwsgi.error")

PIECE = 16384           # bytes of text in one message
QUEUE = 512             # messages that a caller may leave unread
REQUEST = 4096          # bytes of a command
NOT_PERMITTED = 77      # status of a refused connection, sysexits(3)


def name_of(pid: int) -> str:
    """Return the abstract address of a master's console."""
    return f"\0geventuwsgi/{pid}"


class Caller:
    """A process that has sent a command and waits for the result.

    Attributes:
        uid: of the process.
        ended: the result is complete, or the process has gone.
    """

    def __init__(self, sock: socket.socket, selector: selectors.BaseSelector,
                 dispatch: Callable[["Caller", str, list[str]], None]) -> None:
        self._sock = sock
        self._selector = selector
        self._dispatch = dispatch
        self._waiting: deque[bytes] = deque()
        self._received = False
        _, self.uid, _ = peer_credentials(sock)
        self.ended = False
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_READ, self._on_ready)

    def write(self, text: str) -> None:
        """Send text for the caller's standard output."""
        data = text.encode("utf-8", "replace")
        for start in range(0, len(data), PIECE):
            self._send(b"out " + data[start:start + PIECE])

    def end(self, status: int = 0, reason: str = "") -> None:
        """Complete the result.

        Args:
            status: the exit status of the caller's process.
            reason: what it prints on its standard error before.
        """
        if not self.ended:
            self._send(b"end %d %s" % (status, reason.encode("utf-8", "replace")[:PIECE]))
            self.ended = True
            self._flush()

    def _send(self, message: bytes) -> None:
        if self.ended:
            return
        if len(self._waiting) >= QUEUE:
            self._close()
            return
        self._waiting.append(message)
        self._flush()

    def _flush(self) -> None:
        try:
            while self._waiting:
                self._sock.send(self._waiting[0], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                self._waiting.popleft()
        except BlockingIOError:
            events = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(self._sock, events, self._on_ready)
        except OSError:
            self._close()
        else:
            if self.ended:
                self._close()

    def _on_ready(self) -> None:
        """Read the command, or notice that the caller has gone; send what it has not read."""
        try:
            request = self._sock.recv(REQUEST, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._selector.modify(self._sock, selectors.EVENT_READ, self._on_ready)
            self._flush()
            return
        except OSError:
            request = b""
        if not request or self._received:
            self._close()
            return
        self._received = True
        name, *arguments = request.decode("utf-8", "replace").split() or [""]
        self._dispatch(self, name, arguments)

    def _close(self) -> None:
        self.ended = True
        self._waiting.clear()
        if self._sock.fileno() >= 0:
            self._selector.unregister(self._sock)
            self._sock.close()


Command = Callable[[Caller, Sequence[str]], None]


class Console:
    """The listening socket.

    Args:
        selector: the master's; the data of a key is the callback.
        commands: by name.
    """

    def __init__(self, selector: selectors.BaseSelector, commands: dict[str, Command]) -> None:
        self.commands = commands
        self._selector = selector
        self._sock: socket.socket | None = None
        self._spare = -1            # a descriptor to close when there are no more

    @property
    def fd(self) -> int:
        """The listening socket's descriptor; -1 if it is not open."""
        return -1 if self._sock is None else self._sock.fileno()

    def open(self, fd: int = -1) -> None:
        """Start to listen; if that fails, the error is logged and there is no console.

        Args:
            fd: a descriptor that is already listening, kept across an exec.
        """
        try:
            if fd >= 0:
                sock = socket.socket(fileno=fd)
                os.set_inheritable(fd, False)
            else:
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                sock.bind(name_of(os.getpid()))
                sock.listen()
        except OSError as error:
            logger.warning("no console on @%s: %s; signals still work",
                           name_of(os.getpid())[1:], error.strerror)
            return
        sock.setblocking(False)
        self._sock = sock
        self._spare = _spare()
        self._selector.register(sock, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Stop listening."""
        if self._sock is not None:
            self._selector.unregister(self._sock)
            self._sock.close()
            self._sock = None
            self._close_spare()

    def _accept(self) -> None:
        assert self._sock is not None
        try:
            sock, _ = self._sock.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._refuse(os.strerror(error.errno))
            return  # the caller has gone
        caller = Caller(sock, self._selector, self._dispatch)
        if caller.uid not in (0, os.geteuid()):  # at once, to free the descriptor
            caller.end(NOT_PERMITTED,
                       f"uid {caller.uid} may not control a server of uid {os.geteuid()}")

    def _refuse(self, reason: str) -> None:
        """Accept on the spare descriptor and refuse: else the caller waits, and wakes us again."""
        assert self._sock is not None
        logger.error("cannot accept a console connection: %s (max-fd)", reason)
        self._close_spare()
        try:
            with self._sock.accept()[0] as sock:
                channel.send(sock, b"end 1 the master cannot accept the command: %s (max-fd)"
                             % reason.encode())
        except OSError:
            pass  # another thread took the descriptor, or the caller has gone
        self._spare = _spare()

    def _close_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _dispatch(self, caller: Caller, name: str, arguments: list[str]) -> None:
        command = self.commands.get(name)
        if command is None:
            caller.end(2, f"unknown command {name!r}; there are: "
                       + ", ".join(sorted(self.commands)))
            return
        try:
            command(caller, arguments)
        except Exception as error:      # it must not end the master
            logger.exception("the command %s failed", name)
            caller.end(1, f"{name} failed: {type(error).__name__}: {error}; the log has more")


def _spare() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
