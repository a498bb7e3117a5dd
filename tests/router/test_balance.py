"""Choice of nodes: weights, least connections, failing nodes, full groups."""

from collections import Counter
from time import monotonic

import gevent
import pytest

from geventuwsgi.errors import ClientDisconnected
from geventuwsgi.net.address import parse
from geventuwsgi.protocol.message import Limits
from geventuwsgi.router.balance import NodeGroup, NoNodeAvailable
from geventuwsgi.router.node import Node


def node(name: str, **more: int) -> Node:
    return Node(name, parse("127.0.0.1:1"), "uwsgi", **more)  # type: ignore[arg-type]


def turns(group: NodeGroup, count: int) -> str:
    found = []
    for _ in range(count):
        one = group.acquire(())
        assert one is not None
        found.append(one.name)
        group.release(one)
    return "".join(found)


def test_round_robin_is_smooth_and_follows_the_weights() -> None:
    assert turns(NodeGroup("g", [node("a"), node("b"), node("c")]), 6) == "abcabc"
    assert turns(NodeGroup("g", [node("a", weight=3), node("b")]), 8) == "aabaaaba"
    assert Counter(turns(NodeGroup("g", [node("a", weight=5), node("b", weight=2)]), 70)) == {
        "a": 50, "b": 20}


def test_least_connections_counts_what_is_in_progress() -> None:
    group = NodeGroup("g", [node("a", weight=2), node("b")], algorithm="lc")
    held = [group.acquire(()) for _ in range(6)]
    assert Counter(one.name for one in held if one) == {"a": 4, "b": 2}
    for one in [one for one in held if one and one.name == "b"]:
        group.release(one)
    assert turns(group, 2) == "bb"


def test_a_failed_node_is_left_out_longer_each_time_and_tried_by_one_request() -> None:
    one, other = node("a", gracetime=30), node("b")
    group = NodeGroup("g", [one, other])
    now = monotonic()
    pauses = [one.failed(now + 100 * count) for count in range(7)]
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    one.down_until = now + 30
    assert turns(group, 4) == "bbbb"
    one.down_until = now - 1
    first = group.acquire(())
    second, third = group.acquire(()), group.acquire(())
    names = [found.name for found in (first, second, third) if found]
    assert sorted(names) == ["a", "b", "b"]  # it is tried by one at a time
    one.succeeded(monotonic())
    assert "a" in turns(group, 2)


def test_when_all_are_down_the_one_due_first_is_tried() -> None:
    one, other = node("a"), node("b")
    now = monotonic()
    one.failed(now - 2)
    one.failed(now)
    other.failed(now)
    group = NodeGroup("g", [one, other])
    assert group.acquire(()) is other
    assert group.acquire((other,)) is one
    assert group.acquire((one, other)) is None


def test_fallback_nodes_serve_while_the_others_are_down() -> None:
    one, spare = node("a"), node("s")
    group = NodeGroup("g", [one], [spare])
    assert turns(group, 2) == "aa"
    one.failed(monotonic())
    assert turns(group, 2) == "ss"


def test_no_node_at_all() -> None:
    with pytest.raises(NoNodeAvailable, match="no node for g"):
        NodeGroup("g").acquire(())


def test_waiting_requests_are_served_in_order_and_the_queue_is_bounded() -> None:
    one = node("a", limit=1)
    group = NodeGroup("g", [one], queue=2, queue_timeout=10)
    held = group.acquire(())
    assert held is one
    order: list[int] = []

    def request(number: int) -> None:
        found = group.acquire(())
        order.append(number)
        assert found is one
        gevent.sleep(0)
        group.release(one)
    waiting = [gevent.spawn(request, number) for number in range(2)]
    gevent.sleep(0)
    assert group.waiting == 2
    with pytest.raises(NoNodeAvailable, match="2 requests wait"):
        group.acquire(())
    group.release(one)
    gevent.joinall(waiting, raise_error=True)
    assert order == [0, 1] and one.busy == 0 and group.waiting == 0


def test_a_client_that_leaves_when_its_turn_comes_passes_it_on() -> None:
    one = node("a", limit=1)
    group = NodeGroup("g", [one], queue_timeout=10)
    group.acquire(())
    first, second = gevent.spawn(group.acquire, ()), gevent.spawn(group.acquire, ())
    gevent.sleep(0)
    # The sweep has found that the client is gone, and before that arrives a request ends.
    gevent.get_hub().loop.run_callback(first.throw, ClientDisconnected("gone"))
    group.release(one)
    assert second.get(timeout=5) is one
    assert isinstance(first.exception, ClientDisconnected) and one.busy == 1


def test_a_free_node_is_for_the_first_that_has_not_tried_it() -> None:
    one, other = node("a", limit=1), node("b", limit=1)
    group = NodeGroup("g", [one, other], queue_timeout=10)
    assert {group.acquire(()), group.acquire(())} == {one, other}
    failed, fresh = gevent.spawn(group.acquire, (one,)), gevent.spawn(group.acquire, ())
    gevent.sleep(0)
    group.release(one)
    assert fresh.get(timeout=5) is one and not failed.ready()
    group.release(other)
    assert failed.get(timeout=5) is other and (one.busy, other.busy) == (1, 1)


def test_no_later_request_overtakes_one_that_waits() -> None:
    one = node("a", limit=1)
    group = NodeGroup("g", [one], queue=1, queue_timeout=10)
    group.acquire(())
    waiting = gevent.spawn(group.acquire, ())
    gevent.sleep(0)
    group.release(one)
    later = gevent.spawn(group.acquire, ())
    assert waiting.get(timeout=5) is one and not later.ready()
    group.release(one)
    assert later.get(timeout=5) is one


def test_the_last_node_left_is_not_waited_for() -> None:
    one, other = node("a"), node("b", limit=1)
    group = NodeGroup("g", [one, other], queue_timeout=10)
    assert group.acquire((one,)) is other
    waiting = gevent.spawn(group.acquire, (one,))
    gevent.sleep(0)
    group.nodes.remove(other)
    group.notify_all()
    assert waiting.get(timeout=5) is None


def test_no_request_waits_longer_than_the_timeout() -> None:
    group = NodeGroup("g", [node("a", limit=1)], queue_timeout=0.05)
    group.acquire(())
    with pytest.raises(NoNodeAvailable, match="became free within 0.05 seconds"):
        group.acquire(())
    assert group.waiting == 0


def test_a_new_node_serves_waiting_requests() -> None:
    group = NodeGroup("g", [node("a", limit=1)], queue_timeout=10)
    group.acquire(())
    waiting = gevent.spawn(group.acquire, ())
    gevent.sleep(0)
    group.nodes.append(node("b"))
    group.notify_all()
    assert waiting.get(timeout=5).name == "b"


def test_waiting_requests_fail_when_all_nodes_leave() -> None:
    group = NodeGroup("g", [node("a", limit=1)], queue_timeout=10)
    group.acquire(())
    waiting = gevent.spawn(group.acquire, ())
    gevent.sleep(0)
    group.nodes.clear()
    group.notify_all()
    with pytest.raises(NoNodeAvailable, match="no node for g"):
        waiting.get(timeout=5)


def test_requests_that_fail_together_are_one_failure() -> None:
    one = node("a")
    assert one.failed(100.0) == 1.0
    assert [one.failed(100.25), one.failed(100.5)] == [0.75, 0.5]
    assert one.failed(101.5) == 2.0 and not one.available(103.0) and one.available(103.5)


def test_more_connections_than_our_workers_have_slots_are_not_kept() -> None:
    """A worker accepts an additional connection only when another one ends."""
    one = Node("the workers", parse("127.0.0.1:1"), "routed", limit=3)
    connections = [one.new_connection(gevent.get_hub(), Limits()) for _ in range(3)]
    one.busy = 3
    one.limit = 2  # a worker has gone
    one.keep(connections[0], 0.0)
    assert one.statistics()["idle"] == 0
    one.busy = 2
    one.keep(connections[1], 0.0)
    one.busy = 1
    one.keep(connections[2], 0.0)
    assert one.statistics()["idle"] == 2
    one.close()
