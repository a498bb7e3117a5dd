"""One request or WebSocket as the request log and the counters see it.

Nothing is computed before a line is written.
"""

import asyncio
from time import monotonic
from typing import Any

from ...errors import ClientDisconnected
from ...log.record import RequestRecord
from .scope import Scope, Variables


class Record(RequestRecord):
    """One request, as the log and the counters see it.

    Args:
        connection: the connection it came by.
        scope: its scope.
        uri: the target as sent.

    Attributes:
        gone: the client is; nothing can be sent any more.
        complete: the whole response is on its way.
        head_sent: the head of the response is.
        killed: it exceeded `harakiri`.
        recorded: it was counted and logged.
        fault: what else the log should say of it.
        task: the application's task.
    """

    task: "asyncio.Task[None]"
    gone = complete = head_sent = killed = recorded = False
    fault = ""

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


def by_disconnection(error: BaseException) -> bool:
    """Whether an exception is, or came of, our telling that the client is gone."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ClientDisconnected) or type(seen).__name__ == "ClientDisconnect":
            return True
        nested = getattr(seen, "exceptions", None)
        if nested and all(by_disconnection(one) for one in nested):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
