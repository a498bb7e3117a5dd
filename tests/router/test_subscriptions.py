"""The table of subscribed nodes: shared by processes, found by host, expiring."""

import os
from collections.abc import Iterator
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from geventuwsgi.protocol.subscription import Announcement
from geventuwsgi.router import subscriptions
from geventuwsgi.router.balance import NodeGroup
from geventuwsgi.router.node import Node
from geventuwsgi.router.subscriptions import Registry


def nodes(**more: Any) -> Any:
    return SimpleNamespace(**{
        "subscribed": {}, "tolerance": 17.0, "dotsplit": False, "fallback_key": "",
        "group": NodeGroup, "node": lambda name, address, weight, modifiers: Node(
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
    for number, key in enumerate(("a.example", "a.example:81", "*.wild.example", "rest", "up.org")):
        one.announce(announcement(key, f"127.0.0.1:{number}"))
    for host, port in (("a.example", 0), ("a.example:80", 0), ("a.example:81", 1),
                       ("x.wild.example", 2), ("x.y.wild.example:8", 2), ("wild.example", 3),
                       ("b.up.org", 4), ("", 3), ("[::1]:80", 3)):
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
