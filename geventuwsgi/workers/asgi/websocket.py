"""One WebSocket of an ASGI application (RFC 6455), with the `websockets` library's protocol.

Rules:

- Frames, compression and the closing handshake are the library's (see `websocket_frames`). The
  order of ASGI's messages, the queue, pings and deadlines are handled here.
- Nothing is sent before the application accepts the handshake or denies it.
- At most `max_queue` messages wait for the application; then reading stops. While nothing is
  read, a missing pong is not the client's fault.
"""

import asyncio
import logging
import os
import re
from collections import deque
from collections.abc import Mapping
from math import inf
from time import monotonic
from typing import Any

from ...errors import ClientDisconnected, ProtocolError, ResponseError
from ...protocol.response import Response
from ...system import forked
from ..limits import CLOSE_TIMEOUT
from ..messages import GONE_DURING, log_rejection
from . import harakiri, websocket_frames
from .flow_control import Waiters
from .record import Record, is_disconnect, octets_of
from .scope import WEBSOCKET_EXTENSIONS, Scope
from .websocket_frames import BINARY, CLOSE, CONT, PONG, TEXT

log = logging.getLogger("geventuwsgi.error")
# RFC 6455 section 7.4.1, and IANA's registry of close codes.
_NORMAL, _ABNORMAL, _INVALID, _ERROR, _RESTART = 1000, 1006, 1007, 1011, 1012

_OTHER_VERSION = re.compile(r"(?im)^sec-websocket-version:(?![ \t]*13[ \t]*\r?$)")

_CONNECTING, _DENYING, _OPEN, _CLOSING, _CLOSED = range(5)

Message = dict[str, Any]


class WebSocket(Record):
    """One WebSocket, from its handshake on.

    Args:
        connection: the HTTP connection of the handshake.
        scope: the scope of the handshake request, which becomes that of the WebSocket.
        uri: the target as sent.
    """

    drained = False  # as in AsgiExchange, for a denial response

    __slots__ = ("_protocol", "_reply", "_state", "_queue", "_queued", "_pieces", "_piece_kind",
                 "_waiters", "_ping", "_code", "_reason", "_connect_sent", "_response")

    def __init__(self, connection: Any, scope: Scope, uri: str) -> None:
        super().__init__(connection, scope, uri)
        self._state = _CONNECTING
        self._queue: deque[tuple[str, Any]] = deque()
        self._queued = 0
        self._pieces = bytearray()  # not a list: a client may send any number of empty fragments
        self._piece_kind = BINARY
        self._waiters = Waiters()
        self._ping: bytes | None = None
        self._code = _ABNORMAL
        self._reason = ""
        self._connect_sent = False
        self._response: Response | None = None

    # The handshake.

    def begin(self) -> None:
        """Check the handshake and call the application.

        Raises:
            ProtocolError: the handshake is invalid, or `websockets` is not installed.
        """
        if websocket_frames.ServerProtocol is None:
            raise ProtocolError(501, "a WebSocket handshake, and the websockets library is not "
                                     "installed: pip install websockets")
        connection = self.connection
        limits = connection.service.websockets
        self._protocol = protocol = websocket_frames.protocol(limits.deflate, limits.max_size)
        parser = connection.parser
        protocol.receive_data(f"GET {parser.path} HTTP/1.1\r\n{parser.fields}\r\n"
                              .encode("latin-1"))
        events = protocol.events_received()
        reply = protocol.accept(events[0]) if events else None
        if reply is None or reply.status_code != 101:
            reason = f"an invalid WebSocket handshake: {protocol.handshake_exc}"
            if _OTHER_VERSION.search(parser.fields):  # RFC 6455 section 4.4
                raise ProtocolError(426, reason, (("Upgrade", "websocket"),
                                                  ("Sec-WebSocket-Version", "13")))
            raise ProtocolError(400 if reply is None else reply.status_code, reason)
        self._reply = reply
        connection.measure(self)
        self._start(parser.buffered)

    def _start(self, early: bytes) -> None:
        connection = self.connection
        scope = self.scope
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scope["scheme"] in ("https", "wss") else "ws"
        del scope["method"]
        scope["subprotocols"] = [
            word.strip() for name, value in scope["headers"] if name == b"sec-websocket-protocol"
            for word in value.decode("latin-1").split(",")]
        scope["extensions"] = WEBSOCKET_EXTENSIONS.copy()
        connection.websocket = self
        connection.feed = self.feed
        connection.start_websocket(self, scope)
        if early and connection.websocket is self:
            self.feed(early)

    async def run(self, application: Any) -> None:
        """Call the application, and close the WebSocket if it does not.

        Raises:
            asyncio.CancelledError: the task was cancelled.
        """
        if self.task is None:  # with asyncio.eager_task_factory
            self.task = asyncio.current_task()
        try:
            await application(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._end(503, _RESTART)
            raise
        except BaseException as error:
            if self.connection.service.forked:
                forked.leave(error)
            if (self.gone or self.drained) and is_disconnect(error):
                log.debug(GONE_DURING, self.connection.peer, self.title, error)
            else:
                # As in an exchange, a client does not cause exceptions by leaving.
                self.connection.service.exceptions += not self.gone
                harakiri.application_error(self.connection.peer, self.title, error)
            self._end(500, _ERROR)
        else:
            if self.connection.service.forked:
                forked.leave(None)
            if self._state == _CONNECTING:
                log.error("%s: %s: the application returned without accepting the handshake",
                          self.connection.peer, self.title)
            self._end(500, _NORMAL)
        finally:
            self.connection.service.task_ended(self.task)

    def _end(self, status: int, code: int) -> None:
        """Close with `code` or reject the handshake, as the application has ended."""
        if self._state == _OPEN:
            self._close(code, "")
        elif self.gone:
            return
        elif self._state == _CONNECTING:
            self._reject(status)
        elif self._state == _DENYING:
            if not self.drained:
                log.error("%s: %s: the application ended before its denial response was complete",
                          self.connection.peer, self.title)
            if self.head_sent:
                self.connection.abort()
            else:
                self._reject(503 if self.drained else 500)

    def _reject(self, status: int) -> None:
        self._state = _CLOSED
        self.status = status
        self.connection.websocket = None
        self.connection.exchange = self
        self.connection.send_error(status)

    # From the client.

    def feed(self, data: bytes) -> None:
        """Process bytes from the client; called by the connection."""
        if self._state != _OPEN and self._state != _CLOSING:
            if self._state == _CONNECTING and not self.gone:
                self._reject_early(data)
            return
        protocol = self._protocol
        protocol.receive_data(data)
        for frame in protocol.events_received():
            kind = frame.opcode
            if kind == TEXT or kind == BINARY:
                if frame.fin:
                    self._message(kind, frame.data)
                else:
                    self._piece_kind = kind
                    self._pieces += frame.data
            elif kind == CONT:
                self._pieces += frame.data
                if frame.fin:
                    pieces, self._pieces = self._pieces, bytearray()
                    self._message(self._piece_kind, pieces)
            elif kind == PONG:
                self._pong_received(bytes(frame.data))
            elif kind == CLOSE:
                self._closing_done()
        if protocol.parser_exc is not None:
            self._protocol_failed(protocol.parser_exc)
        if protocol.writes:
            self._flush()
            if self.connection.writing_paused:
                self.connection.transport.pause_reading()  # pings of a client that reads no pong

    def _read_on(self) -> None:
        """Read again, unless too much waits for the application or for the client."""
        connection = self.connection
        if connection.writing_paused or self._state not in (_OPEN, _CLOSING):
            return
        if (self._state == _CLOSING
                or len(self._queue) <= connection.service.websockets.max_queue // 2):
            connection.resume_reading()
            if self._ping is not None and self._state == _OPEN:
                self._expect_pong()

    def _reject_early(self, data: bytes) -> None:
        """Reject data before the handshake is answered (RFC 6455 section 4.1)."""
        connection = self.connection
        log_rejection(connection.peer,
                      ProtocolError(400, "data before the WebSocket was accepted"))
        connection.parser.buffered = data  # unread, and more may follow: linger
        self._reject(400)
        self.client_gone()

    def _message(self, kind: int, data: Any) -> None:
        if self._state != _OPEN:
            return
        if kind == TEXT:
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                self._protocol.fail(_INVALID, f"{error.reason} at position {error.start}")
                self._protocol_failed(error)
                return
            item: tuple[str, Any] = ("text", text)
        else:
            item = ("bytes", bytes(data))
        queue = self._queue
        queue.append(item)
        self._queued += len(item[1])
        if self._waiters:
            self._waiters.wake()
            return
        limits = self.connection.service.websockets
        if len(queue) >= limits.max_queue or self._queued > limits.max_size:
            self.connection.transport.pause_reading()

    def _closing_done(self) -> None:
        """The closing handshake is complete, whichever side began it."""
        protocol = self._protocol
        if self._state == _OPEN:
            self._code, self._reason = protocol.close_rcvd.code, protocol.close_rcvd.reason
        self._state = _CLOSED
        self.gone = True
        self._waiters.wake()

    def _protocol_failed(self, error: BaseException) -> None:
        """The client broke the protocol; the library has sent a close frame with the reason."""
        if self._state == _OPEN:
            sent = self._protocol.close_sent
            if sent is not None:
                self._code, self._reason = sent.code, sent.reason
            log.warning("%s: %s: %s; closed with %d", self.connection.peer, self.title, error,
                        self._code)
        self._state = _CLOSED
        self.gone = True
        self._waiters.wake()
        self._flush()

    def _pong_received(self, data: bytes) -> None:
        if data == self._ping:
            self._ping = None
            self.resume()

    def resume(self) -> None:
        """Set the deadline of the next ping, and read: neither a pong nor a write is pending."""
        if self._state == _OPEN:
            interval = self.connection.service.websockets.ping_interval
            self.connection.deadline = monotonic() + interval if interval else inf
        elif self._state == _DENYING:
            self.connection.deadline = inf
        if not self.connection.transport.is_reading():
            self._read_on()

    def end_of_input(self) -> None:
        """The client has closed its sending side."""
        if self._state in (_OPEN, _CLOSING):
            self._protocol.receive_eof()
        self.connection.close()

    def client_gone(self) -> None:
        """The connection is closed."""
        self.gone = True
        self._state = _CLOSED
        self._waiters.wake()
        if not self.recorded:
            self.connection.record(self)

    async def receive(self) -> Message:
        """ASGI's `receive`."""
        if not self._connect_sent:
            self._connect_sent = True
            return {"type": "websocket.connect"}
        queue = self._queue
        while not queue:
            if self._state == _CLOSED or self.gone or self.drained:
                await asyncio.sleep(0)  # an application that goes on for ever blocks no other
                return {"type": "websocket.disconnect", "code": self._code,
                        "reason": self._reason}
            self._waiters.append(waiter := self.connection.service.loop.create_future())
            try:
                await waiter
            except BaseException:
                self._waiters.discard(waiter)
                raise
        kind, data = queue.popleft()
        self._queued -= len(data)
        if not self.connection.transport.is_reading():
            self._read_on()
        return {"type": "websocket.receive", kind: data}

    # To the client.

    async def send(self, message: Mapping[str, Any]) -> None:
        """ASGI's `send`.

        Raises:
            ClientDisconnected: (an OSError) the WebSocket is closed.
            RuntimeError: a message out of order.
        """
        kind = message["type"]
        if self._state == _OPEN:
            if kind == "websocket.send":
                # Past the library's write list: a message is never in fragments here, and the
                # list is empty.
                data = message.get("bytes")
                extensions = self._protocol.extensions
                if data is None:
                    octets = websocket_frames.message(TEXT, message["text"].encode(), extensions)
                else:
                    if type(data) is not bytes:
                        data = bytes(memoryview(data))  # bytes(5) would be five zeros
                    octets = websocket_frames.message(BINARY, data, extensions)
                self.body_size += len(octets)
                connection = self.connection
                connection.transport.write(octets)
                if connection.must_wait(len(octets)):
                    await connection.writable()
            elif kind == "websocket.close":
                self._close(message.get("code") or _NORMAL, message.get("reason") or "")
            else:
                raise RuntimeError(f"{kind!r} was sent on an open WebSocket")
        elif self._state == _CONNECTING:
            self._answer_handshake(kind, message)
        elif self._state == _DENYING:
            self._deny(kind, message)
            if self._state == _DENYING and self.connection.must_wait(len(message.get("body", b""))):
                await self.connection.writable()
        elif self.gone:
            if not self.connection.service.forked:
                await asyncio.sleep(0)  # as in `receive`
            raise ClientDisconnected("the WebSocket is closed")
        elif kind != "websocket.close":
            raise RuntimeError(f"{kind!r} was sent after the WebSocket was closed")

    def _answer_handshake(self, kind: str, message: Mapping[str, Any]) -> None:
        if self.gone:
            raise ClientDisconnected("the client is gone")
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._reject(403)
        elif kind == "websocket.http.response.start":
            self._response = Response.from_octets(message["status"], message.get("headers", ()))
            self.status = self._response.code
            self._state = _DENYING
            if self._response.length is None:
                self.connection.service.send_head_soon(self)
        else:
            raise RuntimeError(f"{kind!r} was sent before websocket.accept")

    def _accept(self, message: Mapping[str, Any]) -> None:
        reply = self._reply
        response_defaults = self.connection.service.response_defaults
        lines = ["HTTP/1.1 101 Switching Protocols\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in reply.headers.raw_items()
                  if name.lower() not in ("date", "server")]
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            if subprotocol not in self.scope["subprotocols"]:
                raise RuntimeError(f"the subprotocol {subprotocol!r} was not offered")
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}\r\n")
            self._protocol.subprotocol = subprotocol
        own = Response.from_octets(200, message.get("headers", ()))
        if own.length is not None or "sec-websocket-" in own.fields.lower():
            raise ResponseError("websocket.accept has header fields of the handshake or of "
                                "a body")
        octets = "".join((*lines, own.fields, own.default_fields(response_defaults),
                          "\r\n")).encode("latin-1")
        # The library's own response is discarded; this one is sent instead.
        self._protocol.send_response(reply)
        self._protocol.data_to_send()
        self._reply = None
        self._state = _OPEN
        self.status = 101
        self.head_sent = True
        self.header_size = len(octets)
        self.header_count = own.header_count
        self.connection.transport.write(octets)
        self.resume()

    def _deny(self, kind: str, message: Mapping[str, Any]) -> None:
        """Send the body of a denial response: HTTP instead of a WebSocket."""
        response = self._response
        if kind != "websocket.http.response.body" or response is None:
            raise RuntimeError(f"{kind!r} was sent in a denial response")
        more = message.get("more_body", False)
        body = octets_of(message.get("body", b""))
        size = len(body)
        data = b"" if self.head_sent else self._head(
            response, None if more and not response.exceeds(size) else size)
        octets = response.encode(body)
        self.body_size += len(octets)
        data += octets
        if not more and response.chunked:
            data += response.end()
        self.connection.transport.write(data)
        if not more:
            self._state = _CLOSED
            if not response.bodiless:
                self.fault = response.length_error
            self.connection.finish(True)

    def _head(self, response: Response, known: int | None) -> bytes:
        octets = response.head(self.connection.service.response_defaults, True, False, False,
                               known)
        self.head_sent = True
        self.header_size = response.head_size
        return octets

    def send_head(self) -> None:
        """Send the head of a denial response without the body, if it still waits."""
        if self._state == _DENYING and self._response is not None and not self.head_sent:
            self.connection.transport.write(self._head(self._response, None))

    def _flush(self) -> None:
        """Write what the library has to send; close the connection if it has ended it."""
        writes = self._protocol.data_to_send()
        data = writes[0] if len(writes) == 1 else b"".join(writes)
        if data:
            self.body_size += len(data)
            self.connection.transport.write(data)
        if self._protocol.eof_sent:
            self.connection.close()

    def _close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        self._protocol.send_close(code, reason)
        self._state = _CLOSING
        self._code, self._reason = code, reason
        self.connection.deadline = monotonic() + CLOSE_TIMEOUT
        self._flush()
        if not self.connection.transport.is_reading():
            self._read_on()  # the client's close frame

    def drain(self) -> None:
        """Close with 1012 (service restart), as the worker stops; a denial may be completed."""
        if self._state == _OPEN:
            self._close(_RESTART, "")
            self.gone = True  # to the application; the client's close frame is still awaited
            self._waiters.wake()
        elif self._state == _CONNECTING:
            self._code = _RESTART
            self._reject(503)
            self.client_gone()
        elif self._state == _DENYING:
            self._code = _RESTART
            self.drained = True
            self._waiters.wake()

    # Deadlines: called by the sweep through the connection.

    def _expect_pong(self) -> None:
        timeout = self.connection.service.websockets.ping_timeout
        self.connection.deadline = monotonic() + timeout if timeout else inf

    def expire(self, now: float) -> None:
        """Act on the deadline, which has passed, by the state."""
        connection = self.connection
        if self._state == _DENYING:
            if connection.stalled():
                connection.abort()
        elif self._state != _OPEN:
            connection.abort()  # the client did not take part in closing
        elif connection.writing_paused and connection.stalled():
            self._code = _ABNORMAL
            connection.abort()
        elif self._ping is None:
            self._ping = os.urandom(4)
            self._protocol.send_ping(self._ping)
            self._flush()
            self._expect_pong()
        elif connection.transport.is_reading():
            log.debug("%s: %s: no pong; closed", connection.peer, self.title)
            self._code, self._reason = _ERROR, "keepalive ping timeout"
            self._protocol.fail(self._code, self._reason)
            self._state = _CLOSED
            self.gone = True
            self._waiters.wake()
            self._flush()
