"""A WSGI worker: sockets in, slots, deadlines and a drain; the entry room of this wing.

The rules of this room: the only one here that reads `Settings`. It runs in a process
that was forked a moment ago and whose modules are patched. It ends when the master says
so, when the master is gone, or when its last request is done after a drain.
"""

import gc
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from time import time
from typing import Any

import gevent
from gevent import get_hub, getcurrent
from gevent.event import Event
from greenlet import GreenletExit

from ... import __version__
from ...app import environ as environs
from ...app.applications import Applications
from ...app.middleware import buffers, fail_readiness
from ...app.rules.rules import PHASES, Filters, Routes
from ...app.static.files import Gzipped, StaticFiles, expiries, pair
from ...app.wsgi import FileWrapper, OffloadedWrapper, ReadWrapper
from ...config.request_log import access_log
from ...config.settings import Settings
from ...ipc import scoreboard
from ...ipc.commands import Child, WorkerCommands
from ...log.access import AccessLog
from ...log.sinks import Sink
from ...net.deadlines import IDLE_ON_RELOAD
from ...net.listener import Listener
from ..settings import values_of
from . import harakiri
from . import stacks as census
from . import stacks as report
from .acceptor import Acceptor
from .connection import Connection
from .from_router import RoutedAcceptor, RoutedConnection
from .harakiri import LongRequests
from .http import HttpConnection, HttpsConnection
from .hub_monitor import BlockWatch
from .queue_limit import Overload
from .service import WsgiService
from .slots import Slots, Sweeper
from .tracebacker import Tracebacker
from .uwsgi import UwsgiConnection

log = logging.getLogger("geventuwsgi.error")

# On a reload a kept connection may bring one more request for so long, in seconds.
_MEASURE_EVERY = 4  # sweeps
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
    """
    return Worker(settings, listeners, applications, child, requests).run()


class Worker:
    """One worker process, from its first accept to its last response."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener],
                 applications: Applications, child: Child, requests: Sink | None) -> None:
        self.child = child
        self.hub = hub = get_hub()
        if settings.reaper:
            hub.loop.install_sigchld()
        self.access = None if requests is None else access_log(
            settings, requests, hub.loop.run_callback, self._memory)
        self.service = service_of(settings, listeners, applications, child, hub, self.access)
        self.acceptors = [RoutedAcceptor(one, self.service, settings.http_processes)
                          if one.protocol == "routed"
                          else Acceptor(one, KINDS[one.protocol], self.service)
                          for one in listeners]
        child.logvars = self._logvars
        self.service.resume = self._resume
        self.service.emptied = self._emptied
        self.service.spoiled = self._spoiled
        overtime = LongRequests(hub.loop, self.service.timeouts, harakiri=harakiri.harakiri,
                                client_gone=harakiri.client_gone, tell_slow=report.slow)
        self.overload = Overload(self.service, hub.loop, child.board, child.row)
        self.service.overload = self.overload.room
        self.sweeper = Sweeper(hub.loop, self.service.connections, overtime,
                               (self._publish, self.overload.tell))
        self.watches: list[BlockWatch | Tracebacker] = []
        if settings.block_warning:
            self.watches.append(BlockWatch(self.service, hub.loop, settings.block_warning))
        if settings.py_tracebacker:
            self.watches.append(Tracebacker(settings.py_tracebacker, settings.chmod_socket,
                                            self.service))
        self.orders = WorkerCommands(child, hub.loop, self, chain=True)
        self._done = Event()
        self._sweeps = 0
        self._base = child.row.counters
        self._pause = hub.loop.timer(IDLE_ON_RELOAD)    # until idle connections are closed
        self._watchers: list[Any] = [self._pause]
        self._wait_for_hub = settings.gevent_wait_for_hub
        self._keepalive = settings.keepalive
        self._readiness = frozenset(settings.readiness_path)

    def run(self) -> int:
        """Accept, serve, and return the exit status once everything is done."""
        try:
            # Behind the stacks of faulthandler, which come from C, ours names the request,
            # if Python code still runs at all.
            signal.signal(signal.SIGUSR2, self._asked_by_signal)
            self.orders.start()
            self._publish(0.0)
            self.sweeper.start()
            for acceptor in self.acceptors:
                acceptor.start()
            for watch in self.watches:
                watch.start()
            self.child.row.cells[scoreboard.ACCEPTING] = 1
            self.child.ready()
            self._done.wait()
            while self.service.connections:
                # The last one left while the acceptors finished, and they took more.
                self._done.clear()
                self._done.wait()
            if self._wait_for_hub:
                wait(self.child.id)
        finally:
            self._end()
        return 0

    def cut(self) -> None:
        """End without waiting for anything; requests in progress are broken off."""
        self.service.cut = True
        later = self.hub.loop.run_callback
        for acceptor in self.acceptors:
            acceptor.close()
        for connection in tuple(self.service.connections):
            connection.stream.abort()
            later(connection.greenlet.throw, GreenletExit)
        self.service.connections.clear()
        later(self._done.set)

    def _end(self) -> None:
        """Write the last figures and lines, and let go of the hub."""
        self._publish(0.0)
        self.sweeper.stop()
        self.overload.close()
        for watch in self.watches:
            watch.stop()
        self.orders.close()
        for watcher in self._watchers:
            watcher.close()
        if self.access is not None:
            self.access.close()

    def _logvars(self) -> dict[str, str] | None:
        """Return the log variables of the request whose greenlet asks."""
        current = getcurrent()
        for connection in self.service.connections:
            exchange = connection.exchange
            if exchange is not None and connection.greenlet is current:
                if exchange.logvars is None:
                    exchange.logvars = {}
                return exchange.logvars
        return None

    # The master, and signals.

    def fail_readiness(self) -> None:
        """Have readiness checks fail: a stop is near."""
        fail_readiness(self.service, self._readiness)

    def suspend(self, suspended: bool) -> None:
        """Accept nothing, or go on; a kept connection may bring one more request for a while."""
        if not self.service.draining:
            for acceptor in self.acceptors:
                (acceptor.suspend if suspended else acceptor.wake)()
            self.service.suspend(suspended)
            self._pause.stop()
            if suspended:
                self._pause.start(self._close_idle)
            self.child.row.cells[scoreboard.ACCEPTING] = not suspended

    def reopen(self) -> None:
        """Open the logs anew."""
        self.write_out()  # to the file in which the requests before belong
        self.child.reopen()

    def stacks(self, frame: Any) -> str:
        """Tell where each request stands."""
        return census.of_worker(self.service, frame)

    def write_out(self) -> None:
        """Write the lines of requests that are done."""
        if self.access is not None:
            self.access.flush()

    def _asked_by_signal(self, number: int, frame: Any) -> None:
        """The loop may be blocked, and this handler runs inside of what blocks it."""
        self._tell_request()
        message = self.child.received()
        if message == b"stacks":
            self.orders.dispatch(message, frame)
        elif message is not None:
            self.hub.loop.run_callback(self.orders.dispatch, message)

    def _tell_request(self) -> None:
        current = getcurrent()
        for connection in tuple(self.service.connections):
            exchange = connection.exchange
            if exchange is not None and connection.greenlet is current:
                log.error("worker %d (pid: %d) is managing request %s %s from %s",
                          self.child.id, os.getpid(), exchange.method, exchange.uri,
                          connection.host or "-")

    # Draining.

    def drain(self, at_once: bool) -> None:
        """Stop accepting and end when the last request is done.

        Args:
            at_once: a stop, which closes idle connections now; a reload lets each bring
                one more request for a while, whose answer says `Connection: close`.
        """
        service = self.service
        if not service.draining:
            service.drain()
            self.child.row.cells[scoreboard.ACCEPTING] = 0
            self.child.row.cells[scoreboard.STATE] = scoreboard.STATE_DRAINING
            for acceptor in self.acceptors:
                if acceptor.suspended:
                    acceptor.wake()  # what waits in the queue is served
                acceptor.finish()
        # Callbacks run behind the first turn of the connections that were just accepted.
        if at_once or not self._keepalive:
            self.hub.loop.run_callback(self._close_idle)
        else:
            timer = self.hub.loop.timer(min(self._keepalive, IDLE_ON_RELOAD))
            timer.start(self._close_idle)
            self._watchers.append(timer)
        self.hub.loop.run_callback(service.end_if_empty)

    def _close_idle(self) -> None:
        for connection in tuple(self.service.connections):
            self.hub.loop.run_callback(connection.interrupt_if_idle)

    def _emptied(self) -> None:
        self._done.set()

    def _spoiled(self) -> None:
        """A slot is lost for good: end once another worker is in our place."""
        self.child.due_for_replacement("a request ignores its harakiri and keeps its slot")

    def _resume(self) -> None:
        if not self.service.draining:
            self.overload.resumed()
            for acceptor in self.acceptors:
                acceptor.resume()

    # What the master and the statistics see.

    def _publish(self, now: float) -> None:
        """Write heartbeat and counters to the scoreboard; refresh what each second needs."""
        service = self.service
        self.child.row.publish(self._base, len(service.connections), service.slots.busy,
                               service.counters())
        service.others_requests = self.child.board.total(scoreboard.REQUESTS) - service.requests
        service.standing.tick(time())
        if self.access is not None:
            self.access.flush()
        if self._sweeps % _MEASURE_EVERY == 0:
            self.child.row.measure()
            self.child.report_imports()
        self._sweeps += 1

    def _memory(self) -> tuple[int, int]:
        return self.child.row.memory


def service_of(settings: Settings, listeners: Sequence[Listener], applications: Applications,
               child: Child, hub: Any, access: AccessLog | None) -> WsgiService:
    """Make what the connections share from the settings."""
    if settings.wsgi_accept_buffer:
        applications = applications.wrapped(buffers)
    values = values_of(settings, child)
    values.standing.tick(time())
    service = WsgiService(
        values, applications, hub=hub,
        slots=Slots(settings.gevent, lambda: service.resume(), settings.queue_limit),
        access=access, templates={one.url: template_of(settings, one) for one in listeners},
        export_cert=settings.https_export_cert, static=static_of(settings),
        routes=routes_of(settings, child.id))
    return service


def routes_of(settings: Settings, worker: int) -> Routes | None:
    """Make the rules and filters that requests and responses go through, if there are any."""
    pulled = [one.split() for one in settings.pull_header]
    filters = Filters(
        frozenset(name.lower() for name in (*settings.del_header, *(one[0] for one in pulled))),
        tuple((name.lower(), variable)
              for name, variable in (*(one.split() for one in settings.collect_header), *pulled)),
        settings.http_auto_gzip, settings.http_server_name_as_http_host)
    if not settings.route and filters == Filters():
        return None
    return Routes(settings.route, filters, worker)


def static_of(settings: Settings) -> StaticFiles | None:
    """Make the files that are served without the application, if any option names some."""
    if not (settings.static_map or settings.static_map2 or settings.check_static
            or settings.check_static_docroot):
        return None
    mode = settings.file_serve_mode or ""
    return StaticFiles(
        maps=[pair(text) for text in settings.static_map],
        whole_maps=[pair(text) for text in settings.static_map2],
        roots=settings.check_static, docroot=settings.check_static_docroot,
        index=settings.static_index, skip=settings.static_skip_ext, safe=settings.static_safe,
        expiries=[
            rule for subject, name in (("type", "static_expires_type"), ("name", "static_expires"),
                                       ("uri", "static_expires_uri"),
                                       ("path", "static_expires_path_info"))
            for suffix in ("", "_mtime")
            for rule in expiries(subject, getattr(settings, name + suffix), suffix != "")],
        gzipped=Gzipped(settings.static_gzip_all, tuple(map(re.compile, settings.static_gzip)),
                        settings.static_gzip_dir, settings.static_gzip_ext),
        mime_files=settings.mimefile, ranges=settings.honour_range,
        wrapper=ReadWrapper if settings.disable_sendfile else FileWrapper,
        guarded=any(not text.startswith(PHASES) for text in settings.route),
        offload="X-Sendfile" if mode == "x-sendfile" else "X-Accel-Redirect" if mode else "")


def template_of(settings: Settings, listener: Listener) -> environs.Environ:
    """Make the environ template of a listener."""
    name, port = socket.gethostname(), "80"
    address = listener.address
    if not listener.is_unix:
        port = str(address.port)
        if address.host and address.host not in ("0.0.0.0", "::"):
            name = address.host
    scheme = "https" if listener.protocol == "https" else "http"
    wrapper: type[FileWrapper] = OffloadedWrapper if settings.offload_threads else FileWrapper
    if settings.disable_sendfile:
        wrapper = ReadWrapper
    template = environs.template(
        errors=sys.stderr, file_wrapper=None if settings.wsgi_disable_file_wrapper else wrapper,
        multithread=settings.gevent > 1,
        multiprocess=settings.processes > 1, server_name=name, server_port=port,
        scheme=scheme, software=f"geventuwsgi/{__version__}",
        version=__version__.encode(), node=socket.gethostname().encode())
    if scheme == "https":
        template["HTTPS"] = "on"
    return template


# Greenlets of the application that outlive its requests (`gevent-wait-for-hub`).
#
# The rules of this room: it is asked when a worker has served its last request. How long it
# may wait is the master's to say (`worker-reload-mercy`).

_LOOK = 0.1  # seconds between two looks


def greenlets() -> list[gevent.Greenlet]:
    """Return those that the application has spawned and that are not done; this server's own
    are greenlets without gevent's class. isinstance() would wake lazy objects."""
    return [one for one in gc.get_objects()
            if issubclass(type(one), gevent.Greenlet) and not one.ready()]


def wait(worker: int) -> None:
    """Wait for all of them, and for those that they spawn."""
    left = greenlets()
    if left:
        log.info("worker %d waits for %d greenlet%s of the application (gevent-wait-for-hub)",
                 worker, len(left), "s" * (len(left) != 1))
    while greenlets():
        gevent.sleep(_LOOK)
