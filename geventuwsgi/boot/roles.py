"""The roles of an instance: a `Role` for workers, routers and the monitor, from the settings.

Each role gets a plan: a memfd from which `worker_process.run_role` reads settings and sockets.
The functions at the end decide how many workers there are and when they are replaced.
"""

import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import __version__
from ..config.request_log import separates_requests
from ..config.settings import Settings
from ..master.cheaper_algorithms import Busyness, Cheaper
from ..master.recycling import Recycling
from ..master.role import Role
from ..net.listen_queue import Backlog
from . import tls
from .process_setup import as_asgi, command_of, cores_of, environ_of, product_of
from .role_template import select_sockets
from .sockets import Sockets, allow_proxy_headers

if TYPE_CHECKING:
    from ..ipc.scoreboard import Scoreboard
    from ..net.listener import Listener

ROUTER_TIMEOUT = 30.0   # seconds without a heartbeat until a router or monitor is replaced

logger = logging.getLogger("geventuwsgi.error")


def write_plan(kind: str, settings: Settings, sockets: Sockets, board: "Scoreboard",
               **more: object) -> tuple[int, tuple[int, ...]]:
    """Write everything that an exec'd role needs into a memfd.

    A role never reads the configuration from disk, because its user may not be allowed to.

    Returns:
        The memfd, and the listening sockets of the role.
    """
    allow_proxy_headers(settings, sockets.pairs)
    pairs = select_sockets(settings, sockets.pairs, kind)
    configs = dict(zip(map(id, sockets.listeners), tls.configs_of(settings, sockets.pairs)))
    listeners = [listener for _, listener in pairs]
    plan = json.dumps({
        "kind": kind, "settings": settings.to_json(), "master": os.getpid(), "board": board.fd,
        "listeners": [listener.to_json() for listener in listeners],
        "tls": [configs[id(listener)] for listener in listeners],
        "argv": sys.argv[:1], "version": __version__, **more})
    fd = os.memfd_create("geventuwsgi-plan", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(plan.encode("utf-8", "surrogateescape"))
    return fd, tuple(listener.socket.fileno() for listener in listeners)


def _command(settings: Settings, plan_fd: int, more: str = "") -> tuple[str, ...]:
    """Return the command of a role's template; `more` are further arguments of `run_role`."""
    command = command_of("geventuwsgi.boot.worker_process", "run_role", more, settings.optimize)
    return (*command, str(plan_fd))


def router_role(settings: Settings, sockets: Sockets, board: "Scoreboard",
                datagrams: Sequence[int], memory: int) -> Role:
    """Return the role of the routers.

    Args:
        settings: the configuration.
        sockets: all sockets of the instance.
        board: the scoreboard.
        datagrams: the sockets of subscription servers.
        memory: the descriptor of the shared memory of subscriptions, or -1.
    """
    fd, listening = write_plan("router", settings, sockets, board, datagrams=list(datagrams),
                               memory=memory)
    return Role(
        name="router", processes=settings.http_processes, argv=_command(settings, fd),
        fds=(fd, board.fd, *listening, *datagrams, *([memory] if memory >= 0 else [])),
        environ=environ_of(settings), grace=settings.worker_reload_mercy, timeout=ROUTER_TIMEOUT,
        front=True, product=product_of(settings))


def monitor_role(settings: Settings, sockets: Sockets, board: "Scoreboard") -> Role:
    """Return the role of the monitor, which serves `stats` and `metrics`."""
    fd, listening = write_plan("monitor", settings, sockets, board)
    return Role(
        name="monitor", processes=1, argv=_command(settings, fd), fds=(fd, board.fd, *listening),
        environ=environ_of(settings), timeout=ROUTER_TIMEOUT, auxiliary=True,
        product=product_of(settings))


def worker_role(settings: Settings, sockets: Sockets, board: "Scoreboard",
                requests: int) -> Role:
    """Return the role of the workers; with `interface = auto` also that for an ASGI application.

    Args:
        settings: the configuration.
        sockets: all sockets of the instance.
        board: the scoreboard.
        requests: the log collector's pipe for separate request lines, or -1.
    """
    requests = requests if separates_requests(settings) else -1
    fd, listening = write_plan("worker", settings, sockets, board, requests=requests)
    role = Role(
        name="worker", processes=settings.processes,
        argv=_command(settings, fd),
        fds=(fd, board.fd, *listening, *([requests] if requests >= 0 else [])),
        environ=environ_of(settings), cores=cores_of(settings),
        grace=grace_of(settings), timeout=settings.worker_timeout,
        replace_stuck=settings.worker_timeout_action == "replace",
        recycling=recycling_of(settings), cheaper=cheaper_of(settings),
        sockets=listening, stdin=settings.honour_stdin or (settings.dev and os.isatty(0)),
        backlog=backlog_of(settings, sockets.listeners).waiting, product=product_of(settings))
    if settings.interface != "auto" or settings.route:  # which ASGI applications cannot have
        return role
    found = as_asgi(settings)
    return role._replace(alternative=role._replace(
        argv=_command(settings, fd, ", found_to_be_asgi=True"), cores=cores_of(found),
        grace=grace_of(found), preferred=True))


def grace_of(settings: Settings) -> float:
    """Return the seconds that a worker has to exit.

    An ASGI worker applies worker-reload-mercy itself and then runs the application's shutdown;
    two more seconds are for everything else.
    """
    grace: float = settings.worker_reload_mercy
    if settings.interface == "asgi" and settings.lifespan != "off":
        grace += settings.lifespan_shutdown_timeout + 2
    return grace


def recycling_of(settings: Settings) -> Recycling | None:
    """Return the limits at which workers are replaced, None without any."""
    limits = Recycling(
        max_requests=settings.max_requests, max_requests_delta=settings.max_requests_delta,
        max_requests_jitter=settings.max_requests_jitter,
        min_lifetime=settings.min_worker_lifetime, max_lifetime=settings.max_worker_lifetime,
        max_lifetime_delta=settings.max_worker_lifetime_delta,
        rss=settings.reload_on_rss << 20, address_space=settings.reload_on_as << 20,
        evil_rss=settings.evil_reload_on_rss << 20, evil_as=settings.evil_reload_on_as << 20,
        evil_every=settings.mem_collector_freq)
    return limits or None


def cheaper_of(settings: Settings) -> Cheaper | None:
    """Return how the number of workers adapts to the load, None if it is fixed."""
    if not (settings.cheaper or settings.idle or settings.cheap):
        return None
    most = settings.processes
    least = settings.cheaper or most
    return Cheaper(
        minimum=least, maximum=most, initial=settings.cheaper_initial or least,
        step=settings.cheaper_step, overload=settings.cheaper_overload,
        algorithm=settings.cheaper_algo if settings.cheaper else "manual",
        spare_time=settings.cheaper_idle,
        soft_memory=settings.cheaper_rss_limit_soft, hard_memory=settings.cheaper_rss_limit_hard,
        idle=settings.idle, end=settings.die_on_idle, asleep=settings.cheap,
        busyness=Busyness(
            maximum=settings.cheaper_busyness_max, minimum=settings.cheaper_busyness_min,
            multiplier=settings.cheaper_busyness_multiplier,
            penalty=settings.cheaper_busyness_penalty,
            verbose=settings.cheaper_busyness_verbose,
            backlog_alert=settings.cheaper_busyness_backlog_alert,
            backlog_multiplier=settings.cheaper_busyness_backlog_multiplier,
            backlog_step=settings.cheaper_busyness_backlog_step,
            backlog_nonzero=settings.cheaper_busyness_backlog_nonzero))


def backlog_of(settings: Settings, listeners: "Sequence[Listener]") -> Backlog:
    """Return the listen queues; warn if the cheaper algorithm needs them but cannot read them."""
    backlog = Backlog([listener.socket for listener in listeners])
    if settings.cheaper and settings.cheaper_algo in ("backlog", "busyness") \
            and not backlog.measurable():
        logger.warning("the listen queue cannot be read here (sock_diag is refused): cheaper-algo "
                       "= %s does not take it into account", settings.cheaper_algo)
    return backlog
