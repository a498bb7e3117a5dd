"""One HTTP request of an ASGI application: `receive`, `send`, and what its end means.

The rules of this room:

- It is also the record that the request log formats.
- A response in one piece leaves in one write. What the client does not read holds up
  `send`, what the application does not receive holds up the reading.
- After the client is gone `receive` gives `http.disconnect` and `send` raises an OSError
  (ASGI, spec_version 2.4 and later). A call out of order is the application's error.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from stat import S_ISREG
from time import monotonic
from typing import Any

from ...app.debug_pages import USUAL, Page
from ...errors import ClientDisconnected, ProtocolError, ResponseError
from ...protocol.response import CONTINUE, Response, informational
from . import harakiri
from .record import Record, by_disconnection
from .scope import Scope

log = logging.getLogger("geventuwsgi.error")

# So many octets of a request body wait for the application before reading stops.
BODY_AHEAD = 262144

Message = dict[str, Any]


class AsgiExchange(Record):
    """One request and its response.

    Args:
        connection: the connection it came by.
        scope: its scope.
        uri: the target as sent, for the log.
        http11: the client speaks HTTP/1.1.
        raw: the answer goes over the uwsgi protocol, unframed and closed.
        keeps: the connection may be kept behind the response.

    Attributes:
        broken: what was wrong with the request's body, None as long as nothing is.
        expects: the client waits for 100 (Continue).
        received: octets of the body so far.
    """

    response: Response | None = None
    keep_alive = False
    expects = False
    broken: ProtocolError | None = None
    trailers = False
    received = 0
    _handed_over = False
    _waiters: "list[asyncio.Future[None]] | None" = None
    _trailer_fields: list[Any] | None = None

    def __init__(self, connection: Any, scope: Scope, uri: str, http11: bool, raw: bool,
                 keeps: bool) -> None:
        # What Record's own __init__ does; a call less on every request.
        self.connection = connection
        self.scope = scope
        self.uri = uri
        self.began = monotonic()
        self.method = scope["method"]
        self.http11 = http11
        self.raw = raw
        self.keeps = keeps
        self._pieces: list[bytes] = []
        self._ahead = 0

    async def run(self, application: Any) -> None:
        """Call the application, and see to it that the request is answered.

        Raises:
            asyncio.CancelledError: the task was cancelled.
        """
        try:
            await application(self.scope, self.receive, self.send)
        except asyncio.CancelledError as error:
            self._failed(error)
            raise
        except BaseException as error:
            self._failed(error)
        else:
            if self.killed:
                self._answer_killed()
            elif not self.complete and not self.gone:
                self._unanswered()
        finally:
            connection = self.connection
            if not self.recorded:
                connection.record(self)
            if self.gone and not self.complete and not connection.lost:
                connection.close()  # a half-closed client to whom nothing more will be said
            connection.service.task_ended(self.task)

    # What comes in.

    def feed(self, piece: bytes) -> None:
        """Take a decoded piece of the body; called by the connection."""
        self._pieces.append(piece)
        self._ahead += len(piece)
        self.received += len(piece)
        if self._ahead >= BODY_AHEAD:
            self.connection.hold_body()
        self.wake()

    def wake(self) -> None:
        """Let whoever waits in `receive` look again."""
        if self._waiters is not None:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _change(self) -> None:
        waiter = self.connection.service.loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        await waiter

    @property
    def starved(self) -> bool:
        """Whether the application waits for more of the body."""
        return self._waiters is not None and not self._handed_over

    async def receive(self) -> Message:
        """ASGI's `receive`: the body in pieces, then `http.disconnect`."""
        connection = self.connection
        # Behind the response the parser is at the rest of the body, or at the next request.
        while not self._handed_over and not self.complete:
            whole = connection.parser.body_complete and self.broken is None
            if self._pieces or whole:
                if self.gone and not whole:
                    break
                return self._hand_over(whole)
            if self.gone or self.broken is not None:
                break
            if self.expects:
                self.expects = False
                connection.transport.write(CONTINUE)
            connection.await_body()
            await self._change()
        while not (self.gone or self.broken is not None or self.complete):
            await self._change()
        return {"type": "http.disconnect"}

    def _hand_over(self, whole: bool) -> Message:
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
            self._handed_over = True
        else:
            self.connection.release_body()
        return {"type": "http.request", "body": body, "more_body": not whole}

    # What goes out.

    async def send(self, message: Mapping[str, Any]) -> None:
        """ASGI's `send`.

        Raises:
            ClientDisconnected: (an OSError) the client is gone.
            RuntimeError: a message out of order.
            ResponseError: a response that cannot be sent as it stands.
        """
        kind = message["type"]
        if self.gone:
            raise ClientDisconnected("the client is gone")
        if kind == "http.response.body":
            more = message.get("more_body", False)
            self._body(message.get("body", b""), more)
            if more and self.connection.writing_held:
                await self.connection.writable()
        elif kind == "http.response.start":
            if self.response is not None:
                raise RuntimeError("http.response.start was sent twice")
            self.response = response = Response.from_octets(
                message["status"], message.get("headers", ()))
            if response.code < 200:
                raise ResponseError(f"{response.code} is no final status")
            self.status = response.code
            self.header_count = response.header_count
            self.trailers = bool(message.get("trailers")) and not self.raw
        else:
            await self._send_other(kind, message)

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
            if not isinstance(body, (bytes, bytearray, memoryview)):
                raise ResponseError(f"the body is {type(body).__name__}, not bytes")
            body = bytes(body)
        if self.head_sent:
            octets = data = response.encode(body)
        else:
            head = self._head(response, None if more else len(body))
            octets = response.encode(body)
            data = head + octets
        self.body_size += len(body) if response.chunked else len(octets)
        if not more:
            if self.trailers and response.chunked and not response.bodiless:
                self._trailer_fields = []
            elif response.chunked and not response.bodiless:
                data += response.end()
        if data:
            self.connection.transport.write(data)
        if not more and self._trailer_fields is None:
            self._finish(response)

    def _head(self, response: Response, known: int | None) -> bytes:
        """Encode the head; from here on the response cannot be replaced."""
        standing = self.connection.service.standing
        is_head = self.scope["method"] == "HEAD"
        if self.raw:
            octets = response.raw_head(standing, is_head, known)
        else:
            keeps = self.keeps and self.broken is None and self.connection.service.persistent
            if self.expects and not self.connection.parser.body_complete:
                keeps = False  # the body that waits for a 100 no longer comes, or too late
            octets = response.head(standing, self.http11, is_head, keeps,
                                   None if self.trailers else known)
            self.keep_alive = response.keep_alive
        self.head_sent = True
        self.header_size = response.head_size
        return octets

    def _finish(self, response: Response) -> None:
        """The response is on its way; note what must not be followed by another one."""
        self.complete = True
        if response.remaining and not response.bodiless:
            self.keep_alive = False
            self.fault = response.length_error
        self.connection.answered(self)
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
            raise RuntimeError(f"{kind!r} is no message of an HTTP response")

    def _send_trailers(self, message: Mapping[str, Any]) -> None:
        response = self.response
        if response is None or not self.trailers or (
                self._trailer_fields is None and not self.complete):
            raise RuntimeError("http.response.trailers was sent without being announced, or "
                               "before the end of the body")
        if self._trailer_fields is None:
            return  # no chunks, so no place for them: HTTP/1.0, HEAD or a Content-Length
        self._trailer_fields += message.get("headers", ())
        if not message.get("more_trailers", False):
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
            raise ResponseError("pathsend and zerocopysend take regular files")
        if offset is None:
            offset = os.lseek(file, 0, os.SEEK_CUR)
        rest = max(found.st_size - offset, 0)
        count = rest if count is None else min(count, rest)
        head = b""
        if not self.head_sent:
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
            if sent < count:
                raise ClientDisconnected(f"the file ended {count - sent} bytes early"
                                         if not self.gone else "the client is gone")
        elif response.bodiless:
            response.remaining = None
        if chunked:
            connection.transport.write(b"\r\n")
        if more:
            return
        if self.trailers and response.chunked:
            self._trailer_fields = []
            return
        if response.chunked and not response.bodiless:
            connection.transport.write(response.end())
        self._finish(response)

    # What goes wrong.

    @property
    def is_event_stream(self) -> bool:
        """Whether this is a stream of events, which ends only when somebody goes."""
        return self.response is not None and "text/event-stream" in self.response.fields.lower()

    def dismiss(self) -> None:
        """The worker drains: end a stream of events properly, as if the client had gone."""
        response = self.response
        if response is None or not self.head_sent or self.complete:
            return
        if response.chunked and not response.bodiless:
            self.connection.transport.write(response.end())
        self.lose()
        self.connection.close()

    def lose(self) -> None:
        """The client is gone."""
        self.gone = True
        self.wake()

    def _failed(self, error: BaseException) -> None:
        """The application ended with an exception: whose fault, and what to send?"""
        connection = self.connection
        if self.killed:
            self._answer_killed()
        elif isinstance(error, asyncio.CancelledError):
            self._answer(503 if connection.service.draining else 500)
        elif self.gone and by_disconnection(error):
            log.debug("%s: client gone during %s: %r", connection.peer, self.title, error)
        elif self.broken is not None and not self.head_sent:
            self._answer(self.broken.status)
        else:
            service = connection.service
            service.exceptions += 1
            harakiri.application_error(connection.peer, self.title, error)
            accept = b",".join(value for name, value in self.scope["headers"]
                               if name == b"accept").decode("latin-1")
            self._answer(500, service.exception_policy.apply(self.title, error, accept))

    def kill(self) -> None:
        """The request exceeded `harakiri`: cancel it; what it still sends is discarded."""
        self.killed = True
        self.gone = True
        self.task.cancel()

    def _answer_killed(self) -> None:
        if not self.complete:
            self.gone = self.connection.lost
            self._answer(504)

    def _unanswered(self) -> None:
        """The application returned before its response was complete."""
        if self.broken is not None and self.response is None:
            self._answer(self.broken.status)
            return
        what = "without an answer" if self.response is None else "before its response was complete"
        log.error("%s: %s: the application returned %s", self.connection.peer, self.title, what)
        self._answer(500)

    def _answer(self, status: int, page: Page = USUAL) -> None:
        """Send an error page if nothing was sent yet, else cut the connection."""
        if self.complete or self.gone:
            return
        self.keep_alive = False
        self.complete = True
        if self.head_sent:
            self.connection.break_off(self.response is not None and self.response.until_close)
        else:
            self.status = status
            self.header_count = 0
            self.connection.answer_error(status, self.scope["method"] == "HEAD", page)
        self.wake()
