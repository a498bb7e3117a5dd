"""Resource limits of a process: address space, processes, open files, priority, processors.

A limit that cannot be set is logged and does not stop the start, as in uWSGI: a container may
not be allowed to raise what the host has set.
"""

import logging
import os
import resource
from typing import NamedTuple

logger = logging.getLogger("geventuwsgi.error")


class Limits(NamedTuple):
    """The limits of the application's processes and of daemons; None leaves one unchanged.

    Attributes:
        address_space: in octets (`limit-as`).
        processes: number of processes of the user (`limit-nproc`).
        priority: the nice value (`prio`).
    """

    address_space: int | None = None
    processes: int | None = None
    priority: int | None = None

    def apply(self) -> None:
        """Set the limits for this process and its children; called before root is dropped."""
        for option, number, value in (("limit-as", resource.RLIMIT_AS, self.address_space),
                                      ("limit-nproc", resource.RLIMIT_NPROC, self.processes)):
            if value is not None:
                try:
                    resource.setrlimit(number, (value, value))
                except (OSError, ValueError) as error:
                    logger.warning("%s: cannot set the limit to %d: %s", option, value, error)
        if self.priority is not None:
            try:
                os.setpriority(os.PRIO_PROCESS, 0, self.priority)
            except OSError as error:
                logger.warning("prio: cannot set the priority to %d: %s", self.priority,
                               error.strerror)


def set_open_files(count: int) -> int:
    """Let this process and its children open `count` files (`max-fd`).

    The hard limit is raised if necessary, which needs root, and never lowered.

    Returns:
        The limit in effect.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = hard == resource.RLIM_INFINITY
    try:
        wanted = hard if infinite or hard >= count else count
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, wanted))
    except (OSError, ValueError):
        if hard > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        logger.warning("max-fd: cannot allow %d files, the limit stays at %d", count, hard)
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def processors(worker: int, count: int, usable: list[int]) -> list[int]:
    """Return the processors of a worker (`cpu-affinity`), assigned in turn.

    Args:
        worker: its number, from 1.
        count: processors per worker.
        usable: processors that this process may use, so that a container's set is respected.
    """
    first = (worker - 1) * count
    return sorted({usable[(first + number) % len(usable)] for number in range(count)})


def bind_processors(worker: int, count: int) -> None:
    """Restrict this process to the processors of its worker number, and log them."""
    chosen = processors(worker, count, sorted(os.sched_getaffinity(0)))
    try:
        os.sched_setaffinity(0, chosen)
    except OSError as error:
        logger.warning("cpu-affinity: cannot bind worker %d: %s", worker, error.strerror)
        return
    logger.info("mapping worker %d to CPUs: %s", worker, " ".join(map(str, chosen)))
