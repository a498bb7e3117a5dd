"""One WSGI request: call the application and send what it returns (PEP 3333).

Output goes through a `Transport`. An exception of the application leaves
`WsgiExchange.run()` after `close()` was called; `head_sent` says whether the caller can
still send a 500 or has to abort the connection.
"""

import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from mmap import PAGESIZE
from types import TracebackType
from typing import Any, Protocol

from ..errors import RequestOver, ResponseError
from ..log.record import RequestRecord
from ..protocol.response import Response, ResponseDefaults, informational
from .environ import Environ

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

# A body in several pieces is joined and sent at once up to this size, in octets.
_JOIN = 65536


class Output(Protocol):
    """Where octets are sent; every call returns when the kernel has all of them."""

    def send(self, data: bytes) -> None: ...
    def send_pair(self, head: bytes, body: bytes) -> None: ...
    def send_file(self, fd: int, offset: int, count: int) -> int: ...


class IncomingBody(Protocol):
    """The request's body, as far as an exchange needs it.

    Attributes:
        expects: the client waits for 100 (Continue).
    """

    expects: bool

    @property
    def sound(self) -> bool: ...


class Transport(Protocol):
    """The connection, as far as an exchange needs it.

    Attributes:
        stream: where the response goes.
        response_defaults: the fields of every response.
        persists: the connection may stay open after this response.
        body: the request's body, None if it has none.
    """

    response_defaults: ResponseDefaults
    persists: bool

    @property
    def stream(self) -> Output: ...

    @property
    def body(self) -> IncomingBody | None: ...

    def release(self) -> None:
        """Give the application slot back; a second call does nothing."""


class FileWrapper:
    """`wsgi.file_wrapper`: an iterable over a file that the server may send by sendfile.

    Args:
        filelike: anything with `read(size)`.
        block_size: octets per read, if sendfile cannot be used.
    """

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.filelike.read(self.block_size), b"")

    def region(self) -> tuple[int, int, int] | None:
        """Return (fd, offset, octets left) of a regular file, else None.

        Only real file objects count: `GzipFile.fileno()` is the compressed file.
        """
        file = self.filelike
        if isinstance(file, (io.BufferedReader, io.BufferedRandom)):
            if not isinstance(file.raw, io.FileIO):
                return None
        elif not isinstance(file, io.FileIO):
            return None
        try:
            info = os.fstat(file.fileno())
            offset = file.tell()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(info.st_mode) or size_unknown(info):
            return None
        return file.fileno(), offset, max(info.st_size - offset, 0)


def size_unknown(info: os.stat_result) -> bool:
    """Whether a file has to be read to know its size: those of /proc say 0, of /sys one page."""
    return not info.st_blocks and info.st_size <= PAGESIZE


class OffloadedWrapper(FileWrapper):
    """A wrapper for `offload-threads`: the application's file is closed and its slot released
    before the file is sent, as when one of uWSGI's offload threads sends it."""

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        super().__init__(filelike, block_size)
        self._closed = False
        self.close = self._close_once

    def _close_once(self) -> None:
        if not self._closed:
            self._closed = True
            close = getattr(self.filelike, "close", None)
            if close is not None:
                close()


class ReadWrapper(FileWrapper):
    """A wrapper for `disable-sendfile`: the file is read, as any other iterable."""

    def region(self) -> None:
        return None


_SENT = frozenset((FileWrapper, OffloadedWrapper))


class WsgiExchange(RequestRecord):
    """One request and its response; also the record that the request log formats.

    Args:
        transport: where the response goes.
        environ: the request.
        method, uri, protocol: of the request line.
        http11: the client speaks HTTP/1.1.
        raw: the response goes over the uwsgi protocol: not framed, ended by a close.
    """

    response: Response | None = None
    head_sent = False
    ended = False
    keep_alive = False
    fault = ""
    logged = True

    def __init__(self, transport: Transport, environ: Environ, method: str, uri: str,
                 protocol: str, http11: bool, raw: bool) -> None:
        self.transport = transport
        self.environ = environ
        self.method = method
        self.uri = uri
        self.protocol = protocol
        self.http11 = http11
        self.raw = raw

    def run(self, application: Application) -> None:
        """Call the application and send its response.

        Raises:
            ResponseError: the response is not valid.
            OSError: the client is gone.
            Exception: any that the application raises.
        """
        result: Any = application(self.environ, self.start_response)
        kind = type(result)
        if kind is list or kind is tuple:
            if len(result) == 1 and not self.head_sent and type(result[0]) is bytes:
                self._send_only(result[0])
            else:
                self._send_all(result)
            return
        if isinstance(result, bytes):
            # As in uWSGI; its iteration would give numbers.
            self._send_all((result,))
            return
        try:
            if kind in _SENT:
                self._send_file(result)
            else:
                self._iterate(result)
            self._finish()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
            self.transport.release()

    def start_response(self, status: str, headers: list[tuple[str, str]],
                       exc_info: ExcInfo | None = None) -> Callable[[bytes], None]:
        """PEP 3333 `start_response`.

        Raises:
            ResponseError: an invalid status or header, or a second call without exc_info.
            BaseException: the one in exc_info, if the head has been sent already.
        """
        if exc_info is not None:
            try:
                if self.head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self.response is not None:
            raise ResponseError("start_response was called twice without exc_info")
        response = Response(status, headers)
        self.response = response
        self.status = response.code
        self.header_count = response.header_count
        return self.write

    def write(self, data: bytes) -> None:
        """PEP 3333 `write`: send at once."""
        if self.ended:
            raise RequestOver
        if data:
            self._send(self._started(), data)

    def early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """`wsgi.early_hints`: send a 103 response (RFC 8297), on HTTP/1.1 only."""
        if self.http11 and not self.raw and not self.head_sent:
            self.transport.stream.send(informational(103, headers))

    @property
    def response_headers(self) -> list[tuple[str, str]]:
        """The application's header fields as they were sent."""
        return self.response.pairs if self.response is not None else []

    @property
    def broken_off(self) -> bool:
        """Whether the body is incomplete and is ended only by the end of the connection."""
        return (self.head_sent and not self.ended and self.response is not None
                and self.response.until_close)

    def _started(self) -> Response:
        if self.response is None:
            raise ResponseError("the application did not call start_response")
        return self.response

    def _head(self, response: Response, known: int | None) -> bytes:
        """Encode the head; from here on the response cannot be replaced."""
        transport = self.transport
        if self.raw:
            octets = response.raw_head(transport.response_defaults, self.method == "HEAD", known)
        else:
            persists = transport.persists
            if persists and transport.body is not None:
                persists = transport.body.sound
            octets = response.head(transport.response_defaults, self.http11, self.method == "HEAD",
                                   persists, known)
            self.keep_alive = response.keep_alive
            if transport.body is not None:
                transport.body.expects = False  # a 100 would be a part of this response
        self.head_sent = True
        self.header_size = response.head_size
        return octets

    def _send(self, response: Response, data: bytes, known: int | None = None) -> None:
        """Send a piece of the body, the first one together with the head."""
        if not isinstance(data, bytes):
            raise ResponseError(f"the body has a piece that is {type(data).__name__}, not bytes")
        if self.head_sent:
            octets = response.encode(data)
            self.body_size += len(data) if response.chunked else len(octets)
            if octets:
                self.transport.stream.send(octets)
            return
        head = self._head(response, len(data) if response.exceeds(len(data)) else known)
        octets = response.encode(data)
        self.body_size += len(data) if response.chunked else len(octets)
        self.transport.stream.send_pair(head, octets)

    def _send_only(self, body: bytes) -> None:
        """Send head and body together; the slot is released before."""
        response = self.response
        if response is None:
            raise ResponseError("the application did not call start_response")
        size = len(body)
        head = self._head(response, size)
        if response.remaining == size and not response.bodiless:
            response.remaining = 0
        else:
            body = response.encode(body)
            size = len(body)
        self.body_size = size
        transport = self.transport
        transport.release()
        transport.stream.send_pair(head, body)
        if response.remaining or response.chunked:
            self._finish()

    def _send_all(self, pieces: list[bytes] | tuple[bytes, ...]) -> None:
        """Send a list or tuple of pieces, whose total length is known."""
        response = self._started()
        total = 0
        for piece in pieces:
            if not isinstance(piece, bytes):
                raise ResponseError(
                    f"the body has a piece that is {type(piece).__name__}, not bytes")
            total += len(piece)
        if total <= _JOIN and not self.head_sent:
            self._send_only(b"".join(pieces))
            return
        self.transport.release()
        for piece in pieces:
            if piece:
                self._send(response, piece, total)
        self._finish()

    def _iterate(self, result: Iterable[bytes]) -> None:
        try:
            pieces = iter(result)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
                raise  # it comes from the application's __iter__
            hint = "; add () to the application's name if it is a factory"
            raise ResponseError(f"the application returned {type(result).__name__}, which is not "
                                f"iterable{hint if callable(result) else ''}") from None
        for piece in pieces:
            if piece:
                self._send(self._started(), piece)
            elif not isinstance(piece, bytes):
                raise ResponseError(
                    f"the body has a piece that is {type(piece).__name__}, not bytes")

    def _send_file(self, wrapper: FileWrapper) -> None:
        response = self._started()
        region = None if self.head_sent else wrapper.region()
        if region is None:
            self._iterate(wrapper)
            return
        fd, offset, count = region
        if response.length is not None:
            count = min(count, response.length)
        head = self._head(response, count)
        self.transport.stream.send_pair(head, b"")
        if response.chunked or response.bodiless:
            return
        self.via = "sendfile()"
        if type(wrapper) is OffloadedWrapper:
            sent = self._send_offloaded(wrapper, fd, offset, count)
        else:
            sent = self.transport.stream.send_file(fd, offset, count)
        self.body_size = sent
        if response.remaining is not None:
            response.remaining -= sent

    def _send_offloaded(self, wrapper: OffloadedWrapper, fd: int, offset: int,
                        count: int) -> int:
        """Release everything but the open file, then send it."""
        own = os.dup(fd)
        try:
            wrapper.close()
            self.transport.release()
            return self.transport.stream.send_file(own, offset, count)
        finally:
            os.close(own)

    def _finish(self) -> None:
        """End the body; a wrong length does not allow another response on the connection."""
        response = self._started()
        self.ended = True
        if not self.head_sent:
            self.transport.stream.send_pair(self._head(response, 0), b"")
        elif response.chunked and not response.bodiless:
            self.transport.stream.send(response.end())
        if response.remaining and not response.bodiless:
            self.keep_alive = False
            self.fault = response.length_error
