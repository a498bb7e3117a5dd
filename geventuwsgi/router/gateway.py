"""A router process: accepts clients, sweeps deadlines, drains and ends.

Rules: it reads `Settings` and gives plain values to the rest. It runs in a freshly forked process
without an application: nothing is patched. It ends when the master asks for it or has died, as a
worker does.
"""

import logging
import os
import resource
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from time import monotonic, time
from typing import Any

from gevent import get_hub
from gevent.event import Event

from ..app.response_defaults import defaults_of
from ..config.settings import Settings
from ..errors import ConfigError
from ..ipc import scoreboard
from ..ipc.commands import Child, WorkerCommands
from ..log import tracebacks as stacks
from ..net import signature
from ..net.acceptor import Acceptor
from ..net.address import Address
from ..net.address_limit import AddressLimit
from ..net.allowlist import AllowList
from ..net.arrival import ArrivalLimits
from ..net.deadlines import IDLE_ON_RELOAD, NEVER, SWEEP
from ..net.listener import Listener
from ..net.report_server import Document, ReportServer, Request
from ..net.reusable import ReusableConnections
from ..net.signature import Verifier
from ..net.stream import in_greenlets
from ..protocol.message import Limits
from ..system import forked
from .client import Client
from .nodes import NodeTable
from .request import ForwardingOptions
from .routes import Routes
from .senders import Senders
from .statistics import document, snapshot
from .subscriptions import Registry, SubscriptionServer

log = logging.getLogger("geventuwsgi.error")

_CHECK_AFTER = 0.5          # seconds of waiting after which a client may have disconnected
# Idle connections are closed by the router first, so that no request meets a node that is just
# closing: most nodes keep them for 75 s; Apache, for 5 s, costs only a new connection.
_POOL_IDLE = 30.0
_MEASURE_EVERY = 8          # sweeps
_SPARE_DESCRIPTORS = 64
_MOST_STACKS = 100          # requests whose stacks are reported


class RouterState:
    """What all connections of a router share: limits, routes and counters.

    Args:
        settings: the configuration.
        hub: the hub of this thread.
        routes: which node a request is for.
        forwarding: how requests are forwarded.

    Attributes:
        emptied: called when the last connection is closed while draining.
        resume: called when a connection is closed.
    """

    def __init__(self, settings: Settings, hub: Any, routes: Routes,
                 forwarding: ForwardingOptions) -> None:
        self.hub = hub
        self.routes = routes
        self.forwarding = forwarding
        self.head_timeout = min(settings.http_headers_timeout or NEVER,
                                settings.request_timeout or NEVER)
        per_address = settings.limit_connections_per_address
        self.addresses = AddressLimit(per_address) if per_address else None
        self.arrival = ArrivalLimits(settings.request_timeout or NEVER, settings.request_min_rate)
        self.client_timeout = settings.socket_timeout or NEVER
        self.timeout = settings.http_timeout or NEVER
        self.connect_timeout = settings.http_connect_timeout or NEVER
        self.tunnel_timeout = settings.http_upgrade_timeout or NEVER
        self.keepalive = settings.keepalive
        self.persistent = settings.keepalive > 0
        self.buffer = settings.http_buffer
        self.limit_post = settings.limit_post
        self.raw_body = settings.http_raw_body
        self.export_cert = settings.https_export_cert
        self.server_name = socket.gethostname()
        self.redirect = settings.redirect_port
        self.head_limits = Limits(
            settings.limit_request_line, settings.limit_request_field_size,
            settings.limit_request_fields, settings.head_limit)
        self.response_limits = Limits(65536, 65536, 1000, 65536)
        self.defaults = defaults_of(
            server=settings.server_header, date=settings.date_header, added=settings.add_header,
            removed=settings.del_header, pages=settings.error_page)
        self.forwarders = AllowList(settings.forwarded_allow_ips, "forwarded-allow-ips")
        self.proxies = AllowList(settings.proxy_allow_ips, "proxy-allow-from")
        self.clients: set[Client] = set()
        self.draining = False
        self.accepted = self.requests = self.failures = self.refused = self.tunnels = 0
        self.emptied: Callable[[], None]
        self.resume: Callable[[], None]

    def closed(self, client: Client) -> None:
        """Remove a connection that is closed."""
        self.clients.discard(client)
        self.resume()
        if self.draining and not self.clients:
            self.emptied()


def run(settings: Settings, listeners: Sequence[Listener], child: Child, local: Address | None,
        datagrams: Sequence[socket.socket], registry_fd: int) -> int:
    """Route until the process is to end; return its exit status.

    Args:
        settings: the resolved configuration.
        listeners: for clients.
        child: this process.
        local: where the workers of this instance listen for the router; None if it has none.
        datagrams: the sockets of the subscription servers.
        registry_fd: the memory of subscriptions that routers share; -1 = none.
    """
    return Gateway(settings, listeners, child, local, datagrams, registry_fd).run()


class Gateway:
    """One router process, from its first accept to its last response."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener], child: Child,
                 local: Address | None, datagrams: Sequence[socket.socket],
                 registry_fd: int) -> None:
        self.child = child
        self.hub = hub = get_hub()
        self.nodes = nodes = NodeTable(settings, local)
        self.registry = None if registry_fd < 0 else Registry(registry_fd, nodes)
        routes = Routes(nodes.default, nodes.configured,
                        self.registry.find if self.registry is not None else None)
        forwarding = ForwardingOptions(
            settings.http_x_forwarded_for, settings.http_websockets, settings.http_raw_body,
            tuple(_assignment(text) for text in settings.http_var))
        self.state = state = RouterState(settings, hub, routes, forwarding)
        state.emptied = self._emptied
        state.resume = self._resume
        self._limit = _connections(
            settings.http_connections, settings.origin("http-connections").kind != "default")
        self._reusable = ReusableConnections(state.clients, self._limit, "http-connections")
        self.acceptors = [
            Acceptor(one, in_greenlets(hub, self._serve), self._free, hub.loop, self._free_places)
            for one in listeners if one.protocol != "statistics"]
        senders = senders_of(settings)
        self.servers = [SubscriptionServer(hub, sock, self.registry, senders)
                        for sock in datagrams] if self.registry is not None else []
        urls = [acceptor.listener.address.text for acceptor in self.acceptors]
        self.statistics = [
            ReportServer(hub, one, partial(self._statistics, urls))
            for one in listeners if one.protocol == "statistics"]
        self._parts: list[Any] = [*self.acceptors, *self.servers, *self.statistics]
        self._keepalive = settings.keepalive
        self._stopping = False
        self.commands = WorkerCommands(child, hub.loop, self, "router")
        self._done = Event()
        self._sweeps = 0
        self._watchers: list[Any] = []
        self.ended = False
        forked.watch(self)

    def run(self) -> int:
        """Accept, route, and return the exit status once everything is done."""
        self.commands.start()
        self.child.row.set(scoreboard.ROLE, scoreboard.ROLE_ROUTER)
        self._sweep()
        timer = self.hub.loop.timer(SWEEP, SWEEP)
        timer.start(self._sweep)
        self._watchers.append(timer)
        for part in self._parts:
            part.start()
        self.child.ready()
        self._done.wait()
        while self.state.clients:
            # The last one ended while the acceptors finished, and they accepted more.
            self._done.clear()
            self._done.wait()
        self._beat()
        self.ended = True
        self.commands.close()
        for watcher in self._watchers:
            watcher.close()
        return 0

    def become_ordinary(self) -> None:
        """Stop being a server, in a process that a library has forked."""
        for acceptor in self.acceptors:
            acceptor.close()
        others: list[Any] = [*self.servers, *self.statistics, *self.state.clients, self.nodes]
        for one in others:
            one.forget()
        self.commands.close()
        for watcher in self._watchers:
            watcher.close()
        forked.give_up([self.child.control.detach()])

    def _serve(self, sock: Any, address: Any, listener: Listener) -> None:
        Client(self.state, sock, address, listener).serve()

    def _statistics(self, urls: list[str], request: Request) -> Document:
        """Return the document of the `http-stats-server`."""
        return document(snapshot(self.state, self.nodes, self.registry, urls), request)

    def _free(self) -> int:
        """Return how many more clients can be served now."""
        if len(self.state.clients) >= self._limit and not self.state.draining:
            self._free_places()
        return self._limit - len(self.state.clients)

    def _free_places(self) -> None:
        """Close idle connections for new ones."""
        self._reusable.close_longest(monotonic())

    def _resume(self) -> None:
        if not self.state.draining:
            for acceptor in self.acceptors:
                acceptor.resume()

    # Commands of the master, and signals.

    def fail_readiness(self) -> None:
        """Do nothing: workers respond to readiness checks."""

    def write_out(self) -> None:
        """Do nothing: a router buffers nothing."""

    def stacks(self, frame: Any) -> str:
        """Return the stack of each request's greenlet (`--stacks`)."""
        serving = [client for client in self.state.clients if client.began != inf]
        parts = [f"router {self.child.id} (pid: {os.getpid()}): {len(self.state.clients)} "
                 f"connections, {len(serving)} requests"]
        parts += [f"{client.peer}\n{stacks.text(client.greenlet.gr_frame)}"
                  for client in serving[:_MOST_STACKS]]
        return "\n\n".join(parts) + "\n"

    def suspend(self, suspended: bool) -> None:
        """Do nothing: a pause concerns workers, and their requests wait in their queues."""

    def reopen(self) -> None:
        """Reopen the logs."""
        self.child.reopen()

    def drain(self, at_once: bool) -> None:
        """Stop accepting and end when the last request is done.

        Args:
            at_once: a stop, which closes idle connections and tunnels now. A reload lets each
                idle connection send one more request for a while, whose response has
                `Connection: close`; tunnels end when the nodes of this instance end them.
        """
        state = self.state
        if not state.draining:
            state.draining = True
            state.persistent = False
            for acceptor in self.acceptors:
                acceptor.finish()
            for part in self._parts:
                part.close()
        if at_once:
            self._stopping = True
            self._end_tunnels()
        if at_once or not self._keepalive:
            self._close_idle()
        else:
            timer = self.hub.loop.timer(min(self._keepalive, IDLE_ON_RELOAD))
            timer.start(self._close_idle)
            self._watchers.append(timer)
        if not state.clients:
            self._emptied()

    def _end_tunnels(self) -> None:
        for client in tuple(self.state.clients):
            self.hub.loop.run_callback(client.end_tunnel)

    def _close_idle(self) -> None:
        for client in tuple(self.state.clients):
            self.hub.loop.run_callback(client.interrupt_if_idle)

    def _emptied(self) -> None:
        self._done.set()

    # A few times a second.

    def _sweep(self) -> None:
        now = monotonic()
        state = self.state
        later = self.hub.loop.run_callback
        since = now - _CHECK_AFTER
        waiting: dict[int, Client] = {}
        for client in tuple(state.clients):
            if client.deadline() <= now:
                later(client.expire)
            if client.began <= since and client.waits:
                waiting[client.stream.sock.fileno()] = client
        if waiting:
            self._find_disconnected(waiting)
        if self._stopping:
            self._end_tunnels()
        self.nodes.poll(now - _POOL_IDLE, self._capacity)
        for one in self.statistics:
            one.poll(now)
        if self.registry is not None and not state.draining:
            self.registry.poll(now)
        self._reusable.sweep(now)
        if state.addresses is not None:
            state.addresses.sweep(now)
        self._resume()  # idle connections can be closed for those that wait
        state.defaults.tick(time())
        self._beat()

    def _find_disconnected(self, waiting: Mapping[int, Client]) -> None:
        """Find clients that disconnected while they wait for a node or its response."""
        poll = select.poll()
        for fd in waiting:
            poll.register(fd, select.POLLRDHUP)
        for fd, _ in poll.poll(0):
            self.hub.loop.run_callback(waiting[fd].client_gone)

    def _capacity(self) -> int:
        """Return how many requests the workers of this instance serve at once, as of now."""
        return sum(row.cells[scoreboard.CORES] for row in self.child.board.rows()
                   if row.cells[scoreboard.ROLE] == scoreboard.ROLE_WORKER
                   and row.cells[scoreboard.STATE] == scoreboard.STATE_READY)

    def _beat(self) -> None:
        self.child.row.beat(len(self.state.clients))
        if self._sweeps % _MEASURE_EVERY == 0:
            self.child.row.measure()
        self._sweeps += 1


def _connections(wanted: int, configured: bool) -> int:
    """Raise the limit of descriptors as far as possible; return how many clients it allows.

    Each client may need a second descriptor, for its node. A number that was configured but is
    not possible is logged.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = 2 * wanted + _SPARE_DESCRIPTORS
    if soft < need:
        soft = need if hard == resource.RLIM_INFINITY else min(need, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = max((soft - _SPARE_DESCRIPTORS) // 2, 1)
    if allowed < wanted and configured:
        log.warning("http-connections = %d: the limit of open files (%d) allows %d", wanted, soft,
                    allowed)
    return min(wanted, allowed)


def senders_of(settings: Settings) -> Senders:
    """Return the check of who announces nodes.

    Raises:
        ConfigError: `cryptography` is not installed, with the option.
    """
    text = settings.subscriptions_sign_check
    try:
        verifier = Verifier(*signature.parse(text)) if text else None
    except ConfigError as error:
        raise settings.origin("subscriptions-sign-check").failure(error.message) from None
    return Senders(verifier, settings.subscriptions_sign_check_tolerance,
                   settings.subscriptions_sign_skip_uid, settings.subscriptions_credentials_check)


def _assignment(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
