"""Groups of nodes that serve the same requests: which node is next, and which requests wait.

Rules: a group never waits for a node that is down. A request waits only if a node is up and has
as many requests as it may have, in a queue that is bounded. Who frees a node assigns it to the
first request that waits and has not tried it: none overtakes, and no free node is forgotten.
"""

from collections import deque
from collections.abc import Collection, Iterable
from time import monotonic

from gevent import Timeout
from gevent.event import AsyncResult

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
        # Each is set to the node that it is assigned, or to None to choose again.
        self._waiting: deque[tuple[AsyncResult, Collection[Node]]] = deque()

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
            if not self._has_busy(tried):
                return None
            end = end or now + self._queue_timeout
            assigned = self._wait(tried, end - now)
            if assigned is not None:
                return assigned

    def has_other(self, tried: Collection[Node]) -> bool:
        """Return whether there is a node that has not been tried."""
        return any(node not in tried for node in (*self.nodes, *self.fallback))

    def release(self, node: Node) -> None:
        """End a request of a node."""
        node.busy -= 1
        node.probing = False
        for position, (turn, tried) in enumerate(self._waiting):
            if node not in tried:
                now = monotonic()
                chosen = self._choose(tried, now)
                if chosen is not None:
                    del self._waiting[position]
                    turn.set(self._assign(chosen, now))
                return

    def notify_all(self) -> None:
        """Assign nodes to waiting requests: a node came, left or can serve more."""
        now = monotonic()
        waiting, self._waiting = self._waiting, deque()
        for turn, tried in waiting:
            chosen = self._choose(tried, now)
            if chosen is not None:
                turn.set(self._assign(chosen, now))
            elif self._has_busy(tried):
                self._waiting.append((turn, tried))
            else:
                turn.set(None)

    def _has_busy(self, tried: Collection[Node]) -> bool:
        """Whether a node that was not tried has as many requests as it may have."""
        return any(node.limit and node.busy >= node.limit and node not in tried
                   for node in (*self.nodes, *self.fallback))

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

    def _wait(self, tried: Collection[Node], seconds: float) -> Node | None:
        """Wait until a node is assigned, and return it; None: the nodes have changed."""
        if len(self._waiting) >= self._queue:
            raise NoNodeAvailable(f"all nodes of {self.name} are busy, and {len(self._waiting)} "
                                  "requests wait already")
        turn = AsyncResult()
        entry = (turn, tried)
        self._waiting.append(entry)
        try:
            with Timeout(max(seconds, 0.0), False):
                turn.wait()
        except BaseException:  # the client is gone, perhaps just when a node was assigned
            if not turn.ready():
                self._waiting.remove(entry)
            elif turn.value is not None:
                self.release(turn.value)
            raise
        if not turn.ready():
            self._waiting.remove(entry)
            raise NoNodeAvailable(
                f"no node of {self.name} became free within {self._queue_timeout:g} seconds")
        node: Node | None = turn.value
        return node
