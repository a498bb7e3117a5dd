"""The statistics of a router process: uWSGI's JSON, and the text format of Prometheus.

Rules: uWSGI's stats servers send at once, without a request, so a client that sends nothing
within a moment gets bare JSON; one that sends GET gets HTTP, and under /metrics the text format.
"""

import json
import os
from collections.abc import Callable
from typing import Any

from greenlet import GreenletExit

from .. import __version__
from ..errors import ClientDisconnected
from ..net.acceptor import Acceptor
from ..net.listener import Listener
from ..net.stream import Expired, Stream, in_greenlets
from .nodes import NodeTable
from .subscriptions import Registry

_REQUEST_TIMEOUT = 0.3      # seconds until a client without a request gets bare JSON
_CONNECTIONS = 64
# Name, type, help, and the key of `Node.statistics`.
_OF_NODES = (
    ("requests_total", "counter", "Requests sent to the node.", "hits"),
    ("failures_total", "counter", "Requests that the node did not serve.", "failures"),
    ("active_requests", "gauge", "Requests that the node serves now.", "active"),
    ("sent_bytes_total", "counter", "Bytes sent to the node.", "tx"),
    ("received_bytes_total", "counter", "Bytes received from the node.", "rx"),
    ("up", "gauge", "0 if the node has failed and is left out or tried by one request.", "up"))
_OF_ALL = (
    ("connections", "gauge", "Connections of clients.", "active_sessions"),
    ("accepted_total", "counter", "Connections accepted.", "accepted"),
    ("requests_total", "counter", "Requests of clients.", "requests"),
    ("node_failures_total", "counter", "Times that a node did not serve a request.", "failures"),
    ("refused_total", "counter", "Requests rejected with 503.", "refused"),
    ("tunnels", "gauge", "Upgraded connections.", "tunnels"))


def snapshot(state: Any, nodes: NodeTable, registry: Registry | None,
             addresses: list[str]) -> dict[str, Any]:
    """Return the statistics of this router process, under uWSGI's keys where these exist."""
    groups = [] if nodes.default is None else [nodes.default]
    groups += nodes.configured.values()
    return {
        "version": __version__, "pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid(),
        "cwd": os.getcwd(), "active_sessions": len(state.clients), "http": addresses,
        "accepted": state.accepted, "requests": state.requests, "failures": state.failures,
        "refused": state.refused, "tunnels": state.tunnels,
        "waiting": sum(group.waiting for group in nodes.groups()),
        "subscriptions": [] if registry is None else registry.statistics(),
        "static_nodes": [{**node.statistics(), "group": group.name}
                         for group in groups for node in (*group.nodes, *group.fallback)],
        "cheap": 0}


def metrics(figures: dict[str, Any]) -> str:
    """Format a snapshot in the text format of Prometheus."""
    lines = []
    for name, kind, text, key in _OF_ALL:
        full = f"geventuwsgi_router_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}", f"{full} {figures[key]}"]
    nodes = [(node["group"], node) for node in figures["static_nodes"]]
    nodes += [(one["key"], node) for one in figures["subscriptions"] for node in one["nodes"]]
    for name, kind, text, key in _OF_NODES:
        full = f"geventuwsgi_router_node_{name}"
        lines += [f"# HELP {full} {text}", f"# TYPE {full} {kind}"]
        for group, node in nodes:
            value = int(not node["failcnt"]) if key == "up" else node[key]
            lines.append(f'{full}{{group="{_quoted(group)}",node="{_quoted(node["name"])}"}} '
                         f"{value}")
    return "\n".join(lines) + "\n"


class StatisticsServer:
    """Serves the statistics on one socket (`http-stats-server`).

    Args:
        hub: the hub of this thread.
        listener: the socket.
        figures: returns a snapshot.
    """

    def __init__(self, hub: Any, listener: Listener, figures: Callable[[], dict[str, Any]]) -> None:
        self._hub = hub
        self._figures = figures
        self._streams: set[Stream] = set()
        self._acceptor = Acceptor(listener, in_greenlets(hub, self._serve),
                                  lambda: _CONNECTIONS - len(self._streams), hub.loop)

    def start(self) -> None:
        """Start accepting."""
        self._acceptor.start()

    def close(self) -> None:
        """Stop accepting."""
        self._acceptor.close()

    def poll(self, now: float) -> None:
        """End waits whose deadline has passed; accept again."""
        for stream in tuple(self._streams):
            if stream.deadline <= now:
                self._hub.loop.run_callback(stream.expire)
        self._acceptor.resume()

    def _serve(self, sock: Any, address: Any, listener: Listener) -> None:
        stream = Stream(sock, self._hub, 5.0)
        self._streams.add(stream)
        try:
            try:
                request = stream.receive(_REQUEST_TIMEOUT)
            except Expired:
                request = b""
            stream.send(self._response(request))
            stream.linger(1.0, 65536)
        except (ClientDisconnected, GreenletExit):
            pass  # the client has disconnected
        finally:
            self._streams.discard(stream)
            stream.close()

    def _response(self, request: bytes) -> bytes:
        figures = self._figures()
        text = json.dumps(figures, indent=1).encode()
        if not request.startswith((b"GET ", b"HEAD ")):
            return text
        kind = "application/json"
        if request.split(b" ", 2)[1].partition(b"?")[0] == b"/metrics":
            kind, text = "text/plain; version=0.0.4; charset=utf-8", metrics(figures).encode()
        head = (f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(text)}\r\n"
                "Connection: close\r\n\r\n").encode()
        return head if request.startswith(b"HEAD") else head + text


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
