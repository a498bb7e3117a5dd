"""All nodes and groups of a router: those of the configuration and those that subscribe.

Rules: settings are read once; nodes that subscribe later get the same values.
"""

from collections.abc import Callable, Iterable
from typing import Any

from ..config.settings import Settings
from ..config.values import router
from ..config.values.router import NodeSpec
from ..net.address import Address
from ..net.deadlines import NEVER
from .balance import NodeGroup
from .node import Node


class NodeTable:
    """The nodes of a router, by the groups that requests are routed to.

    Args:
        settings: the configuration.
        local: where the workers of this instance listen for the router; None if it has none.

    Attributes:
        default: the group for everything without a route.
        configured: the groups of `http-route`, by (host, path).
        subscribed: the groups of subscribed nodes, by key.
        local: the node for the workers of this instance, if it has any.
        tolerance: seconds after the last announcement until a node is removed.
        signature_tolerance: seconds by which the time of a signature may differ from now.
        dotsplit: whether a parent domain's nodes serve its subdomains.
        fallback_key: for hosts without a subscribed node; "" = none.
    """

    def __init__(self, settings: Settings, local: Address | None) -> None:
        self._gracetime = settings.http_gracetime or 1.0
        self._limit = settings.http_node_connections
        self._modifiers = (settings.http_modifier1, settings.http_modifier2)
        self._grouping: dict[str, Any] = {
            "algorithm": settings.http_lb, "queue": settings.http_queue,
            "queue_timeout": settings.http_timeout or NEVER}
        self._subscribed = {
            **self._grouping, "algorithm": "wrr" if settings.subscription_algo == "wrr" else "lc"}
        self.tolerance: float = settings.subscription_tolerance
        self.signature_tolerance: float = settings.subscriptions_sign_check_tolerance
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
                                  **self._grouping) if nodes or fallback else None)
        self.configured: dict[tuple[str, str], NodeGroup] = {}
        for text in settings.http_route:
            spec = router.route(text)
            key = (spec.host, spec.path)
            group = self.configured.get(key)
            if group is None:
                group = self.configured[key] = NodeGroup(f"{spec.host or '*'}{spec.path}",
                                                         **self._grouping)
            group.nodes += self._nodes_of([spec.node])
        self.subscribed: dict[str, NodeGroup] = {}

    def groups(self) -> list[NodeGroup]:
        """List all groups, those of the configuration first."""
        first = [] if self.default is None else [self.default]
        return [*first, *self.configured.values(), *self.subscribed.values()]

    def group(self, key: str) -> NodeGroup:
        """Create a group for nodes that subscribe to a key."""
        return NodeGroup(key, **self._subscribed)

    def node(self, name: str, address: Address, weight: int, modifiers: tuple[int, int]) -> Node:
        """Create a node that has announced itself."""
        return Node(name, address, "uwsgi", weight=weight, limit=self._limit,
                    gracetime=self._gracetime, modifiers=modifiers)

    def poll(self, idle_before: float, capacity: Callable[[], int]) -> None:
        """Close old idle connections, and update the capacity of this instance's workers.

        Args:
            idle_before: monotonic seconds; connections idle since before are closed.
            capacity: returns how many requests the workers serve at once.
        """
        for group in self.groups():
            for node in group.nodes:
                node.close_idle(idle_before)
            for node in group.fallback:
                node.close_idle(idle_before)
        local = self.local
        if local is not None:
            before, local.limit = local.limit, capacity() or local.limit or 1
            if local.limit > before and self.default is not None:
                self.default.notify_all()

    def forget(self) -> None:
        """Close this process's descriptors only, in a forked process."""
        for group in self.groups():
            for node in (*group.nodes, *group.fallback):
                node.forget()

    def _nodes(self, texts: Iterable[str]) -> list[Node]:
        return self._nodes_of(router.node(text) for text in texts)

    def _nodes_of(self, specs: Iterable[NodeSpec]) -> list[Node]:
        return [Node(spec.name, spec.address, spec.protocol, weight=spec.weight,
                     limit=spec.connections or self._limit, gracetime=self._gracetime,
                     modifiers=self._modifiers) for spec in specs]
