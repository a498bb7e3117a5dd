"""The application of the hostile tests: it records calls and bodies."""

import json
import os

calls = []
bodies = []


async def app(scope, receive, send):
    """Return what was recorded for `/calls` and `/bodies`; record all other requests."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    path = scope["path"]
    if path in ("/calls", "/bodies"):
        await reply(send, json.dumps(calls if path == "/calls" else bodies))
        return
    calls.append(f"{scope['type']} {path}")
    if path == "/headers":
        await reply(send, json.dumps([[text.decode("latin-1") for text in pair]
                                      for pair in scope["headers"]]))
    elif path in ("/echo", "/size"):
        body = await read(receive)
        if body is not None:
            await reply(send, body if path == "/echo" else str(len(body)))
    elif path == "/quiet":
        await reply(send, "broken" if await read(receive) is None else "whole")
    else:
        await reply(send, str(os.getpid()) if path == "/pid" else "hello")


async def read(receive):
    """Return the body, None if the client disconnected within it."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message["body"]
        if not message["more_body"]:
            bodies.append(body.decode("latin-1"))
            return body


async def reply(send, body):
    body = body if isinstance(body, bytes) else body.encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
