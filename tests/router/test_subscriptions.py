"""Who has subscribed: shared by processes, found by hosts, forgotten in time."""

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


def plan(**more: Any) -> Any:
    return SimpleNamespace(**{
        "subscribed": {}, "tolerance": 17.0, "dotsplit": False, "fallback_key": "",
        "group": NodeGroup, "node": lambda name, address, weight, modifiers: Node(
            name, address, "uwsgi", weight=weight, modifiers=modifiers), **more})


@pytest.fixture
def memory() -> Iterator[int]:
    fd = subscriptions.create()
    yield fd
    os.close(fd)


def told(key: str, address: str = "127.0.0.1:1", **more: Any) -> Announcement:
    return Announcement(False, key, address)._replace(**more)


def names(one: Registry, host: str) -> list[str]:
    group = one.find(host)
    return [] if group is None else [node.name for node in group.nodes]


def test_what_one_process_hears_all_know(memory: int) -> None:
    one, other = Registry(memory, plan()), Registry(memory, plan())
    one.announce(told("a.example", weight=2, modifier1=5))
    group = other.find("a.example")
    assert group is not None
    assert (group.nodes[0].weight, group.nodes[0].modifiers) == (2, (5, 0))
    other.announce(told("a.example", "127.0.0.1:2"))
    assert names(one, "a.example") == ["127.0.0.1:1", "127.0.0.1:2"]
    assert names(Registry(memory, plan()), "a.example") == ["127.0.0.1:1", "127.0.0.1:2"]
    one.announce(told("a.example", leaves=True))
    assert names(other, "a.example") == ["127.0.0.1:2"]
    assert other.statistics()[0]["nodes"][0]["name"] == "127.0.0.1:2"


def test_a_node_may_leave_by_another_process_than_it_came(memory: int) -> None:
    one, other = Registry(memory, plan()), Registry(memory, plan())
    one.announce(told("a"))
    other.announce(told("a", leaves=True))
    assert not names(one, "a")


def test_a_node_keeps_its_health_from_one_announcement_to_the_next(memory: int) -> None:
    one = Registry(memory, plan())
    one.announce(told("a"))
    group = one.find("a")
    assert group is not None
    group.nodes[0].failed(monotonic())
    one.announce(told("a", weight=7))
    assert group.nodes[0].failures == 1 and group.nodes[0].weight == 7


def test_hosts_ports_wildcards_parents(memory: int) -> None:
    one = Registry(memory, plan(dotsplit=True, fallback_key="rest"))
    for number, key in enumerate(("a.example", "a.example:81", "*.wild.example", "rest", "up.org")):
        one.announce(told(key, f"127.0.0.1:{number}"))
    for host, port in (("a.example", 0), ("a.example:80", 0), ("a.example:81", 1),
                       ("x.wild.example", 2), ("x.y.wild.example:8", 2), ("wild.example", 3),
                       ("b.up.org", 4), ("", 3), ("[::1]:80", 3)):
        assert names(one, host) == [f"127.0.0.1:{port}"], host


def test_silence(memory: int) -> None:
    one = Registry(memory, plan(tolerance=5.0))
    one.announce(told("a"))
    one.poll(monotonic() + 4)
    assert names(one, "a")
    one.poll(monotonic() + 6)
    assert not names(one, "a")


def test_there_is_an_end_to_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "SIZE", 16384)
    fd = subscriptions.create()
    one = Registry(fd, plan())
    for number in range(100):
        one.announce(told("k", f"/{'x' * 90}{number}"))
    assert 10 < len(names(one, "k")) < 60
    assert names(Registry(fd, plan()), "k") == names(one, "k")
    os.close(fd)


def test_a_process_that_dies_while_it_writes_has_changed_nothing(memory: int) -> None:
    one = Registry(memory, plan())
    one.announce(told("a"))
    one.announce(told("b"))
    before = os.pread(memory, 8, 0)
    one.announce(told("c", "/" + "x" * 90))
    assert os.pread(memory, 8, 0) != before
    os.pwrite(memory, before, 0)  # as if it had died before its last store
    assert names(Registry(memory, plan()), "b") == ["127.0.0.1:1"]
    assert names(Registry(memory, plan()), "c") == []


def test_who_waits_for_nodes_that_have_left_is_woken(memory: int) -> None:
    one = Registry(memory, plan())
    one.announce(told("a"))
    group = one.find("a")
    assert group is not None
    woken: list[bool] = []
    group.wake = lambda: woken.append(not group.nodes)  # type: ignore[method-assign]
    one.announce(told("a", leaves=True))
    assert woken == [True] and one.find("a") is None
