"""Where log lines go: files, pipes and sockets, none of which may stop a request.

Rules of the room:

- `write` never blocks, never raises and never tears a line of another process. What
  cannot be written is counted, and the count is told in the log once it can.
- A file takes each batch in one write to a descriptor opened with O_APPEND: the kernel
  puts concurrent batches one after the other.
- A pipe takes pieces of at most PIPE_BUF bytes cut at line ends, for only those are
  atomic (pipe(7)); 60 KB batches of two workers were seen to tear each other's lines.
  What a full pipe does not take waits, up to 1 MiB.
"""

import _socket  # its sockets are the kernel's, also in a process that gevent has patched
import os
import select
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

PIPE_BUF = select.PIPE_BUF
MAX_WAITING = 1 << 20
FILE_MODE = 0o640  # uWSGI's mode for `logto`
STANDARD = {"-": 1, "/dev/stdout": 1, "/proc/self/fd/1": 1, "/dev/stderr": 2, "/proc/self/fd/2": 2}

Warn = Callable[[str], object]


class Sink(ABC):
    """One destination of log lines.

    Args:
        warn: called with one sentence when lines begin to be lost.
    """

    def __init__(self, warn: Warn | None = None) -> None:
        self.dropped = 0
        self._warn = warn
        self._untold = 0

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Write whole lines, now or as soon as the other side takes them."""

    def messages(self, messages: Sequence[bytes]) -> None:
        """Write messages, each a line or what an encoder made of one."""
        self.write(b"".join(messages))

    def flush(self) -> bool:
        """Write what waits, as far as it goes; tell whether nothing waits any more."""
        return True

    def reopen(self) -> None:
        """Open the file of the same name again, after a rotation. A descriptor stays."""

    def take(self, fd: int) -> None:
        """Go on with a file that another process opened for us. A descriptor stays."""
        os.close(fd)

    def close(self) -> None:
        """Write what can be written without waiting, and close."""

    def statistics(self) -> dict[str, int]:
        """Tell the number of lines dropped and of bytes waiting."""
        return {"dropped_lines": self.dropped, "waiting_bytes": 0}

    def _drop(self, data: bytes, reason: str) -> None:
        lines = data.count(b"\n") or 1
        first = not self._untold
        self.dropped += lines
        self._untold += lines
        if first and self._warn is not None:
            self._warn(f"log lines are being dropped: {reason}")

    def _loss(self) -> bytes:
        return b"*** %d log lines were dropped ***\n" % self._untold


class FileSink(Sink):
    """A regular file, by its path or by an inherited descriptor.

    Args:
        path: the file; made with mode 0640 if it does not exist. Opened at once.
        fd: instead of a path, a descriptor that stays the caller's.
        also: descriptors that are to be this file too (1 and 2 for `logto`), after a
            `reopen` as well.

    Raises:
        OSError: the path cannot be opened.
    """

    def __init__(self, path: str | None = None, *, fd: int = -1, also: tuple[int, ...] = (),
                 warn: Warn | None = None) -> None:
        super().__init__(warn)
        # The directory may be another one by the time of a rotation (`chdir`).
        self.path = None if path is None else os.path.abspath(path)
        self._also = also
        self._torn = False
        self._fd = fd if self.path is None else open_file(self.path)
        self._duplicate()

    def write(self, data: bytes) -> None:
        head = b"\n" if self._torn else b""
        if self._untold:
            head += self._loss()
        try:
            written = os.write(self._fd, head + data)
        except OSError as error:
            self._drop(data, f"{self._name()}: {error.strerror}")
            return
        if written >= len(head):
            self._untold = 0
        missing = len(head) + len(data) - written
        # A disk that fills up takes a part. The rest is lost, and the next batch begins a
        # line of its own.
        self._torn = missing > 0
        if missing:
            self._drop(data[-missing:], f"{self._name()}: only a part could be written")

    def _name(self) -> str:
        return self.path or f"fd {self._fd}"

    def reopen(self) -> None:
        """Open the path anew; if that fails, go on with the old file and warn."""
        if self.path is None:
            return
        try:
            fd = open_file(self.path)
        except OSError as error:
            if self._warn is not None:
                self._warn(f"{self.path} cannot be reopened, the old file stays: {error.strerror}")
            return
        self.take(fd)

    def take(self, fd: int) -> None:
        if self.path is None:
            os.close(fd)
            return
        # The number stays the same: other threads may be about to write to it.
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
    """A pipe, socket or terminal, by its descriptor, which stays the caller's and as it is.

    A pipe or terminal is opened a second time without blocking: the flag belongs to the
    open file, which the application's own `print` shares. Between `poll` and `write`
    another worker may fill the pipe, so `poll` alone is only what remains where it cannot
    be opened again (another user's).
    """

    def __init__(self, fd: int, *, warn: Warn | None = None) -> None:
        super().__init__(warn)
        self._waiting = bytearray()
        self._reason = f"the reader of fd {fd} is slow or gone"
        self._close: Callable[[], None] = _nothing
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
        if self._waiting or self._untold:
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
            if self._untold:
                self._send(self._loss())
                self._untold = 0
        except BlockingIOError:
            pass
        except OSError:  # EPIPE, ECONNRESET: nobody reads this log any more
            if position < len(data):
                self._drop(data[position:], self._reason)
                position = len(data)
        del self._waiting[:position]
        return not self._waiting

    def close(self) -> None:
        self.flush()
        self._close()

    def statistics(self) -> dict[str, int]:
        return {"dropped_lines": self.dropped, "waiting_bytes": len(self._waiting)}


def _nothing() -> None:
    pass


def _cut(data: bytes, start: int) -> int:
    """Find the end of the piece from `start`: at most PIPE_BUF bytes, at a line end if any."""
    limit = start + PIPE_BUF
    if len(data) <= limit:
        return len(data)
    return data.rfind(b"\n", start, limit) + 1 or limit


def open_file(path: str) -> int:
    """Open a log file for appending; a FIFO opens also while nobody reads it.

    Raises:
        OSError: it cannot be opened or made.
    """
    flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
    if os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
        return os.open(path, flags | os.O_RDWR | os.O_NONBLOCK)
    return os.open(path, flags | os.O_WRONLY, FILE_MODE)


def open_sink(target: str | int, *, also: tuple[int, ...] = (), warn: Warn | None = None) -> Sink:
    """Open a log by its path, by a descriptor or by "-" (standard output).

    Args:
        target: `/dev/stdout` and `/dev/stderr` are the descriptors 1 and 2 (where those
            are sockets, as under systemd, the path itself cannot be opened).
        also: see `FileSink`; only for a path.
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
        fd = open_file(target)
        for other in also:
            os.dup2(fd, other)
        return StreamSink(fd, warn=warn)
    return FileSink(target, also=also, warn=warn)


# A log file that is given away when it has grown (`log-maxsize`), by the one who writes it.
#
# Only one process writes such a file, the scribe (`log.dispatch`), so that no line can fall
# between a rename and somebody else's reopening.

class RotatedFile(FileSink):
    """A file that is renamed and begun anew.

    Args:
        path: the file.
        maxsize: bytes from which on it is rotated before the next batch; 0 = never.
        backup: its new name; "" = its own with the time behind it, as in uWSGI.
        mode: its permissions, None = those of `log.sinks`.
        owner: user and group to give it to, -1 = as it is.
        user: user and group with whose rights it is opened and renamed; None = our own.
        warn: see `Sink`.
    """

    def __init__(self, path: str, *, maxsize: int = 0, backup: str = "", mode: int | None = None,
                 owner: tuple[int, int] = (-1, -1), user: tuple[int, int] | None = None,
                 warn: Warn | None = None) -> None:
        self._maxsize = maxsize
        self._backup = os.path.abspath(backup) if backup else ""
        self._mode = mode
        self._owner = owner
        self._user = user
        self._size = 0
        with acting_as(user):
            super().__init__(path, warn=warn)
        self._settle()

    def write(self, data: bytes) -> None:
        if self._maxsize and self._size >= self._maxsize:
            self.rotate()
        super().write(data)
        self._size += len(data)

    def rotate(self) -> None:
        """Rename the file and begin a new one; where that fails the old one goes on."""
        assert self.path is not None
        now = int(time.time())
        # uWSGI's line, in the old file.
        super().write(f"{time.ctime(now)} - logsize: {self._size}, triggering rotation to "
                      f"{self._backup or f'{self.path}.{now}'}...\n".encode())
        try:
            with acting_as(self._user):
                rename(self.path, self._backup, now)
        except OSError as error:
            if self._warn is not None:
                self._warn(f"cannot rename the log {self.path}: {error.strerror}")
            self._size = 0      # the next attempt comes when as much again has been written
            return
        self.reopen()

    def reopen(self) -> None:
        with acting_as(self._user):
            super().reopen()
        self._settle()

    def _settle(self) -> None:
        self._size = os.fstat(self._fd).st_size
        give(self._fd, self._mode, self._owner)


@contextmanager
def acting_as(user: tuple[int, int] | None) -> Iterator[None]:
    """Have the rights of another for a moment: root opens no file where its user may put links.

    Args:
        user: user and group; None = ourselves.
    """
    if user is None:
        yield
        return
    own = os.geteuid(), os.getegid()
    os.setegid(user[1])
    try:
        os.seteuid(user[0])
        yield
    finally:
        os.seteuid(own[0])
        os.setegid(own[1])


def rename(path: str, backup: str, now: int) -> None:
    """Give a log file its other name.

    Args:
        path: the file.
        backup: its new name, whose former bearer is lost, as in uWSGI; "" = its own with
            the time behind it, and a number where that second has one already.
        now: the time.

    Raises:
        OSError: it cannot be renamed.
    """
    name = backup or f"{path}.{now}"
    number = 0
    while not backup and os.path.lexists(name):
        number += 1
        name = f"{path}.{now}.{number}"
    os.rename(path, name)


def give(fd: int, mode: int | None, owner: tuple[int, int]) -> str:
    """Set permissions and owner of an open file; return what went wrong, "" if nothing."""
    try:
        if mode is not None:
            os.fchmod(fd, mode)
        if owner != (-1, -1):
            os.fchown(fd, *owner)
    except OSError as error:
        return error.strerror or str(error)
    return ""
