"""The table of subscribed nodes: shared by processes, found by host, expiring."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, time
from types import SimpleNamespace
from typing import Any

import pytest
from gevent import get_hub
from hypothesis import given
from hypothesis import strategies as st

from geventuwsgi.protocol import subscription
from geventuwsgi.protocol.subscription import Announcement
from geventuwsgi.router import subscriptions
from geventuwsgi.router.balance import NodeGroup
from geventuwsgi.router.node import Node
from geventuwsgi.router.senders import Senders
from geventuwsgi.router.subscriptions import Registry, SubscriptionServer


def nodes(**more: Any) -> Any:
    return SimpleNamespace(**{
        "subscribed": {}, "tolerance": 17.0, "signature_tolerance": 100.0, "dotsplit": False,
        "fallback_key": "", "group": NodeGroup,
        "node": lambda name, address, weight, modifiers: Node(
            name, address, "uwsgi", weight=weight, modifiers=modifiers), **more})


@pytest.fixture
def memory() -> Iterator[int]:
    fd = subscriptions.create()
    yield fd
    os.close(fd)


def announcement(key: str, address: str = "127.0.0.1:1", **more: Any) -> Announcement:
    return Announcement(False, key, address)._replace(**more)


def names(one: Registry, host: str) -> list[str]:
    group = one.find(host)
    return [] if group is None else [node.name for node in group.nodes]


def test_all_processes_know_what_one_receives(memory: int) -> None:
    one, other = Registry(memory, nodes()), Registry(memory, nodes())
    one.announce(announcement("a.example", weight=2, modifier1=5))
    group = other.find("a.example")
    assert group is not None
    assert (group.nodes[0].weight, group.nodes[0].modifiers) == (2, (5, 0))
    other.announce(announcement("a.example", "127.0.0.1:2"))
    assert names(one, "a.example") == ["127.0.0.1:1", "127.0.0.1:2"]
    assert names(Registry(memory, nodes()), "a.example") == ["127.0.0.1:1", "127.0.0.1:2"]
    one.announce(announcement("a.example", leaves=True))
    assert names(other, "a.example") == ["127.0.0.1:2"]
    assert other.statistics()[0]["nodes"][0]["name"] == "127.0.0.1:2"


def test_a_node_may_leave_at_another_process_than_it_subscribed_at(memory: int) -> None:
    one, other = Registry(memory, nodes()), Registry(memory, nodes())
    one.announce(announcement("a"))
    other.announce(announcement("a", leaves=True))
    assert not names(one, "a")


def test_a_node_keeps_its_health_from_one_announcement_to_the_next(memory: int) -> None:
    one = Registry(memory, nodes())
    one.announce(announcement("a"))
    group = one.find("a")
    assert group is not None
    group.nodes[0].failed(monotonic())
    one.announce(announcement("a", weight=7))
    assert group.nodes[0].failures == 1 and group.nodes[0].weight == 7


def test_hosts_ports_wildcards_parents(memory: int) -> None:
    one = Registry(memory, nodes(dotsplit=True, fallback_key="rest"))
    for number, key in enumerate(("a.example", "a.example:81", "*.wild.example", "rest", "up.org"),
                                 1):
        one.announce(announcement(key, f"127.0.0.1:{number}"))
    for host, port in (("a.example", 1), ("a.example:80", 1), ("a.example:81", 2),
                       ("x.wild.example", 3), ("x.y.wild.example:8", 3), ("wild.example", 4),
                       ("b.up.org", 5), ("", 4), ("[::1]:80", 4)):
        assert names(one, host) == [f"127.0.0.1:{port}"], host


def test_expiry(memory: int) -> None:
    one = Registry(memory, nodes(tolerance=5.0))
    one.announce(announcement("a"))
    one.poll(monotonic() + 4)
    assert names(one, "a")
    one.poll(monotonic() + 6)
    assert not names(one, "a")


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "SIZE", 16384)
    fd = subscriptions.create()
    one = Registry(fd, nodes())
    for number in range(100):
        one.announce(announcement("k", f"/{'x' * 90}{number}"))
    assert 10 < len(names(one, "k")) < 60
    assert names(Registry(fd, nodes()), "k") == names(one, "k")
    os.close(fd)


def test_a_process_that_dies_while_it_writes_has_changed_nothing(memory: int) -> None:
    one = Registry(memory, nodes())
    one.announce(announcement("a"))
    one.announce(announcement("b"))
    before = os.pread(memory, 8, 0)
    one.announce(announcement("c", "/" + "x" * 90))
    assert os.pread(memory, 8, 0) != before
    os.pwrite(memory, before, 0)  # as if it had died before its last store
    assert names(Registry(memory, nodes()), "b") == ["127.0.0.1:1"]
    assert names(Registry(memory, nodes()), "c") == []


def test_requests_that_wait_for_nodes_that_left_are_notified(memory: int) -> None:
    one = Registry(memory, nodes())
    one.announce(announcement("a"))
    group = one.find("a")
    assert group is not None
    notified: list[bool] = []
    group.notify_all = lambda: notified.append(not group.nodes)  # type: ignore[method-assign]
    one.announce(announcement("a", leaves=True))
    assert notified == [True] and one.find("a") is None


def test_a_full_table_still_renews_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise nodes that announce too much would expire all others."""
    monkeypatch.setattr(subscriptions, "SIZE", 16384)
    monkeypatch.setattr(subscriptions, "_RENEW", 0)
    fd = subscriptions.create()
    one = Registry(fd, nodes(tolerance=5.0))
    one.announce(announcement("first"))
    flood = [announcement(f"k{number}", "/" + "x" * 90) for number in range(100)]
    monkeypatch.setattr(subscriptions, "monotonic", lambda: monotonic() + 4)
    assert one.announce(announcement("first"), *flood) == [
        "the table is full: another node cannot subscribe"]
    one.poll(monotonic() + 8)
    assert names(one, "first")
    os.close(fd)


def test_keys_and_nodes_are_bounded(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MOST_KEYS", 3)
    monkeypatch.setattr(subscriptions, "MOST_NODES", 2)
    one = Registry(memory, nodes())
    reasons = one.announce(*(announcement(f"k{number % 4}", f"127.0.0.1:{number}")
                             for number in range(4, 16)))
    assert sorted(set(reasons)) == [*(f"k{n}: there are too many nodes" for n in range(3)),
                                    "k3: there are too many keys"]
    assert [len(names(one, f"k{number}")) for number in range(4)] == [2, 2, 2, 0]


def test_a_node_is_that_of_the_user_who_announced_it(memory: int) -> None:
    one = Registry(memory, nodes())
    one.announce(announcement("a", uid=1000, weight=3))
    for uid in (1001, None):
        for leaves in (True, False):
            assert one.announce(announcement("a", uid=uid, leaves=leaves, weight=9)) == [
                "a: another user announced the node 127.0.0.1:1"]
    assert names(one, "a") and one.find("a").nodes[0].weight == 3  # type: ignore[union-attr]
    one.announce(announcement("a", uid=0, weight=4))        # root may
    one.announce(announcement("a", uid=0, leaves=True))
    assert not names(one, "a")


@pytest.fixture
def received(memory: int, tmp_path: Path) -> Iterator[tuple[Any, Registry, socket.socket]]:
    """A server on a unix socket, its registry, and a socket that sends there."""
    registry = Registry(memory, nodes())
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    sock.bind(str(tmp_path / "s"))
    server = SubscriptionServer(get_hub(), sock, registry, Senders())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(str(tmp_path / "s"))
        sender.setblocking(False)
        yield server, registry, sender
    server.close()


def test_what_is_read_at_a_time_is_one_change(received: Any, memory: int) -> None:
    """The whole table was written for each datagram: 600 a second stalled the router."""
    server, registry, sender = received
    sent = 0
    while sent < 200:
        try:
            sender.send(subscription.encode(announcement(f"k{sent}")))
        except BlockingIOError:
            break
        sent += 1
    server.receive()
    assert sent > 5 and len(registry.statistics()) == sent
    assert os.pread(memory, 8, 0) == (1).to_bytes(8, "little")


def test_the_kernel_says_who_sends(received: Any) -> None:
    server, registry, sender = received
    registry.announce(announcement("a", uid=os.geteuid() + 1), announcement("b"))
    for key in "ab":
        sender.send(subscription.encode(announcement(key, leaves=True)))
    server.receive()
    assert bool(names(registry, "a")) is (os.geteuid() != 0) and not names(registry, "b")


DATAGRAMS = st.one_of(
    st.binary(max_size=80),
    st.binary(max_size=60).map(lambda data: bytes((224, len(data), 0, 0)) + data),
    st.builds(lambda leaves, key, address, weight: subscription.encode(
        Announcement(leaves, key, address, weight=weight)),
        st.booleans(), st.sampled_from(["a", "b", "A.example:80", "\xff"]),
        st.one_of(st.sampled_from(["127.0.0.1:1", "/run/x", "fd://0", "[::1]:2", ":0", "host",
                                   "http://x:1", "127.0.0.1:99999"]),
                  st.text(st.characters(max_codepoint=255), max_size=20)),
        st.integers(-5, 2000)))


@given(st.lists(DATAGRAMS, max_size=20))
def test_any_datagrams(sent: list[bytes]) -> None:
    """Nothing raises, all processes know the same nodes, and each has an address."""
    fd = subscriptions.create()
    one, other = Registry(fd, nodes()), Registry(fd, nodes())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    server = SubscriptionServer(get_hub(), ours, one, Senders())
    for data in sent:
        theirs.send(data)
    server.receive()
    server.close()
    theirs.close()
    other.poll(monotonic())
    assert [(found["key"], [node["name"] for node in found["nodes"]])
            for found in one.statistics()] == [
        (found["key"], [node["name"] for node in found["nodes"]]) for found in other.statistics()]
    assert all(node.address.port or node.address.path for group in other._groups.values()
               for node in group.nodes)
    os.close(fd)


@pytest.mark.parametrize("gone", [False, True])
def test_a_signed_announcement_counts_once(memory: int, gone: bool) -> None:
    """Also when the node has left, and for a router that starts later."""
    one, now = Registry(memory, nodes()), int(time())
    assert one.announce(announcement("a", unix=now, weight=2)) == []
    if gone:
        one.announce(announcement("a", unix=now + 1, leaves=True))
    other = Registry(memory, nodes())
    for unix in (now - 5, now):
        for leaves in (True, False):
            rejected = other.announce(announcement("a", unix=unix, leaves=leaves, weight=9))
            assert rejected or gone and leaves
    assert bool(names(other, "a")) is not gone
    assert other.announce(announcement("a", unix=now + 2, weight=3)) == [] and names(one, "a")


@pytest.mark.parametrize("replayed_last", [False, True])
def test_a_signed_announcement_that_is_sent_again_does_not_hide_a_newer_one(
        received: Any, monkeypatch: pytest.MonkeyPatch, replayed_last: bool) -> None:
    """Also when both are read at once."""
    server, registry, sender = received
    monkeypatch.setattr(server._senders, "check", lambda data, *_: subscription.parse(data))
    old = announcement("a", unix=int(time()) - 5)
    assert registry.announce(old) == []
    for one in (old._replace(unix=old.unix + 1, leaves=True), old)[::1 if replayed_last else -1]:
        sender.send(subscription.encode(one, lambda _: b"signature"))
    server.receive()
    assert not names(registry, "a")


def test_the_times_of_nodes_that_left_are_forgotten_when_they_are_too_old(memory: int) -> None:
    one = Registry(memory, nodes(signature_tolerance=100.0))
    for number in range(50):
        one.announce(announcement(f"k{number}", unix=int(time()) - 200))
        one.announce(announcement(f"k{number}", unix=int(time()) - 199, leaves=True))
    assert len(one._read()[1].get("", {})) <= 1
