"""What the log says about a request that went wrong: whose, which, and where it stood."""

import logging
import time
import traceback
from typing import Any

log = logging.getLogger("geventuwsgi.error")


def application_error(peer: str, method: str, uri: str, error: BaseException) -> None:
    """Log the traceback of an exception that left the application, without our frames."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame):
        trace = trace.tb_next
    log.error("Error handling request %s %s from %s", method, uri, peer,
              exc_info=(type(error), error, trace or error.__traceback__))


def _is_ours(frame: Any) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(
        ("geventuwsgi.server.", "geventuwsgi.app."))


def stack(greenlet: Any) -> str:
    """The stack of a suspended or running greenlet, innermost call last."""
    frame = greenlet.gr_frame
    if frame is None:
        return "  (no Python frame)"
    return "".join(traceback.format_stack(frame)).rstrip()


def harakiri(service: Any, host: str, exchange: Any, greenlet: Any) -> None:
    """Log a request that exceeded `harakiri`, in uWSGI's words, with its greenlet's stack."""
    since = int(time.time() - service.policy.harakiri)
    log.error("*** HARAKIRI ON WORKER %d (pid: %d) ***\n"
              "HARAKIRI [core %d] %s - %s %s since %d\n"
              "HARAKIRI: stack of the greenlet that serves it:\n%s",
              service.worker, service.pid, exchange.core, host, exchange.method,
              exchange.uri, since, stack(greenlet))
