"""A plain accepted socket on the event loop, behind the interface of `asyncio.Transport`.

The rules of this room: one system call to read and one to write, nothing in between. Both
loops make a transport of an accepted socket only inside a coroutine, a task for each; a
reader on the descriptor does without, works alike on both, and leaves the socket within
reach for sendfile and for a close that resets. TLS (see `secure`) has the same interface
but for sendfile, which is there only where `is_plain` says so.
"""

import _socket
import asyncio
import os
import struct
from typing import Any

# More than malloc takes from its heap (128 KiB) costs a mapping per call: 120 octets are read
# in 2.4 us with this, in 16 with asyncio's 256 KiB.
_RECEIVE = 65536
# asyncio's own bound: above so many octets that wait the application has to.
HIGH_WATER = 65536
# One call of sendfile blocks the whole worker while the file is read from disk.
_SENDFILE = 1 << 20
# struct linger: on, no seconds. The close sends a reset, socket(7).
_RESET = struct.pack("ii", 1, 0)


class SocketTransport:
    """One accepted connection.

    Args:
        loop: the event loop of this thread.
        sock: the connected, non-blocking socket.
        protocol: whom to tell, as with asyncio; of its methods `take` gets the data.
    """

    __slots__ = ("_loop", "_sock", "_fd", "_protocol", "_recv", "_send", "_waiting", "_size",
                 "_reading", "_started", "_added", "_closing", "_closed", "_half", "_writable",
                 "_flusher")

    is_plain = True

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: _socket.socket,
                 protocol: Any) -> None:
        self._loop = loop
        self._sock = sock
        self._fd = sock.fileno()
        self._protocol = protocol
        self._recv = sock.recv
        self._send = sock.send
        self._waiting: list[bytes | memoryview] = []
        self._size = 0
        self._closing = self._closed = self._half = False
        self._writable: asyncio.Future[None] | None = None
        self._flusher: asyncio.Future[None] | None = None
        self._reading = True
        self._started = self._added = False
        protocol.connection_made(self)

    def _read(self) -> None:
        try:
            data = self._recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        if data:
            self._protocol.take(data)
        else:
            self.pause_reading()
            self._protocol.eof_received()

    def start(self) -> None:
        """Look for bytes before the loop tells of them: with a new connection they are
        mostly there.

        The reader is added behind the first step of the application: where that ends the
        connection it never needs one, which saves 6 of 60 us.
        """
        if self._reading:
            self._read()
        if not self._closed:
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._started = True
        if self._reading and not self._closed:
            self._added = True
            self._loop.add_reader(self._fd, self._read)

    def set_protocol(self, protocol: Any) -> None:
        """From now on tell somebody else."""
        self._protocol = protocol

    def pause_reading(self) -> None:
        """Leave what comes to the kernel, whose window then closes."""
        self._reading = False
        if self._added:
            self._added = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        """Read again."""
        if not self._closed:
            self._reading = True
            if self._started and not self._added:
                self._added = True
                self._loop.add_reader(self._fd, self._read)

    def is_reading(self) -> bool:
        """Whether bytes are taken now."""
        return self._reading

    def write(self, data: bytes) -> None:
        """Send octets, or keep what the kernel does not take."""
        if self._closed:
            return
        sent = 0
        if not self._waiting:
            try:
                sent = self._send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._lose(error)
                return
            if sent == len(data):
                return
            self._loop.add_writer(self._fd, self._write)
        self._waiting.append(memoryview(data)[sent:] if sent else data)
        before, self._size = self._size, self._size + len(data) - sent
        if self._size > HIGH_WATER >= before:
            self._protocol.pause_writing()

    def _write(self) -> None:
        """The kernel has room again."""
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._loop.remove_writer(self._fd)
            return
        waiting = self._waiting
        before = self._size
        try:
            sent = self._sock.sendmsg(waiting[:64])
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error)
            return
        self._size -= sent
        done = 0
        while done < len(waiting) and sent >= len(waiting[done]):
            sent -= len(waiting[done])
            done += 1
        del waiting[:done]
        if waiting:
            waiting[0] = memoryview(waiting[0])[sent:]
        else:
            self._loop.remove_writer(self._fd)
        if before > HIGH_WATER >= self._size:
            self._protocol.resume_writing()
        if not waiting:
            self._flushed()

    def _flushed(self) -> None:
        if self._flusher is not None and not self._flusher.done():
            self._flusher.set_result(None)
        if self._closing:
            self._close(None)
        elif self._half:
            self._shut()

    def get_write_buffer_size(self) -> int:
        """How many octets wait for the peer."""
        return self._size

    async def flush(self) -> None:
        """Wait until all that was written has left, or the connection is closed."""
        if self._waiting and not self._closed:
            self._flusher = self._loop.create_future()
            try:
                await self._flusher
            finally:
                self._flusher = None

    async def send_file(self, file: int, offset: int, count: int) -> int:
        """Send octets of a regular file by sendfile; return how many there were.

        What was written before has to have left: see `flush`. Fewer octets than wanted mean
        that the file ended, or the connection.

        Raises:
            OSError: the file cannot be sent in this way.
        """
        left = count
        while left and not self._closed:
            try:
                sent = os.sendfile(self._fd, file, offset, min(left, _SENDFILE))
            except BlockingIOError:
                await self._room()
                continue
            except (ConnectionError, TimeoutError) as error:
                self._lose(error)
                break
            if sent == 0:
                break
            offset += sent
            left -= sent
            if left:
                await asyncio.sleep(0)
        return count - left

    async def _room(self) -> None:
        """Wait until the kernel takes more."""
        self._writable = self._loop.create_future()
        self._loop.add_writer(self._fd, self._write)
        try:
            await self._writable
        finally:
            if not self._closed:
                self._loop.remove_writer(self._fd)
            self._writable = None

    def write_eof(self) -> None:
        """End our side once all is sent; the peer's may go on."""
        self._half = True
        if not self._waiting:
            self._shut()

    def _shut(self) -> None:
        try:
            self._sock.shutdown(_socket.SHUT_WR)
        except OSError as error:
            self._lose(error)

    def is_closing(self) -> bool:
        """Whether it is closed, or will be once all is sent."""
        return self._closing or self._closed

    def close(self) -> None:
        """Close once all is sent."""
        if not self._closing:
            self._closing = True
            self.pause_reading()
            if not self._waiting:
                self._close(None)

    def abort(self) -> None:
        """Close with a reset: what the peer has is not all of it.

        Where the end of the connection ends the body (uwsgi, HTTP/1.0), nothing else can
        say so. A unix socket knows no reset; there it is a close.
        """
        if not self._closed:
            try:
                self._sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET)
            except OSError:
                pass  # the peer was quicker
            self._close(None)

    def _lose(self, error: OSError) -> None:
        self._close(error)

    def _close(self, error: OSError | None) -> None:
        if self._closed:
            return
        self._closed = self._closing = True
        loop = self._loop
        self.pause_reading()
        if self._waiting or self._writable is not None:
            loop.remove_writer(self._fd)
            self._waiting.clear()
            self._size = 0
            for waiter in (self._writable, self._flusher):
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)
        self._sock.close()
        self._protocol.connection_lost(error)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As asyncio's; `socket` is the raw one."""
        return self._sock if name == "socket" else default
