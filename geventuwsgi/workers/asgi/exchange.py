"""One HTTP request of an ASGI application: `receive`, `send`, errors and the end.

Rules:

- It is also the record that the request log formats.
- A response in one piece is sent in one write. While the client does not read, `send` waits;
  while the application does not receive, nothing is read.
- A head without Content-Length waits one turn of the loop for the first piece of its body: an
  event stream may have nothing to send for long, and its client waits for the head.
- When the client is gone, or is not served any more because of a broken body or `harakiri`,
  `receive` returns `http.disconnect` and `send` raises an OSError (ASGI, spec_version 2.4 and
  later). A call out of order is the application's error.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from stat import S_ISREG
from time import monotonic
from typing import Any

from ...app.debug_pages import USUAL, Page
from ...app.wsgi import size_unknown
from ...errors import ClientDisconnected, ProtocolError, ResponseError
from ...net.arrival import Arrival
from ...protocol.response import CONTINUE, Response, informational
from ...system import forked
from ..limits import can_drain
from ..messages import GONE_DURING
from . import harakiri
from .flow_control import BURST, MESSAGE, Waiters
from .record import Record, is_disconnect, octets_of
from .scope import Scope, accepts_trailers

log = logging.getLogger("geventuwsgi.error")

# Octets of a request body that are read ahead of the application.
BODY_AHEAD = 262144

Message = dict[str, Any]


class AsgiExchange(Record):
    """One request and its response.

    Args:
        connection: the connection of the request.
        scope: its scope.
        uri: the target as sent, for the log.
        http11: the client speaks HTTP/1.1.
        raw: the response goes over the uwsgi protocol, unframed and then closed.
        persistent: the connection may be kept after the response.

    Attributes:
        arrival: how long the connection waits for the body; None before it does.
        head_waited: seconds that the head took.
        body_error: what is wrong with the request's body, or None. An application that asks for
            the body is not answered any more; one that does not may respond.
        drained: the worker stops, so `receive` says `http.disconnect`. The client is still
            there: it gets what the application sends, otherwise a 503.
        expects: the client waits for 100 (Continue).
        listens: the application's own task waits in `receive` after the body, and nothing was
            sent since: with another task that streams (Litestar) this ends at its first piece.
        received: octets of the body so far.
        trailers: trailers were announced, and the last of them was not sent.
    """

    response: Response | None = None
    keep_alive = False
    drained = listens = False
    arrival: Arrival | None = None
    head_waited = 0.0
    expects = False
    body_error: ProtocolError | None = None
    trailers = False
    _sends_trailers = False
    received = 0
    _body_delivered = False
    _waiters: Waiters | None = None
    _trailer_fields: list[Any] | None = None

    def __init__(self, connection: Any, scope: Scope, uri: str, http11: bool, raw: bool,
                 persistent: bool) -> None:
        # As Record's __init__, but without the call.
        self.connection = connection
        self.scope = scope
        self.uri = uri
        self.began = monotonic()
        self.method = scope["method"]
        self.http11 = http11
        self.raw = raw
        self.persistent = persistent
        self._pieces: list[bytes] = []
        self._ahead = 0

    async def run(self, application: Any) -> None:
        """Call the application, and send an error if it did not respond.

        Raises:
            asyncio.CancelledError: the task was cancelled.
        """
        if self.task is None:  # with asyncio.eager_task_factory
            self.task = asyncio.current_task()
        try:
            await application(self.scope, self.receive, self.send)
        except asyncio.CancelledError as error:
            self._failed(error)
            raise
        except BaseException as error:
            self._failed(error)
        else:
            if not self.complete and not self.gone:
                self._incomplete()
            elif self.connection.service.forked:
                forked.leave(None)
        finally:
            connection = self.connection
            if not self.recorded:
                connection.record(self)
            if self.gone and not self.complete and not connection.lost:
                connection.close()  # half-closed by the client, and nothing more to send
            connection.service.task_ended(self.task)

    # The request.

    def feed(self, piece: bytes) -> None:
        """Add a decoded piece of the body; called by the connection."""
        self._pieces.append(piece)
        self._ahead += len(piece)
        self.received += len(piece)
        if self._ahead >= BODY_AHEAD:
            self.connection.pause_body()
        self.wake()

    def wake(self) -> None:
        """Wake the calls that wait in `receive`."""
        if self._waiters:
            self._waiters.wake()

    async def _wait(self) -> None:
        if self._waiters is None:
            self._waiters = Waiters()
        self._waiters.append(waiter := self.connection.service.loop.create_future())
        try:
            await waiter
        except BaseException:
            self._waiters.discard(waiter)
            raise

    @property
    def awaits_body(self) -> bool:
        """Whether the application waits for more of the body."""
        return bool(self._waiters) and not self._body_delivered

    async def receive(self) -> Message:
        """ASGI's `receive`: the body in pieces, then `http.disconnect`."""
        connection = self.connection
        # After the response the parser is at the rest of the body, or at the next request.
        while not self._body_delivered and not self.complete:
            whole = connection.parser.body_complete and self.body_error is None
            if self._pieces or whole:
                if self.gone and not whole:
                    break
                return self._next_message(whole)
            if self.body_error is not None:
                self.end(self.body_error.status)
            if self.gone:
                break
            if self.expects and not self.head_sent:
                self.expects = False
                connection.transport.write(CONTINUE)
            connection.expect_body()
            await self._wait()
        while not (self.gone or self.complete or self.drained):
            self.listens = asyncio.current_task() is self.task
            try:
                await self._wait()
            finally:
                self.listens = False
        await asyncio.sleep(0)  # an application that goes on for ever blocks no other
        return {"type": "http.disconnect"}

    def _next_message(self, whole: bool) -> Message:
        pieces = self._pieces
        if len(pieces) == 1:
            body = pieces[0]
            self._pieces = []
        elif pieces:
            body = b"".join(pieces)
            self._pieces = []
        else:
            body = b""
        self._ahead = 0
        if whole:
            self._body_delivered = True
        elif self.body_error is None:
            self.connection.resume_body()
        return {"type": "http.request", "body": body, "more_body": not whole}

    # The response.

    async def send(self, message: Mapping[str, Any]) -> None:
        """ASGI's `send`.

        Raises:
            ClientDisconnected: (an OSError) the client is gone.
            RuntimeError: a message out of order.
            ResponseError: a response that cannot be sent.
        """
        kind = message["type"]
        if self.gone:
            if not self.connection.service.forked:
                await asyncio.sleep(0)  # as in `receive`
            raise ClientDisconnected("the client is gone")
        if kind == "http.response.body":
            more = message.get("more_body", False)
            body = message.get("body", b"")
            self._body(body, more)
            if more:
                self.listens = False
                connection = self.connection
                connection.burst += len(body) + MESSAGE  # as `must_wait`, without the call
                if connection.writing_paused or connection.burst > BURST:
                    await connection.writable()
        elif kind == "http.response.start":
            if self.response is not None:
                raise RuntimeError("http.response.start was sent twice")
            self.listens = False
            self.response = response = Response.from_octets(
                message["status"], message.get("headers", ()))
            self.status = response.code
            self.header_count = response.header_count
            if message.get("trailers") and not self.raw:
                self.trailers = True
                self._sends_trailers = accepts_trailers(self.scope)
            if response.length is None:
                self.connection.service.send_head_soon(self)
        else:
            self.listens = False
            await self._send_other(kind, message)
            if not self.complete:
                await self.connection.writable()

    @property
    def response_headers(self) -> list[tuple[str, str]]:
        """The application's header fields as they were sent, for the log."""
        return self.response.pairs if self.response is not None else []

    def _started(self) -> Response:
        response = self.response
        if response is None:
            raise RuntimeError("a body was sent before http.response.start")
        if self.complete or self._trailer_fields is not None:
            raise RuntimeError("a body was sent after the end of the response")
        return response

    def _body(self, body: bytes, more: bool) -> None:
        """Send a piece of the body, the first one together with the head."""
        response = self._started()
        if type(body) is not bytes:
            body = octets_of(body)
        if self.head_sent:
            octets = data = response.encode(body)
        else:
            size = len(body)
            head = self._head(response, None if more and not response.exceeds(size) else size)
            octets = response.encode(body)
            data = head + octets
        self.body_size += len(body) if response.chunked else len(octets)
        if not more:
            if self._sends_trailers and response.chunked and not response.bodiless:
                self._trailer_fields = []
            elif response.chunked and not response.bodiless:
                data += response.end()
        if data:
            self.connection.transport.write(data)
        if not more and self._trailer_fields is None:
            self._finish(response)

    def _head(self, response: Response, known: int | None) -> bytes:
        """Encode the head. After this the response cannot be replaced by an error page."""
        response_defaults = self.connection.service.response_defaults
        is_head = self.scope["method"] == "HEAD"
        if self.raw:
            octets = response.raw_head(response_defaults, is_head, known)
        else:
            persistent = self.persistent and self.connection.service.persistent
            parser = self.connection.parser
            if not parser.body_complete and (
                    self.expects  # without a 100 the client may or may not send the body
                    or not can_drain(parser.content_length, self.received)):
                persistent = False
            octets = response.head(response_defaults, self.http11, is_head, persistent,
                                   None if self._sends_trailers else known)
            self.keep_alive = response.keep_alive
        self.head_sent = True
        self.header_size = response.head_size
        return octets

    def send_head(self) -> None:
        """Send the head without the body, if it still waits."""
        if self.response is not None and not (self.head_sent or self.complete or self.gone):
            self.connection.transport.write(self._head(self.response, None))

    def _finish(self, response: Response, fault: str = "") -> None:
        """The response has ended. After a fault or a wrong length the connection is closed."""
        if self.complete:
            return  # by an error, while another task still sent
        self.complete = True
        if response.remaining and not response.bodiless:
            fault = fault or response.length_error
        if fault:
            self.keep_alive = False
            self.fault = fault
        self.connection.request_done(self)
        self.wake()

    async def _send_other(self, kind: str, message: Mapping[str, Any]) -> None:
        if kind == "http.response.pathsend":
            await self._send_path(message["path"])
        elif kind == "http.response.zerocopysend":
            file = message["file"]
            number = file if isinstance(file, int) else file.fileno()
            await self._send_file(number, message.get("offset"), message.get("count"),
                                  message.get("more_body", False))
        elif kind == "http.response.early_hint":
            if self.http11 and not self.raw and not self.head_sent:
                links = [("Link", bytes(link).decode("latin-1")) for link in message["links"]]
                self.connection.transport.write(informational(103, links))
        elif kind == "http.response.trailers":
            self._send_trailers(message)
        else:
            raise RuntimeError(f"{kind!r} is not a message of an HTTP response")

    def _send_trailers(self, message: Mapping[str, Any]) -> None:
        response = self.response
        if response is None or not self.trailers or (
                self.complete != (self._trailer_fields is None)):
            raise RuntimeError("http.response.trailers was sent without being announced, "
                               "before the end of the body, or after the last one")
        self.trailers = message.get("more_trailers", False)
        if self._trailer_fields is None:
            return  # they need chunks and `TE: trailers` (RFC 9110 section 6.5.1)
        self._trailer_fields += message.get("headers", ())
        if not self.trailers:
            self.connection.transport.write(response.trailer(self._trailer_fields))
            self._finish(response)

    async def _send_path(self, path: str) -> None:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            await self._send_file(file, 0, None, False)
        finally:
            os.close(file)

    async def _send_file(self, file: int, offset: int | None, count: int | None,
                         more: bool) -> None:
        """Send octets of a file descriptor, from its position or `offset` to its end."""
        response = self._started()
        found = os.fstat(file)
        if not S_ISREG(found.st_mode):
            raise ResponseError("pathsend and zerocopysend need a regular file")
        if offset is None:
            offset = os.lseek(file, 0, os.SEEK_CUR)
        if size_unknown(found):
            self._body(_content(file, offset, count), more)
            return
        rest = max(found.st_size - offset, 0)
        count = rest if count is None else min(count, rest)
        head = b""
        if not self.head_sent:
            if response.length is not None:
                count = min(count, response.length)
            head = self._head(response, None if more else count)
        if response.remaining is not None:
            count = min(count, max(response.remaining, 0))
        chunked = response.chunked and not response.bodiless and count > 0
        if chunked:
            head += b"%x\r\n" % count
        connection = self.connection
        if head:
            connection.transport.write(head)
        if not response.bodiless and count:
            self.via = "sendfile()"
            sent = await connection.send_file(file, offset, count)
            self.body_size += sent
            if response.remaining is not None:
                response.remaining -= sent
            if sent < count and self.gone:
                raise ClientDisconnected("the client is gone")
            if sent < count:
                self._finish(response, f"the file ended {count - sent} bytes early")
                return
        elif response.bodiless:
            response.remaining = None
        if chunked:
            connection.transport.write(b"\r\n")
        if more:
            return
        if self._sends_trailers and response.chunked and not response.bodiless:
            self._trailer_fields = []
            return
        if response.chunked and not response.bodiless:
            connection.transport.write(response.end())
        self._finish(response)

    # Errors and early ends.

    @property
    def is_event_stream(self) -> bool:
        """Whether the response is an event stream, which ends only with its connection."""
        return self.response is not None and "text/event-stream" in self.response.fields.lower()

    def end_stream(self) -> None:
        """End an event stream regularly; for the application the client is gone."""
        response = self.response
        if response is None or not self.head_sent or self.complete:
            return
        if response.chunked and not response.bodiless:
            self.connection.transport.write(response.end())
        self.client_gone()
        self.connection.close()

    def drain(self, since: float, everything: bool) -> None:
        """End an event stream, or a request that only waits for its client to leave.

        Args:
            since: the latter only if it began before, in monotonic seconds.
            everything: the latter also if another task of the application waits, which may
                still compute a response: so do Django and Quart during each request.
        """
        self.keep_alive = False
        if self.is_event_stream:
            self.end_stream()
        elif everything or self.listens and self.began <= since:
            self.drained = True
            self.wake()

    def client_gone(self) -> None:
        """The client has disconnected: `receive` and `send` say so from now on."""
        self.gone = True
        self.wake()

    def end(self, status: int) -> None:
        """Serve the client no more: it gets an error, or the response that has begun is cut off.

        For the application it is gone.
        """
        self._send_error(status)
        self.client_gone()

    def _failed(self, error: BaseException) -> None:
        """The application raised an exception: send an error, and log it if it is its own."""
        connection = self.connection
        service = connection.service
        if service.forked:
            forked.leave(error)
        if isinstance(error, asyncio.CancelledError):
            self._send_error(503 if service.draining else 500)
        elif (self.gone or self.drained) and is_disconnect(error):
            log.debug(GONE_DURING, connection.peer, self.title, error)
            self._send_error(503)
        elif self.gone:
            # Not counted, as a client must not be able to have workers replaced by leaving.
            harakiri.application_error(connection.peer, self.title, error)
        else:
            service.exceptions += 1
            harakiri.application_error(connection.peer, self.title, error)
            accept = b",".join(value for name, value in self.scope["headers"]
                               if name == b"accept").decode("latin-1")
            self._send_error(500, service.exception_policy.apply(self.title, error, accept))

    def _incomplete(self) -> None:
        """The application returned before its response was complete."""
        if self.drained:
            self._send_error(503)
            return
        what = ("without a response" if self.response is None
                else "before its response was complete")
        log.error("%s: %s: the application returned %s", self.connection.peer, self.title, what)
        self._send_error(500)

    def _send_error(self, status: int, page: Page = USUAL) -> None:
        """Send an error page if no head was sent yet, else end the connection."""
        if self.complete or self.gone:
            return
        self.keep_alive = False
        self.complete = True
        if self.head_sent:
            self.connection.abort_response(self.response is not None and self.response.until_close)
        else:
            self.connection.send_error(status, page)
        self.wake()


def _content(file: int, offset: int, count: int | None) -> bytes:
    """Read a file from an offset to its end, or at most `count` octets of it."""
    data = b""
    while (count is None or len(data) < count) and (
            piece := os.pread(file, 65536 if count is None else count - len(data),
                              offset + len(data))):
        data += piece
    return data
