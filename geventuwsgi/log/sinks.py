"""Destinations of log lines: files, pipes and sockets.

- `write` never blocks, never raises and never breaks a line of another process. Lines that
  cannot be written are counted, and the count is logged later.
- Each batch is one write to a file opened with O_APPEND, so the kernel writes concurrent
  batches one after the other.
- A pipe gets pieces of at most PIPE_BUF bytes cut at line ends, because only such writes are
  atomic (pipe(7)); 60 KB batches of two workers broke each other's lines. Up to 1 MiB waits
  while the pipe is full.
"""

import _socket  # not patched by gevent
import errno
import os
import select
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from geventuwsgi import rights
from geventuwsgi.rights import Opened, User

PIPE_BUF = select.PIPE_BUF
MAX_WAITING = 1 << 20
FILE_MODE = 0o640  # uWSGI's mode for `logto`
STANDARD = {"-": 1, "/dev/stdout": 1, "/proc/self/fd/1": 1, "/dev/stderr": 2, "/proc/self/fd/2": 2}

Warn = Callable[[str], object]


class Sink(ABC):
    """One destination of log lines.

    Args:
        warn: called with one sentence when the first line is lost.
    """

    def __init__(self, warn: Warn | None = None) -> None:
        self.dropped = 0
        self._warn = warn
        self._unreported = 0

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Write whole lines, now or as soon as the reader accepts them."""

    def messages(self, messages: Sequence[bytes]) -> None:
        """Write messages: lines, or the output of an encoder."""
        self.write(b"".join(messages))

    def flush(self) -> bool:
        """Write as much as possible of what is waiting; return whether that was all."""
        return True

    def reopen(self) -> None:
        """Open the file of the same name again, after a rotation. No effect without a path."""

    def take(self, fd: int) -> None:
        """Continue with a file that another process has opened. No effect without a path."""
        os.close(fd)

    def close(self) -> None:
        """Write what can be written without waiting, and close."""

    def statistics(self) -> dict[str, int]:
        """Return the number of lines dropped and of bytes waiting."""
        return {"dropped_lines": self.dropped, "waiting_bytes": 0}

    def _drop(self, data: bytes, reason: str) -> None:
        lines = data.count(b"\n") or 1
        first = not self._unreported
        self.dropped += lines
        self._unreported += lines
        if first and self._warn is not None:
            self._warn(f"log lines are being dropped: {reason}")

    def _loss(self) -> bytes:
        return b"*** %d log lines were dropped ***\n" % self._unreported


class FileSink(Sink):
    """A regular file, by its path or by an inherited descriptor.

    Args:
        path: the file; created with mode 0640 if it does not exist.
        fd: a descriptor instead of a path; the caller closes it.
        also: descriptors that become duplicates of the file, after a `reopen` as well (1 and
            2 for `logto`).
        user: the one of `uid`, see `rights`.

    Raises:
        OSError: the path cannot be opened.
    """

    def __init__(self, path: str | None = None, *, fd: int = -1, also: tuple[int, ...] = (),
                 user: User | None = None, warn: Warn | None = None) -> None:
        super().__init__(warn)
        # The working directory may change before a rotation (`chdir`).
        self.path = None if path is None else os.path.abspath(path)
        self._also = also
        self._user = user
        self._torn = False
        self._fd = fd if self.path is None else self._open(self.path)
        self._duplicate()

    def write(self, data: bytes) -> None:
        head = b"\n" if self._torn else b""
        if self._unreported:
            head += self._loss()
        try:
            written = os.write(self._fd, head + data)
        except OSError as error:
            self._drop(data, f"{self._name()}: {error.strerror}")
            return
        if written >= len(head):
            self._unreported = 0
        missing = len(head) + len(data) - written
        # A full disk accepts only a part. The rest is lost, and the next batch begins on a
        # new line.
        self._torn = missing > 0
        if missing:
            self._drop(data[-missing:], f"{self._name()}: only a part could be written")

    def _open(self, path: str) -> int:
        return self._regular(open_file(path, self._user)).fd

    def _regular(self, file: Opened) -> Opened:
        if not stat.S_ISREG(os.fstat(file.fd).st_mode):     # writing to it might wait
            os.close(file.fd)
            raise OSError(errno.EINVAL, rights.NOT_REGULAR, self.path)
        return file

    def _name(self) -> str:
        return self.path or f"fd {self._fd}"

    def reopen(self) -> None:
        """Open the path again; if that fails, warn and continue with the old file."""
        if self.path is None:
            return
        try:
            fd = self._open(self.path)
        except OSError as error:
            if self._warn is not None:
                self._warn(f"{self.path} cannot be reopened, the old file stays: {error.strerror}")
            return
        self.take(fd)

    def take(self, fd: int) -> None:
        if self.path is None:
            os.close(fd)
            return
        # The number stays the same, as other threads may be about to write to it.
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        self._duplicate()

    def _duplicate(self) -> None:
        for fd in self._also:
            os.dup2(self._fd, fd)

    def close(self) -> None:
        if self.path is not None:
            os.close(self._fd)


class StreamSink(Sink):
    """A pipe, socket or terminal, by a descriptor that is left unchanged.

    A pipe or terminal is opened a second time with O_NONBLOCK: the flag belongs to the open
    file, which the application's own `print` uses. If that is not possible (another user's
    pipe), `poll` has to do, although another worker may fill the pipe between `poll` and
    `write`.
    """

    def __init__(self, fd: int, *, warn: Warn | None = None) -> None:
        super().__init__(warn)
        self._waiting = bytearray()
        self._reason = f"the reader of fd {fd} is slow or gone"
        self._close: Callable[[], None] | None = None
        self._send = self._open(fd)

    def _open(self, fd: int) -> Callable[[bytes], int]:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            connection = _socket.socket(fileno=os.dup(fd))
            self._close = connection.close
            return lambda data: connection.send(data, _socket.MSG_DONTWAIT)
        try:
            own = os.open(f"/proc/self/fd/{fd}",
                          os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)

            def send(data: bytes) -> int:
                if not poll.poll(0):
                    raise BlockingIOError
                return os.write(fd, data)

            return send
        self._close = lambda: os.close(own)
        return lambda data: os.write(own, data)

    def write(self, data: bytes) -> None:
        if self._waiting or self._unreported:
            self.flush()
            if len(self._waiting) + len(data) > MAX_WAITING:
                self._drop(data, self._reason)
                return
        self._waiting += data
        self.flush()

    def flush(self) -> bool:
        data = bytes(self._waiting)
        position = 0
        try:
            while position < len(data):
                position += self._send(data[position:_cut(data, position)])
            if self._unreported:
                self._send(self._loss())
                self._unreported = 0
        except BlockingIOError:
            pass
        except OSError:  # EPIPE, ECONNRESET: the reader is gone
            if position < len(data):
                self._drop(data[position:], self._reason)
                position = len(data)
        del self._waiting[:position]
        return not self._waiting

    def close(self) -> None:
        self.flush()
        if self._close is not None:
            self._close()

    def statistics(self) -> dict[str, int]:
        return {"dropped_lines": self.dropped, "waiting_bytes": len(self._waiting)}


def _cut(data: bytes, start: int) -> int:
    """Return the end of the piece at `start`: at most PIPE_BUF bytes, up to a line end if any."""
    limit = start + PIPE_BUF
    if len(data) <= limit:
        return len(data)
    return data.rfind(b"\n", start, limit) + 1 or limit


def open_file(path: str, user: User | None = None) -> Opened:
    """Open a log file for appending; a FIFO can be opened without a reader.

    Args:
        path: the file.
        user: the one of `uid`, see `rights`.

    Raises:
        OSError: it cannot be opened or created.
    """
    flags = os.O_APPEND | os.O_CREAT | os.O_NOCTTY
    if os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
        return rights.open_file(path, flags | os.O_RDWR | os.O_NONBLOCK, user=user)
    return rights.open_file(path, flags | os.O_WRONLY, FILE_MODE, user)


def open_sink(target: str | int, *, also: tuple[int, ...] = (), user: User | None = None,
              warn: Warn | None = None) -> Sink:
    """Open a log by its path, by a descriptor or by "-" (standard output).

    Args:
        target: `/dev/stdout` and `/dev/stderr` are the descriptors 1 and 2: if those are
            sockets, as under systemd, the path itself cannot be opened.
        also: see `FileSink`; only for a path.
        user: see `FileSink`.
        warn: see `Sink`.

    Raises:
        OSError: it cannot be opened.
    """
    if isinstance(target, str):
        target = STANDARD.get(target, target)
    if isinstance(target, int):
        if stat.S_ISREG(os.fstat(target).st_mode):
            return FileSink(fd=target, warn=warn)
        return StreamSink(target, warn=warn)
    if os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode):
        fd = open_file(target, user).fd
        for other in also:
            os.dup2(fd, other)
        return StreamSink(fd, warn=warn)
    return FileSink(target, also=also, user=user, warn=warn)


class RotatedFile(FileSink):
    """A file that is rotated by its size (`log-maxsize`).

    Only the log collector writes to it, so no line is lost between the rename and the moment
    at which another process reopens the file.

    Args:
        path: the file.
        maxsize: rotate before the next batch once it has this many bytes; 0 = never.
        backup: the name it is renamed to; "" = the path with the time appended, as in uWSGI.
        mode: its permissions; None = 0640.
        owner: its user and group; -1 = unchanged.
        user: see `FileSink`.
        warn: see `Sink`.
    """

    def __init__(self, path: str, *, maxsize: int = 0, backup: str = "", mode: int | None = None,
                 owner: tuple[int, int] = (-1, -1), user: User | None = None,
                 warn: Warn | None = None) -> None:
        self._maxsize = maxsize
        self._backup = os.path.abspath(backup) if backup else ""
        self._mode = mode
        self._owner = owner
        super().__init__(path, user=user, warn=warn)
        self._size = os.fstat(self._fd).st_size

    def write(self, data: bytes) -> None:
        if self._maxsize and self._size >= self._maxsize:
            self.rotate()
        super().write(data)
        self._size += len(data)

    def rotate(self) -> None:
        """Rename the file and begin a new one; if that fails, continue with the old one."""
        assert self.path is not None
        now = int(time.time())
        # uWSGI's log line, in the old file.
        super().write(f"{time.ctime(now)} - logsize: {self._size}, triggering rotation to "
                      f"{self._backup or f'{self.path}.{now}'}...\n".encode())
        try:
            rename(self.path, self._backup, now, self._user)
        except OSError as error:
            if self._warn is not None:
                self._warn(f"cannot rename the log {self.path}: {error.strerror}")
            self._size = 0      # try again after another `maxsize` bytes
            return
        self.reopen()

    def reopen(self) -> None:
        super().reopen()
        self._size = os.fstat(self._fd).st_size

    def _open(self, path: str) -> int:
        file = self._regular(open_file(path, self._user))
        give(file, self._mode, self._owner)
        return file.fd


def rename(path: str, backup: str, now: int, user: User | None = None) -> None:
    """Rename a log file.

    Args:
        path: the file.
        backup: its new name; a file of that name is overwritten, as in uWSGI. "" = the path
            with the time appended, and a number if there is such a file.
        now: the time.
        user: the one of `uid`, see `rights`.

    Raises:
        OSError: it cannot be renamed.
    """
    name = backup or f"{path}.{now}"
    number = 0
    while not backup and os.path.lexists(name):
        number += 1
        name = f"{path}.{now}.{number}"
    rights.rename(path, name, user)


def give(file: Opened, mode: int | None, owner: tuple[int, int]) -> str:
    """Set permissions and owner of an open file; return the error, "" if there is none."""
    if not file.certain and (mode is not None or owner != (-1, -1)):
        return "another user's file in a directory that the application's user can write"
    try:
        if mode is not None:
            os.fchmod(file.fd, mode)
        if owner != (-1, -1):
            os.fchown(file.fd, *owner)
    except OSError as error:
        return error.strerror or str(error)
    return ""
