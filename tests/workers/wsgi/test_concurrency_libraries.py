"""asyncio and multiprocessing in greenlets: the one works, the other is named when it blocks."""

import threading
from collections import Counter
from pathlib import Path

from tests.harness import Server

ASYNCIO = """
import asyncio
import time
from asyncio import get_running_loop

from gevent import get_hub


async def numbers():
    for number in range(5):
        yield number
        await asyncio.sleep(0.01)


async def work():
    mine, task = get_running_loop(), asyncio.current_task()
    future = asyncio.Future()
    mine.call_later(0.05, future.set_result, None)
    await future
    assert [number async for number in numbers()] == list(range(5))
    for _ in range(10):
        time.sleep(0.01)    # switches to other greenlets, in the middle of a coroutine
        assert get_running_loop() is mine and asyncio.current_task() is task
        await asyncio.to_thread(time.sleep, 0.001)
    return b"ok"


async def native():
    await asyncio.sleep(0.2)
    return b"ok"


def synchronous():
    for _ in range(10):
        try:
            get_running_loop()
        except RuntimeError:
            time.sleep(0.01)
        else:
            raise RuntimeError("Django says SynchronousOnlyOperation here")
    return b"ok"


def application(environ, start_response):
    if environ["PATH_INFO"] == "/native":
        body = get_hub().threadpool.apply(asyncio.run, (native(),))
    else:
        body = asyncio.run(work()) if environ["PATH_INFO"] == "/asyncio" else synchronous()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
MULTIPROCESSING = """
from multiprocessing import Pool


def application(environ, start_response):
    with Pool(2) as pool:
        body = str(pool.map(abs, [1, -1])).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def test_asyncio_in_several_requests_at_once(tmp_path: Path) -> None:
    """Also while native threads of gevent's pool have loops."""
    bodies: Counter[bytes] = Counter()

    def get(path: str) -> None:
        bodies[server.body(path)] += 1
    with Server(tmp_path, "app:application", "--gevent", "50", "--workers", "1",
                app=ASYNCIO) as server:
        for _ in range(2):
            clients = [threading.Thread(target=get, args=(path,))
                       for path in ("/native", "/asyncio", "/") * 10]
            for client in clients:
                client.start()
            for client in clients:
                client.join()
        assert bodies == {b"ok": 60}, server.log
        assert server.stop() == 0
        assert "Traceback" not in server.log and "Warning" not in server.log


def test_a_pool_that_blocks_all_requests_is_named(tmp_path: Path) -> None:
    with Server(tmp_path, "app:application", "--gevent", "50", "--workers", "1",
                app=MULTIPROCESSING) as server, server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        server.wait_for("the hub of worker 1 ", deadline=10)
        server.wait_for("use threads instead of gevent", deadline=10)
        assert server.find("in _handle_")
