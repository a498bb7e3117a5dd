"""Which connections are closed for new ones, with connections that only say what they are."""

import pytest

from geventuwsgi.net.arrival import Arrival, ArrivalLimits
from geventuwsgi.net.reusable import ReusableConnections

pytestmark = pytest.mark.fast


class Idle:
    """A connection: since when it waits (None: it has a request), and whether it can be closed."""

    def __init__(self, since: float | None, reads_head: bool = False, closes: bool = True) -> None:
        self.order = None if since is None else (reads_head, since)
        self.closes = closes
        self.asked = 0

    def reuse_order(self, now: float) -> tuple[bool, float] | None:
        return self.order

    def give_way(self) -> bool:
        self.asked += 1
        return self.closes


def closed(connections: list[Idle], limit: int = 4, calls: int = 1) -> list[int]:
    """Return which were closed by so many calls without a sweep."""
    found = ReusableConnections(connections, limit, "option")
    for _ in range(calls):
        found.close_longest(100.0)
    return [number for number, one in enumerate(connections) if one.asked and one.closes]


def test_the_longest_wait_is_first_and_a_head_is_last() -> None:
    connections = [Idle(5.0), Idle(None), Idle(3.0), Idle(1.0, reads_head=True), Idle(4.0)]
    assert [closed(connections, calls=calls) for calls in (1, 2, 3, 4, 5)] == [
        [2], [2, 4], [0, 2, 4], [0, 2, 3, 4], [0, 2, 3, 4]]


def test_several_at_once_for_a_large_limit() -> None:
    connections = [Idle(float(number)) for number in range(1000)]
    assert closed(connections, 1000) == list(range(15))


def test_connections_whose_requests_have_just_arrived_are_asked_once() -> None:
    connections = [Idle(float(number), closes=False) for number in range(1000)]
    assert closed(connections, 1000) == []
    assert {one.asked for one in connections} == {1}


def test_a_connection_that_was_used_meanwhile_stays() -> None:
    connections = [Idle(1.0), Idle(2.0), Idle(3.0)]
    found = ReusableConnections(connections, 4, "option")
    found.close_longest(100.0)
    connections[1].order = (False, 50.0)
    found.close_longest(100.0)
    assert [one.asked for one in connections] == [1, 0, 1]


@pytest.mark.parametrize("received, waited, left", [
    (0, 0.0, 10.0), (0, 4.0, 6.0), (500, 4.0, 10.0), (100, 10.0, 1.0), (100, 20.0, 0.0)])
def test_how_long_a_body_may_take(monkeypatch: pytest.MonkeyPatch, received: int, waited: float,
                                  left: float) -> None:
    """Ten seconds without an octet, and a second more in all for each 100 octets."""
    clock = [0.0]
    monkeypatch.setattr("geventuwsgi.net.arrival.monotonic", lambda: clock[0])
    arrival = Arrival(ArrivalLimits(min_rate=100), 10.0, 0.0)
    assert arrival.begin(0) == 10.0
    clock[0] = waited
    arrival.end()
    assert arrival.begin(received) == left
    assert arrival.error().status == 408
    assert ("request-min-rate" in arrival.error().reason) == (left < 10.0)


def test_a_request_has_a_time_limit_with_its_head() -> None:
    arrival = Arrival(ArrivalLimits(total=8.0), 10.0, 3.0)
    assert arrival.begin(1000) == 5.0 and "request-timeout" in arrival.error().reason
