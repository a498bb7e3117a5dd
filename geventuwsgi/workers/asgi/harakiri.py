"""The log lines of slow requests, harakiri and errors, with the stacks of tasks.

The sweep checks a request when it has run for `RequestTimeouts.first` seconds; a quick one
costs one number. WebSockets have no harakiri.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from time import monotonic
from typing import Any

from ...log import tracebacks

log = logging.getLogger("geventuwsgi.error")


def worker_stacks(service: Any) -> str:
    """Return the stacks of the requests' tasks and of all native threads of a worker."""
    now = monotonic()
    parts = []
    for connection in tuple(service.connections):
        exchange = connection.exchange or connection.websocket
        task = getattr(exchange, "task", None)
        if exchange is not None and task is not None:
            parts.append(f"request {exchange.title} from {connection.peer}, running for "
                         f"{now - exchange.began:.1f} seconds:\n{task_stack(task)}")
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    sections = [(f"native thread {number:#x} ({names.get(number, 'unknown')}):", frame)
                for number, frame in sys._current_frames().items()]
    return tracebacks.of_process(service.pid, service.worker, sections, "\n\n".join(parts))


def application_error(peer: str, what: str, error: BaseException) -> None:
    """Log an exception of the application, without the frames of this server."""
    log.error("Error handling %s from %s", what, peer, exc_info=tracebacks.exc_info(error))


def log_if_running(peer: str, what: str, task: "asyncio.Task[None]") -> None:
    """Log a request whose task has not ended since its harakiri."""
    if not task.done():
        log.critical("%s: %s ignores its harakiri; its task runs on, here:\n%s", peer, what,
                     task_stack(task))


def task_stack(task: "asyncio.Task[None]") -> str:
    """Return the stack of a task: the frames of the coroutines that await each other."""
    lines: list[str] = []
    awaited: object = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None and not tracebacks.is_server_frame(frame):
            lines += traceback.format_stack(frame, limit=1)
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return "".join(lines).rstrip() or tracebacks.NO_FRAME


def log_slow(worker: int, pid: int, peer: str, what: str, seconds: float,
             task: "asyncio.Task[None]") -> None:
    """Log a request that has been running for `slow-request` seconds, with its stack."""
    log.warning("slow request: %s from %s has been running for %.1f seconds on worker %d "
                "(pid: %d), here:\n%s", what, peer, seconds, worker, pid, task_stack(task))


def log_harakiri(worker: int, pid: int, limit: float, host: str, method: str, uri: str,
                 task: "asyncio.Task[None]") -> None:
    """Log a request that exceeded `harakiri`, in uWSGI's words, with its stack."""
    log.error("*** HARAKIRI ON WORKER %d (pid: %d) ***\n"
              "HARAKIRI [core 0] %s - %s %s since %d\n"
              "HARAKIRI: stack of the task that serves it:\n%s",
              worker, pid, host, method, uri, int(time.time() - limit), task_stack(task))
