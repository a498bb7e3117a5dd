"""A plain accepted socket on the event loop, with the interface of `asyncio.Transport`.

One system call to read and one to write. Both loops create a transport for an accepted socket
only in a coroutine, with a task for each. A reader on the descriptor needs none, works alike
on both loops, and leaves the socket accessible for sendfile and for a close with a reset.
`tls_transport` has the same interface, without sendfile (`is_plain` is False there).
"""

import _socket
import asyncio
import os
from typing import Any

from ...net.deadlines import RESET, SENDFILE_SIZE

# malloc maps memory for each call above 128 KiB: reading 120 octets takes 2.4 us with this
# size, 16 us with asyncio's 256 KiB.
_RECEIVE_SIZE = 65536
# asyncio's own: with more octets in the write buffer the application waits.
HIGH_WATER = 65536


class SocketTransport:
    """One accepted connection.

    Args:
        loop: the event loop of this thread.
        sock: the connected, non-blocking socket.
        protocol: as in asyncio, but `feed` gets the data.
    """

    __slots__ = ("_loop", "_sock", "_fd", "_protocol", "_recv", "_send", "_buffer", "_buffered",
                 "_reading", "_started", "_reader_added", "_ended", "_closing", "_closed",
                 "_eof", "_writable", "_flusher")

    is_plain = True

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: _socket.socket,
                 protocol: Any) -> None:
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._protocol = protocol
        self._recv = sock.recv
        self._send = sock.send
        self._buffer: list[bytes | memoryview] = []
        self._buffered = 0
        self._closing = self._closed = self._eof = False
        self._writable: asyncio.Future[None] | None = None
        self._flusher: asyncio.Future[None] | None = None
        self._reading = True
        self._started = self._reader_added = self._ended = False
        protocol.connection_made(self)

    def _read(self) -> None:
        try:
            data = self._recv(_RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._close(error)
            return
        if data:
            self._protocol.feed(data)
        else:
            self.end_reading()
            self._protocol.eof_received()

    def start(self) -> None:
        """Read at once, as the first request has mostly arrived with the connection.

        The reader is added after the first step of the application. If that ends the
        connection, no reader is needed, which saves 6 of 60 us.
        """
        if self._reading:
            self._read()
        if not self._closed:
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._started = True
        if self._reading and not self._closed:
            self._reader_added = True
            self._loop.add_reader(self._fd, self._read)

    def set_protocol(self, protocol: Any) -> None:
        """Replace the protocol."""
        self._protocol = protocol

    def pause_reading(self) -> None:
        """Stop reading; the kernel's receive window then closes."""
        self._reading = False
        if self._reader_added:
            self._reader_added = False
            self._loop.remove_reader(self._fd)

    def end_reading(self) -> None:
        """Stop reading for ever: the peer has ended its side, which is reported once."""
        self._ended = True
        self.pause_reading()

    def resume_reading(self) -> None:
        """Start to read again."""
        if not (self._closed or self._ended):
            self._reading = True
            if self._started and not self._reader_added:
                self._reader_added = True
                self._loop.add_reader(self._fd, self._read)

    def is_reading(self) -> bool:
        """Whether it reads now."""
        return self._reading

    def write(self, data: bytes) -> None:
        """Send octets, or buffer what the kernel does not accept."""
        if self._closed:
            return
        sent = 0
        if not self._buffer:
            try:
                sent = self._send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._close(error)
                return
            if sent == len(data):
                return
            self._loop.add_writer(self._fd, self._write)
        self._buffer.append(memoryview(data)[sent:] if sent else data)
        before, self._buffered = self._buffered, self._buffered + len(data) - sent
        if self._buffered > HIGH_WATER >= before:
            self._protocol.pause_writing()

    def _write(self) -> None:
        """Send from the buffer: the socket is writable again."""
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._loop.remove_writer(self._fd)
            return
        waiting = self._buffer
        before = self._buffered
        try:
            sent = self._sock.sendmsg(waiting[:64])
        except BlockingIOError:
            return
        except OSError as error:
            self._close(error)
            return
        self._buffered -= sent
        done = 0
        while done < len(waiting) and sent >= len(waiting[done]):
            sent -= len(waiting[done])
            done += 1
        del waiting[:done]
        if waiting:
            waiting[0] = memoryview(waiting[0])[sent:]
        else:
            self._loop.remove_writer(self._fd)
        if before > HIGH_WATER >= self._buffered:
            self._protocol.resume_writing()
        if not waiting:
            self._flushed()

    def _flushed(self) -> None:
        if self._flusher is not None and not self._flusher.done():
            self._flusher.set_result(None)
        if self._closing:
            self._close(None)
        elif self._eof:
            self._shutdown()
            if not self._closed:
                self._protocol.resume_writing()  # lingering begins

    def get_write_buffer_size(self) -> int:
        """Return the number of octets in the write buffer."""
        return self._buffered

    async def flush(self) -> None:
        """Wait until the write buffer is empty, or the connection is closed."""
        if self._buffer and not self._closed:
            self._flusher = self._loop.create_future()
            try:
                await self._flusher
            finally:
                self._flusher = None

    async def send_file(self, file: int, offset: int, count: int) -> int:
        """Send octets of a regular file by sendfile; return how many were sent.

        Call `flush` first. Fewer octets than requested mean that the file or the connection
        has ended.

        Raises:
            OSError: sendfile does not support the file.
        """
        left = count
        while left and not self._closed:
            try:
                sent = os.sendfile(self._fd, file, offset, min(left, SENDFILE_SIZE))
            except BlockingIOError:
                await self._wait_writable()
                continue
            except (ConnectionError, TimeoutError) as error:
                self._close(error)
                break
            if sent == 0:
                break
            offset += sent
            left -= sent
            if left:
                await asyncio.sleep(0)
        return count - left

    async def _wait_writable(self) -> None:
        """Wait until the socket is writable."""
        self._writable = self._loop.create_future()
        self._loop.add_writer(self._fd, self._write)
        try:
            await self._writable
        finally:
            if not self._closed:
                self._loop.remove_writer(self._fd)
            self._writable = None

    def write_eof(self) -> None:
        """Close our sending side once all is sent; the peer may still send."""
        self._eof = True
        if not self._buffer:
            self._shutdown()

    def _shutdown(self) -> None:
        try:
            self._sock.shutdown(_socket.SHUT_WR)
        except OSError as error:
            self._close(error)

    def is_closing(self) -> bool:
        """Whether it is closed, or will be once all is sent."""
        return self._closing or self._closed

    def forget(self) -> None:
        """Close this process's descriptor only: it belongs to the process that has forked it.

        The loop is not asked: it shares its queue in the kernel with that process.
        """
        self._closed = self._closing = True
        self._sock.close()

    def close(self) -> None:
        """Close once all is sent."""
        if not self._closing:
            self._closing = True
            self.pause_reading()
            if not self._buffer:
                self._close(None)

    def abort(self) -> None:
        """Close with a reset, which marks a response as incomplete.

        If the end of the connection ends the body (uwsgi, HTTP/1.0), nothing else can. A unix
        socket has no reset; there it is a plain close.
        """
        if not self._closed:
            try:
                self._sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, RESET)
            except OSError:
                pass  # the peer has closed already
            self._close(None, False)

    def _close(self, error: OSError | None, shut_down: bool = True) -> None:
        """Close the socket.

        Args:
            error: why, None if nothing failed.
            shut_down: end the connection even if a forked process has a copy of the descriptor.
        """
        if self._closed:
            return
        self._closed = self._closing = True
        loop = self._loop
        self.pause_reading()
        if self._buffer or self._writable is not None:
            loop.remove_writer(self._fd)
            self._buffer.clear()
            self._buffered = 0
            for waiter in (self._writable, self._flusher):
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)
        if shut_down:
            try:
                self._sock.shutdown(_socket.SHUT_RDWR)
            except OSError:
                pass  # the peer has closed already
        self._sock.close()
        self._protocol.connection_lost(error)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As in asyncio; `socket` is the raw socket."""
        return self._sock if name == "socket" else default
