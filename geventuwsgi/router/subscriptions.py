"""Who has subscribed: a table in memory that all router processes share.

A datagram reaches one process, and each has to know of the node; and a router that a
reload or a crash has brought up must not wait for the next round of announcements. So the
table lies in a memfd of the master's, and each process looks a few times a second whether
it has changed.

Rules of the room:

- The table is changed under a lock of the file, from what is in it and not from what this
  process believes.
- The memory has two halves, and the version says by its last bit which one counts. A
  process that is killed while it writes has changed nothing.
- Times are `time.monotonic`, which all processes of a machine share.
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

SIZE = 2 << 20          # octets of the memory, for some 5,000 nodes
_NUMBER = struct.Struct("Q")    # the version; and before each half, the octets of its JSON
_RENEW = 1.0            # seconds: an announcement sooner than that after the last is no news

Table = dict[str, dict[str, dict[str, Any]]]    # key -> address -> what was announced


class Registry:
    """The nodes that have subscribed, as this process uses them.

    Args:
        fd: the memfd, of `SIZE` octets.
        plan: makes nodes and groups.
    """

    def __init__(self, fd: int, plan: NodeTable) -> None:
        self._fd = fd
        self._memory = mmap.mmap(fd, SIZE)
        self._plan = plan
        self._version = -1
        self._table: Table = {}
        self._groups = plan.subscribed
        self._refresh()

    # What requests ask.

    def find(self, host: str) -> NodeGroup | None:
        """Return the group that serves a host (in lower case, with its port as sent).

        The key is looked for as uWSGI does, with the port; then without it, then as a
        wildcard, then among the parents if `subscription-dotsplit` is on. What another
        router process heard a moment ago counts.
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
            if found is None and self._plan.dotsplit:
                found = groups.get(rest)
        if found is None and self._plan.fallback_key:
            found = groups.get(self._plan.fallback_key)
        return found

    # What datagrams say.

    def announce(self, told: Announcement) -> None:
        """A node subscribes or leaves."""
        self._refresh()  # another process may have heard it subscribe a moment ago
        if told.leaves:
            if told.address in self._table.get(told.key, {}):
                self._change(lambda table: _leave(table, told))
                log.info("[uwsgi-subscription] %s => removing node %s", told.key, told.address)
            return
        known = self._table.get(told.key, {}).get(told.address)
        if known is None:
            try:
                found = addresses.parse(told.address)
                if found.inherited or addresses.looks_like_tcp(found):
                    raise BindError(f"{told.address!r} is no address of a node")
            except BindError as error:
                log.warning("[uwsgi-subscription] %s: %s", told.key, error)
                return
            log.info("[uwsgi-subscription] %s => new node: %s (weight: %d)", told.key,
                     told.address, told.weight)
        elif known["seen"] > monotonic() - _RENEW and known["weight"] == told.weight:
            return
        self._change(lambda table: _enter(table, told))

    def poll(self, now: float) -> None:
        """Take over what other processes changed; forget who has been silent for too long."""
        self._refresh()
        late = now - self._plan.tolerance
        gone = [(key, address) for key, nodes in self._table.items()
                for address, node in nodes.items() if node["seen"] < late]
        if not gone or not self._plan.tolerance:
            return
        dropped: list[tuple[str, str]] = []

        def drop(table: Table) -> None:
            for key, address in gone:
                node = table.get(key, {}).get(address)
                if node is not None and node["seen"] < late:
                    dropped.append((key, address))
                    _remove(table, key, address)
        self._change(drop)
        for key, address in dropped:
            log.warning("[uwsgi-subscription] %s => marking %s as failed (no announce received in "
                        "%g seconds)", key, address, self._plan.tolerance)

    def statistics(self) -> list[dict[str, Any]]:
        """What has subscribed, under uWSGI's names."""
        found = []
        for key, nodes in self._table.items():
            group = self._groups[key]
            by_name = {node.name: node for node in group.nodes}
            found.append({
                "key": key, "hits": sum(node.hits for node in group.nodes),
                "nodes": [{**by_name[address].statistics(), "modifier1": told["modifier1"],
                           "modifier2": told["modifier2"], "cores": told["cores"],
                           "load": told["load"], "requests": by_name[address].hits,
                           "last_check": round(monotonic() - told["seen"])}
                          for address, told in nodes.items() if address in by_name]})
        return found

    # The memory.

    def _change(self, change: Callable[[Table], None]) -> None:
        """Change the table in the memory, and take it over."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            version, table = self._read()
            change(table)
            data = json.dumps(table).encode()
            at = _half(version + 1)
            if len(data) > _half(1) - _half(0) - _NUMBER.size:
                log.error("[uwsgi-subscription] there is no room for another node")
                return
            _NUMBER.pack_into(self._memory, at, len(data))
            at += _NUMBER.size
            self._memory[at:at + len(data)] = data
            _NUMBER.pack_into(self._memory, 0, version + 1)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)
        self._version = version + 1
        self._adopt(table)

    def _refresh(self) -> None:
        version, = _NUMBER.unpack_from(self._memory, 0)
        if version == self._version:
            return
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            self._version, table = self._read()
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)
        self._adopt(table)

    def _read(self) -> tuple[int, Table]:
        version, = _NUMBER.unpack_from(self._memory, 0)
        if not version:
            return version, {}
        at = _half(version)
        size, = _NUMBER.unpack_from(self._memory, at)
        at += _NUMBER.size
        table: Table = json.loads(self._memory[at:at + size])
        return version, table

    def _adopt(self, table: Table) -> None:
        """Make the groups of this process what the table says; nodes that stay are kept."""
        self._table = table
        groups = self._groups
        for key in [key for key in groups if key not in table]:
            group = groups.pop(key)
            for node in group.nodes:
                node.close()
            group.nodes = []
            group.wake()
        for key, nodes in table.items():
            if key not in groups:
                groups[key] = self._plan.group(key)
            group = groups[key]
            present = {node.name: node for node in group.nodes}
            for name in present.keys() - nodes.keys():
                present[name].close()
            group.nodes = [self._node(present.get(address), address, told)
                           for address, told in nodes.items()]
            group.wake()

    def _node(self, present: Node | None, address: str, told: dict[str, Any]) -> Node:
        modifiers = (told["modifier1"], told["modifier2"])
        if present is None:
            return self._plan.node(address, addresses.parse(address), told["weight"], modifiers)
        present.weight = told["weight"]
        present.modifiers = modifiers
        return present


def _half(version: int) -> int:
    """Return where the half of a version begins."""
    return _NUMBER.size + (version & 1) * ((SIZE - _NUMBER.size) // 2)


def create() -> int:
    """Make the memory; return its descriptor."""
    fd = os.memfd_create("geventuwsgi-subscriptions", os.MFD_CLOEXEC)
    os.ftruncate(fd, SIZE)
    return fd


def _enter(table: Table, told: Announcement) -> None:
    table.setdefault(told.key, {})[told.address] = {
        "modifier1": told.modifier1, "modifier2": told.modifier2, "cores": told.cores,
        "load": told.load, "weight": told.weight, "seen": monotonic()}


def _leave(table: Table, told: Announcement) -> None:
    _remove(table, told.key, told.address)


def _remove(table: Table, key: str, address: str) -> None:
    nodes = table.get(key, {})
    nodes.pop(address, None)
    if not nodes:
        table.pop(key, None)


# The subscription server: datagrams in, nodes into the registry.
#
# The rules of this room: without a signature the sender of a datagram may say anything, so
# only this machine is listened to: loopback, and unix sockets, whose file has a mode. What
# is refused is told, but not more than once a second.

_BATCH = 64     # datagrams taken in one turn of the loop


class SubscriptionServer:
    """One socket for announcements.

    Args:
        hub: the hub of this thread.
        sock: a bound datagram socket, non-blocking, shared with other routers.
        registry: what is told.
    """

    def __init__(self, hub: Any, sock: socket.socket, registry: Registry) -> None:
        self._sock = sock
        self._registry = registry
        self._watcher = hub.loop.io(sock.fileno(), READ)
        self._complained = 0.0
        self.refused = 0

    def start(self) -> None:
        """Begin to listen."""
        self._watcher.start(self._on_readable)

    def close(self) -> None:
        """Listen no more."""
        self._watcher.close()
        self._sock.close()

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
                self._refuse(sender, "it is not of this machine, and nothing is signed")
                continue
            try:
                told = subscription.parse(data)
            except ProtocolError as error:
                self._refuse(sender, error.reason)
                continue
            self._registry.announce(told)

    def _refuse(self, sender: Any, reason: str) -> None:
        self.refused += 1
        now = monotonic()
        if now - self._complained >= 1.0:
            self._complained = now
            who = f"{sender[0]}:{sender[1]}" if isinstance(sender, tuple) else "a unix socket"
            log.warning("an announcement of %s is refused: %s", who, reason)


def _of_this_machine(sender: Any) -> bool:
    if not isinstance(sender, tuple):
        return True
    found = ipaddress.ip_address(sender[0].partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped.is_loopback
    return found.is_loopback
