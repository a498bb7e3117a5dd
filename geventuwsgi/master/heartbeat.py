"""The check of a worker at each turn of the master's loop: overdue ones and stuck ones are killed.

A worker that drains has a deadline, and only that counts. One that serves must publish
heartbeats.
"""

import logging
import signal

from ..ipc import scoreboard
from .children import Worker
from .role import Role

logger = logging.getLogger("geventuwsgi.error")

STACK_TIME = 1.0        # seconds between SIGUSR2, to write the stacks, and SIGKILL
SILENT_TIME = 5.0       # seconds a worker may live after closing its control socket
ORPHAN_TIME = 0.1       # seconds for a template to die and its children to become ours
FORK_TIMEOUT = 30.0     # seconds until a template that does not fork is replaced


def check(worker: Worker, role: Role, now: float, awake: float) -> bool:
    """Kill a worker that is overdue or stuck.

    Args:
        worker: the worker.
        role: its role, with the timeout.
        now: time.monotonic().
        awake: since when the master has been running without a suspension.

    Returns:
        Whether to wait for its end: not for one without a pid that cannot be found, which
        would keep the instance from stopping.
    """
    if worker.deadline is not None:
        if now >= worker.deadline and not worker.pid:
            return _end_unnamed(worker, now)
        if now >= worker.deadline:
            if role.stdin:      # it may be in a debugger, which the user at the terminal knows
                logger.info("%s %d (pid: %d) is still busy after %g seconds, killing it",
                            worker.name, worker.id, worker.pid, role.grace)
            else:
                logger.warning("%s %d (pid: %d) is taking too much time to die..."
                               "NO MERCY !!!", worker.name, worker.id, worker.pid)
            worker.signal(signal.SIGKILL)
            worker.deadline = now + SILENT_TIME
    elif not worker.pid:
        if now - worker.started > FORK_TIMEOUT:
            return _end_unnamed(worker, now)
    elif role.timeout and worker.ready:
        _check_heartbeat(worker, role.timeout, role.replace_stuck, now, awake)
    return True


def _end_unnamed(worker: Worker, now: float) -> bool:
    """Kill what was forked for a worker, or its template; return whether there is either."""
    template = worker.template
    if worker.kill_unnamed():
        worker.deadline = now + SILENT_TIME
    elif template is not None and not template.reaped:
        logger.error("the template (pid: %d) does not fork, replacing it", template.pid)
        template.signal(signal.SIGKILL)     # what it has forked becomes our child
        worker.deadline = now + ORPHAN_TIME
    else:
        return False
    return True


def _check_heartbeat(worker: Worker, timeout: float, replace: bool, now: float,
                     awake: float) -> None:
    beat = max(worker.row.cells[scoreboard.HEARTBEAT_NS] / 1e9, awake, worker.started)
    if now - beat <= timeout:
        worker.stacks_at = None
    elif worker.stacks_at is None:
        logger.critical("WORKER TIMEOUT (pid:%d): %s %d sent no heartbeat for %.0f seconds, "
                        "its stacks follow", worker.pid, worker.name, worker.id, now - beat)
        worker.signal(signal.SIGUSR2)
        worker.stacks_at = now
    elif replace and now - worker.stacks_at >= STACK_TIME:
        logger.error("%s %d (pid:%d) is stuck and was sent SIGKILL",
                     worker.name, worker.id, worker.pid)
        worker.signal(signal.SIGKILL)
        worker.deadline = now + SILENT_TIME
