"""Looking after one worker: killed when overdue, told and killed when stuck.

Called in the master only, at every turn of its loop. A worker that drains has a deadline
and nothing else counts; one that serves has to give signs of life.
"""

import logging
import signal

from ..ipc import scoreboard
from .children import Process, Worker
from .role import Role

logger = logging.getLogger("geventuwsgi.error")

STACK_TIME = 1.0        # seconds to write the stacks between SIGUSR2 and SIGKILL
SILENT_TIME = 5.0       # seconds a worker may live after closing its control socket
FORK_PATIENCE = 30.0    # seconds until a template that forks nothing is replaced


def check(worker: Worker, role: Role, template: Process | None, now: float,
          awake: float) -> None:
    """Kill a worker that is overdue, and look for one that is stuck.

    Args:
        worker: the worker.
        role: how long it may be silent.
        template: who forks it.
        now: time.monotonic().
        awake: since when the master has been running without a pause.
    """
    if worker.deadline is not None:
        if now >= worker.deadline and worker.pid:
            if role.stdin:      # it may stand in a debugger, whose user is here
                logger.info("%s %d (pid: %d) is still busy after %g seconds and is killed",
                            worker.name, worker.id, worker.pid, role.grace)
            else:
                logger.warning("%s %d (pid: %d) is taking too much time to die..."
                               "NO MERCY !!!", worker.name, worker.id, worker.pid)
            worker.signal(signal.SIGKILL)
            worker.deadline = now + SILENT_TIME
        elif now >= worker.deadline:
            worker.kill_unnamed(() if template is None else (template.pid,))
            worker.deadline = now + SILENT_TIME
        return
    if not worker.pid:
        if now - worker.started > FORK_PATIENCE and template is not None:
            logger.error("the template (pid: %d) forks nothing and is replaced", template.pid)
            template.signal(signal.SIGKILL)
            worker.deadline = now  # and whatever it has forked
        return
    if role.timeout and worker.ready:
        _look_for_life(worker, role.timeout, role.replace_stuck, now, awake)


def _look_for_life(worker: Worker, timeout: float, replace: bool, now: float,
                   awake: float) -> None:
    beat = max(worker.row.cells[scoreboard.HEARTBEAT_NS] / 1e9, awake, worker.started)
    if now - beat <= timeout:
        worker.stacks_at = None
    elif worker.stacks_at is None:
        logger.critical("WORKER TIMEOUT (pid:%d): %s %d gave no sign of life for %.0f seconds, "
                        "its stacks follow", worker.pid, worker.name, worker.id, now - beat)
        worker.signal(signal.SIGUSR2)
        worker.stacks_at = now
    elif replace and now - worker.stacks_at >= STACK_TIME:
        logger.error("%s %d (pid:%d) is stuck and was sent SIGKILL",
                     worker.name, worker.id, worker.pid)
        worker.signal(signal.SIGKILL)
        worker.deadline = now + SILENT_TIME
