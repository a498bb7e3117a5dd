"""What follows, beside the log, when an application raises: catch-exceptions, reload-on-exception.

The rules of this room: it is asked once an exception has left the application, so nothing
here is on the way of a request that succeeds.
"""

import os
import traceback
from collections.abc import Callable, Collection

from .debug_pages import USUAL, Page, of_request

_PACKAGE_DIRECTORY = os.path.dirname(os.path.dirname(__file__))


class ExceptionPolicy:
    """What is to be done about exceptions.

    Args:
        worn: asks the master for another worker in this one's place.
        told: the client gets the traceback (catch-exceptions).
        shown: it gets it as a page, if it is a browser (development runs).
        reload: any exception has the worker replaced (reload-on-exception).
        types: those of these classes have: `ValueError`, or `package.module.Error`.
        values: those with these messages.
        reprs: those that read so, `ValueError: message`.
    """

    def __init__(self, worn: Callable[[str], None], *, told: bool = False, shown: bool = False,
                 reload: bool = False, types: Collection[str] = (), values: Collection[str] = (),
                 reprs: Collection[str] = ()) -> None:
        self._told = told
        self._shown = shown
        self._reload = reload
        self._types = frozenset(types)
        self._values = frozenset(values)
        self._reprs = frozenset(reprs)
        self._worn = worn
        self._asked = False

    def happened(self, what: str, error: BaseException, accept: str = "") -> Page:
        """Do what is to be done.

        Args:
            what: the request, for the page.
            error: what it raised.
            accept: the client's Accept.

        Returns:
            What the client gets.
        """
        if not self._asked and self._wanted(error):
            self._asked = True  # one is enough: it is replaced once
            self._worn(f"{what} raised {type(error).__name__} (reload-on-exception)")
        if self._shown:
            return of_request(error, accept, what)
        if not self._told:
            return USUAL
        return USUAL._replace(content=f"{what}\n\n{told(error)}".encode("utf-8", "replace"))

    def _wanted(self, error: BaseException) -> bool:
        kind, text = type(error), str(error)
        return (self._reload or kind.__name__ in self._types
                or f"{kind.__module__}.{kind.__qualname__}" in self._types
                or text in self._values or f"{kind.__name__}: {text}" in self._reprs)


def told(error: BaseException) -> str:
    """Return the traceback of an exception, from the application's first frame on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_PACKAGE_DIRECTORY):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))
