"""The record of one request or WebSocket, for the request log and the counters.

Nothing is computed before a line is written.
"""

from time import monotonic
from typing import Any

from ...errors import ClientDisconnected, ResponseError
from ...log.record import RequestRecord
from .scope import Scope, Variables


# What Starlette raises for http.disconnect and websocket.disconnect.
_OF_FRAMEWORKS = ("ClientDisconnect", "WebSocketDisconnect")


class Record(RequestRecord):
    """One request.

    Args:
        connection: the connection of the request.
        scope: its scope.
        uri: the target as sent.

    Attributes:
        gone: the client is not served any more, whoever ended it: `receive` says
            `http.disconnect` and `send` raises.
        complete: the response has been passed to the transport, completely.
        head_sent: its head has.
        recorded: it was counted and logged.
        fault: an error of the response to log, or "".
        task: the application's task, from its first step on at the latest.
        file: the static file that the task sends and closes, None for an application.
    """

    task: Any = None  # asyncio.Task[None]
    gone = complete = head_sent = recorded = False
    fault = ""
    file: Any = None  # FileIO

    def __init__(self, connection: Any, scope: Scope, uri: str) -> None:
        self.connection = connection
        self.scope = scope
        self.uri = uri
        self.began = monotonic()

    @property
    def protocol(self) -> str:
        """The protocol, for the log."""
        return f"HTTP/{self.scope['http_version']}"

    @property
    def environ(self) -> Variables:
        """The request's variables, for the log."""
        return Variables(self.scope)

    @property
    def title(self) -> str:
        """Method and target, for the log."""
        return f"{self.method} {self.uri}"


class RejectedRequest(Record):
    """A request whose head was rejected, so that it has no scope."""

    protocol = ""

    def __init__(self, connection: Any, method: str, uri: str, protocol: str) -> None:
        client = (connection.host, connection.port) if connection.host else None
        super().__init__(connection, {"method": method, "client": client, "headers": [],
                                      "query_string": b""}, uri)
        self.method = method
        self.protocol = protocol


def octets_of(body: Any) -> bytes:
    """Return a piece of a body as bytes. `bytes(5)` would be five zeros.

    Raises:
        ResponseError: it is not bytes.
    """
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise ResponseError(f"the body is {type(body).__name__}, not bytes")
    return bytes(body)


def is_disconnect(error: BaseException) -> bool:
    """Return whether an exception is, or was caused by, our report that the client is gone."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ClientDisconnected) or type(seen).__name__ in _OF_FRAMEWORKS:
            return True
        nested = getattr(seen, "exceptions", None)
        if nested and all(is_disconnect(one) for one in nested):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
