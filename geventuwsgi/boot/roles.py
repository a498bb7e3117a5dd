"""The rows of the master: what each kind of process is, and what it has to be told."""

import json
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import __version__
from ..config.settings import Settings
from ..master.cheaper_algorithms import Busyness, Cheaper
from ..master.recycling import Recycling
from ..master.role import Role
from ..master.spawn import interpreter
from ..net.listen_queue import Backlog
from . import tls
from .process_setup import as_asgi, cores_of, environ_of, product_of
from .router_process import own
from .sockets import Sockets

if TYPE_CHECKING:
    from ..ipc.scoreboard import Scoreboard
    from ..net.listener import Listener

ROUTER_TIMEOUT = 30.0   # seconds without a sign of life until a router is replaced

# What `python -c` runs. The empty entry of sys.path is the current directory, where a
# file of the application's may bear the name of a module of ours or of Python's.
PROLOGUE = """\
import sys
if sys.path[:1] == ['']: del sys.path[0]
if {house!r} not in sys.path: sys.path.append({house!r})
from geventuwsgi.boot.worker_process import run_role
run_role(*map(int, sys.argv[1:]){more})
"""


def plan_of(kind: str, settings: Settings, sockets: Sockets, board: "Scoreboard",
            **more: object) -> tuple[int, tuple[int, ...]]:
    """Write all that an exec'd role has to know into a memfd.

    Settings are never read from disk again by a role, which may not be allowed to.

    Returns:
        The memfd, and the listening sockets of the role.
    """
    pairs = own(settings, sockets.pairs, kind == "router")
    terms = dict(zip(map(id, sockets.listeners), tls.terms_of(settings, sockets.pairs)))
    listeners = [listener for _, listener in pairs]
    plan = json.dumps({
        "kind": kind, "settings": settings.to_json(), "master": os.getpid(), "board": board.fd,
        "listeners": [listener.to_json() for listener in listeners],
        "tls": [terms[id(listener)] for listener in listeners],
        "argv": sys.argv[:1], "version": __version__, **more})
    fd = os.memfd_create("geventuwsgi-plan", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(plan.encode("utf-8", "surrogateescape"))
    return fd, tuple(listener.socket.fileno() for listener in listeners)


def prologue_of(settings: Settings, more: str = "") -> tuple[str, ...]:
    """Return the command that plays a role."""
    house = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return interpreter(PROLOGUE.format(house=house, more=more), settings.optimize)


def router_role(settings: Settings, sockets: Sockets, board: "Scoreboard",
                datagrams: Sequence[int], memory: int) -> Role:
    """Return the row of the routers.

    Args:
        datagrams: the sockets of subscription servers.
        memory: of the registry; -1 = none.
    """
    fd, listening = plan_of("router", settings, sockets, board, datagrams=list(datagrams),
                            memory=memory)
    return Role(
        name="router", processes=settings.http_processes, argv=(*prologue_of(settings), str(fd)),
        fds=(fd, board.fd, *listening, *datagrams, *([memory] if memory >= 0 else [])),
        environ=environ_of(settings), grace=settings.worker_reload_mercy, timeout=ROUTER_TIMEOUT,
        front=True, product=product_of(settings))


def worker_role(settings: Settings, sockets: Sockets, board: "Scoreboard") -> Role:
    """Return the row of the workers."""
    fd, listening = plan_of("worker", settings, sockets, board)
    role = Role(
        name="worker", processes=settings.processes,
        argv=(*prologue_of(settings), str(fd)), fds=(fd, board.fd, *listening),
        environ=environ_of(settings), cores=cores_of(settings),
        grace=grace_of(settings), timeout=settings.worker_timeout,
        replace_stuck=settings.worker_timeout_action == "replace",
        recycling=recycling_of(settings), cheaper=cheaper_of(settings),
        sockets=listening, stdin=settings.honour_stdin or (settings.dev and os.isatty(0)),
        backlog=backlog_of(settings, sockets.listeners).waiting, product=product_of(settings))
    if settings.interface != "auto":
        return role
    found = as_asgi(settings)
    return role._replace(alternative=role._replace(
        argv=(*prologue_of(settings, ", found_to_be_asgi=True"), str(fd)), cores=cores_of(found),
        grace=grace_of(found)))


def grace_of(settings: Settings) -> float:
    """Return how long a worker may take to end, in seconds.

    An ASGI worker keeps worker-reload-mercy itself and then runs the application's shutdown;
    two seconds are for all that is quick.
    """
    grace: float = settings.worker_reload_mercy
    if settings.interface == "asgi" and settings.lifespan != "off":
        grace += settings.lifespan_shutdown_timeout + 2
    return grace


# From settings to when workers are replaced and how many there are.

logger = logging.getLogger("geventuwsgi.error")


def recycling_of(settings: Settings) -> Recycling | None:
    """Return when workers are replaced, None for never."""
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
    """Return how the number of workers changes, None if it stands."""
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
    """Return the queues of the listening sockets, and warn if they are needed and unreadable."""
    backlog = Backlog([listener.socket for listener in listeners])
    if settings.cheaper and settings.cheaper_algo in ("backlog", "busyness") \
            and not backlog.measurable():
        logger.warning("the queue of waiting connections cannot be read here (sock_diag is "
                       "refused): cheaper-algo = %s does not see it", settings.cheaper_algo)
    return backlog
