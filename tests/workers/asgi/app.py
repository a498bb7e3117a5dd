"""The application of these tests. The first segment of a path names the function."""

import asyncio
import json
import os
import threading
import time
from urllib.parse import parse_qs

EVENTS = []
STARTED = {}
SOCKETS = {}  # filled by `sockets.py`, which follows this in the served file
STATE = {"shared": []}


def report(text):
    """Write a line to standard output for a test to wait for."""
    # In one write: unbuffered, print would write the newline by itself, possibly after the
    # line of another worker.
    print(f"APP {text}\n", end="", flush=True)


async def app(scope, receive, send):
    """Route one scope."""
    if scope["type"] == "lifespan":
        await lifespan(scope, receive, send)
    elif scope["type"] == "websocket":
        await SOCKETS[scope["path"].strip("/").split("/")[0] or "echo"](scope, receive, send)
    else:
        name = scope["path"].strip("/").split("/")[0] or "hello"
        await PAGES.get(name, missing)(scope, receive, send)


async def lifespan(scope, receive, send):
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["started"] = os.getpid()
    scope["state"]["shared"] = []
    await send({"type": "lifespan.startup.complete"})
    report("startup")
    assert (await receive())["type"] == "lifespan.shutdown"
    report("shutdown")
    await send({"type": "lifespan.shutdown.complete"})


def query(scope, name, default=""):
    return parse_qs(scope["query_string"].decode()).get(name, [default])[0]


async def start(send, *headers, status=200, **more):
    await send({"type": "http.response.start", "status": status, "headers": list(headers), **more})


async def body(send, data=b"", more=False):
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def answer(send, data, status=200, *headers):
    await start(send, (b"content-length", b"%d" % len(data)), *headers, status=status)
    await body(send, data)


async def missing(scope, receive, send):
    await answer(send, b"missing", 404)


async def hello(scope, receive, send):
    await answer(send, b"Hello, world!")


async def scope_(scope, receive, send):
    """The scope as JSON."""
    def plain(value):
        if isinstance(value, bytes):
            return value.decode("latin-1")
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value
    await answer(send, json.dumps(plain(scope)).encode())


async def read(receive):
    whole = b""
    pieces = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return whole, pieces, True
        whole += message["body"]
        pieces += 1
        if not message["more_body"]:
            return whole, pieces, False


async def echo(scope, receive, send):
    whole, pieces, gone = await read(receive)
    if gone:
        report(f"echo gone after {len(whole)}")
        return
    await answer(send, whole)


async def length(scope, receive, send):
    whole, pieces, gone = await read(receive)
    await answer(send, f"{len(whole)} {gone}".encode())


async def slow_echo(scope, receive, send):
    """Wait, then answer with the length of the body."""
    await asyncio.sleep(float(query(scope, "for")))
    await length(scope, receive, send)


async def slow_reader(scope, receive, send):
    """Receive the first piece of the body, wait, then answer without reading the rest."""
    await receive()
    await asyncio.sleep(float(query(scope, "for", "0.5")))
    await answer(send, b"enough")


async def reply_and_read(scope, receive, send):
    """Respond while the body is read."""
    await start(send)
    await body(send, b"begun ", True)
    await body(send, (await read(receive))[0])


async def unread(scope, receive, send):
    await answer(send, b"unread")


async def stream(scope, receive, send):
    await start(send)
    for number in range(int(query(scope, "n", "3"))):
        await body(send, b"%d\n" % number, True)
        await asyncio.sleep(float(query(scope, "wait", "0")))
    await body(send)


async def flood(scope, receive, send):
    """Send without end; report how it ended."""
    await start(send)
    sent = 0
    try:
        while True:
            await body(send, b"x" * 65536, True)
            sent += 65536
            STARTED["flood"] = sent
    except OSError as error:
        report(f"flood ended by {type(error).__name__}")
        raise


async def go(scope, receive, send):
    STARTED["go"] = True
    await answer(send, b"")


async def flooded(scope, receive, send):
    await answer(send, str(STARTED.get("flood", 0)).encode())


async def events(scope, receive, send):
    """An event stream that only waits for `http.disconnect`."""
    await start(send, (b"content-type", b"text/event-stream"))
    await body(send, b"data: 1\n\n", True)
    report("events began")
    while (await receive())["type"] != "http.disconnect":
        pass
    report("events ended")
    try:
        await body(send, b"data: 2\n\n", True)
    except OSError:
        report("events send raised")


async def wait(scope, receive, send):
    report("wait began")
    try:
        await asyncio.sleep(float(query(scope, "for", "0.5")))
    except asyncio.CancelledError:
        report("wait cancelled")
        raise
    await answer(send, b"waited")


async def quiet_events(scope, receive, send):
    """An event stream without an event."""
    await start(send, (b"content-type", b"text/event-stream"))
    report("quiet events began")
    while (await receive())["type"] != "http.disconnect":
        pass
    report("quiet events ended")


async def poll(scope, receive, send):
    """A long poll that responds even if nothing happens before its client leaves."""
    report("poll began")
    while (await receive())["type"] != "http.disconnect":
        pass
    await answer(send, b"nothing new")


async def listening(scope, receive, send):
    """Respond while another task waits for the client to leave, as Django and Quart do."""
    async def left():
        while (await receive())["type"] != "http.disconnect":
            pass
    listener = asyncio.ensure_future(left())
    work = asyncio.ensure_future(asyncio.sleep(float(query(scope, "for"))))
    report("listening began")
    await asyncio.wait((listener, work), return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        await answer(send, b"computed")
    listener.cancel()
    work.cancel()


async def wait_gone(scope, receive, send):
    report("waiting for the client")
    while (await receive())["type"] != "http.disconnect":
        pass
    report("the client left")


async def stubborn(scope, receive, send):
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            report("stubborn continues")


async def block(scope, receive, send):
    report("block began")
    time.sleep(float(query(scope, "for", "60")))
    await answer(send, b"unblocked")


async def background(scope, receive, send):
    await answer(send, b"done")
    await asyncio.sleep(float(query(scope, "for", "0.5")))
    report("background ended")


async def receive_after(scope, receive, send):
    """Call `receive` when the response is complete and the connection stays open."""
    await answer(send, b"answered")
    await asyncio.sleep(0.2)
    message = await receive()
    report(f"received after: {message['type']} {len(message.get('body', b''))}")


async def spawn(scope, receive, send):
    async def later():
        try:
            await asyncio.sleep(float(query(scope, "for", "0.3")))
            report("spawned ended")
        except asyncio.CancelledError:
            report("spawned cancelled")
            raise
    EVENTS.append(asyncio.ensure_future(later()))
    await answer(send, b"spawned")


async def fail(scope, receive, send):
    raise ValueError("before the start")


async def fail_late(scope, receive, send):
    await start(send)
    await body(send, b"some", True)
    raise ValueError("in the middle")


async def fail_after(scope, receive, send):
    await answer(send, b"fine")
    raise ValueError("after the end")


async def exits(scope, receive, send):
    raise SystemExit(3)


async def cancels(scope, receive, send):
    raise asyncio.CancelledError


async def nothing(scope, receive, send):
    return


async def half(scope, receive, send):
    await start(send)
    await body(send, b"half", True)


async def only_start(scope, receive, send):
    await start(send)


async def short(scope, receive, send):
    await start(send, (b"content-length", b"10"))
    await body(send, b"four")


async def long(scope, receive, send):
    await start(send, (b"content-length", b"4"))
    await body(send, b"four and more", query(scope, "more") == "1")
    if query(scope, "more"):
        await body(send)


async def empty(scope, receive, send):
    await start(send, status=int(query(scope, "status", "204")))
    await body(send)


async def bad(scope, receive, send):
    """Responses that must not be sent; the query names the kind."""
    kind = query(scope, "kind")
    if kind == "value":
        await start(send, (b"x-a", b"1\r\nx-b: 2"))
    elif kind == "name":
        await start(send, (b"x a", b"1"))
    elif kind == "text":
        await start(send, ("x-a", "1"))
    elif kind == "status":
        await start(send, status="200 OK")
    elif kind == "twice":
        await start(send)
        await start(send)
    elif kind == "order":
        await body(send, b"x")
    elif kind == "type":
        await send({"type": "http.response.nonsense"})
    elif kind == "body":
        await start(send)
        await body(send, "text")
    await body(send, b"x")


async def hints(scope, receive, send):
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    await answer(send, b"hinted")


async def trailers(scope, receive, send):
    await start(send, (b"trailer", b"x-sum"), trailers=True)
    await body(send, b"body")
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"17")],
                "more_trailers": False})
    if query(scope, "twice"):
        await asyncio.sleep(0)  # the next request may have begun
        try:
            await send({"type": "http.response.trailers", "headers": [(b"x-late", b"1")]})
        except RuntimeError as error:
            report(f"trailers: {error}")


async def path(scope, receive, send):
    await start(send)
    await send({"type": "http.response.pathsend", "path": query(scope, "file")})


async def zerocopy(scope, receive, send):
    with open(query(scope, "file"), "rb") as file:
        await start(send)
        await send({"type": "http.response.zerocopysend", "file": file, "offset": 2, "count": 5,
                    "more_body": True})
        await body(send, b"!")


async def thread(scope, receive, send):
    """Run jobs in native threads while the loop runs, which fails in patched processes."""
    loop = asyncio.get_running_loop()
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticker = asyncio.ensure_future(tick())
    idents = set()
    for _ in range(3):
        idents.add(await loop.run_in_executor(None, lambda: (
            time.sleep(0.1), threading.get_native_id())[1]))
    ticker.cancel()
    await answer(send, json.dumps({
        "own": threading.get_native_id() in idents, "ticks": ticks,
        "main": threading.get_native_id() == os.getpid(),
        "loop": type(loop).__module__}).encode())


async def process(scope, receive, send):
    child = await asyncio.create_subprocess_exec(
        "/bin/echo", "-n", "from a child", stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    await answer(send, out)


async def signals(scope, receive, send):
    import signal
    try:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
        await answer(send, b"accepted")
    except (ValueError, RuntimeError) as error:
        await answer(send, type(error).__name__.encode())


async def resolve(scope, receive, send):
    found = await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    await answer(send, str(bool(found)).encode())


VARIABLE = __import__("contextvars").ContextVar("VARIABLE", default="unset")


async def context(scope, receive, send):
    """Report what an earlier request set in the context, then set something."""
    before = VARIABLE.get()
    VARIABLE.set("of an earlier request")
    await read(receive)
    await answer(send, before.encode())


async def state(scope, receive, send):
    scope["state"]["own"] = 1
    scope["state"]["shared"].append(1)
    await answer(send, json.dumps([scope["state"]["started"] == os.getpid(),
                                   len(scope["state"]["shared"]),
                                   sorted(scope["state"])]).encode())


async def count(scope, receive, send):
    await answer(send, str(len(asyncio.all_tasks())).encode())


PAGES = {name: function for name, function in list(globals().items())
         if asyncio.iscoroutinefunction(function)}
PAGES["scope"] = scope_
