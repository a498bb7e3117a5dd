"""A small ASGI application without a framework: a page, a stream of events, a WebSocket.

    GET  /           a page that uses the next two
    GET  /events     the time, once a second, as server-sent events
    WS   /ws         sends back what it receives
    GET  /healthz    204, for probes
"""

import asyncio
import os
import time

PAGE = b"""<!doctype html>
<title>geventuwsgi</title>
<h1>It works</h1>
<p>Process %d says that it is <b id="time">...</b>
<p><input id="say" placeholder="say something"> <i id="echo"></i>
<script>
const base = location.pathname.replace(/[^/]*$/, "");
new EventSource(base + "events").onmessage = event => {
  document.getElementById("time").textContent = event.data; };
const socket = new WebSocket(location.origin.replace("http", "ws") + base + "ws");
socket.onmessage = event => { document.getElementById("echo").textContent = event.data; };
document.getElementById("say").oninput = event => socket.send(event.target.value);
</script>
"""


async def app(scope, receive, send):
    """Respond to one request, WebSocket or lifespan (ASGI 3.0)."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path = scope["path"].removeprefix(scope["root_path"])
    if scope["type"] == "websocket":
        await echo(receive, send)
    elif path == "/":
        await answer(send, 200, PAGE % os.getpid(), b"text/html; charset=utf-8")
    elif path == "/events":
        await events(send)
    elif path == "/healthz":
        await answer(send, 204, b"", b"text/plain")
    else:
        await answer(send, 404, b"not found\n", b"text/plain")


async def lifespan(receive, send):
    """Open what all requests share, and close it at the end."""
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def answer(send, status, body, kind):
    """Send a whole response."""
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def events(send):
    """Send the time until the browser disconnects: then `send` raises an OSError."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while True:
        data = time.strftime("data: %H:%M:%S\n\n").encode()
        await send({"type": "http.response.body", "body": data, "more_body": True})
        await asyncio.sleep(1)


async def echo(receive, send):
    """Send every message back."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text") or ""})
