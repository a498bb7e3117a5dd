"""`wsgi.input`: the request body as a stream that ends where the body ends (PEP 3333).

A body that was read before is an `io.BytesIO`, or a temporary file if it is large
(`post-buffering`). Any other is a `Body`, which fetches the next decoded piece only when the
application reads, so that a large upload is never held in memory.
"""

import io
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO


class Body(io.RawIOBase):
    """The body of one request, read as it arrives.

    Args:
        receive: returns the next decoded piece, b"" at the body's end; raises OSError
            when the client is gone or too slow.

    `read(n)` waits for exactly n bytes or what remains, as in uWSGI. Every read ends at the
    end of the body, with or without a Content-Length (`wsgi.input_terminated`).
    """

    def __init__(self, receive: Callable[[], bytes]) -> None:
        super().__init__()
        self._receive = receive
        self._buffer = b""
        self._at = 0
        self._ended = False

    def readable(self) -> bool:
        return True

    def _fill(self) -> bool:
        """Fetch one more piece into an emptied buffer; False at the end of the body."""
        if self._ended:
            return False
        piece = self._receive()
        if not piece:
            self._ended = True
            return False
        self._buffer, self._at = piece, 0
        return True

    def _take(self, count: int) -> bytes:
        """Up to `count` bytes of what is buffered, without a copy if that is all of it."""
        start = self._at
        if start == 0 and len(self._buffer) <= count:
            piece, self._buffer = self._buffer, b""
            return piece
        piece = self._buffer[start:start + count]
        self._at += len(piece)
        return piece

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        """Return `size` bytes, fewer only at the end of the body; all if it is negative."""
        if size is None or size < 0:
            size = -1
        pieces: list[bytes] = []
        left = size
        while left:
            if self._at >= len(self._buffer) and not self._fill():
                break
            piece = self._take(left if left > 0 else len(self._buffer))
            pieces.append(piece)
            if left > 0:
                left -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read1(self, size: int = -1) -> bytes:
        """Return what has arrived, at most `size` bytes; wait only if there is nothing."""
        if size == 0 or (self._at >= len(self._buffer) and not self._fill()):
            return b""
        return self._take(size if size > 0 else len(self._buffer))

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def,override]
        piece = self.read1(len(buffer))
        buffer[:len(piece)] = piece
        return len(piece)

    def readline(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        """Return bytes up to and including the next LF, at most `size` if not negative."""
        limit = -1 if size is None or size < 0 else size
        pieces: list[bytes] = []
        while limit:
            if self._at >= len(self._buffer) and not self._fill():
                break
            end = self._buffer.find(b"\n", self._at) + 1
            count = (end or len(self._buffer)) - self._at
            if limit > 0:
                count = min(count, limit)
                limit -= count
            piece = self._take(count)
            pieces.append(piece)
            if piece.endswith(b"\n"):
                break
        return b"".join(pieces)

    def __iter__(self) -> Iterator[bytes]:  # type: ignore[override]
        return iter(self.readline, b"")


def spool(receive: Callable[[], bytes], memory: int) -> BinaryIO:
    """Read a whole body before the application runs (`post-buffering`).

    Args:
        receive: as for `Body`.
        memory: octets that are kept in memory; a longer body goes to a temporary file in
            TMPDIR.

    Returns:
        A seekable binary file at its start.
    """
    file: BinaryIO = io.BytesIO()
    try:
        while True:
            piece = receive()
            if not piece:
                break
            if isinstance(file, io.BytesIO) and file.tell() + len(piece) > memory:
                start = file.getvalue()
                file = tempfile.TemporaryFile()  # type: ignore[assignment]
                file.write(start)
            file.write(piece)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def whole(receive: Callable[[], bytes]) -> io.BytesIO:
    """Read a whole small body into memory."""
    first = receive()
    pieces = [first]
    while first:
        first = receive()
        pieces.append(first)
    return io.BytesIO(b"".join(pieces))
