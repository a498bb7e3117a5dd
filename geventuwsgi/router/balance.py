"""Nodes for the same requests: whose turn it is, and who waits until one has room.

The rules of this room: a group never waits for a node that is down. It waits only where a
node is up and has as many requests as it may have, in a queue that is bounded.
"""

from collections import deque
from collections.abc import Collection, Iterable
from time import monotonic

from gevent import Timeout
from gevent.event import Event

from ..errors import ProtocolError
from .node import Node


class NoNodeAvailable(ProtocolError):
    """No node can take the request, now or soon enough."""

    def __init__(self, reason: str) -> None:
        super().__init__(503, reason)


class NodeGroup:
    """Nodes of which any may serve a request.

    Args:
        name: for logs.
        nodes: those to begin with.
        fallback: used while none of the others can be reached.
        algorithm: "wrr", smooth weighted round robin, or "lc", least connections.
        queue: how many requests may wait for a node with room.
        patience: how long they may, in seconds.

    Attributes:
        waiting: how many do now.
        refused: how many found no room.
    """

    def __init__(self, name: str, nodes: Iterable[Node] = (), fallback: Iterable[Node] = (), *,
                 algorithm: str = "wrr", queue: int = 1000, patience: float = 60.0) -> None:
        self.name = name
        self.nodes = list(nodes)
        self.fallback = list(fallback)
        self.refused = 0
        self._least = algorithm == "lc"
        self._queue = queue
        self._patience = patience
        self._waiting: deque[Event] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, tried: Collection[Node]) -> Node | None:
        """Return a node for a request, which counts as one of its from now on.

        Args:
            tried: nodes that have failed this request.

        Returns:
            None, if every node has been tried.

        Raises:
            NoRoom: there is no node at all; or all are busy, and too many wait already or
                none has had room in time.
        """
        nodes = self.nodes
        if len(nodes) == 1 and not tried and not self.fallback:  # nobody else is there to ask
            node = nodes[0]
            if not node.limit or node.busy < node.limit:
                return self._given(node, monotonic())
        end = 0.0
        while True:
            if not (self.nodes or self.fallback or tried):  # the last may leave meanwhile
                raise NoNodeAvailable(f"there is no node for {self.name}")
            now = monotonic()
            chosen = self._choose(tried, now)
            if chosen is not None:
                return self._given(chosen, now)
            if not any(node.limit and node.busy >= node.limit and node not in tried
                       for node in (*self.nodes, *self.fallback)):
                return None
            end = end or now + self._patience
            self._wait(end - now)

    def has_other(self, tried: Collection[Node]) -> bool:
        """Whether there is a node that has not been tried."""
        return any(node not in tried for node in (*self.nodes, *self.fallback))

    def give(self, node: Node) -> None:
        """A request is done with its node."""
        node.busy -= 1
        node.trying = False
        if self._waiting:
            self._waiting.popleft().set()

    def wake(self) -> None:
        """A node came or has more room: those that wait may look again."""
        for event in self._waiting:
            event.set()
        self._waiting.clear()

    def _given(self, node: Node, now: float) -> Node:
        node.busy += 1
        if node.down_until:
            node.trying = True
        return node

    def _choose(self, tried: Collection[Node], now: float) -> Node | None:
        for nodes in (self.nodes, self.fallback):
            found = [node for node in nodes if node.available(now) and node not in tried]
            if found:
                if len(found) == 1:
                    return found[0]
                return self._emptiest(found) if self._least else self._next(found)
        # All are left out. Better to ask one of them than to refuse without having asked: it
        # may be back. The one that is due first.
        down = [node for node in (*self.nodes, *self.fallback)
                if node not in tried and not (node.limit and node.busy >= node.limit)]
        return min(down, key=lambda node: node.down_until, default=None)

    @staticmethod
    def _next(nodes: list[Node]) -> Node:
        """Smooth weighted round robin: with weights 3 and 1 it goes a a b a."""
        total = 0
        best = nodes[0]
        for node in nodes:
            total += node.weight
            node.turn += node.weight
            if node.turn > best.turn:
                best = node
        best.turn -= total
        return best

    def _emptiest(self, nodes: list[Node]) -> Node:
        """Least connections for its weight; in turn among equals."""
        least = min(node.busy / node.weight for node in nodes)
        return self._next([node for node in nodes if node.busy / node.weight == least])

    def _wait(self, seconds: float) -> None:
        if len(self._waiting) >= self._queue:
            self.refused += 1
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
                self.wake()
        if not event.is_set():
            self.refused += 1
            raise NoNodeAvailable(
                f"no node of {self.name} had room within {self._patience:g} seconds")
