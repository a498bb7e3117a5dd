"""The body of one request as it arrives: read on demand, bounded, and drained if left over.

Rules:

- It reads only when the application does, so that a large upload is never held in memory
  and 100 (Continue) is sent at the application's first read.
- A body that breaks its framing or a limit stays broken: it never looks complete, and
  no request after it is served.
- The application's reads end with its request (`close`): the parser and the stream then belong
  to the next one.
"""

from typing import Any

from gevent import get_hub, getcurrent, sleep
from gevent.exceptions import ConcurrentObjectUseError

from ...errors import ClientDisconnected, ProtocolError, RequestOver
from ...net.arrival import Arrival
from ...net.stream import Expired, Stream
from ...protocol.response import CONTINUE
from ..limits import ConnectionLimits, can_drain
from ..messages import body_too_large


class BrokenBody(ClientDisconnected):
    """The request body breaks its framing or a limit; raised in the application's read."""


class IncomingBody:
    """Read one request body from a stream through its parser.

    Args:
        stream: the connection.
        parser: has parsed the head, decodes the body.
        limits: timeouts and sizes.
        expects: the client waits for 100 (Continue).
        head_waited: seconds that the head took.

    Attributes:
        broken: what is wrong with the body, None while nothing is.
        size: octets decoded so far.
        call: the request in a native thread, None before it is in its queue.
        over: the request is over.
    """

    __slots__ = ("stream", "parser", "limits", "expects", "broken", "size", "call", "over",
                 "_fresh", "_complete", "_waiting", "_ahead", "_arrival", "_head_waited")

    def __init__(self, stream: Stream, parser: Any, limits: ConnectionLimits,
                 expects: bool, head_waited: float) -> None:
        self.stream = stream
        self.parser = parser
        self.limits = limits
        self.expects = expects
        self.broken: ProtocolError | None = None
        self.size = 0
        self.call: Any = None
        self.over = False
        self._fresh = True
        self._complete = False      # at the end of the request
        self._waiting: Any = None   # the greenlet that waits for octets
        self._head_waited = head_waited
        self._arrival: Arrival | None = None    # until something has to be waited for
        self._ahead = b""           # decoded before it was asked for

    @property
    def sound(self) -> bool:
        """Whether the head of the response may say that another request can follow this body.

        Not if it is broken, the client waits for a 100 that will not be sent, or more may be left
        than `drain` reads.
        """
        if self.parser.content_length is None and self.call is None and self._waiting is None:
            self._decode_rest()
        if self.parser.body_complete or self.broken is not None:
            return self.broken is None
        return not self.expects and can_drain(self.parser.content_length, self.size)

    def _decode_rest(self) -> None:
        """Decode what has arrived of a chunked body, which may be all of it."""
        try:
            piece = self.parser.body(b"")
            self._count(len(piece))
        except ProtocolError as error:
            self.broken = error
        else:
            self._ahead += piece

    def receive(self) -> bytes:
        """Return the next decoded piece of the body, or b"" at its end; for the application.

        Raises:
            ClientDisconnected: the client is gone.
            BrokenBody: the body is cut short, late, malformed or over limit-post.
            RequestOver: the request ended before the whole body was read.
        """
        if self.over:
            return self._after()
        return self._receive()

    def _after(self) -> bytes:
        if self._complete:
            return b""
        raise RequestOver

    def _receive(self) -> bytes:
        parser = self.parser
        if self._ahead:
            piece, self._ahead = self._ahead, b""
            return piece
        if self.broken is not None:
            raise BrokenBody(self.broken.reason)
        try:
            while not parser.body_complete:
                piece = parser.body(b"" if self._fresh else self._more())
                self._fresh = False
                if piece:
                    self._count(len(piece))
                    return bytes(piece)
        except ProtocolError as error:
            self.broken = error
            raise BrokenBody(error.reason) from error
        return b""

    def receive_in_thread(self) -> bytes:
        """As `receive`, which the connection's greenlet calls meanwhile; for a native thread."""
        if self.over:
            return self._after()
        piece: bytes = self.call.receive()
        return piece

    def _more(self) -> bytes:
        arrival = self._arrival
        if arrival is None:
            limits = self.limits
            chunked = self.parser.content_length is None
            arrival = self._arrival = Arrival(
                limits.arrival, limits.chunk_timeout if chunked else limits.io_timeout,
                self._head_waited)
        if self.expects:
            self.expects = False
            self.stream.send(CONTINUE)
        if self._waiting is not None:
            raise ConcurrentObjectUseError("another greenlet reads this request's body")
        self._waiting = getcurrent()
        try:
            data = self.stream.receive(arrival.begin(self.size))
        except Expired as error:
            raise arrival.error() from error
        finally:
            arrival.end()
            self._waiting = None
        if not data:
            self.parser.eof()
        return data

    def _count(self, octets: int) -> None:
        self.size += octets
        limit = self.limits.limit_post
        if limit and self.size > limit:
            raise body_too_large(limit)

    def close(self) -> None:
        """End the application's reads, also one of another greenlet that waits now."""
        if self.over:
            return
        self._complete = self.parser.body_complete and not self._ahead
        self.over = True
        waiting = self._waiting
        if waiting is not None and waiting is not getcurrent():
            get_hub().loop.run_callback(self._end_wait, waiting)
            sleep(0)    # the callback runs before the sleep ends

    def _end_wait(self, waiting: Any) -> None:
        if self._waiting is waiting:
            waiting.throw(RequestOver())

    def drain(self) -> bool:
        """Read and discard what the application left, so that the connection can be kept.

        Returns:
            Whether it can be: past `DRAIN` octets closing costs both sides less.

        Raises:
            ClientDisconnected: as `receive`.
        """
        if not self.sound:
            return False
        while not self.parser.body_complete:
            self._receive()
        return True
