"""The two directions of a connection: who holds up whom, and how it is closed.

The rules of this room: it knows no HTTP. A client that does not read holds up whoever
sends; one that takes nothing at all runs into the deadline. Closing sends what waits, and
with patience reads what the peer may still be sending, for a reset destroys what was sent.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any

from ...net.deadlines import LINGER_OCTETS, LINGER_SECONDS
from .service import AsgiService

_COPY = 65536  # octets of a file at a time that pass through us


class StreamProtocol(ABC, asyncio.Protocol):
    """One accepted connection, as bytes.

    Args:
        service: what the worker's connections share.

    Attributes:
        take: what is done with the bytes that come now.
        transport: its transport, from `connection_made` on.
        deadline: monotonic seconds at which the sweep calls `expire`, inf for never.
        lost: the connection is closed.
        writing_held: the client does not read as fast as the application sends.
    """

    __slots__ = ("service", "transport", "take", "deadline", "lost", "writing_held", "_writers",
                 "_unsent", "_half_closed", "_left")

    transport: Any
    take: Callable[[bytes], None]

    def __init__(self, service: AsgiService) -> None:
        self.service = service
        self.deadline = inf
        self.lost = False
        self.writing_held = False
        self._writers: list[asyncio.Future[None]] | None = None
        self._unsent = 0
        self._half_closed = False
        self._left = 0

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.take(data)

    def resume_reading(self) -> None:
        """Read again, in the service's context: what is read may begin a request."""
        self.service.context.copy().run(self.transport.resume_reading)

    # Out.

    def pause_writing(self) -> None:
        """More waits for the client than has to be kept: whoever sends waits."""
        self.writing_held = True
        self._watch_writing()

    def resume_writing(self) -> None:
        """The client has read enough."""
        self.writing_held = False
        writers, self._writers = self._writers, None
        for writer in writers or ():
            if not writer.done():
                writer.set_result(None)
        if not self.lost:
            self.rest()

    @abstractmethod
    def rest(self) -> None:
        """Nothing waits to be written any more: set the deadline of the state."""

    async def writable(self) -> None:
        """Wait until the client has read enough, or is gone."""
        while self.writing_held and not self.lost:
            writer = self.service.loop.create_future()
            if self._writers is None:
                self._writers = []
            self._writers.append(writer)
            await writer

    async def send_file(self, file: int, offset: int, count: int) -> int:
        """Send octets of a file; return how many there were."""
        transport = self.transport
        if not getattr(transport, "is_plain", False):
            return await self._copy_file(file, offset, count)
        self._watch_writing()
        await transport.flush()
        left = count
        while left and not self.lost:
            # The deadline is for each piece, so that a large file may take its time.
            self.deadline = monotonic() + self.service.limits.io_timeout
            sent: int = await transport.send_file(file, offset, min(left, 1 << 20))
            if not sent:
                break
            offset += sent
            left -= sent
        if not self.lost:
            self.deadline = inf
        return count - left

    async def _copy_file(self, file: int, offset: int, count: int) -> int:
        """The same where the octets have to pass through us, as with TLS."""
        left = count
        while left and not self.lost:
            data = os.pread(file, min(left, 65536), offset)
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
        """Whether the client has taken nothing since the last look, with something to take."""
        unsent, before = self.transport.get_write_buffer_size(), self._unsent
        self._watch_writing()
        return bool(unsent and unsent >= before)

    # The end.

    def finish(self, patient: bool) -> None:
        """Close behind what was written; with patience where the peer may still be sending.

        Closing with unread input resets the connection, and a reset may destroy what was sent
        before (RFC 9112 section 9.6). So: half-close, then take what still comes.
        """
        if self.lost or self.transport.is_closing():
            return
        if not patient or self._half_closed:
            self.close()
            return
        self._left = LINGER_OCTETS
        self.take = self._linger
        self.deadline = monotonic() + LINGER_SECONDS
        self.transport.write_eof()
        self.transport.resume_reading()

    def _linger(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.transport.abort()

    def _discard(self, data: bytes) -> None:
        """Nothing that comes now is of use."""

    def close(self) -> None:
        """Close once all is sent; give up on a client that does not read."""
        self.take = self._discard
        self._watch_writing()
        self.transport.close()

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        self.transport.abort()
