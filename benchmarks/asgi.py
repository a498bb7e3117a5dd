"""The cost of ASGI, compared with uvicorn (httptools and uvloop) and granian.

Like the scenarios of `scenarios`, with other peers. uvicorn and granian compress WebSocket messages
if the client offers it, as we do; the client here does not.
"""

from collections.abc import Iterator

from benchmarks import clients, measure, websockets
from benchmarks.peers import Wanted
from benchmarks.scenarios import OURS, Limit, Load, Row, Run, all_running, compare

ABLE = {OURS, "uvicorn", "granian"}
IDLE = 5000


def wanted(name: str) -> Wanted:
    """Return the configuration for one of `asgi_apps`."""
    return Wanted(f"benchmarks.asgi_apps:{name}", interface="asgi")


def _wrk(headers: dict[str, str] | None = None, script: str = "") -> Load:
    return lambda server, seconds: clients.wrk(
        server.address, seconds, 64, headers, closes="Connection" in (headers or {}),
        script=script)


def _post(size: int) -> str:
    return f'wrk.method = "POST"\nwrk.body = string.rep("x", {size})\n'


def http(run: Run) -> Iterator[Row]:
    """Thirteen bytes of an ASGI application, in several ways."""
    for label, name, load, factor in (
            ("ASGI hello, keep-alive", "hello", _wrk(), 0.65),
            ("ASGI browser headers", "hello", _wrk(clients.BROWSER), 0.9),
            ("ASGI browser, no two alike", "hello", _wrk(clients.BROWSER, clients.VARYING), 0.9),
            ("ASGI POST 1 KB", "upload", _wrk(script=_post(1024)), 0.8),
            ("ASGI POST 100 KB", "upload", _wrk(script=_post(102400)), 0.8),
            ("ASGI new connection", "hello", _wrk({"Connection": "close"}), 0.8)):
        yield compare(run, label, wanted(name), load, able=ABLE,
                      limits=(Limit(factor, "uvicorn"),))


def websocket(run: Run) -> Iterator[Row]:
    """Echoed messages of 100 bytes, and the memory of idle WebSockets."""
    yield compare(run, "WebSocket echo, 100 bytes", wanted("echo"),
                  lambda server, seconds: websockets.echo(server.address, seconds, 64),
                  able=ABLE, limits=(Limit(0.8, "uvicorn"),))
    memory: dict[str, float] = {}
    for name in run.among(ABLE):
        with all_running(run, wanted("echo"), {name}) as servers:
            for server in servers:
                websockets.echo(server.address, 0.5, 8)
                before = sum(measure.pss_kb(pid) for pid in measure.tree(server.pid))
                connections = websockets.IdleWebSockets(server.address, IDLE)
                after = sum(measure.pss_kb(pid) for pid in measure.tree(server.pid))
                memory[name] = (after - before) / IDLE
                closed = IDLE - connections.still_open()
                connections.close()
                if closed:
                    run.notes.append(f"{name} closed {closed} of {IDLE} idle WebSockets")
    yield Row("an idle WebSocket", "KB", memory, (Limit(25),))
