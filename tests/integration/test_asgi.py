"""ASGI frameworks with real clients, and through nginx by proxy_pass and uwsgi_pass."""

import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect as websocket
from websockets.sync.client import unix_connect

from tests.harness import Server, installed, wait_until
from tests.integration.nginx import CONF, PAUSE, Nginx
from tests.workers.wsgi.raw_client import connect

STARLETTE = '''
import asyncio, contextlib, threading, time
from pathlib import Path
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

NOTES = []

@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"greeting": "from the lifespan"}

async def state(request):
    return PlainTextResponse(request.state.greeting)

def sync(request):
    time.sleep(0.2)
    return PlainTextResponse(threading.current_thread().name)

async def body(request):
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return JSONResponse({"size": size, "client": request.client.host,
                         "url": str(request.url)})

async def stream(request):
    async def numbers():
        for number in range(5):
            yield f"{number}\\n"
            await asyncio.sleep(0.01)
    return StreamingResponse(numbers())

async def endless(request):
    async def pieces():
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.01)
        finally:
            print("APP endless ended", flush=True)
    return StreamingResponse(pieces())

def note():
    time.sleep(0.1)
    NOTES.append("noted")
    print("APP noted", flush=True)

async def background(request):
    return PlainTextResponse("soon", background=BackgroundTask(note))

async def file(request):
    return FileResponse(Path(__file__).with_name("big"))

async def echo(socket):
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text)

class Marking(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["X-Marked"] = "1"
        return response

app = Starlette(lifespan=lifespan, middleware=[Middleware(Marking), Middleware(GZipMiddleware)],
    routes=[
        Route("/state", state), Route("/sync", sync), Route("/body", body, methods=["POST"]),
        Route("/stream", stream), Route("/endless", endless), Route("/background", background),
        Route("/file", file), WebSocketRoute("/ws", echo),
        Mount("/static", StaticFiles(directory=Path(__file__).parent))])
'''

FASTAPI = '''
import asyncio, threading, time
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, Request, WebSocket
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel

app = FastAPI()
OPEN = []

class Item(BaseModel):
    name: str
    price: float

def connection():
    OPEN.append(threading.current_thread().name)
    try:
        yield "a connection"
    finally:
        OPEN.pop()
        print("APP connection closed", flush=True)

@app.post("/form")
async def form(request: Request):
    return {"size": len(await request.body())}

@app.post("/sized")
async def sized(data: dict):
    return data

@app.get("/async")
async def asynchronous(n: int = 1):
    await asyncio.sleep(0.01)
    return {"n": n}

@app.get("/def")
def plain():
    time.sleep(0.2)
    return {"thread": threading.current_thread().name}

@app.post("/items")
def items(item: Item, used=Depends(connection)):
    return {"name": item.name, "used": used, "open": len(OPEN)}

@app.get("/fails")
async def fails(used=Depends(connection)):
    raise HTTPException(418, "short and stout")

@app.get("/breaks")
async def breaks():
    raise ValueError("broken endpoint")

@app.get("/later")
async def later(tasks: BackgroundTasks):
    tasks.add_task(print, "APP later", flush=True)
    return "sent"

@app.get("/stream")
def stream():
    def numbers():
        for number in range(3):
            yield f"{number};"
            time.sleep(0.01)
    return StreamingResponse(numbers())

@app.get("/file")
def file():
    return FileResponse(__file__)

@app.websocket("/ws/{name}")
async def ws(socket: WebSocket, name: str):
    await socket.accept()
    await socket.send_json({"hello": name, "got": await socket.receive_json()})
    await socket.close(3000)
'''

DJANGO = '''
import asyncio, os, sys
from django.conf import settings
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(
    SECRET_KEY="for tests", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DEBUG=False,
    USE_X_FORWARDED_HOST=False,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3",
                           "NAME": os.path.join(os.path.dirname(__file__), "db.sqlite3")}},
    INSTALLED_APPS=[], MIDDLEWARE=["django.middleware.common.CommonMiddleware"])

from django.core.asgi import get_asgi_application
application = get_asgi_application()

from django.db import connection, models

class PageView(models.Model):
    page = models.CharField(max_length=100)
    class Meta:
        app_label = "views"

async def prepare():
    from asgiref.sync import sync_to_async
    def make():
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS views_pageview "
                           "(id integer primary key autoincrement, page varchar(100))")
    await sync_to_async(make)()

def count(request):
    PageView.objects.create(page=request.path)
    return JsonResponse({"views": PageView.objects.count(), "addr": request.META["REMOTE_ADDR"],
                         "secure": request.is_secure()})

async def acount(request):
    await PageView.objects.acreate(page=request.path)
    return JsonResponse({"views": await PageView.objects.acount()})

async def prepared(request):
    await prepare()
    return HttpResponse("prepared")

def upload(request):
    return HttpResponse(str(len(request.body)))

async def stream(request):
    async def numbers():
        for number in range(3):
            yield f"{number}\\\\n"
            await asyncio.sleep(0.01)
    return StreamingHttpResponse(numbers())

async def slow(request):
    print("APP slow", flush=True)
    await asyncio.sleep(3)
    return HttpResponse("slow")

urlpatterns = [path("prepare", prepared), path("count", count), path("acount", acount),
               path("upload", upload), path("stream", stream), path("slow", slow)]
'''


# An application that does not expect http.disconnect.
RECEIVES_ONCE = '''
async def app(scope, receive, send):
    if scope["type"] == "http":
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
'''


def serve(tmp_path: Path, app: str, *arguments: str) -> Server:
    return Server(tmp_path, "--asgi", *arguments, app=app)


def client_of(server: Server) -> httpx.Client:
    # Without TLS, the system's certificates need not be loaded, which takes long.
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=20, verify=False)


@pytest.mark.parametrize("loop", ["asyncio"])
def test_starlette(tmp_path: Path, loop: str) -> None:
    (tmp_path / "big").write_bytes(b"0123456789" * 300_000)
    with serve(tmp_path, STARLETTE, "app:app", "--asgi-loop", loop) as server, \
            client_of(server) as client:
        answer = client.get("/state")
        assert answer.text == "from the lifespan" and answer.headers["x-marked"] == "1"
        with ThreadPoolExecutor(8) as pool:  # `def` endpoints run concurrently
            names = list(pool.map(lambda _: client.get("/sync").text, range(8)))
        assert all("orker thread" in name or "AnyIO" in name for name in names), names
        answer = client.post("/body", content=b"x" * 1_000_000)
        assert answer.json()["size"] == 1_000_000 and answer.json()["client"] == "127.0.0.1"
        assert client.get("/stream").text == "0\n1\n2\n3\n4\n"
        assert client.get("/background").text == "soon"
        server.wait_for("APP noted")
        assert len(client.get("/file").content) == 3_000_000
        assert client.get("/file", headers={"Range": "bytes=5-9"}).content == b"56789"
        assert len(client.get("/static/big").content) == 3_000_000
        with client.stream("GET", "/endless") as answer:
            next(answer.iter_raw())
        server.wait_for("APP endless ended")
        with websocket(f"ws://127.0.0.1:{server.port}/ws") as socket:
            socket.send("hello")
            assert socket.recv() == "hello"
        client.close()
        assert server.stop() == 0
        assert not server.find("Traceback"), server.log


@pytest.mark.parametrize("loop", ["uvloop"])
def test_fastapi(tmp_path: Path, loop: str) -> None:
    with serve(tmp_path, FASTAPI, "app:app", "--asgi-loop", loop) as server, \
            client_of(server) as client:
        assert client.get("/async?n=5").json() == {"n": 5}
        assert client.get("/async?n=x").status_code == 422
        assert "thread" in client.get("/def").json()["thread"].lower()
        answer = client.post("/items", json={"name": "a", "price": 1.5})
        assert answer.json() == {"name": "a", "used": "a connection", "open": 1}
        server.wait_for("APP connection closed")
        assert client.get("/fails").status_code == 418
        server.wait_for("APP connection closed", 2)
        assert client.get("/breaks").status_code == 500
        server.wait_for("ValueError: broken endpoint")
        assert client.get("/later").json() == "sent"
        server.wait_for("APP later")
        assert client.get("/stream").text == "0;1;2;"
        assert client.get("/file").text == FASTAPI
        assert client.get("/openapi.json").json()["info"]["title"] == "FastAPI"
        with websocket(f"ws://127.0.0.1:{server.port}/ws/bob") as socket:
            socket.send(json.dumps([1]))
            assert json.loads(socket.recv()) == {"hello": "bob", "got": [1]}
        traces = len(server.find("Traceback"))
        with websocket(f"ws://127.0.0.1:{server.port}/ws/bob"):
            pass    # it leaves while the endpoint waits, which does not expect that
        client.close()
        assert server.stop() == 0
        assert len(server.find("Traceback")) == traces


STREAMED = "POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" \
           "Content-Type: application/json\r\n\r\n"
BROKEN_BODIES = [
    ("400\r\n" + 1024 * "x" + "\r\n1\r\n", 413, "limit-post"),
    ("5\r\nhello\r\n", 408, "no progress of the request body"),
    ("5\r\nhello\r\nzz\r\n", 400, "malformed chunk size line")]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("app", "path"), [
    (STARLETTE, "/body"), (FASTAPI, "/form"), (FASTAPI, "/sized"), (RECEIVES_ONCE, "/")],
    ids=["starlette", "fastapi", "parameter", "careless"])
def test_a_broken_body_is_its_clients_fault(tmp_path: Path, loop: str, app: str,
                                            path: str) -> None:
    """What the framework makes of it, a 500 or 400 of its own, is neither sent nor counted."""
    with serve(tmp_path, app, "app:app", "--asgi-loop", loop, "--limit-post", "1000",
               "--socket-timeout", "1", "--reload-on-exception",
               "--http-socket", "127.0.0.1:0") as server:
        [worker] = server.workers()
        for body, status, reason in [*BROKEN_BODIES, ("5\r\nhello\r\n", 400, "the connection "
                                                      "ended inside the request body")]:
            with connect(server) as wire:
                wire.send((STREAMED % path + body).encode())
                if "ended" in reason:
                    wire.sock.shutdown(socket.SHUT_WR)
                answer = wire.read_response()
                assert answer.status == status and answer.headers["connection"] == "close"
                assert wire.closed()
                server.wait_for(f"{wire.name}: ")
                [line] = server.find(f"{wire.name}: ")
                assert reason in line and "[INFO]" in line
        assert server.spawned() == {1: worker}
        assert server.stop() == 0
        assert app == RECEIVES_ONCE or not server.find("Traceback"), server.log


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_django(tmp_path: Path, loop: str) -> None:
    with serve(tmp_path, DJANGO, "app:application", "--asgi-loop", loop,
               "--lifespan", "off") as server, client_of(server) as client:
        assert client.get("/prepare").text == "prepared"
        for number in range(1, 6):
            answer = client.get("/count", headers={"X-Forwarded-For": "9.9.9.9"})
            assert answer.json() == {"views": number, "addr": "9.9.9.9", "secure": False}
        assert client.get("/acount").json() == {"views": 6}
        with ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda _: client.get("/count").status_code, range(24)))
        assert codes == [200] * 24
        assert client.get("/acount").json() == {"views": 31}
        assert client.post("/upload", content=b"x" * 100_000).text == "100000"
        assert client.get("/stream").text.count("n") == 3
        assert client.get("/nothing").status_code == 404
        with connect(server) as wire:
            wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            server.wait_for("APP slow")
            server.send_signal(signal.SIGTERM)
            answer = wire.read_response()  # Django waits in `receive` during each request
            assert (answer.status, answer.body) == (200, b"slow")
        client.close()
        assert server.wait() == 0
        assert not server.find("Traceback"), server.log


@pytest.fixture(scope="module")
def example(open_root: Path) -> Iterator[Server]:
    """The example deployment of conf/, with unix sockets; the kernel chooses the ports."""
    directory = open_root / "asgi"
    directory.mkdir(mode=0o755)
    text = (CONF / "asgi.ini").read_text()
    for old in ("127.0.0.1:8000", "127.0.0.1:3031"):
        assert old in text
        text = text.replace(old, "127.0.0.1:0")
    (directory / "example_asgi.py").write_text((CONF / "example_asgi.py").read_text())
    more = "http-socket = %dhttp.sock\nsocket = %duwsgi.sock\nchmod-socket = 666\n"
    with Server(directory, ini=text + more) as server:
        yield server
        assert server.stop() == 0


@pytest.mark.nginx
@pytest.mark.parametrize(("kind", "socket"), [
    ("http", "tcp"), ("http", "http.sock"), ("uwsgi", "tcp"), ("uwsgi", "uwsgi.sock")])
def test_through_nginx(example: Server, kind: str, socket: str) -> None:
    if socket == "tcp":
        backend = "%s:%d" % example.address(kind)  # type: ignore[str-format]
    else:
        backend = f"unix:{example.directory / socket}"
    place = example.directory / f"nginx-{kind}-{socket}"
    with Nginx(place, kind, backend, location=f"{kind}_buffering off;".replace(
            "http_", "proxy_")) as nginx:
        assert b"It works" in nginx.ask("/").body
        assert nginx.ask("/healthz").status == 204
        assert nginx.ask("/nothing").status == 404
        host, port = nginx.address
        with httpx.stream("GET", f"http://{host}:{port}/events", timeout=20,
                          verify=False) as answer:
            assert re.match(r"data: \d\d:\d\d:\d\d\n\n", next(answer.iter_text()))
        if kind == "http":
            with websocket(f"ws://{host}:{port}/ws") as client:
                client.send("through nginx")
                assert client.recv() == "through nginx"
        else:
            answer = nginx.ask("/ws", headers={"Upgrade": "websocket", "Connection": "upgrade"})
            assert answer.status == 400
            example.wait_for("use proxy_pass to an http-socket")


def test_curl_and_a_websocket_over_a_unix_socket(example: Server) -> None:
    path = example.directory / "http.sock"
    out = subprocess.run(
        [installed("curl"), "-sS", "--unix-socket", str(path), "-w", "%{http_code}",
         "http://test/healthz", "http://test/nothing"],
        capture_output=True, text=True, check=True).stdout
    assert out == "204not found\n404"
    with unix_connect(str(path), "ws://test/ws") as client:
        client.send("over a file")
        assert client.recv() == "over a file"


def test_reloads_under_load_lose_nothing(tmp_path: Path) -> None:
    """Two reloads while clients use persistent and new connections."""
    with serve(tmp_path, FASTAPI, "app:app", "--processes", "2") as server:
        stop = threading.Event()
        failures: list[object] = []
        served = [0]

        def ask(keep: bool) -> None:
            url = f"http://127.0.0.1:{server.port}/async"
            with client_of(server) as client:
                while not stop.is_set():
                    try:
                        answer = client.get(
                            url, headers={} if keep else {"Connection": "close"})
                        served[0] += 1
                        if answer.status_code != 200:
                            failures.append(answer.status_code)
                    except httpx.HTTPError as error:
                        failures.append(error)
                    time.sleep(PAUSE)
        threads = [threading.Thread(target=ask, args=(keep,)) for keep in (True, True, False)]
        for thread in threads:
            thread.start()
        for count in (2, 3):
            server.send_signal(1)
            server.wait_for("ready: 2 workers", count)
            reached = served[0] + 50
            wait_until(lambda reached=reached: served[0] >= reached, "requests")
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures, failures[:3]
        assert server.stop() == 0
