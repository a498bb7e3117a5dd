"""Where every greenlet of this worker stands: requests first, then what else there is.

The rules of this room: it may be asked from the hub, from a signal handler while a
greenlet blocks the hub, or from a native thread. So it takes no lock, switches nowhere
and only reads.
"""

import gc
import logging
import sys
import time
from collections.abc import Iterator
from itertools import islice
from time import monotonic
from types import FrameType
from typing import Any, NamedTuple

from gevent.monkey import get_original
from greenlet import greenlet

from ...errors import ResponseError
from ...log import tracebacks

get_ident = get_original("_thread", "get_ident")
# More than this are counted and not shown: somebody has to read it.
MOST = 1000


class Section(NamedTuple):
    """One stack: what to say above it, a short name, and its innermost frame."""

    title: str
    label: str
    frame: FrameType | None


def of_worker(service: Any, running: FrameType | None = None) -> str:
    """Return the stacks of all greenlets and native threads of a worker, as text.

    Args:
        service: of the worker.
        running: where the main thread is, for one that asks in its signal handler.
    """
    shown = list(islice(sections(service, running), MOST + 1))
    closing = []
    if len(shown) > MOST:
        del shown[MOST:]
        closing.append(f"more than {MOST} stacks; the rest is not shown")
    idle = sum(1 for connection in tuple(service.connections) if connection.exchange is None)
    if idle:
        closing.append(f"{idle} other connections: they wait for a request or for a slot")
    return tracebacks.whole(service.pid, service.worker,
                            [(one.title, one.frame) for one in shown], "\n".join(closing))


def sections(service: Any, running: FrameType | None = None) -> Iterator[Section]:
    """Yield the stack of each request, greenlet and native thread."""
    me = f"uWSGIWorker{service.worker}"
    threads = sys._current_frames()
    if running is None and get_ident() != service.thread:
        running = threads.get(service.thread)
    # Asked on the hub, nobody is in its way.
    blocked = running is not None and not is_at_rest(running)
    known = {id(service.hub)}
    for connection in tuple(service.connections):
        known.add(id(connection.greenlet))
        exchange = connection.exchange
        if exchange is None:
            continue
        frame, state = connection.greenlet.gr_frame, ""
        if frame is None:  # the one greenlet that runs
            frame, state = running, ", keeping the hub blocked" if blocked else ""
            blocked = False
        yield Section(
            f"request {exchange.method} {exchange.uri} from {connection.peer} on core "
            f"{exchange.core}, running for {monotonic() - connection.began:.1f} seconds{state}:",
            f"{me}Core{exchange.core} {exchange.method} {exchange.uri}", frame)
    if blocked:
        yield Section("the greenlet that keeps the hub blocked:", me, running)
    for one in gc.get_objects():
        # By type(): isinstance() asks for __class__, which wakes lazy objects.
        if issubclass(type(one), greenlet) and id(one) not in known and one.parent is not None:
            if one.gr_frame is not None and not _is_ours(one.gr_frame):
                name = f"{type(one).__name__} at {id(one):#x}"
                yield Section(f"{name}:", name, one.gr_frame)
    for number, frame in threads.items():
        if number not in (service.thread, get_ident()) and not _is_ours(frame):
            yield Section(f"native thread {number:#x}:", f"thread {number:#x}", frame)


def _is_ours(frame: FrameType) -> bool:
    """Whether a stack begins and ends in the server: a greenlet that waits for its next
    connection, a thread that watches."""
    outermost = frame
    while outermost.f_back is not None:
        outermost = outermost.f_back
    return tracebacks.is_ours(frame) and tracebacks.is_ours(outermost)


def running_request(service: Any) -> Any:
    """Return the connection whose request is running now; for a native thread that asks."""
    for connection in tuple(service.connections):
        if connection.exchange is not None and connection.greenlet.gr_frame is None:
            return connection
    return None


def is_at_rest(frame: FrameType) -> bool:
    """Whether the innermost call of the main thread is the hub's loop itself."""
    return bool(frame.f_globals.get("__name__") == "gevent.hub")


# What the log says about a request that went wrong: whose, which, and where it stood.

log = logging.getLogger("geventuwsgi.error")


def application_error(peer: str, method: str, uri: str, error: BaseException) -> None:
    """Log the traceback of an exception that left the application, without our frames.

    A response that cannot be sent as it was returned has none of the application's: there
    the message says it all.
    """
    trace = error.__traceback__
    while trace is not None and tracebacks.is_ours(trace.tb_frame):
        trace = trace.tb_next
    if trace is None and isinstance(error, ResponseError):
        log.error("Error handling request %s %s from %s: %s", method, uri, peer, error)
        return
    log.error("Error handling request %s %s from %s", method, uri, peer,
              exc_info=(type(error), error, trace or error.__traceback__))


def stack(greenlet: Any) -> str:
    """The stack of a suspended or running greenlet, innermost call last."""
    return tracebacks.text(greenlet.gr_frame)


def harakiri(connection: Any) -> None:
    """Log a request that exceeded `harakiri`, in uWSGI's words, with its greenlet's stack.

    With `harakiri-verbose` the request's variables and the worker's other stacks follow.
    """
    service, exchange = connection.service, connection.exchange
    since = int(time.time() - (time.monotonic() - connection.began))
    text = (f"*** HARAKIRI ON WORKER {service.worker} (pid: {service.pid}) ***\n"
            f"HARAKIRI [core {exchange.core}] {connection.host} - {exchange.method} "
            f"{exchange.uri} since {since}\n"
            f"HARAKIRI: stack of the greenlet that serves it:\n{stack(connection.greenlet)}")
    if service.timeouts.verbose:
        text += (f"\nHARAKIRI: its environ:\n{tracebacks.essentials(exchange.environ)}\n"
                 f"HARAKIRI !!! worker {service.worker} status !!!\n"
                 f"{of_worker(service).rstrip()}\n"
                 f"HARAKIRI !!! end of worker {service.worker} status !!!")
    log.error("%s", text)


def slow(connection: Any) -> None:
    """Log a request that has been running for `slow-request` seconds, and where it is."""
    service, exchange = connection.service, connection.exchange
    log.warning("slow request: %s %s from %s has been running for %.1f seconds on core %d of "
                "worker %d (pid: %d), here:\n%s", exchange.method, exchange.uri, connection.peer,
                time.monotonic() - connection.began, exchange.core, service.worker, service.pid,
                stack(connection.greenlet))
