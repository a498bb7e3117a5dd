"""The bridge: gevent's hub on the main thread, asyncio in another; the entry room here.

The rules of this room: the only one here that reads `Settings`. Everything in it runs on the
hub, but `Bridge._live` and what it calls of the service. The hub accepts, hears signals and
the master, and watches the loop; it is warmed up before the thread starts, since the import
lock of a process in which two threads begin to import can never be had by either.
"""

import gc
import logging
import os
from collections.abc import Callable, Sequence
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
from ..limits import WebSocketLimits
from ..settings import values_of
from .connection import Connection
from .from_router import RoutedConnection
from .harakiri import of_worker
from .http import HttpConnection, HttpsConnection
from .lifespan import Lifespan
from .loop_thread import LoopThread, loop_maker
from .service import AsgiService
from .transport import SocketTransport
from .uwsgi import UwsgiConnection

log = logging.getLogger("geventuwsgi.error")

_MEASURE_EVERY = 4  # ticks
KINDS: dict[str, Callable[..., Connection]] = {
    "http": HttpConnection, "https": HttpsConnection, "uwsgi": UwsgiConnection,
    "routed": RoutedConnection}


def run(settings: Settings, listeners: Sequence[Listener], applications: Applications,
        child: Child, requests: Sink | None) -> int:
    """Serve until told to stop.

    Args:
        settings: the resolved configuration.
        listeners: the listening sockets.
        applications: what was loaded.
        child: this process. Its `reopen` also reopens `requests`.
        requests: where the request log goes, opened before root was dropped; or None.

    Returns:
        The exit status of the process.
    Raises:
        BootError: the application's startup failed.
    """
    return Bridge(settings, listeners, applications, child, requests).run()


class Bridge:
    """One ASGI worker, from the startup of its application to its shutdown."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener],
                 applications: Applications, child: Child, requests: Sink | None) -> None:
        self.child = child
        self.hub = hub = get_hub()
        gevent.sleep(0)
        self.service = service = service_of(settings, applications, child, requests)
        self.thread = LoopThread(hub, loop_maker(settings.asgi_loop), self._died)
        self.acceptors = [Acceptor(one, self._hand_over, service.room, hub.loop)
                          for one in listeners]
        service.roomy = lambda: self.thread.tell(self._resume)
        self.lifespans = [Lifespan(app.callable, settings.lifespan,
                                   settings.lifespan_startup_timeout,
                                   settings.lifespan_shutdown_timeout) for app in applications]
        self._mercy = settings.worker_reload_mercy
        self._keepalive = settings.keepalive
        self._readiness = frozenset(settings.readiness_path)
        self._loop_timeout = settings.asgi_loop_timeout or NEVER
        self._master_timeout = settings.worker_timeout or 0.0
        self._started = Event()
        self.orders = WorkerCommands(child, hub.loop, self)
        self._done = Event()
        self._failure: BaseException | None = None
        self._status = 0
        self._told_stuck = False
        self._ticks = 0
        self._base = child.row.counters

    def run(self) -> int:
        """Start the application, serve, and return the exit status once everything is done."""
        tick = self.hub.loop.timer(SWEEP, SWEEP)
        tick.start(self._tick)
        self.thread.start(self._live)
        self._started.wait()
        if self._failure is not None:
            tick.close()
            self.thread.join(1.0)
            raise self._failure
        # What is alive now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        self.orders.start()
        self._publish()
        for acceptor in self.acceptors:
            acceptor.start()
        self.child.row.cells[scoreboard.ACCEPTING] = 1
        self.child.ready()
        try:
            self._done.wait()
        finally:
            self.orders.close()
            tick.close()
        self.thread.join(2.0)
        self._publish()
        return self._status

    def cut(self) -> None:
        """End without waiting for anything; requests in progress are broken off."""
        for acceptor in self.acceptors:
            acceptor.close()
        self.thread.call(self.service.cut)
        self._done.set()

    # On the loop's thread.

    async def _live(self) -> None:
        """The life of the loop: startup, service, shutdown."""
        service = self.service
        begun: list[Lifespan] = []
        try:
            for lifespan in self.lifespans:
                await lifespan.startup()
                begun.append(lifespan)
            service.states = [lifespan.state for lifespan in begun]
        except BootError as error:
            for lifespan in begun:
                await lifespan.shutdown()
            self._failure = error
            self.thread.tell(self._started.set)
            return
        service.attach(self.thread.loop)
        self.thread.tell(self._started.set)
        await service.ended
        for lifespan in self.lifespans:
            await lifespan.shutdown()
        service.detach()
        self.thread.tell(self._done.set)

    def _adopt(self, batch: Batch) -> None:
        """Take accepted connections from the hub."""
        service = self.service
        loop = self.thread.loop
        for fd, address, listener in batch:
            sock = adopt(fd, listener.address.family)
            SocketTransport(loop, sock, KINDS[listener.protocol](service, address, listener)
                            ).start()

    def _reopen_logs(self) -> None:
        if self.service.access is not None:
            self.service.access.flush()  # to the file in which the requests before belong
        self.child.reopen()

    def _drain_loop(self, idle_for: float) -> None:
        service = self.service
        if not service.draining:
            service.loop.call_later(self._mercy, service.cancel)
        service.drain(idle_for)

    # On the hub.

    def _hand_over(self, batch: Batch) -> None:
        self.service.opened += len(batch)
        self.thread.loop.call_soon_threadsafe(self._adopt, batch, context=self.service.context)

    def _resume(self) -> None:
        for acceptor in self.acceptors:
            acceptor.resume()

    def _died(self) -> None:
        self._status = 1
        if not self._started.is_set():
            self._failure = BootError("the event loop ended with an error")
            self._started.set()
        self._done.set()

    def fail_readiness(self) -> None:
        """Have readiness checks fail: a stop is near."""
        self.thread.call(fail_readiness, self.service, self._readiness)

    def suspend(self, suspended: bool) -> None:
        """Accept nothing, or go on; a kept connection may bring one more request for a while."""
        if not self.service.draining:
            for acceptor in self.acceptors:
                (acceptor.suspend if suspended else acceptor.wake)()
            self.thread.call(self.service.suspend, suspended, IDLE_ON_RELOAD)
            self.child.row.cells[scoreboard.ACCEPTING] = not suspended

    def reopen(self) -> None:
        """Open the logs anew."""
        self.thread.call(self._reopen_logs)

    def stacks(self, frame: Any) -> str:
        """Tell where each request stands; the frame is of the hub, which serves none."""
        return of_worker(self.service)

    def write_out(self) -> None:
        """Write nothing: the lines of requests that are done are the loop's."""

    def drain(self, at_once: bool) -> None:
        """Stop accepting and end when the last request is done.

        Args:
            at_once: a stop, which closes idle connections now; a reload lets each bring
                one more request for a while, whose answer says `Connection: close`.
        """
        self.child.row.cells[scoreboard.ACCEPTING] = 0
        self.child.row.cells[scoreboard.STATE] = scoreboard.STATE_DRAINING
        for acceptor in self.acceptors:
            acceptor.finish()
        self.thread.call(self._drain_loop,
                         0.0 if at_once else min(self._keepalive, IDLE_ON_RELOAD))

    def _tick(self) -> None:
        """Look whether the loop still answers, and publish if it does."""
        silent = monotonic() - self.service.swept
        if silent <= self._loop_timeout or not self._started.is_set():
            if self._told_stuck:
                self._told_stuck = False
                log.warning("worker %d: the event loop answers again", self.child.id)
            self._publish()
            return
        if not self._told_stuck:
            self._told_stuck = True
            log.critical("worker %d (pid: %d): the event loop has not answered for %.1f seconds; "
                         "it stands at\n%s", self.child.id, os.getpid(), silent,
                         self.thread.stack())
            # The master replaces a worker without a sign of life for worker-timeout seconds.
            self.child.row.cells[scoreboard.HEARTBEAT_NS] = monotonic_ns() - int(
                1e9 * (max(self._master_timeout, silent) + 1))

    def _publish(self) -> None:
        """Write heartbeat and counters to the scoreboard."""
        service = self.service
        self.child.row.publish(self._base, service.opened - service.closed, service.in_progress,
                               service.counters())
        service.others_requests = self.child.board.total(scoreboard.REQUESTS) - service.requests
        if self._ticks % _MEASURE_EVERY == 0:
            self.child.row.measure()
            self.child.report_imports()
        self._ticks += 1


def service_of(settings: Settings, applications: Applications, child: Child,
               requests: Sink | None) -> AsgiService:
    """Make what the connections share from the settings."""
    return AsgiService(
        values_of(settings, child), applications,
        websockets=WebSocketLimits(
            settings.ws_ping_interval, settings.ws_ping_timeout, settings.ws_max_size,
            settings.ws_max_queue, settings.ws_per_message_deflate),
        access=None if requests is None else lambda schedule: access_log(
            settings, requests, schedule, lambda: child.row.memory),
        root_path=settings.root_path.rstrip("/"))
