"""The nodes and groups of the configuration, and those that subscribe: made and tended here.

The rules of this room: it is handed settings by the gateway and reads them once; what it
makes afterwards, for nodes that subscribe, follows the same values.
"""

from collections.abc import Callable, Iterable
from typing import Any

from ..config.settings import Settings
from ..config.values import router
from ..config.values.router import NodeSpec
from ..net.address import Address
from .balance import NodeGroup
from .node import Node


class NodeTable:
    """What a router balances over.

    Args:
        settings: the configuration.
        local: where the workers of this instance listen for the router; None = nowhere.

    Attributes:
        default: the group for everything without a route.
        written: the groups of `http-route`, by (host, path).
        local: the node that stands for the workers of this instance, if there are any.
        tolerance: seconds without an announcement that a node may live.
        dotsplit: whether a parent domain's nodes serve its children.
        fallback_key: for hosts that nobody has subscribed to; "" = none.
    """

    def __init__(self, settings: Settings, local: Address | None) -> None:
        self._gracetime = settings.http_gracetime or 1.0
        self._limit = settings.http_node_connections
        self._modifiers = (settings.http_modifier1, settings.http_modifier2)
        self._terms: dict[str, Any] = {
            "algorithm": settings.http_lb, "queue": settings.http_queue,
            "patience": settings.http_timeout or 1e9}
        self._subscribed = {
            **self._terms, "algorithm": "wrr" if settings.subscription_algo == "wrr" else "lc"}
        self.tolerance: float = settings.subscription_tolerance
        self.dotsplit: bool = settings.subscription_dotsplit
        self.fallback_key: str = (settings.http_subscription_fallback_key or "").lower()
        self.local: Node | None = None
        if local is not None:
            self.local = Node("the workers", local, "routed", gracetime=self._gracetime)
        nodes = self._nodes(settings.http_to)
        fallback = self._nodes(settings.http_fallback)
        if not nodes and self.local is not None:
            nodes = [self.local]
        self.default = (NodeGroup("http-to" if settings.http_to else "the workers", nodes, fallback,
                                  **self._terms) if nodes or fallback else None)
        self.written: dict[tuple[str, str], NodeGroup] = {}
        for text in settings.http_route:
            spec = router.route(text)
            place = (spec.host, spec.path)
            group = self.written.get(place)
            if group is None:
                group = self.written[place] = NodeGroup(f"{spec.host or '*'}{spec.path}",
                                                        **self._terms)
            group.nodes += self._nodes_of([spec.node])
        self.subscribed: dict[str, NodeGroup] = {}

    def groups(self) -> list[NodeGroup]:
        """List all groups, those of the configuration first."""
        first = [] if self.default is None else [self.default]
        return [*first, *self.written.values(), *self.subscribed.values()]

    def group(self, key: str) -> NodeGroup:
        """Make a group for nodes that subscribe to a key."""
        return NodeGroup(key, **self._subscribed)

    def node(self, name: str, address: Address, weight: int, modifiers: tuple[int, int]) -> Node:
        """Make a node that has announced itself."""
        return Node(name, address, "uwsgi", weight=weight, limit=self._limit,
                    gracetime=self._gracetime, modifiers=modifiers)

    def poll(self, idle_before: float, capacity: Callable[[], int]) -> None:
        """Close what has been idle for long, and see how much our own workers can take.

        Args:
            idle_before: monotonic seconds; connections idle since before are closed.
            capacity: how many requests the workers take at once, as of now.
        """
        for group in self.groups():
            for node in group.nodes:
                node.shrink(idle_before)
            for node in group.fallback:
                node.shrink(idle_before)
        local = self.local
        if local is not None:
            before, local.limit = local.limit, capacity() or local.limit or 1
            if local.limit > before and self.default is not None:
                self.default.wake()

    def _nodes(self, texts: Iterable[str]) -> list[Node]:
        return self._nodes_of(router.node(text) for text in texts)

    def _nodes_of(self, specs: Iterable[NodeSpec]) -> list[Node]:
        return [Node(spec.name, spec.address, spec.protocol, weight=spec.weight,
                     limit=spec.connections or self._limit, gracetime=self._gracetime,
                     modifiers=self._modifiers) for spec in specs]
