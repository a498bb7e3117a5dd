"""The ASGI applications of the scenarios; each does as little as possible."""

from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HELLO = {"type": "http.response.body", "body": b"Hello, world!"}


def start(length: int) -> dict[str, Any]:
    """Return the start of a response with `length` octets of text."""
    return {"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"text/plain"), (b"content-length", b"%d" % length)]}


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Thirteen bytes."""
    assert scope["type"] == "http"
    await send(start(13))
    await send(HELLO)


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, then thirteen bytes."""
    assert scope["type"] == "http"
    while (await receive())["more_body"]:
        pass
    await send(start(13))
    await send(HELLO)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send every message of a WebSocket back; over HTTP thirteen bytes."""
    if scope["type"] == "http":
        await hello(scope, receive, send)
        return
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message["bytes"]})
