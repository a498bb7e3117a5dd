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
  announce (`senders`): over loopback, and over Unix sockets, whose file has permissions. There the
  kernel says who sends, and a node that was announced is that user's.
- Of a signed announcement the time must be later than that of the last one for the node, also if
  the node has left: else a datagram that was read on the way could be sent again.
- All that is read at a time is one change of the table, and a router spends no more than a share of
  its time on announcements.
"""

import fcntl
import json
import logging
import mmap
import os
import socket
import struct
from collections.abc import Callable, Iterable
from time import monotonic, time
from typing import Any

from ..errors import BindError, ProtocolError
from ..ipc import credentials
from ..net import address as addresses
from ..net.stream import READ
from ..protocol import subscription
from ..protocol.subscription import Announcement
from .balance import NodeGroup
from .node import Node
from .nodes import NodeTable
from .routes import without_port
from .senders import Senders

log = logging.getLogger("geventuwsgi.error")

SIZE = 2 << 20          # bytes of the memory, for some 5,000 nodes
_NUMBER = struct.Struct("Q")    # the version; and before each half, the length of its JSON
_BATCH = 256            # datagrams read at a time
_TIME_SHARE = 4              # one part in four of a router's time, at most, is for announcements
_GONE = ""              # key in the table for the times of signatures of nodes that have gone
MOST_KEYS = 2000
MOST_NODES = 1000       # of one key
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

    def announce(self, *announcements: Announcement) -> list[str]:
        """Add, renew or remove nodes; return the reasons for which some were rejected."""
        self._refresh()  # another process may just have received a subscription
        news = [one for one in announcements if self._is_news(one)]
        if not news:
            return []
        recorded: list[tuple[bool, str]] = []
        if not self._change(lambda table: _record_all(table, news, recorded)):
            recorded = [(False, "the table is full: another node cannot subscribe")]
            known = [one for one in news if one.address in self._table.get(one.key, ())]
            self._change(lambda table: _record_all(table, known, recorded))
        for accepted, text in recorded:
            if accepted and text:
                log.info("[uwsgi-subscription] %s", text)
        return [text for accepted, text in recorded if not accepted]

    def _is_news(self, one: Announcement) -> bool:
        known = self._table.get(one.key, {}).get(one.address)
        if one.leaves or known is None:
            return known is not None or not one.leaves
        return known["seen"] <= monotonic() - _RENEW or known["weight"] != one.weight

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

    def _change(self, change: Callable[[Table], None]) -> bool:
        """Change the table in the memory, and apply it; return False if it does not fit."""
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            version, table = self._read()
            change(table)
            earliest = time() - self._nodes.signature_tolerance     # others are not accepted
            for name, record in tuple(table.get(_GONE, {}).items()):
                if record["unix"] < earliest:
                    del table[_GONE][name]
            data = json.dumps(table).encode()
            at = _half(version + 1)
            if len(data) > _half(1) - _half(0) - _NUMBER.size:
                return False
            _NUMBER.pack_into(self._memory, at, len(data))
            at += _NUMBER.size
            self._memory[at:at + len(data)] = data
            _NUMBER.pack_into(self._memory, 0, version + 1)
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)
        self._version = version + 1
        self._apply(table)
        return True

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
        table.pop(_GONE, None)
        before, self._table = self._table, table
        groups = self._groups
        for key in [key for key in groups if key not in table]:
            group = groups.pop(key)
            for node in group.nodes:
                node.close()
            group.nodes = []
            group.notify_all()
        for key, nodes in table.items():
            if nodes == before.get(key):
                continue
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


def _record_all(table: Table, announcements: Iterable[Announcement],
                recorded: list[tuple[bool, str]]) -> None:
    """Record announcements in a table; add to `recorded` whether each is accepted, and a text."""
    for one in announcements:
        try:
            recorded.append((True, _record(table, one)))
        except BindError as error:
            recorded.append((False, str(error)))


def _record(table: Table, one: Announcement) -> str:
    """Record one announcement; return what to log.

    Raises:
        BindError: it is rejected.
    """
    nodes = table.get(one.key, {})
    known = nodes.get(one.address)
    if known is not None and known["uid"] is not None and one.uid not in (0, known["uid"]):
        raise BindError(f"{one.key}: another user announced the node {one.address}")
    gone = table.get(_GONE, {})
    last = (known or gone.get(f"{one.key} {one.address}", {"unix": 0}))["unix"]
    if one.unix and one.unix <= last:
        raise BindError(f"{one.key}: an announcement of {one.address} that is not newer than the "
                        "last one (sent again by someone?)")
    if one.leaves:
        _remove(table, one.key, one.address, one.unix)
        return f"{one.key} => removing node {one.address}" if known is not None else ""
    if known is None:
        _check_node(one, len(nodes), len(table))
        gone.pop(f"{one.key} {one.address}", None)
    table.setdefault(one.key, {})[one.address] = {
        "modifier1": one.modifier1, "modifier2": one.modifier2, "cores": one.cores,
        "load": one.load, "weight": one.weight, "uid": one.uid,
        "unix": max(one.unix, last), "seen": monotonic()}
    return (f"{one.key} => new node: {one.address} (weight: {one.weight})" if known is None
            else "")


def _check_node(one: Announcement, nodes: int, keys: int) -> None:
    """Check a new node.

    Raises:
        BindError: its address is none, or there are too many.
    """
    found = addresses.parse(one.address)
    if found.inherited or addresses.looks_like_tcp(found) or not (found.is_unix or found.port):
        raise BindError(f"{one.key}: {one.address!r} is not the address of a node")
    if nodes >= MOST_NODES or not nodes and keys >= MOST_KEYS:
        raise BindError(f"{one.key}: there are too many {'nodes' if nodes else 'keys'}")


def _remove(table: Table, key: str, address: str, unix: int = 0) -> None:
    """Remove a node; the time of its last signature stays."""
    nodes = table.get(key, {})
    record = nodes.pop(address, None)
    if not nodes:
        table.pop(key, None)
    unix = max(unix, record["unix"] if record is not None else 0)
    if unix:
        table.setdefault(_GONE, {})[f"{key} {address}"] = {"unix": unix}


class SubscriptionServer:
    """Receives announcements on one socket and passes them to the registry.

    Args:
        hub: the hub of this thread.
        sock: a bound datagram socket, non-blocking, shared with other routers.
        registry: gets what is announced.
        senders: checks who announces.
    """

    def __init__(self, hub: Any, sock: socket.socket, registry: Registry,
                 senders: Senders) -> None:
        self._sock = sock
        self._senders = senders
        self._registry = registry
        self._loop = hub.loop
        self._watcher = hub.loop.io(sock.fileno(), READ)
        self._pause = hub.loop.timer(0.0)
        self._warned_at = 0.0
        if sock.family == socket.AF_UNIX:
            credentials.require(sock)

    def start(self) -> None:
        """Start receiving."""
        self._watcher.start(self._on_readable)

    def close(self) -> None:
        """Stop receiving."""
        self._watcher.close()
        self._pause.close()
        self._sock.close()

    forget = close

    def _on_readable(self) -> None:
        started = monotonic()
        self.receive()
        self._watcher.stop()
        self._pause.close()
        self._pause = self._loop.timer((monotonic() - started) * (_TIME_SHARE - 1))
        self._pause.start(self.start)

    def receive(self) -> None:
        """Take what has arrived, up to a number of datagrams, as one change."""
        found: dict[tuple[str, str, int | None], Announcement] = {}
        for _ in range(_BATCH):
            try:
                data, ancillary, _, sender = self._sock.recvmsg(subscription.LARGEST + 1,
                                                                credentials.SPACE)
            except BlockingIOError:
                break
            except OSError as error:
                log.debug("subscription server: %s", error)
                break
            try:
                one = self._senders.check(data, sender, self._user(ancillary))
            except ProtocolError as error:
                self._reject(sender, error.reason)
                continue
            name = one.key, one.address, one.uid
            if not one.unix or name not in found or one.unix > found[name].unix:
                found[name] = one   # the last of each; if they are signed, the newest
        for reason in self._registry.announce(*found.values()):
            self._reject(None, reason)

    def _user(self, ancillary: list[tuple[int, int, bytes]]) -> tuple[int, int] | None:
        """Return uid and gid of a sender; None over UDP."""
        if self._sock.family != socket.AF_UNIX:
            return None
        _, uid, gid = credentials.sender(ancillary)
        return uid, gid

    def _reject(self, sender: Any, reason: str) -> None:
        now = monotonic()
        if now - self._warned_at >= 1.0:  # at most one line a second
            self._warned_at = now
            source = (f" from {sender[0]}:{sender[1]}" if isinstance(sender, tuple) else
                      " from a Unix socket" if isinstance(sender, str) else "")
            log.warning("announcement%s rejected: %s", source, reason)
