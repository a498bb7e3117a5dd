"""An application that tells why the real one does not load: for development runs alone."""

from collections.abc import Callable, Iterable

from ..errors import GeventuwsgiError
from . import debug_pages
from .applications import Application, Applications


def applications_of(error: GeventuwsgiError) -> Applications:
    """Return applications that answer everything with 500 and the traceback."""
    message, trace = str(error), getattr(error, "traceback", "")

    def application(environ: dict[str, object],
                    start_response: Callable[..., object]) -> Iterable[bytes]:
        page = debug_pages.of_loading(message, trace, str(environ.get("HTTP_ACCEPT", "")))
        start_response("500 Internal Server Error", [
            ("Content-Type", page.kind), ("Content-Length", str(len(page.content))),
            *page.fields])
        return [page.content]

    return Applications([Application(0, "", "", application, "the error page", 0)])
