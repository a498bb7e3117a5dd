"""What follows an exception of the application, besides its log line: catch-exceptions and
reload-on-exception."""

from collections.abc import Callable, Collection

from ..log import tracebacks
from .debug_pages import USUAL, Page, of_request


class ExceptionPolicy:
    """The options about exceptions.

    Args:
        replace: called with the reason to have the master replace this worker.
        expose: the client gets the traceback (catch-exceptions).
        as_page: a browser gets it as a page (development runs).
        reload: any exception replaces the worker (reload-on-exception).
        types: classes that do: `ValueError`, or `package.module.Error`.
        values: messages that do.
        reprs: class and message that do, as `ValueError: message`.
    """

    def __init__(self, replace: Callable[[str], None], *, expose: bool = False,
                 as_page: bool = False, reload: bool = False, types: Collection[str] = (),
                 values: Collection[str] = (), reprs: Collection[str] = ()) -> None:
        self._expose = expose
        self._as_page = as_page
        self._reload = reload
        self._types = frozenset(types)
        self._values = frozenset(values)
        self._reprs = frozenset(reprs)
        self._replace = replace
        self._requested = False

    def apply(self, what: str, error: BaseException, accept: str = "") -> Page:
        """Request the worker's replacement if the options say so, and choose the response.

        Args:
            what: the request, for the page.
            error: what it raised.
            accept: the client's Accept.

        Returns:
            The page for the client.
        """
        if not self._requested and self._reloads(error):
            self._requested = True  # a worker is replaced only once
            self._replace(f"{what} raised {type(error).__name__} (reload-on-exception)")
        if self._as_page:
            return of_request(error, accept, what)
        if not self._expose:
            return USUAL
        text = f"{what}\n\n{tracebacks.of_exception(error)}"
        return USUAL._replace(content=text.encode("utf-8", "replace"))

    def _reloads(self, error: BaseException) -> bool:
        kind, text = type(error), str(error)
        return (self._reload or kind.__name__ in self._types
                or f"{kind.__module__}.{kind.__qualname__}" in self._types
                or text in self._values or f"{kind.__name__}: {text}" in self._reprs)
