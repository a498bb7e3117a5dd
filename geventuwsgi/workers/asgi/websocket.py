"""One WebSocket of an ASGI application (RFC 6455), by the `websockets` library's protocol.

The rules of this room:

- Frames, compression and the closing handshake are the library's (see `frames`); the order of
  ASGI's messages, the queue, pings and deadlines are ours.
- The application's side of the handshake decides: until it accepts nothing is sent.
- At most `max_queue` messages wait for the application; then reading stops. A client that
  does not answer pings while nothing is read from it is not to blame.
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
from ..limits import CLOSE_TIMEOUT
from . import harakiri, websocket_frames
from .record import Record, by_disconnection
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
        connection: the HTTP connection it came by.
        scope: of the handshake request; becomes the WebSocket's.
        uri: the target as sent.
    """

    __slots__ = ("_protocol", "_reply", "_state", "_queue", "_queued", "_pieces", "_piece_kind",
                 "_waiters", "_ping", "_code", "_reason", "_told", "_response")

    def __init__(self, connection: Any, scope: Scope, uri: str) -> None:
        super().__init__(connection, scope, uri)
        self._state = _CONNECTING
        self._queue: deque[tuple[str, Any]] = deque()
        self._queued = 0
        self._pieces = bytearray()  # no list: of empty fragments there may be any number
        self._piece_kind = BINARY
        self._waiters: list[asyncio.Future[None]] | None = None
        self._ping: bytes | None = None
        self._code = _ABNORMAL
        self._reason = ""
        self._told = False
        self._response: Response | None = None

    # The handshake.

    def begin(self) -> None:
        """Check the handshake and call the application.

        Raises:
            ProtocolError: the handshake is wrong, or there is no library for WebSockets.
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
            reason = f"a broken WebSocket handshake: {protocol.handshake_exc}"
            if _OTHER_VERSION.search(parser.fields):  # RFC 6455 section 4.4
                raise ProtocolError(426, reason, (("Upgrade", "websocket"),
                                                  ("Sec-WebSocket-Version", "13")))
            raise ProtocolError(400 if reply is None else reply.status_code, reason)
        self._reply = reply
        connection.measure(self)
        self._enter(parser.buffered)

    def _enter(self, early: bytes) -> None:
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
        connection.take = self.feed
        connection.start_websocket(self, scope)
        if early:
            self.feed(early)

    async def run(self, application: Any) -> None:
        """Call the application, and close what it leaves open.

        Raises:
            asyncio.CancelledError: the task was cancelled.
        """
        try:
            await application(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._leave(503, _RESTART)
            raise
        except BaseException as error:
            if self.gone and by_disconnection(error):
                log.debug("%s: client gone during %s: %r", self.connection.peer, self.title, error)
            else:
                self.connection.service.exceptions += 1
                harakiri.application_error(self.connection.peer, self.title, error)
            self._leave(500, _ERROR)
        else:
            if self._state == _CONNECTING:
                log.error("%s: %s: the application returned without an answer to the handshake",
                          self.connection.peer, self.title)
            self._leave(500, _NORMAL)
        finally:
            self.connection.service.task_ended(self.task)

    def _leave(self, status: int, code: int) -> None:
        """The application has ended: close with `code`, or answer the handshake."""
        if self._state == _OPEN:
            self._close(code, "")
        elif self.gone:
            return
        elif self._state == _CONNECTING:
            self._refuse(status)
        elif self._state == _DENYING:
            log.error("%s: %s: the application ended before its denial response was complete",
                      self.connection.peer, self.title)
            if self.head_sent:
                self.connection.cut()
            else:
                self._refuse(500)

    def _refuse(self, status: int) -> None:
        self._state = _CLOSED
        self.status = status
        self.connection.websocket = None
        self.connection.exchange = self
        self.connection.answer_error(status, False)

    # What comes in.

    def feed(self, data: bytes) -> None:
        """Take bytes from the client; called by the connection."""
        if self._state != _OPEN and self._state != _CLOSING:
            if self._state == _CONNECTING and not self.gone:
                self._too_early()
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
                self._ponged(bytes(frame.data))
            elif kind == CLOSE:
                self._ended()
        if protocol.parser_exc is not None:
            self._broke(protocol.parser_exc)
        if protocol.writes:
            self._flush()

    def _too_early(self) -> None:
        """A client must not send before the answer (RFC 6455 section 4.1)."""
        self.status = 400
        self.connection.record(self)
        self.gone = True
        self._wake()
        self.connection.refuse(ProtocolError(400, "data before the WebSocket was accepted"))

    def _message(self, kind: int, data: Any) -> None:
        if self._state != _OPEN:
            return
        if kind == TEXT:
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                self._protocol.fail(_INVALID, f"{error.reason} at position {error.start}")
                self._broke(error)
                return
            item: tuple[str, Any] = ("text", text)
        else:
            item = ("bytes", bytes(data))
        queue = self._queue
        queue.append(item)
        self._queued += len(item[1])
        if self._waiters is not None:
            self._wake()
            return
        limits = self.connection.service.websockets
        if len(queue) >= limits.max_queue or self._queued > limits.max_size:
            self.connection.transport.pause_reading()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _ended(self) -> None:
        """The closing handshake is over, from whichever side it came."""
        protocol = self._protocol
        if self._state == _OPEN:
            self._code, self._reason = protocol.close_rcvd.code, protocol.close_rcvd.reason
        self._state = _CLOSED
        self.gone = True
        self._wake()

    def _broke(self, error: BaseException) -> None:
        """The client broke the protocol; the library has sent why."""
        if self._state == _OPEN:
            sent = self._protocol.close_sent
            if sent is not None:
                self._code, self._reason = sent.code, sent.reason
            log.warning("%s: %s: %s; closed with %d", self.connection.peer, self.title, error,
                        self._code)
        self._state = _CLOSED
        self.gone = True
        self._wake()
        self._flush()

    def _ponged(self, data: bytes) -> None:
        if data == self._ping:
            self._ping = None
            self.resume()

    def resume(self) -> None:
        """Nothing is owed to us: the next deadline is the next ping."""
        if self._state == _OPEN:
            interval = self.connection.service.websockets.ping_interval
            self.connection.deadline = monotonic() + interval if interval else inf

    def end_of_input(self) -> None:
        """The client has closed its side."""
        if self._state in (_OPEN, _CLOSING):
            self._protocol.receive_eof()
        self.connection.close()

    def lose(self) -> None:
        """The connection is closed."""
        self.gone = True
        self._state = _CLOSED
        self._wake()
        if not self.recorded:
            self.connection.record(self)

    async def receive(self) -> Message:
        """ASGI's `receive`."""
        if not self._told:
            self._told = True
            return {"type": "websocket.connect"}
        queue = self._queue
        while not queue:
            if self._state == _CLOSED or self.gone:
                return {"type": "websocket.disconnect", "code": self._code,
                        "reason": self._reason}
            waiter = self.connection.service.loop.create_future()
            self._waiters = [waiter] if self._waiters is None else [*self._waiters, waiter]
            await waiter
        kind, data = queue.popleft()
        self._queued -= len(data)
        connection = self.connection
        if (not connection.transport.is_reading() and self._state == _OPEN
                and len(queue) <= connection.service.websockets.max_queue // 2):
            connection.resume_reading()
            if self._ping is not None:
                self._expect_pong()
        return {"type": "websocket.receive", kind: data}

    # What goes out.

    async def send(self, message: Mapping[str, Any]) -> None:
        """ASGI's `send`.

        Raises:
            ClientDisconnected: (an OSError) the WebSocket is closed.
            RuntimeError: a message out of order.
        """
        kind = message["type"]
        if self._state == _OPEN:
            if kind == "websocket.send":
                # Past the library's list of what is to be written: a message is never in
                # pieces here, and nothing else waits there.
                data = message.get("bytes")
                extensions = self._protocol.extensions
                if data is None:
                    octets = websocket_frames.message(TEXT, message["text"].encode(), extensions)
                else:
                    if type(data) is not bytes:
                        data = bytes(memoryview(data))  # bytes() of a number would be zeros
                    octets = websocket_frames.message(BINARY, data, extensions)
                self.body_size += len(octets)
                connection = self.connection
                connection.transport.write(octets)
                if connection.writing_held:
                    await connection.writable()
            elif kind == "websocket.close":
                self._close(message.get("code") or _NORMAL, message.get("reason") or "")
            else:
                raise RuntimeError(f"{kind!r} was sent on an open WebSocket")
        elif self._state == _CONNECTING:
            self._answer_handshake(kind, message)
        elif self._state == _DENYING:
            self._deny(kind, message)
        elif self.gone:
            raise ClientDisconnected("the WebSocket is closed")
        elif kind != "websocket.close":
            raise RuntimeError(f"{kind!r} was sent after the WebSocket was closed")

    def _answer_handshake(self, kind: str, message: Mapping[str, Any]) -> None:
        if self.gone:
            raise ClientDisconnected("the client is gone")
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._refuse(403)
        elif kind == "websocket.http.response.start":
            self._response = Response.from_octets(message["status"], message.get("headers", ()))
            self.status = self._response.code
            self._state = _DENYING
        else:
            raise RuntimeError(f"{kind!r} was sent before websocket.accept")

    def _accept(self, message: Mapping[str, Any]) -> None:
        reply = self._reply
        standing = self.connection.service.standing
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
            raise ResponseError("the header fields of websocket.accept are not for the handshake "
                                "or for a body")
        octets = "".join((*lines, own.fields, standing.text, "\r\n")).encode("latin-1")
        # The library writes its reply, ours goes out instead.
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
        """The denial response extension: an HTTP response in place of the WebSocket."""
        response = self._response
        if kind != "websocket.http.response.body" or response is None:
            raise RuntimeError(f"{kind!r} was sent in a denial response")
        more = message.get("more_body", False)
        body = bytes(message.get("body", b""))
        data = b""
        if not self.head_sent:
            data = response.head(self.connection.service.standing, True, False, False,
                                 None if more else len(body))
            self.head_sent = True
            self.header_size = response.head_size
        octets = response.encode(body)
        self.body_size += len(octets)
        data += octets
        if not more and response.chunked:
            data += response.end()
        self.connection.transport.write(data)
        if not more:
            self._state = _CLOSED
            self.connection.finish(True)

    def _flush(self) -> None:
        """Write what the library has to send; its end-of-file closes the connection."""
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

    def drain(self) -> None:
        """The worker stops: close with 1012 (service restart)."""
        if self._state == _OPEN:
            self._close(_RESTART, "")
            self.gone = True  # for the application it ends now; the client's answer is awaited
            self._wake()
        elif self._state == _CONNECTING:
            self.gone = True
            self._refuse(503)

    # Deadlines, called by the sweep through the connection.

    def _expect_pong(self) -> None:
        timeout = self.connection.service.websockets.ping_timeout
        self.connection.deadline = monotonic() + timeout if timeout else inf

    def expire(self, now: float) -> None:
        """A deadline of this WebSocket has passed."""
        connection = self.connection
        if self._state != _OPEN:
            connection.cut()  # the client did not take part in closing
        elif connection.writing_held and connection.stalled():
            self._code = _ABNORMAL
            connection.cut()
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
            self._wake()
            self._flush()
