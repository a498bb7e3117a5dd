"""Exceptions of the application that reach the worker's hub or main greenlet.

A signal handler that raises while the worker waits, `gevent.spawn(sys.exit)`, a KeyboardInterrupt
in a greenlet: gevent throws them into the main greenlet, which would end the worker with all its
requests. They are logged instead, and another worker takes over while this one ends its requests.
"""

import logging
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any

from gevent.exceptions import HubDestroyed, LoopExit

from ..ipc.commands import Child
from ..log import tracebacks

log = logging.getLogger("geventuwsgi.error")

# Between two of them in the log, in seconds: a timer can raise a thousand a second.
_REPORT_INTERVAL = 1.0
_SIGNAL_HANDLER = "a signal handler"


class HubErrors:
    """Handle what gevent would throw into the main greenlet.

    Args:
        hub: the worker's. Called on it, and on the main greenlet.
        child: this process.
        only_request: returns the connection whose request is the only one that can be inside the
            application, or None. It gets what a signal handler raises, as it would without gevent.
    """

    def __init__(self, hub: Any, child: Child,
                 only_request: Callable[[], Any] = lambda: None) -> None:
        self._hub = hub
        self._child = child
        self._only_request = only_request
        self._handle_error = hub.handle_error
        self._reported = False
        self._logged_at = -_REPORT_INTERVAL
        hub.handle_error = self.handle_error

    def handle_error(self, context: Any, kind: Any, value: Any,
                     traceback: TracebackType | None) -> None:
        """Take the place of the hub's `handle_error`.

        Args:
            context: what the exception was raised in, None for a signal handler.
            kind, value, traceback: the exception.
        """
        kind, value, traceback = self._hub._normalize_exception(kind, value, traceback)
        if issubclass(kind, HubDestroyed) or (
                context is not None and not issubclass(kind, self._hub.SYSTEM_ERROR)):
            self._handle_error(context, kind, value, traceback)
            return
        error = value.with_traceback(traceback)
        connection = self._only_request() if context is None else None
        if connection is not None:
            self._hub.loop.run_callback(self._throw, connection, connection.exchange, error)
        else:
            self.report(_SIGNAL_HANDLER if context is None else repr(context), error)

    def _throw(self, connection: Any, exchange: Any, error: BaseException) -> None:
        if self._only_request() is connection and connection.exchange is exchange:
            connection.greenlet.throw(error)
        else:
            self.report(_SIGNAL_HANDLER, error)

    def wait(self, event: Any) -> None:
        """Wait for an event on the main greenlet, whatever is thrown into it."""
        while not event.is_set():
            try:
                event.wait()
            except LoopExit:
                raise
            except BaseException as error:
                self.report("a greenlet whose parent is the main greenlet", error)

    def report(self, origin: str, error: BaseException) -> None:
        """Log an exception, and ask for another worker."""
        now = monotonic()
        if now - self._logged_at >= _REPORT_INTERVAL:
            self._logged_at = now
            log.critical("%s of the application raised %s, which nothing handles; worker %d will "
                         "be replaced", origin, type(error).__name__, self._child.id,
                         exc_info=tracebacks.exc_info(error))
        if not self._reported:
            self._reported = True
            self._child.due_for_replacement(f"{type(error).__name__} was not handled")
