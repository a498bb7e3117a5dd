"""A WSGI worker: settings and listening sockets in, exit status out.

It runs in a process that has just been forked and whose modules are patched. It ends on a
message of the master, when the master is gone, or after the last request of a drain.
"""

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import time
from typing import Any

import gevent
from gevent import get_hub, getcurrent, threading
from gevent.event import Event
from greenlet import GreenletExit

from ...app.applications import Applications
from ...app.middleware import fail_readiness
from ...app.wsgi import WsgiExchange
from ...config.request_log import access_log
from ...config.settings import Settings
from ...errors import RequestCancelled
from ...ipc import scoreboard
from ...ipc.commands import Child, WorkerCommands
from ...log.sinks import Sink
from ...net.deadlines import IDLE_ON_RELOAD
from ...net.listener import Listener
from ...system import forked
from ...system.left_threads import wait_for_threads
from .. import running_loop
from ..hub_errors import HubErrors
from ..service import MEASURE_EVERY, noop
from . import harakiri, stacks
from .acceptor import Acceptor
from .connection import Connection
from .from_router import RoutedAcceptor
from .harakiri import LongRequests
from .http import HttpConnection, HttpsConnection
from .hub_monitor import MULTIPROCESSING_BLOCK, HubMonitor
from .over import references_after_wait
from .queue_limit import QueueLimit
from .settings import service_of
from .slots import Sweeper
from .threads import ThreadPool
from .tracebacker import Tracebacker
from .uwsgi import UwsgiConnection

log = logging.getLogger("geventuwsgi.error")

# Seconds between two checks for greenlets of the application (gevent-wait-for-hub).
_WAIT_INTERVAL = 0.1
CONNECTION_TYPES: dict[str, Callable[..., Connection]] = {
    "http": HttpConnection, "https": HttpsConnection, "uwsgi": UwsgiConnection}


def run(settings: Settings, listeners: Sequence[Listener], applications: Applications,
        child: Child, requests: Sink | None) -> int:
    """Serve until a drain has ended.

    Args:
        settings: the resolved configuration.
        listeners: the listening sockets.
        applications: the loaded applications.
        child: this process. Its `reopen` also reopens `requests`.
        requests: the sink of the request log, opened before root was dropped; or None.

    Returns:
        The exit status of the process.
    """
    if settings.gevent:
        worker = Worker(settings, listeners, applications, child, requests)
        # Requests are no threads to `threading`, and what they start would be a daemon like them.
        threading._DummyThread._daemonic = False
        worker.wait = HubErrors(worker.hub, child, worker.only_request).wait
        return worker.run()
    pool = ThreadPool(settings.slots, child.id, settings.reaper)
    return pool.run(
        lambda: Worker(settings, listeners, applications, child, requests, pool).run())


class Worker:
    """One worker process, from its first accept to its last response."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener],
                 applications: Applications, child: Child, requests: Sink | None,
                 pool: ThreadPool | None = None) -> None:
        self.child = child
        self.hub = hub = get_hub()
        self.pool = pool
        if pool is None:
            running_loop.install()
            if settings.reaper:
                hub.loop.install_sigchld()
        self.access = None if requests is None else access_log(
            settings, requests, hub.loop.run_callback, self._memory)
        self.service = service_of(settings, listeners, applications, child, hub, self.access, pool)
        if pool is not None:
            pool.attach(self.service)
        self.acceptors = [RoutedAcceptor(one, self.service, settings.http_processes)
                          if one.protocol == "routed"
                          else Acceptor(one, CONNECTION_TYPES[one.protocol], self.service)
                          for one in listeners]
        child.logvars = self._logvars
        self.service.resume = self._resume
        self.service.drained = self._drained
        self.service.slot_lost = self._slot_lost
        long_requests = LongRequests(hub.loop, self.service.timeouts, harakiri=harakiri.harakiri,
                                     client_gone=harakiri.client_gone, log_slow=stacks.slow)
        self.queue_limit = QueueLimit(self.service, hub.loop, child.board, child.row)
        self.service.overload = self.queue_limit.capacity
        self.monitors: list[HubMonitor | Tracebacker] = []
        checks: tuple[Callable[[float], None], ...] = (self._monitor_multiprocessing,)
        if pool is not None:
            checks = (partial(harakiri.report_lost, self.service), pool.reap_when_idle)
        self.sweeper = Sweeper(hub.loop, self.service.connections, long_requests,
                               (self._publish, self.queue_limit.log_rejections,
                                self.service.sweep_connections, *checks))
        self._monitored = pool is not None or bool(settings.block_warning)
        if settings.block_warning:
            self.monitors.append(HubMonitor(self.service, hub.loop, settings.block_warning))
        if settings.py_tracebacker:
            self.monitors.append(Tracebacker(settings.py_tracebacker, settings.chmod_socket,
                                             self.service))
        self.commands = WorkerCommands(child, hub.loop, self, chain=True)
        self._done = Event()
        self.wait: Callable[[Event], object] = Event.wait
        self.ended = False
        self._sweeps = 0
        child.row.cells[scoreboard.LOADED_S] = applications.loading_seconds
        self._pause = hub.loop.timer(IDLE_ON_RELOAD)  # until idle connections are closed
        self._watchers: list[Any] = [self._pause]
        self._wait_for_hub = settings.gevent_wait_for_hub
        self._keepalive = settings.keepalive
        self._readiness = frozenset(settings.readiness_path)
        forked.watch(self)

    def run(self) -> int:
        """Accept, serve, and return the exit status once everything is done."""
        try:
            self.service.waited_references = references_after_wait(self.hub)
            # It runs after faulthandler, which writes the stacks from C, and names the
            # request, if Python code still runs at all.
            if self.pool is None:
                signal.signal(signal.SIGUSR2, self._on_signal)
            self.commands.start()
            self._publish(0.0)
            self.sweeper.start()
            for acceptor in self.acceptors:
                acceptor.start()
            for monitor in self.monitors:
                monitor.start()
            self._monitor_multiprocessing(0.0)
            self.child.row.set(scoreboard.ACCEPTING, 1)
            self.child.ready()
            self.wait(self._done)
            while self.service.connections:
                # The last one ended while the acceptors finished, and these accepted more.
                self._done.clear()
                self.wait(self._done)
            if self._wait_for_hub:
                wait_for_threads(f"worker {self.child.id}")  # an idle one of an executor ends
                wait_for_greenlets(self.child.id)
        finally:
            self._end()
        return 0

    def _monitor_multiprocessing(self, now: float) -> None:
        """Watch for blocks, once the application has imported what may cause them."""
        if not self._monitored and "multiprocessing" in sys.modules:
            self._monitored = True
            monitor = HubMonitor(self.service, self.hub.loop, MULTIPROCESSING_BLOCK, True)
            self.monitors.append(monitor)
            monitor.start()

    def cut(self) -> None:
        """Stop at once; requests in progress are aborted."""
        self.service.cut = True
        later = self.hub.loop.run_callback
        for acceptor in self.acceptors:
            acceptor.close()
        for connection in tuple(self.service.connections):
            connection.stream.abort()
            later(connection.greenlet.throw, GreenletExit)
            if self.pool is not None and connection.call is not None:
                self.pool.interrupt(connection.call, RequestCancelled, 0.0)
        self.service.connections.clear()
        later(self._done.set)

    def _end(self) -> None:
        """Publish the counters, write the log, and close all watchers of the hub."""
        self.ended = True
        self._publish(0.0)
        self.sweeper.stop()
        self.queue_limit.close()
        for monitor in self.monitors:
            monitor.stop()
        self.commands.close()
        for watcher in self._watchers:
            watcher.close()
        if self.access is not None:
            self.access.close()

    def become_ordinary(self) -> None:
        """Stop being a server, in a process that the application has forked."""
        service = self.service
        service.forked = True
        service.resume = service.drained = noop     # connections of other greenlets may end here
        for acceptor in self.acceptors:
            acceptor.stop_accepting()
        for connection in service.connections:
            connection.stream.forget()
        self.sweeper.stop()
        self.commands.close()
        descriptors = [acceptor.listener.socket.detach() for acceptor in self.acceptors]
        descriptors.append(self.child.control.detach())
        if self.pool is not None:
            descriptors += self.pool.forget()
        forked.give_up(fd for fd in descriptors if fd >= 0)

    def _logvars(self) -> dict[str, str] | None:
        """Return the log variables of the current request."""
        exchange = self._current_exchange()
        if exchange is None:
            return None
        if exchange.logvars is None:
            exchange.logvars = {}
        return exchange.logvars

    def _current_exchange(self) -> WsgiExchange | None:
        """Return the request that runs in the current greenlet or native thread."""
        if self.pool is not None:
            return self.pool.current()
        current = getcurrent()
        for connection in tuple(self.service.connections):
            if connection.exchange is not None and connection.greenlet is current:
                return connection.exchange
        return None

    def only_request(self) -> Connection | None:
        """Return the connection with a request inside the application, if there can be just one."""
        if self.service.slots.count > 1:
            return None
        return next((one for one in tuple(self.service.connections)
                     if one.exchange is not None and not one.finished and not one.taken), None)

    # Commands of the master, and signals.

    def fail_readiness(self) -> None:
        """Fail readiness checks, as a stop is near."""
        fail_readiness(self.service, self._readiness)

    def suspend(self, suspended: bool) -> None:
        """Stop or resume accepting. Kept connections may send one more request for a while."""
        if not self.service.draining:
            for acceptor in self.acceptors:
                (acceptor.suspend if suspended else acceptor.wake)()
            self.service.suspend(suspended)
            self._pause.stop()
            if suspended:
                self._pause.start(self._close_idle)
            self.child.row.set(scoreboard.ACCEPTING, not suspended)

    def reopen(self) -> None:
        """Reopen the logs."""
        self.write_out()  # these lines belong in the old file
        self.child.reopen()

    def stacks(self, frame: Any) -> str:
        """Return the stacks of all requests and greenlets."""
        return stacks.of_worker(self.service, frame)

    def write_out(self) -> None:
        """Write the log lines of finished requests."""
        if self.access is not None:
            self.access.flush()

    def _on_signal(self, number: int, frame: Any) -> None:
        """Handle SIGUSR2. The loop may be blocked, and this runs inside the code that blocks it."""
        self._log_current_request()
        message = self.child.received()
        if message == b"stacks":
            self.commands.dispatch(message, frame)
        elif message is not None:
            self.hub.loop.run_callback(self.commands.dispatch, message)

    def _log_current_request(self) -> None:
        current = getcurrent()
        for connection in tuple(self.service.connections):
            exchange = connection.exchange
            if exchange is not None and connection.greenlet is current:
                log.error("worker %d (pid: %d) is managing request %s %s from %s",
                          self.child.id, os.getpid(), exchange.method, exchange.uri,
                          connection.host or "-")

    # Draining.

    def drain(self, at_once: bool) -> None:
        """Stop accepting, and end after the last request.

        Args:
            at_once: close idle connections now, for a stop. In a reload each may send one
                more request for a while; its response has `Connection: close`.
        """
        service = self.service
        idle = 0.0 if at_once else min(self._keepalive, IDLE_ON_RELOAD)
        if service.draining:
            service.last_keepalive = min(service.last_keepalive, idle)
        else:
            service.drain(idle)
            self.child.row.set(scoreboard.ACCEPTING, 0)
            self.child.row.set(scoreboard.STATE, scoreboard.STATE_DRAINING)
            for acceptor in self.acceptors:
                if acceptor.suspended:
                    acceptor.wake()  # the connections in the queue are served
                acceptor.finish()
        # Callbacks run after the first turn of the connections that were just accepted.
        if not idle:
            self.hub.loop.run_callback(self._close_idle)
        else:
            timer = self.hub.loop.timer(idle)
            timer.start(self._close_idle)
            self._watchers.append(timer)
        self.hub.loop.run_callback(service.end_if_empty)

    def _close_idle(self) -> None:
        for connection in tuple(self.service.connections):
            self.hub.loop.run_callback(connection.interrupt_if_idle)

    def _drained(self) -> None:
        self._done.set()

    def _slot_lost(self) -> None:
        """Ask to be replaced, as a slot will never be free again."""
        self.child.due_for_replacement("a request ignores its harakiri and keeps its slot")

    def _resume(self) -> None:
        if not self.service.draining:
            self.queue_limit.resumed()
            for acceptor in self.acceptors:
                acceptor.resume()

    # For the master and the statistics.

    def _publish(self, now: float) -> None:
        """Write heartbeat and counters to the scoreboard; update the Date field."""
        service = self.service
        self.child.row.publish(len(service.connections), service.slots.busy,
                               service.counters(), service.app_requests[:-1])
        service.others_requests = self.child.board.total(scoreboard.REQUESTS) - service.requests
        service.response_defaults.tick(time())
        if self.access is not None:
            self.access.flush()
        if self._sweeps % MEASURE_EVERY == 0:
            self.child.row.measure()
            self.child.report_imports()
        self._sweeps += 1

    def _memory(self) -> tuple[int, int]:
        return self.child.row.memory


def greenlets() -> list[gevent.Greenlet]:
    """Return the unfinished greenlets that the application has spawned.

    The server's own are bare greenlets, without gevent's class. type() is used, as
    isinstance() evaluates lazy objects.
    """
    return [one for one in gc.get_objects()
            if issubclass(type(one), gevent.Greenlet) and not one.ready()]


def wait_for_greenlets(worker: int) -> None:
    """Wait for the greenlets of the application, and those that they spawn.

    The master limits the wait (`worker-reload-mercy`).
    """
    left = greenlets()
    if left:
        log.info("worker %d waits for %d greenlet%s of the application (gevent-wait-for-hub)",
                 worker, len(left), "s" * (len(left) != 1))
    while greenlets():
        gevent.sleep(_WAIT_INTERVAL)
