"""Greenlets of the application that outlive its requests (`gevent-wait-for-hub`).

The rules of this room: it is asked when a worker has served its last request. How long it
may wait is the master's to say (`worker-reload-mercy`).
"""

import gc
import logging

import gevent

log = logging.getLogger("geventuwsgi.error")

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
