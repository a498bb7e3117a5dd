"""The statistics of a router process: uWSGI's JSON, and the text format of Prometheus."""

import json
import os
from typing import Any

from .. import __version__
from ..net.report_server import Document, Request
from ..system.kernel import current_directory
from .nodes import NodeTable
from .subscriptions import Registry

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
        "cwd": current_directory(), "active_sessions": len(state.clients), "http": addresses,
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


def document(figures: dict[str, Any], request: Request) -> Document:
    """Return a snapshot in the format that a request asks for."""
    if request.path == "/metrics":
        return Document(metrics(figures).encode(), "text/plain; version=0.0.4; charset=utf-8")
    return Document(json.dumps(figures, indent=1).encode())


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
