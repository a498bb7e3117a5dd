"""A careless application under load: `python -m benchmarks.careless --seconds 600`.

Requests fork children that keep every handle, start threads that use the handles after the
response, leave timeouts running and bodies unread, while idle clients fill all connections and
the server reloads. Each response must be that of its own request, no 5xx may come, and after the
stop nothing may be left over.
"""

import argparse
import http.client
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers import GEVENTUWSGI, PROJECT, free_port
from benchmarks.soak import wait
from geventuwsgi.master import console_client

WORKERS, CONNECTIONS = 2, 60    # connections of a worker
CLIENTS, IDLE = 8, 200
TOKEN = 16                      # octets
COMMON = """
import multiprocessing, threading, time
FORK = multiprocessing.get_context("fork")
children = []
lock = threading.Lock()

def fork():
    with lock:
        children[:] = [one for one in children if one.is_alive()]
        if len(children) < 4:
            children.append(FORK.Process(target=time.sleep, args=(0.3,)))
            children[-1].start()

def attempt(call, *arguments):
    try:
        call(*arguments)
    except Exception as error:      # that the handle is dead is what is wanted
        return error
"""
WSGI = COMMON + """
try:
    import gevent
    from gevent import monkey
    patched = monkey.is_module_patched("socket")
except ImportError:
    patched = False

def late(environ, write, over):
    over.wait()
    time.sleep(time.monotonic() % 0.2)
    attempt(environ["wsgi.input"].read)
    attempt(environ["wsgi.early_hints"], [("Link", "</late>")])
    attempt(write, b"INJECTED")

class Empty:
    # Its end starts what comes too late.
    def __init__(self, over):
        self.close = over.set
    def __iter__(self):
        return iter(())

def application(environ, start_response):
    token, what = environ["QUERY_STRING"].encode(), environ["PATH_INFO"]
    status, body = "200 OK", token
    if what == "/whole":
        found = environ["wsgi.input"].read()
        if found != token * (len(found) // len(token)) or len(found) != int(
                environ["CONTENT_LENGTH"]):
            body = b"mixed"
    elif what == "/half":
        environ["wsgi.input"].read(len(token))
    elif what == "/fork":
        fork()
    elif what == "/timeout" and patched:
        gevent.Timeout(0.2).start()
    write = start_response(status, [("Content-Type", "text/plain")])
    if what == "/late":
        over = threading.Event()
        threading.Thread(target=late, args=(environ, write, over)).start()
        write(body)
        return Empty(over)
    return [body]
"""
ASGI = COMMON + """
import asyncio
tasks = set()

async def late(receive, send):
    await asyncio.sleep(time.monotonic() % 0.2)
    for call in (receive, lambda: send({"type": "http.response.body", "body": b"INJECTED"})):
        try:
            await asyncio.wait_for(call(), 1)
        except Exception:
            pass    # that the handle is dead is what is wanted

async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    token, what = scope["query_string"], scope["path"]
    body = token
    if what == "/whole":
        found, more = b"", True
        while more:
            message = await receive()
            found += message["body"]
            more = message["more_body"]
        if found != token * (len(found) // len(token)):
            body = b"mixed"
    elif what == "/half":
        await receive()
    elif what == "/fork":
        fork()
    elif what == "/timeout":
        asyncio.get_running_loop().call_later(0.2, asyncio.current_task().cancel)
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})
    if what == "/late":
        tasks.add(asyncio.create_task(late(receive, send)))
        tasks.difference_update({one for one in tasks if one.done()})
"""
INI = """[uwsgi]
module = app
http-socket = 127.0.0.1:{port}
processes = {workers}
worker-connections = {connections}
{mode}
pidfile = server.pid
disable-logging = true
logto = server.log
"""


class Clients:
    """Threads that send requests, and idle connections, until they are stopped."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.over = threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.threads = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        self.threads.append(threading.Thread(target=self._idle))

    def _client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.over.is_set():
            fresh = connection.sock is None
            token = os.urandom(TOKEN // 2).hex()
            path = random.choice(("/whole", "/half", "/fork", "/timeout", "/late", "/plain"))
            body = token.encode() * random.choice((1, 10, 1000, 15000))
            try:
                connection.request("POST", f"{path}?{token}", body)
                response = connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                # A kept connection may be closed just when the next request is sent on it.
                self.outcomes[f"{path}: {error!r}" if fresh else "closed between requests"] += 1
                connection.close()
                continue
            if response.status != 200 or answer != token.encode():
                self.outcomes[f"{path}: {response.status} {answer[:40]!r} for {token}"] += 1
            self.outcomes["requests"] += 1

    def _idle(self) -> None:
        idle: list[socket.socket] = []
        while not self.over.wait(0.02):
            try:
                idle.append(socket.create_connection(("127.0.0.1", self.port), 5))
            except OSError as error:
                self.outcomes[f"idle: {error!r}"] += 1
            if len(idle) > IDLE:
                idle.pop(random.randrange(len(idle))).close()
        for sock in idle:
            sock.close()


def run(directory: Path, mode: str, seconds: float) -> bool:
    """Run one mode; print what happened and return whether all was as it should be."""
    port = free_port()
    (directory / "app.py").write_text(ASGI if "asgi" in mode else WSGI)
    (directory / "app.ini").write_text(INI.format(
        port=port, workers=WORKERS, connections=CONNECTIONS, mode=mode))
    server = subprocess.Popen([*GEVENTUWSGI, "-c", "app.ini"], cwd=directory,
                              env={**os.environ, "PYTHONPATH": str(PROJECT)},
                              stdin=subprocess.DEVNULL)
    log, pid_file = directory / "server.log", str(directory / "server.pid")
    try:
        wait(lambda: log.exists() and "ready: " in log.read_text(), "the start")
        clients = Clients(port)
        for thread in clients.threads:
            thread.start()
        end, reloads = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            time.sleep(random.uniform(0.5, 3.0))
            console_client.call(pid_file, ["reload"], print)
            reloads += 1
        clients.over.set()
        for thread in clients.threads:
            thread.join()
        console_client.call(pid_file, ["stop"], print)
        status = server.wait(60)
    finally:
        server.kill()
        server.wait()
    time.sleep(1.0)     # for children of the application, which sleep less
    left = subprocess.run(["pgrep", "-f", str(directory)], capture_output=True, text=True).stdout
    with socket.socket() as probe:
        refused = probe.connect_ex(("127.0.0.1", port)) != 0
    requests = clients.outcomes.pop("requests")
    closed = clients.outcomes.pop("closed between requests", 0)
    tracebacks = log.read_text(errors="replace").count("Traceback")
    print(f"{mode}: {requests} requests, {closed} closed between requests, {reloads} reloads, "
          f"{sum(clients.outcomes.values())} wrong, {tracebacks} tracebacks; status {status}, "
          f"left over: {left.split() or 'nothing'}, port {'closed' if refused else 'OPEN'}")
    for text, count in clients.outcomes.most_common(10):
        print("  ", count, text)
    return not clients.outcomes and not left and refused and status == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run each mode; return 1 if one has failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.careless")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each mode")
    parser.add_argument("--mode", action="append", help="lines of the configuration; default: "
                        "greenlets, threads and ASGI")
    given = parser.parse_args(arguments)
    passed = True
    for mode in given.mode or ("gevent = 20", "threads = 4", "asgi = app:application"):
        with tempfile.TemporaryDirectory() as directory:
            passed = run(Path(directory), mode, given.seconds) and passed
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
