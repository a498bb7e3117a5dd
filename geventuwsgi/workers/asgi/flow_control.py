"""Backpressure, write timeouts and closing of a connection. No HTTP.

A client that reads slowly makes the application wait in `send`; one that reads nothing runs
into the deadline. If the client reads fast, `send` waits a turn of the loop once in a while: an
application that only sends would keep all others waiting, and could not be cancelled. Closing
sends what waits. With `linger` it also reads what the peer still sends, as a reset destroys what
was sent before.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

from ...net.deadlines import LINGER_SECONDS
from ...net.reusable import linger_octets
from .service import AsgiService

# Octets that an application sends before the others have a turn. A message counts as 1024 more,
# since it takes some 5 us: an application has at most about 2 ms.
BURST = 262144
MESSAGE = 1024
_COPY = 65536  # octets of a file that are read at a time where there is no sendfile


class Waiters(list["asyncio.Future[None]"]):
    """The futures of the calls that wait for one event.

    `await` one as a call that may be cancelled, which leaves nothing here then:

        waiters.append(future := loop.create_future())
        try:
            await future
        except BaseException:
            waiters.discard(future)
            raise
    """

    __slots__ = ()

    def discard(self, future: "asyncio.Future[None]") -> None:
        """Remove the future of a call that was cancelled."""
        if future in self:
            self.remove(future)

    def wake(self) -> None:
        """Let all calls continue that wait now."""
        futures = self[:]
        self.clear()
        for future in futures:
            if not future.done():
                future.set_result(None)


class StreamProtocol(ABC, asyncio.Protocol):
    """One accepted connection, as bytes.

    Args:
        service: what the worker's connections share.

    Attributes:
        feed: the method that processes bytes in the present state.
        transport: its transport, from `connection_made` on.
        deadline: monotonic seconds at which the sweep calls `expire`, inf for never.
        lost: the connection is closed.
        writing_paused: the client reads more slowly than the application sends.
        burst: octets sent since the application last waited, `MESSAGE` more for each message.
    """

    __slots__ = ("service", "transport", "feed", "deadline", "lost", "writing_paused", "_writers",
                 "burst", "_unsent", "_half_closed", "_remaining")

    transport: Any
    feed: Callable[[bytes], None]

    def __init__(self, service: AsgiService) -> None:
        self.service = service
        self.deadline = inf
        self.lost = False
        self.writing_paused = False
        self._writers: Waiters | None = None
        self.burst = 0
        self._unsent = 0
        self._half_closed = False
        self._remaining = 0

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the present state."""
        self.feed(data)

    def resume_reading(self) -> None:
        """Read on, in the service's context: the bytes may begin a request."""
        self.service.context.copy().run(self.transport.resume_reading)

    # Writing.

    def pause_writing(self) -> None:
        """The write buffer is full: `writable` waits from now on."""
        self.writing_paused = True
        self._watch_writing()

    def resume_writing(self) -> None:
        """The client has read enough."""
        self.writing_paused = False
        if self._writers:
            self._writers.wake()
        if not self.lost:
            self.on_written()

    @abstractmethod
    def on_written(self) -> None:
        """Set the deadline of the present state, as nothing waits to be written."""

    def must_wait(self, size: int) -> bool:
        """Whether the application must call `writable`, after it has sent `size` octets."""
        self.burst += size + MESSAGE
        return self.writing_paused or self.burst > BURST

    async def writable(self) -> None:
        """Wait one turn of the loop, and until the client has read enough or is gone."""
        self.burst = 0
        if not self.writing_paused:
            await asyncio.sleep(0)
        while self.writing_paused and not self.lost:
            if self._writers is None:
                self._writers = Waiters()
            self._writers.append(writer := self.service.loop.create_future())
            try:
                await writer
            except BaseException:
                self._writers.discard(writer)
                raise

    async def send_file(self, file: int, offset: int, count: int) -> int:
        """Send octets of a file; return how many were sent."""
        transport = self.transport
        if not getattr(transport, "is_plain", False):
            return await self._copy_file(file, offset, count)
        self._watch_writing()
        await transport.flush()
        left = count
        while left and not self.lost:
            # The deadline is for each piece: a large file may take longer.
            self.deadline = monotonic() + self.service.limits.io_timeout
            sent: int = await transport.send_file(file, offset, min(left, 1 << 20))
            if not sent:
                break
            offset += sent
            left -= sent
            if left:
                await asyncio.sleep(0)
        if not self.lost:
            self.on_written()
        return count - left

    async def _copy_file(self, file: int, offset: int, count: int) -> int:
        """Send a file without sendfile, for TLS."""
        left = count
        while left and not self.lost:
            data = os.pread(file, min(left, _COPY), offset)
            if not data:
                break
            self.transport.write(data)
            offset += len(data)
            left -= len(data)
            await self.writable()
        return count - left

    def _watch_writing(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self.deadline = monotonic() + self.service.limits.io_timeout

    def stalled(self) -> bool:
        """Return whether the client has read nothing since the last call, with data waiting."""
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        self._watch_writing()
        return bool(unsent and unsent >= before)

    # Closing.

    def finish(self, linger: bool) -> None:
        """Close after what was written; linger if the peer may still be sending.

        Closing with unread input resets the connection, and a reset may destroy what was sent
        before (RFC 9112 section 9.6). So: half-close, then read and discard for a while.
        """
        if self.lost or self.transport.is_closing():
            return
        if not linger or self._half_closed:
            self.close()
            return
        self._remaining = linger_octets(getattr(self, "parser", None))
        self.feed = self._linger
        self._watch_lingering()
        self.transport.write_eof()
        self.transport.resume_reading()

    def _watch_lingering(self) -> None:
        """Set the deadline of lingering, which begins when all is sent."""
        self._watch_writing()
        if not self._unsent:
            self.deadline = monotonic() + LINGER_SECONDS

    def _linger(self, data: bytes) -> None:
        self._remaining -= len(data)
        if self._remaining < 0:
            if self.transport.get_write_buffer_size():
                self.transport.pause_reading()  # the responses to earlier requests come first
            else:
                self.transport.abort()

    def _discard(self, data: bytes) -> None:
        """Ignore input."""

    def close(self) -> None:
        """Close once all is sent, or when the client has read nothing for a while."""
        self.feed = self._discard
        self._watch_writing()
        self.transport.close()

    def abort(self) -> None:
        """Close at once with a reset."""
        self.transport.abort()
