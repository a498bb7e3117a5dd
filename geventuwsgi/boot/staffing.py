"""From settings to when workers are replaced and how many there are."""

from ..config.settings import Settings
from ..process.recycling import Recycling


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
