"""An application that tells why the real one does not load: for development runs alone."""

import html
from collections.abc import Callable, Iterable

from ..errors import AppLoadError
from .applications import Application, Applications

_PAGE = """<!DOCTYPE html>
<title>The application does not load</title>
<h1>The application does not load</h1>
<p>{message}</p>
<pre>{traceback}</pre>
<p>The next change of a file reloads it.</p>
"""


def applications_of(error: AppLoadError) -> Applications:
    """Return applications that answer everything with 500 and the traceback."""
    page = _PAGE.format(message=html.escape(str(error)),
                        traceback=html.escape(error.traceback)).encode("utf-8", "replace")

    def application(environ: dict[str, object],
                    start_response: Callable[..., object]) -> Iterable[bytes]:
        start_response("500 Internal Server Error", [
            ("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page))),
            ("Cache-Control", "no-store")])
        return [page]

    return Applications([Application(0, "", "", application, "the error page", 0)])
