"""Where every greenlet of this worker stands: requests first, then what else there is.

The rules of this room: it may be asked from the hub, from a signal handler while a
greenlet blocks the hub, or from a native thread. So it takes no lock, switches nowhere
and only reads.
"""

import gc
import sys
from collections.abc import Iterator
from itertools import islice
from time import monotonic
from types import FrameType
from typing import Any, NamedTuple

from gevent.monkey import get_original
from greenlet import greenlet

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
