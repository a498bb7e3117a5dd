"""The lines that the master logs at a start: the configuration, workers and routers."""

import logging

from ..config.resolve.concurrency import summary
from ..config.settings import Settings
from ..log.loggers import NAMES as LOGGERS
from ..privileges import Identity, warn_about_root
from .process_setup import product_of

logger = logging.getLogger("geventuwsgi.error")


def log_configuration(settings: Settings) -> None:
    """Log the files that were read, their warnings and the texts of `print`."""
    for file in settings.files:
        logger.info("getting INI configuration from %s", file)
    for warning in settings.warnings:
        logger.warning("%s", warning)
    for text in settings.print:
        logger.info("%s", text)
    if settings.logger_list:
        logger.info("available loggers: %s", ", ".join(LOGGERS))


def log_workers(settings: Settings, identity: Identity) -> None:
    """Log the number of routers and workers, and warn if they run as root."""
    if settings.router:
        logger.info("%d router process%s in front of %s", settings.http_processes,
                    "es" * (settings.http_processes != 1),
                    "nodes only, without an application" if settings.standalone else
                    ", ".join(settings.http_to) or "the workers")
    if settings.standalone:
        warn_about_root(identity, product_of(settings))
        return
    logger.info("%d worker%s with %s", settings.processes,
                "s, each" * (settings.processes != 1), summary(settings))
    for note in settings.notes:
        logger.info("%s", note)
    if not settings.dev:    # which ignores uid
        warn_about_root(identity, product_of(settings))
