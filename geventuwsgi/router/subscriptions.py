"""Subscribed nodes: a table that all router processes share, and the server that fills it.

A datagram reaches one process, but each has to know the node, and a router that was started by
a reload or after a crash must not wait for the next announcements. So the table is kept in a
memfd of the master, and each process checks a few times a second whether it has changed.

Rules:

- The table is changed under a file lock, from its current content in the memory, not from
  this process's copy.
- The memory has two halves; the last bit of the version selects the valid one. A process that
  is killed while it writes has changed nothing.
- Times are `time.monotonic`, which all processes of a machine share.
- Without a signature the sender of a datagram may claim anything, so only this machine may
  announce: over loopback, and over Unix sockets, whose file has permissions.
"""

import fcntl
import ipaddress
import json
import logging
import mmap
import os
import socket
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any

from ..errors import BindError, ProtocolError
from ..net import address as addresses
from ..net.stream import READ
from ..protocol import subscription
from ..protocol.subscription import Announcement
from .balance import NodeGroup
from .node import Node
from .nodes import NodeTable
from .routes import without_port

log = logging.getLogger("geventuwsgi.error")

SIZE = 2 << 20          # bytes of the memory, for some 5,000 nodes
_NUMBER = struct.Struct("Q")    # the version; and before each half, the length of its JSON
_BATCH = 64             # datagrams read in one iteration of the loop
_RENEW = 1.0            # seconds: an unchanged announcement within that time is not recorded

Table = dict[str, dict[str, dict[str, Any]]]    # key -> address -> what was announced


class Registry:
    """The nodes that have subscribed, as this process uses them.

    Args:
        fd: the memfd, of `SIZE` bytes.
        nodes: creates nodes and groups.
    """

    def __init__(self, fd: int, nodes: NodeTable) -> None:
        self._fd = fd
        self._memory = mmap.mmap(fd, SIZE)
        self._nodes = nodes
        self._version = -1
        self._table: Table = {}
        self._groups = nodes.subscribed
        self._refresh()

    # Called for requests.

    def find(self, host: str) -> NodeGroup | None:
        """Return the group that serves a host (in lower case, with its port as sent).

        The key is looked up with the port, as uWSGI does it; then without, then as a wildcard,
        then among the parent domains if `subscription-dotsplit` is on. An announcement that
        another router process has just received counts.
        """
        self._refresh()
        groups = self._groups
        found = groups.get(host)
        if found is not None:
            return found
        name = without_port(host)
        found = groups.get(name)
        rest = name
        while found is None and "." in rest:
            rest = rest.partition(".")[2]
            found = groups.get("*." + rest)
            if found is None and self._nodes.dotsplit:
                found = groups.get(rest)
        if found is None and self._nodes.fallback_key:
            found = groups.get(self._nodes.fallback_key)
        return found

    # Called for announcements.

    def announce(self, announcement: Announcement) -> None:
        """Add, renew or remove a node."""
        self._refresh()  # another process may just have received its subscription
        key, address = announcement.key, announcement.address
        known = self._table.get(key, {}).get(address)
        if announcement.leaves:
            if known is not None:
                self._change(lambda table: _remove(table, key, address))
                log.info("[uwsgi-subscription] %s => removing node %s", key, address)
            return
        if known is None:
            try:
                found = addresses.parse(address)
                if found.inherited or addresses.looks_like_tcp(found):
                    raise BindError(f"{address!r} is not the address of a node")
            except BindError as error:
                log.warning("[uwsgi-subscription] %s: %s", key, error)
                return
            log.info("[uwsgi-subscription] %s => new node: %s (weight: %d)", key, address,
                     announcement.weight)
        elif known["seen"] > monotonic() - _RENEW and known["weight"] == announcement.weight:
            return
        self._change(lambda table: _add(table, announcement))

    def poll(self, now: float) -> None:
        """Apply changes of other processes; remove nodes that no longer announce themselves."""
        self._refresh()
        late = now - self._nodes.tolerance
        expired = [(key, address) for key, nodes in self._table.items()
                   for address, node in nodes.items() if node["seen"] < late]
        if not expired or not self._nodes.tolerance:
            return
        dropped: list[tuple[str, str]] = []

        def drop(table: Table) -> None:
            for key, address in expired:
                node = table.get(key, {}).get(address)
                if node is not None and node["seen"] < late:
                    dropped.append((key, address))
                    _remove(table, key, address)
        self._change(drop)
        for key, address in dropped:
            log.warning("[uwsgi-subscription] %s => marking %s as failed (no announce received in "
                        "%g seconds)", key, address, self._nodes.tolerance)

    def statistics(self) -> list[dict[str, Any]]:
        """Return all subscribed nodes, under uWSGI's names."""
        found = []
        for key, nodes in self._table.items():
            group = self._groups[key]
            by_name = {node.name: node for node in group.nodes}
            found.append({
                "key": key, "hits": sum(node.hits for node in group.nodes),
                "nodes": [{**by_name[address].statistics(), "modifier1": record["modifier1"],
                           "modifier2": record["modifier2"], "cores": record["cores"],
                           "load": record["load"], "requests": by_name[address].hits,
                           "last_check": round(monotonic() - record["seen"])}
                          for address, record in nodes.items() if address in by_name]})
        return found

    # The memory.

    def _change(self, change: Callable[[Table], None]) -> None:
        """Change the table in the memory, and apply it."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            version, table = self._read()
            change(table)
            data = json.dumps(table).encode()
            at = _half(version + 1)
            if len(data) > _half(1) - _half(0) - _NUMBER.size:
                log.error("[uwsgi-subscription] the table is full: another node cannot subscribe")
                return
            _NUMBER.pack_into(self._memory, at, len(data))
            at += _NUMBER.size
            self._memory[at:at + len(data)] = data
            _NUMBER.pack_into(self._memory, 0, version + 1)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)
        self._version = version + 1
        self._apply(table)

    def _refresh(self) -> None:
        version, = _NUMBER.unpack_from(self._memory, 0)
        if version == self._version:
            return
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            self._version, table = self._read()
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)
        self._apply(table)

    def _read(self) -> tuple[int, Table]:
        version, = _NUMBER.unpack_from(self._memory, 0)
        if not version:
            return version, {}
        at = _half(version)
        size, = _NUMBER.unpack_from(self._memory, at)
        at += _NUMBER.size
        table: Table = json.loads(self._memory[at:at + size])
        return version, table

    def _apply(self, table: Table) -> None:
        """Make the groups of this process match the table; keep the nodes that stay."""
        self._table = table
        groups = self._groups
        for key in [key for key in groups if key not in table]:
            group = groups.pop(key)
            for node in group.nodes:
                node.close()
            group.nodes = []
            group.notify_all()
        for key, nodes in table.items():
            if key not in groups:
                groups[key] = self._nodes.group(key)
            group = groups[key]
            present = {node.name: node for node in group.nodes}
            for name in present.keys() - nodes.keys():
                present[name].close()
            group.nodes = [self._node(present.get(address), address, record)
                           for address, record in nodes.items()]
            group.notify_all()

    def _node(self, present: Node | None, address: str, record: dict[str, Any]) -> Node:
        modifiers = (record["modifier1"], record["modifier2"])
        if present is None:
            return self._nodes.node(address, addresses.parse(address), record["weight"], modifiers)
        present.weight = record["weight"]
        present.modifiers = modifiers
        return present


def _half(version: int) -> int:
    """Return the offset of the half that holds a version."""
    return _NUMBER.size + (version & 1) * ((SIZE - _NUMBER.size) // 2)


def create() -> int:
    """Create the shared memory; return its descriptor."""
    fd = os.memfd_create("geventuwsgi-subscriptions", os.MFD_CLOEXEC)
    os.ftruncate(fd, SIZE)
    return fd


def _add(table: Table, announcement: Announcement) -> None:
    table.setdefault(announcement.key, {})[announcement.address] = {
        "modifier1": announcement.modifier1, "modifier2": announcement.modifier2,
        "cores": announcement.cores, "load": announcement.load, "weight": announcement.weight,
        "seen": monotonic()}


def _remove(table: Table, key: str, address: str) -> None:
    nodes = table.get(key, {})
    nodes.pop(address, None)
    if not nodes:
        table.pop(key, None)


class SubscriptionServer:
    """Receives announcements on one socket and passes them to the registry.

    Args:
        hub: the hub of this thread.
        sock: a bound datagram socket, non-blocking, shared with other routers.
        registry: gets what is announced.
    """

    def __init__(self, hub: Any, sock: socket.socket, registry: Registry) -> None:
        self._sock = sock
        self._registry = registry
        self._watcher = hub.loop.io(sock.fileno(), READ)
        self._warned_at = 0.0

    def start(self) -> None:
        """Start receiving."""
        self._watcher.start(self._on_readable)

    def close(self) -> None:
        """Stop receiving."""
        self._watcher.close()
        self._sock.close()

    forget = close

    def _on_readable(self) -> None:
        for _ in range(_BATCH):
            try:
                data, sender = self._sock.recvfrom(subscription.LARGEST + 1)
            except BlockingIOError:
                return
            except OSError as error:
                log.debug("subscription server: %s", error)
                return
            if not _of_this_machine(sender):
                self._reject(sender, "it is from another machine, and announcements are not signed")
                continue
            try:
                announcement = subscription.parse(data)
            except ProtocolError as error:
                self._reject(sender, error.reason)
                continue
            self._registry.announce(announcement)

    def _reject(self, sender: Any, reason: str) -> None:
        now = monotonic()
        if now - self._warned_at >= 1.0:  # at most one line a second
            self._warned_at = now
            source = f"{sender[0]}:{sender[1]}" if isinstance(sender, tuple) else "a Unix socket"
            log.warning("announcement from %s rejected: %s", source, reason)


def _of_this_machine(sender: Any) -> bool:
    if not isinstance(sender, tuple):
        return True
    found = ipaddress.ip_address(sender[0].partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback
