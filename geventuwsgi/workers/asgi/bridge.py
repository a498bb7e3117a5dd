"""An ASGI worker: settings and listening sockets in, exit status out.

The hub accepts connections, handles signals and messages of the master, and monitors the
event loop, which runs in a second thread. The hub has been used once before that thread
starts: otherwise both would import modules at the same time and deadlock in the import lock.
"""

import gc
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, monotonic_ns
from typing import Any

import gevent
from gevent import get_hub
from gevent.event import Event

from ...app.applications import Applications
from ...app.middleware import fail_readiness
from ...config.request_log import access_log
from ...config.settings import Settings
from ...errors import BootError
from ...ipc import scoreboard
from ...ipc.commands import Child, WorkerCommands
from ...log.sinks import Sink
from ...net.acceptor import Acceptor, Batch, adopt
from ...net.deadlines import IDLE_ON_RELOAD, NEVER, SWEEP
from ...net.listener import Listener
from ...system import forked
from ..hub_errors import HubErrors
from ..limits import WebSocketLimits
from ..service import MEASURE_EVERY
from ..settings import values_of
from .connection import Connection
from .from_router import RoutedConnection
from .harakiri import worker_stacks
from .http import HttpConnection, HttpsConnection
from .lifespan import Lifespan
from .loop_thread import FAILED, LoopThread, loop_maker
from .service import END_WAITS, AsgiService
from .transport import SocketTransport
from .uwsgi import UwsgiConnection

log = logging.getLogger("geventuwsgi.error")

CONNECTION_TYPES: dict[str, Callable[..., Connection]] = {
    "http": HttpConnection, "https": HttpsConnection, "uwsgi": UwsgiConnection,
    "routed": RoutedConnection}


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

    Raises:
        BootError: the application's startup failed.
    """
    bridge = Bridge(settings, listeners, applications, child, requests)
    errors = HubErrors(bridge.hub, child)
    bridge.wait = errors.wait
    bridge.thread.on_exit = partial(errors.report, "a task")
    return bridge.run()


class Bridge:
    """One ASGI worker, from the lifespan startup of its applications to their shutdown."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener],
                 applications: Applications, child: Child, requests: Sink | None) -> None:
        self.child = child
        self.hub = hub = get_hub()
        gevent.sleep(0)  # use the hub once, before the thread starts
        self.service = service = service_of(settings, applications, child, requests)
        self.thread = LoopThread(hub, loop_maker(settings.asgi_loop), self._loop_failed)
        service.ask_for_places = lambda: self.thread.call_in_loop(service.free_places)
        service.resume = lambda: self.thread.call_in_hub(self._resume)
        self.acceptors = [
            Acceptor(one, self._hand_over, service.capacity, hub.loop, service.ask_for_places)
            for one in listeners]
        self.lifespans = [Lifespan(app.callable, settings.lifespan,
                                   settings.lifespan_startup_timeout,
                                   settings.lifespan_shutdown_timeout) for app in applications]
        self._grace = settings.worker_reload_mercy
        self._keepalive = settings.keepalive
        self._readiness = frozenset(settings.readiness_path)
        self._loop_timeout = settings.asgi_loop_timeout or NEVER
        self._master_timeout = settings.worker_timeout or 0.0
        self._started = Event()
        self.commands = WorkerCommands(child, hub.loop, self)
        self._done = Event()
        self.wait: Callable[[Event], object] = Event.wait
        self._failure: BaseException | None = None
        self._status = 0
        self._stuck_logged = False
        self._ticks = 0
        child.row.cells[scoreboard.LOADED_S] = applications.loading_seconds
        self.ended = False
        forked.watch(self)

    def run(self) -> int:
        """Start the application, serve, and return the exit status once everything is done."""
        tick = self.hub.loop.timer(SWEEP, SWEEP)
        tick.start(self._tick)
        self.thread.start(self._main)
        self.wait(self._started)
        if self._failure is not None:
            tick.close()
            self.thread.join(1.0)
            self.ended = True
            raise self._failure
        # All objects of now live as long as the worker: exclude them from collections.
        gc.collect()
        gc.freeze()
        self.commands.start()
        self._publish()
        for acceptor in self.acceptors:
            acceptor.start()
        self.child.row.set(scoreboard.ACCEPTING, 1)
        self.child.ready()
        try:
            self.wait(self._done)
        finally:
            self.commands.close()
            tick.close()
        self.thread.join(2.0)
        self.ended = True
        self._publish()
        return self._status

    def become_ordinary(self) -> None:
        """Stop being a server, in a process that the application has forked."""
        self.service.forked = True
        self.thread.forget()
        for connection in self.service.connections:
            connection.forget()
        descriptors = [acceptor.listener.socket.detach() for acceptor in self.acceptors]
        descriptors.append(self.child.control.detach())
        forked.give_up(fd for fd in descriptors if fd >= 0)

    def cut(self) -> None:
        """End without waiting for anything; requests in progress are aborted."""
        for acceptor in self.acceptors:
            acceptor.close()
        self.thread.call_in_loop(self.service.abort)
        self._done.set()

    # Called on the loop's thread.

    async def _main(self) -> None:
        """The coroutine of the loop's thread: startup, serving, shutdown."""
        service = self.service
        started: list[Lifespan] = []
        try:
            for lifespan in self.lifespans:
                await lifespan.startup()
                started.append(lifespan)
            service.states = [lifespan.state for lifespan in started]
        except BootError as error:
            for lifespan in started:
                await lifespan.shutdown()
            self._failure = error
            self.thread.call_in_hub(self._started.set)
            return
        service.attach(self.thread.loop)
        self.thread.call_in_hub(self._started.set)
        await service.ended
        for lifespan in self.lifespans:
            await lifespan.shutdown()
        service.detach()
        self.thread.call_in_hub(self._done.set)

    def _open(self, batch: Batch) -> None:
        """Serve connections that the hub has accepted."""
        service = self.service
        loop = self.thread.loop
        for fd, address, listener in batch:
            sock = adopt(fd, listener.address.family)
            connection = CONNECTION_TYPES[listener.protocol](service, address, listener)
            SocketTransport(loop, sock, connection).start()

    def _reopen_logs(self) -> None:
        if self.service.access is not None:
            self.service.access.flush()  # earlier requests belong in the old file
        self.child.reopen()

    def _drain_loop(self, idle_for: float) -> None:
        service = self.service
        if not service.draining:
            service.loop.call_later(self._grace, service.cancel)
            service.loop.call_later(max(self._grace - END_WAITS, 0.0), service.end_waits)
        service.drain(idle_for)

    # Called on the hub.

    def _hand_over(self, batch: Batch) -> None:
        self.service.opened += len(batch)
        self.thread.loop.call_soon_threadsafe(self._open, batch, context=self.service.context)

    def _resume(self) -> None:
        for acceptor in self.acceptors:
            acceptor.resume()

    def _loop_failed(self) -> None:
        self._status = 1
        if not self._started.is_set():
            self._failure = BootError(FAILED)
            self._started.set()
        self._done.set()

    def fail_readiness(self) -> None:
        """Make readiness checks fail: a stop is near."""
        self.thread.call_in_loop(fail_readiness, self.service, self._readiness)

    def suspend(self, suspended: bool) -> None:
        """Accept nothing, or resume. A kept connection may send one more request for a while."""
        if not self.service.draining:
            for acceptor in self.acceptors:
                (acceptor.suspend if suspended else acceptor.wake)()
            self.thread.call_in_loop(self.service.suspend, suspended, IDLE_ON_RELOAD)
            self.child.row.set(scoreboard.ACCEPTING, not suspended)

    def reopen(self) -> None:
        """Reopen the logs."""
        self.thread.call_in_loop(self._reopen_logs)

    def stacks(self, frame: Any) -> str:
        """Return the stacks of all requests; the frame is the hub's, which serves none."""
        return worker_stacks(self.service)

    def write_out(self) -> None:
        """Write nothing: the loop writes the request log."""

    def drain(self, at_once: bool) -> None:
        """Stop accepting, and end after the last request.

        Args:
            at_once: a stop, which closes idle connections now; in a reload each may send one
                more request for a while, whose response has `Connection: close`.
        """
        self.child.row.set(scoreboard.ACCEPTING, 0)
        self.child.row.set(scoreboard.STATE, scoreboard.STATE_DRAINING)
        for acceptor in self.acceptors:
            acceptor.finish()
        self.thread.call_in_loop(self._drain_loop,
                                 0.0 if at_once else min(self._keepalive, IDLE_ON_RELOAD))

    def _tick(self) -> None:
        """Check whether the loop still runs, and publish if it does."""
        silent = monotonic() - self.service.last_sweep
        if silent <= self._loop_timeout or not self._started.is_set():
            if self._stuck_logged:
                self._stuck_logged = False
                log.warning("worker %d: the event loop responds again", self.child.id)
            self._publish()
            return
        if not self._stuck_logged:
            self._stuck_logged = True
            log.critical("worker %d (pid: %d): the event loop has not responded for %.1f seconds; "
                         "its stack:\n%s", self.child.id, os.getpid(), silent,
                         self.thread.stack())
            # The master replaces a worker whose heartbeat is worker-timeout seconds old.
            self.child.row.set(scoreboard.HEARTBEAT_NS, monotonic_ns() - int(
                1e9 * (max(self._master_timeout, silent) + 1)))

    def _publish(self) -> None:
        """Write heartbeat and counters to the scoreboard."""
        service = self.service
        self.child.row.publish(service.opened - service.closed, service.in_progress,
                               service.counters(), service.app_requests[:-1])
        service.others_requests = self.child.board.total(scoreboard.REQUESTS) - service.requests
        if self._ticks % MEASURE_EVERY == 0:
            self.child.row.measure()
            self.child.report_imports()
        self._ticks += 1


def service_of(settings: Settings, applications: Applications, child: Child,
               requests: Sink | None) -> AsgiService:
    """Return what the connections share, from the settings."""
    return AsgiService(
        values_of(settings, child), applications,
        websockets=WebSocketLimits(
            settings.ws_ping_interval, settings.ws_ping_timeout,
            settings.ws_max_size or sys.maxsize, settings.ws_max_queue,
            settings.ws_per_message_deflate),
        access=None if requests is None else lambda schedule: access_log(
            settings, requests, schedule, lambda: child.row.memory),
        root_path=settings.root_path.rstrip("/"))
