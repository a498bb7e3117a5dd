"""From settings to when workers are replaced and how many there are."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config.settings import Settings
from ..net.listen_queue import Backlog
from ..master.cheaper_algorithms import Busyness, Cheaper
from ..master.recycling import Recycling

if TYPE_CHECKING:
    from ..net.listener import Listener

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
