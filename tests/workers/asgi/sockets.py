"""The WebSockets of `app.py`, also named by the path."""

import asyncio
import json

from tests.workers.asgi.app import SOCKETS, STARTED, query, report


async def ws_echo(scope, receive, send):
    """Send messages back, and report the end with the `name` in the query."""
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            report(" ".join(filter(None, (f"disconnect {message['code']}",
                                          message.get("reason"), query(scope, "name")))))
            return
        await send({"type": "websocket.send", **{
            key: message[key] for key in ("text", "bytes") if message.get(key) is not None}})


async def ws_scope(scope, receive, send):
    await receive()
    wanted = "chat" if "chat" in scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": wanted,
                "headers": [(b"x-own", b"1")]})
    await send({"type": "websocket.send", "text": json.dumps(
        [scope["type"], scope["scheme"], scope["path"], scope["subprotocols"],
         scope["query_string"].decode(), scope["client"][0], "method" in scope,
         sorted(scope["extensions"])])})
    await receive()


async def ws_fields(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"server", b"own"), (b"Date", b"today")]})
    await receive()


async def ws_refuse(scope, receive, send):
    await receive()
    await send({"type": "websocket.close"})


async def ws_deny(scope, receive, send):
    await receive()
    await send({"type": "websocket.http.response.start", "status": 401,
                "headers": [(b"www-authenticate", b"Basic")]})
    await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"are you?"})


async def ws_fail(scope, receive, send):
    await receive()
    raise ValueError("in the handshake")


async def ws_fail_late(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    raise ValueError("in the WebSocket")


async def ws_return(scope, receive, send):
    await receive()


async def ws_leave(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})


async def ws_close(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": 3001, "reason": "enough"})
    message = await receive()
    report(f"own close {message['type']} {message['code']}")
    try:
        await send({"type": "websocket.send", "text": "late"})
    except (OSError, RuntimeError) as error:
        report(f"late send {type(error).__name__}")


async def ws_slow(scope, receive, send):
    """Receive nothing before `/go`, then `n` messages."""
    await receive()
    await send({"type": "websocket.accept"})
    while not STARTED.pop("go", False):
        await asyncio.sleep(0.01)
    for _ in range(int(query(scope, "n"))):
        assert (await receive())["type"] == "websocket.receive"
    await send({"type": "websocket.send", "text": "all"})
    await receive()


async def ws_deny_half(scope, receive, send):
    await send({"type": "websocket.http.response.start", "status": 401, "headers": []})


async def ws_kinds(scope, receive, send):
    """Send every type that is allowed in a message, then one that is not."""
    await send({"type": "websocket.accept"})
    for data in (b"bytes", bytearray(b"array"), memoryview(b"view")):
        await send({"type": "websocket.send", "bytes": data})
    await send({"type": "websocket.send", "bytes": None, "text": "text"})
    await send({"type": "websocket.send", "bytes": 5})


async def ws_flood(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    sent = 0
    try:
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 65536})
            sent += 1
            STARTED["flood"] = sent
    except OSError:
        report("ws flood ended")


SOCKETS.update({name[3:]: function for name, function in list(globals().items())
                if name.startswith("ws_")})
