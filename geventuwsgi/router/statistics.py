"""What a router counts, for whoever asks: uWSGI's JSON, and text for Prometheus.

The rules of this room: uWSGI's servers speak at once and listen to nobody, so a client
that says nothing within a moment gets the bare JSON; one that says GET gets HTTP, and
under /metrics the other form.
"""

import json
import os
from typing import Any

from greenlet import GreenletExit

from .. import __version__
from ..errors import ClientDisconnected
from ..net.acceptor import Acceptor
from ..net.listener import Listener
from ..net.stream import Expired, Stream, in_greenlets
from .nodes import NodeTable
from .subscriptions import Registry

_PATIENCE = 0.3     # seconds that a client may take to say GET
_CONNECTIONS = 64
# Name, type, help, and the key of `Node.statistics`.
_OF_NODES = (
    ("requests_total", "counter", "Requests handed to the node.", "hits"),
    ("failures_total", "counter", "Requests that the node did not serve.", "failures"),
    ("active_requests", "gauge", "Requests that the node serves now.", "active"),
    ("sent_bytes_total", "counter", "Octets sent to the node.", "tx"),
    ("received_bytes_total", "counter", "Octets received from the node.", "rx"),
    ("up", "gauge", "0 if the node failed last and is left out or tried by one request.", "up"))
_OF_ALL = (
    ("connections", "gauge", "Connections of clients.", "active_sessions"),
    ("accepted_total", "counter", "Connections accepted.", "accepted"),
    ("requests_total", "counter", "Requests of clients.", "requests"),
    ("node_failures_total", "counter", "Times that a node did not serve a request.", "failures"),
    ("refused_total", "counter", "Requests answered 503.", "refused"),
    ("tunnels", "gauge", "Upgraded connections.", "tunnels"))


def snapshot(gate: Any, plan: NodeTable, registry: Registry | None,
             addresses: list[str]) -> dict[str, Any]:
    """Return all figures of this router process, with uWSGI's keys where it has them."""
    groups = [] if plan.default is None else [plan.default]
    groups += plan.written.values()
    return {
        "version": __version__, "pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid(),
        "cwd": os.getcwd(), "active_sessions": len(gate.clients), "http": addresses,
        "accepted": gate.accepted, "requests": gate.requests, "failures": gate.failures,
        "refused": gate.refused, "tunnels": gate.tunnels,
        "waiting": sum(group.waiting for group in plan.groups()),
        "subscriptions": [] if registry is None else registry.statistics(),
        "static_nodes": [{**node.statistics(), "group": group.name}
                         for group in groups for node in (*group.nodes, *group.fallback)],
        "cheap": 0}


def metrics(told: dict[str, Any]) -> str:
    """Return a snapshot in the text form of Prometheus."""
    lines = []
    for name, kind, text, key in _OF_ALL:
        full = f"geventuwsgi_router_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {told[key]}"]
    nodes = [(node["group"], node) for node in told["static_nodes"]]
    nodes += [(one["key"], node) for one in told["subscriptions"] for node in one["nodes"]]
    for name, kind, text, key in _OF_NODES:
        full = f"geventuwsgi_router_node_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
        for group, node in nodes:
            value = int(not node["failcnt"]) if key == "up" else node[key]
            lines.append(f'{full}{{group="{_quoted(group)}",node="{_quoted(node["name"])}"}} '
                         f"{value}")
    return "\n".join(lines) + "\n"


class StatisticsServer:
    """Answer on one socket (`http-stats-server`).

    Args:
        hub: the hub of this thread.
        listener: the socket.
        tell: returns a snapshot.
    """

    def __init__(self, hub: Any, listener: Listener, tell: Any) -> None:
        self._hub = hub
        self._tell = tell
        self._streams: set[Stream] = set()
        self._acceptor = Acceptor(listener, in_greenlets(hub, self._serve),
                                  lambda: _CONNECTIONS - len(self._streams), hub.loop)

    def start(self) -> None:
        """Begin to answer."""
        self._acceptor.start()

    def close(self) -> None:
        """Answer no more."""
        self._acceptor.close()

    def poll(self, now: float) -> None:
        """End what has waited long enough."""
        for stream in tuple(self._streams):
            if stream.deadline <= now:
                self._hub.loop.run_callback(stream.expire)
        self._acceptor.resume()

    def _serve(self, sock: Any, address: Any, listener: Listener) -> None:
        stream = Stream(sock, self._hub, 5.0)
        self._streams.add(stream)
        try:
            try:
                said = stream.receive(_PATIENCE)
            except Expired:
                said = b""
            stream.send(self._answer(said))
            stream.linger(1.0, 65536)
        except (ClientDisconnected, GreenletExit):
            pass  # it has what it wanted, or is gone
        finally:
            self._streams.discard(stream)
            stream.close()

    def _answer(self, said: bytes) -> bytes:
        told = self._tell()
        text = json.dumps(told, indent=1).encode()
        if not said.startswith((b"GET ", b"HEAD ")):
            return text
        kind = "application/json"
        if said.split(b" ", 2)[1].partition(b"?")[0] == b"/metrics":
            kind, text = "text/plain; version=0.0.4; charset=utf-8", metrics(told).encode()
        head = (f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\n"
                "Connection: close\r\n\r\n").encode()
        return head if said.startswith(b"HEAD") else head + text


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
