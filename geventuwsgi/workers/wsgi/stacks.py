"""Stacks of a worker's greenlets and threads, and the log reports that show them.

`of_worker`, `sections` and `running_request` may be called on the hub, in a signal handler
while a greenlet blocks the hub, or in a native thread. They take no lock, never switch and
only read.
"""

import gc
import logging
import sys
import time
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from time import monotonic
from types import FrameType
from typing import Any, NamedTuple

from gevent.monkey import get_original
from greenlet import greenlet

from ...errors import ResponseError
from ...log import tracebacks

log = logging.getLogger("geventuwsgi.error")

get_ident = get_original("_thread", "get_ident")
# The number of stacks that are shown.
MAX_SHOWN = 1000


class Section(NamedTuple):
    """One stack: its title, a short name, and its innermost frame."""

    title: str
    label: str
    frame: FrameType | None


def of_worker(service: Any, running: FrameType | None = None) -> str:
    """Return the stacks of all greenlets and native threads of a worker, as text.

    Args:
        service: the worker's.
        running: the frame of the main thread, for a caller in its signal handler.
    """
    shown = list(islice(sections(service, running), MAX_SHOWN + 1))
    closing = []
    if len(shown) > MAX_SHOWN:
        del shown[MAX_SHOWN:]
        closing.append(f"more than {MAX_SHOWN} stacks; the rest is not shown")
    idle = sum(1 for connection in tuple(service.connections)
               if connection.exchange is None
               or connection.call is not None and not connection.call.thread)
    if idle:
        closing.append(f"{idle} other connections: they wait for a request or for a slot")
    return tracebacks.of_process(service.pid, service.worker,
                                 [(one.title, one.frame) for one in shown], "\n".join(closing))


def sections(service: Any, running: FrameType | None = None) -> Iterator[Section]:
    """Yield the stacks of requests, then of other greenlets, then of native threads."""
    worker = f"uWSGIWorker{service.worker}"
    threads = sys._current_frames()
    if running is None and get_ident() != service.thread:
        running = threads.get(service.thread)
    # When called on the hub, nothing blocks it.
    blocked = running is not None and not is_at_rest(running)
    known = {id(service.hub)}
    for connection in tuple(service.connections):
        known.add(id(connection.greenlet))
        exchange, call = connection.exchange, connection.call
        if exchange is None or call is not None and (call.ended or not call.thread):
            continue
        frame, state = connection.greenlet.gr_frame, ""
        if call is not None:
            frame = call.frame(threads)
            threads.pop(call.thread, None)
        elif frame is None:  # the greenlet that runs
            frame, state = running, ", keeping the hub blocked" if blocked else ""
            blocked = False
        yield Section(
            f"request {exchange.method} {exchange.uri} from {connection.peer} on core "
            f"{exchange.core}, running for {monotonic() - connection.began:.1f} seconds{state}:",
            f"{worker}Core{exchange.core} {exchange.method} {exchange.uri}", frame)
    idle = () if service.pool is None else service.pool.idle
    if blocked:
        yield Section("the greenlet that keeps the hub blocked:", worker, running)
    for one in gc.get_objects():
        # type(), as isinstance() reads __class__, which evaluates lazy objects.
        if issubclass(type(one), greenlet) and id(one) not in known and one.parent is not None:
            if one.gr_frame is not None and not _is_ours(one.gr_frame):
                name = f"{type(one).__name__} at {id(one):#x}"
                yield Section(f"{name}:", name, one.gr_frame)
    for number, frame in threads.items():
        if number not in (service.thread, get_ident(), *idle) and not _is_ours(frame):
            yield Section(f"native thread {number:#x}:", f"thread {number:#x}", frame)


def _is_ours(frame: FrameType) -> bool:
    """Whether a stack begins and ends in the server: an idle greenlet, a monitor thread."""
    outermost = frame
    while outermost.f_back is not None:
        outermost = outermost.f_back
    return tracebacks.is_server_frame(frame) and tracebacks.is_server_frame(outermost)


def running_request(service: Any) -> Any:
    """Return the connection whose request is running now; of several in native threads the one
    that has run longest. For the threads of monitors."""
    if service.pool is not None:
        running = [connection for connection in tuple(service.connections)
                   if connection.call is not None and connection.call.thread
                   and not connection.call.ended]
        return min(running, key=attrgetter("began"), default=None)
    for connection in tuple(service.connections):
        if connection.exchange is not None and connection.greenlet.gr_frame is None:
            return connection
    return None


def is_at_rest(frame: FrameType) -> bool:
    """Whether the innermost call of the main thread is the hub's loop itself."""
    return bool(frame.f_globals.get("__name__") == "gevent.hub")


def application_error(peer: str, method: str, uri: str, error: BaseException) -> None:
    """Log the traceback of an exception that left the application, without our frames.

    A response that cannot be sent as it was returned has none of the application's: there
    the message says it all.
    """
    if isinstance(error, ResponseError) and tracebacks.application_part(error) is None:
        log.error("Error handling request %s %s from %s: %s", method, uri, peer, error)
        return
    log.error("Error handling request %s %s from %s", method, uri, peer,
              exc_info=tracebacks.exc_info(error))


def of_request(connection: Any) -> str:
    """Return the stack of the greenlet or thread that runs a request, innermost call last."""
    call = connection.call
    return tracebacks.text(connection.greenlet.gr_frame) if call is None else of_call(call)


def of_call(call: Any) -> str:
    """Return the stack of a request in a native thread, innermost call last."""
    return tracebacks.text(call.frame(sys._current_frames()))


def harakiri(connection: Any) -> None:
    """Log a request that exceeded `harakiri`, in uWSGI's format, with its greenlet's stack.

    With `harakiri-verbose` the request's variables and all stacks of the worker follow.
    """
    service, exchange = connection.service, connection.exchange
    since = int(time.time() - (time.monotonic() - connection.began))
    kind = "greenlet" if connection.call is None else "thread"
    text = (f"*** HARAKIRI ON WORKER {service.worker} (pid: {service.pid}) ***\n"
            f"HARAKIRI [core {exchange.core}] {connection.host} - {exchange.method} "
            f"{exchange.uri} since {since}\n"
            f"HARAKIRI: stack of the {kind} that serves it:\n{of_request(connection)}")
    if service.timeouts.verbose:
        text += (f"\nHARAKIRI: its environ:\n{tracebacks.request_variables(exchange.environ)}\n"
                 f"HARAKIRI !!! worker {service.worker} status !!!\n"
                 f"{of_worker(service).rstrip()}\n"
                 f"HARAKIRI !!! end of worker {service.worker} status !!!")
    log.error("%s", text)


def slow(connection: Any) -> None:
    """Log a request that has been running for `slow-request` seconds, with its stack."""
    service, exchange = connection.service, connection.exchange
    log.warning("slow request: %s %s from %s has been running for %.1f seconds on core %d of "
                "worker %d (pid: %d), here:\n%s", exchange.method, exchange.uri, connection.peer,
                time.monotonic() - connection.began, exchange.core, service.worker, service.pid,
                of_request(connection))
