"""Groups of nodes that serve the same requests: which node is next, and which requests wait.

Rules: a group never waits for a node that is down. A request waits only if a node is up and has
as many requests as it may have, in a queue that is bounded.
"""

from collections import deque
from collections.abc import Collection, Iterable
from time import monotonic

from gevent import Timeout
from gevent.event import Event

from ..errors import ProtocolError
from .node import Node


class NoNodeAvailable(ProtocolError):
    """No node can serve the request, now or soon enough."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, reason)


class NodeGroup:
    """Nodes of which any may serve a request.

    Args:
        name: for logs.
        nodes: the initial nodes.
        fallback: used while none of the others can be reached.
        algorithm: "wrr", smooth weighted round robin, or "lc", least connections.
        queue: how many requests may wait for a free node.
        queue_timeout: how long they may wait, in seconds.
    """

    def __init__(self, name: str, nodes: Iterable[Node] = (), fallback: Iterable[Node] = (), *,
                 algorithm: str = "wrr", queue: int = 1000, queue_timeout: float = 60.0) -> None:
        self.name = name
        self.nodes = list(nodes)
        self.fallback = list(fallback)
        self._least = algorithm == "lc"
        self._queue = queue
        self._queue_timeout = queue_timeout
        self._waiting: deque[Event] = deque()

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a free node."""
        return len(self._waiting)

    def acquire(self, tried: Collection[Node]) -> Node | None:
        """Return a node for a request and count the request as one of the node's.

        Args:
            tried: nodes that have failed this request.

        Returns:
            None if every node has been tried.

        Raises:
            NoNodeAvailable: the group is empty; or all nodes are busy, and the queue is full
                or none became free in time.
        """
        nodes = self.nodes
        if len(nodes) == 1 and not tried and not self.fallback:  # there is no choice
            node = nodes[0]
            if not node.limit or node.busy < node.limit:
                return self._assign(node, monotonic())
        end = 0.0
        while True:
            if not (self.nodes or self.fallback or tried):  # the last may leave meanwhile
                raise NoNodeAvailable(f"there is no node for {self.name}")
            now = monotonic()
            chosen = self._choose(tried, now)
            if chosen is not None:
                return self._assign(chosen, now)
            if not any(node.limit and node.busy >= node.limit and node not in tried
                       for node in (*self.nodes, *self.fallback)):
                return None
            end = end or now + self._queue_timeout
            self._wait(end - now)

    def has_other(self, tried: Collection[Node]) -> bool:
        """Return whether there is a node that has not been tried."""
        return any(node not in tried for node in (*self.nodes, *self.fallback))

    def release(self, node: Node) -> None:
        """End a request of a node."""
        node.busy -= 1
        node.probing = False
        if self._waiting:
            self._waiting.popleft().set()

    def notify_all(self) -> None:
        """Let all waiting requests choose again: a node came, left or can serve more."""
        for event in self._waiting:
            event.set()
        self._waiting.clear()

    def _assign(self, node: Node, now: float) -> Node:
        node.busy += 1
        if node.down_until:
            node.probing = True
        return node

    def _choose(self, tried: Collection[Node], now: float) -> Node | None:
        for nodes in (self.nodes, self.fallback):
            found = [node for node in nodes if node.available(now) and node not in tried]
            if found:
                if len(found) == 1:
                    return found[0]
                return self._least_connections(found) if self._least else self._round_robin(found)
        # All are down. Better to try the one that is due first, which may be back, than to
        # refuse the request untried.
        down = [node for node in (*self.nodes, *self.fallback)
                if node not in tried and not (node.limit and node.busy >= node.limit)]
        return min(down, key=lambda node: node.down_until, default=None)

    @staticmethod
    def _round_robin(nodes: list[Node]) -> Node:
        """Smooth weighted round robin, as nginx does it: with weights 3 and 1 it is a a b a."""
        total = 0
        best = nodes[0]
        for node in nodes:
            total += node.weight
            node.current_weight += node.weight
            if node.current_weight > best.current_weight:
                best = node
        best.current_weight -= total
        return best

    def _least_connections(self, nodes: list[Node]) -> Node:
        """Fewest requests for its weight; round robin among equals."""
        least = min(node.busy / node.weight for node in nodes)
        return self._round_robin([node for node in nodes if node.busy / node.weight == least])

    def _wait(self, seconds: float) -> None:
        if len(self._waiting) >= self._queue:
            raise NoNodeAvailable(f"all nodes of {self.name} are busy, and {len(self._waiting)} "
                                  "requests wait already")
        event = Event()
        self._waiting.append(event)
        try:
            with Timeout(max(seconds, 0.0), False):
                event.wait()
        finally:
            if event in self._waiting:
                self._waiting.remove(event)
            elif not event.is_set():
                self.notify_all()
        if not event.is_set():
            raise NoNodeAvailable(
                f"no node of {self.name} became free within {self._queue_timeout:g} seconds")
