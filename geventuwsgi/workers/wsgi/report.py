"""What the log says about a request that went wrong: whose, which, and where it stood."""

import logging
import time
from typing import Any

from ...errors import ResponseError
from ...log import tracebacks
from . import stacks as census

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
    if service.patience.verbose:
        text += (f"\nHARAKIRI: its environ:\n{tracebacks.essentials(exchange.environ)}\n"
                 f"HARAKIRI !!! worker {service.worker} status !!!\n"
                 f"{census.of_worker(service).rstrip()}\n"
                 f"HARAKIRI !!! end of worker {service.worker} status !!!")
    log.error("%s", text)


def slow(connection: Any) -> None:
    """Log a request that has been running for `slow-request` seconds, and where it is."""
    service, exchange = connection.service, connection.exchange
    log.warning("slow request: %s %s from %s has been running for %.1f seconds on core %d of "
                "worker %d (pid: %d), here:\n%s", exchange.method, exchange.uri, connection.peer,
                time.monotonic() - connection.began, exchange.core, service.worker, service.pid,
                stack(connection.greenlet))
