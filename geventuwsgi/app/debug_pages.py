"""Error pages of development runs: HTML for a browser, text for every other client.

They show source code, so only development runs use them. Text from outside is escaped, and
there is nothing on a page to click, run or load.
"""

import html
import itertools
import linecache
import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..errors import GeventuwsgiError
from ..log import tracebacks
from ..protocol.response import PLAIN
from .applications import Application, Applications

AROUND = 2          # lines of source shown before and after the line of a frame
# The browser may neither load anything for the page nor store it.
FIELDS = (("Cache-Control", "no-store"),
          ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"))
MOST_EXCEPTIONS = 20
MOST_FRAMES = 60    # of one exception, the innermost: a recursion has a thousand

# The beginnings of Python's own files, such as `<frozen importlib._bootstrap>`.
_LIBRARIES = ("<frozen ", os.path.join(os.path.dirname(os.__file__), ""))
_INSTALLED = re.compile(r"/(?:site|dist)-packages/([^/]+)")
_HTML = re.compile(r"text/html\s*(;[^,]*)?(,|$)")
_REFUSED = re.compile(r";\s*q=0(\.0*)?\s*(;|$)")
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
h1 {{ font-size: 1.4em }} h2 {{ font-size: 1.1em; color: #a00; overflow-wrap: anywhere }}
pre {{ background: #f4f4f4; padding: .5em; overflow: auto; font-size: .85em }}
pre b {{ display: block; background: #fdd }} .where {{ margin-bottom: 0; font-size: .9em }}
details {{ margin: 1em 0 }} summary {{ font-size: .9em; color: #555; cursor: pointer }}
</style>
<h1>{title}</h1>
{body}
<p><small>{closing} Only development runs of geventuwsgi show this page.</small></p>
</html>
"""


class Page(NamedTuple):
    """The page of an error response.

    Attributes:
        kind: its Content-Type.
        content: its content; b"" = the usual page.
        fields: further header fields.
    """

    kind: str
    content: bytes
    fields: tuple[tuple[str, str], ...] = FIELDS


USUAL = Page(PLAIN, b"", ())


def wants_html(accept: str) -> bool:
    """Whether Accept names HTML, as that of a browser does (RFC 9110 section 12.5.1)."""
    found = _HTML.search(accept.lower())
    return found is not None and not _REFUSED.search(found[1] or "")


def of_request(error: BaseException, accept: str, title: str) -> Page:
    """Return the page for an exception that an application raised.

    Args:
        error: the exception.
        accept: the client's Accept.
        title: the request, for the heading.
    """
    shown = tracebacks.without_frames(error, tracebacks.is_server_file)
    heading = f"500: {title}"
    if not wants_html(accept):
        return _text(heading, "".join(shown.format()))
    return _page(heading, "".join(map(_exception, _chain(shown))),
                 "The terminal has the same traceback.")


def of_loading(message: str, trace: str, accept: str) -> Page:
    """Return the page for an application that does not load.

    Args:
        message: the reason, in one sentence.
        trace: the traceback as text, "" if there is none.
        accept: the client's Accept.
    """
    heading = "The application does not load"
    if not wants_html(accept):
        return _text(heading, f"{message}\n\n{trace}")
    body = f"<h2>{html.escape(message)}</h2>\n" + (trace and f"<pre>{html.escape(trace)}</pre>")
    return _page(heading, body, "When a file changes, the application is loaded again; then "
                                "reload this page.")


def delay_errors(application: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an ASGI application so that a 500 is sent only if no exception follows it.

    Starlette, and so FastAPI, sends a 500 and then raises (ServerErrorMiddleware).
    """
    async def delayed(scope: dict[str, Any], receive: Any, send: Any) -> None:
        held: list[dict[str, Any]] = []

        async def hold(message: dict[str, Any]) -> None:
            if held or message.get("status") == 500 and message["type"] == "http.response.start":
                held.append(message)
            else:
                await send(message)

        await application(scope, receive, hold if scope["type"] == "http" else send)
        for message in held:
            await send(message)

    return delayed


def applications_of(error: GeventuwsgiError) -> Applications:
    """Return a WSGI application that responds to every request with 500 and the reason why
    the real one does not load."""
    message, trace = str(error), getattr(error, "traceback", "")

    def application(environ: dict[str, object],
                    start_response: Callable[..., object]) -> Iterable[bytes]:
        page = of_loading(message, trace, str(environ.get("HTTP_ACCEPT", "")))
        start_response("500 Internal Server Error", [
            ("Content-Type", page.kind), ("Content-Length", str(len(page.content))),
            *page.fields])
        return [page.content]

    return Applications([Application(0, "", "", application, "the error page", 0)])


def _text(heading: str, text: str) -> Page:
    return Page(PLAIN,
                f"{heading}\n\n{text.rstrip()}\n".encode("utf-8", "backslashreplace"))


def _page(heading: str, body: str, closing: str) -> Page:
    page = _PAGE.format(title=html.escape(heading), body=body, closing=closing)
    return Page("text/html; charset=utf-8", page.encode("utf-8", "backslashreplace"))


def _chain(shown: traceback.TracebackException) -> list[traceback.TracebackException]:
    """Return the exceptions to show: this one, what led to it and its group; causes first."""
    found: list[traceback.TracebackException] = []
    pending = [shown]
    while pending and len(found) < MOST_EXCEPTIONS:
        one = pending.pop()
        if any(one is known for known in found):
            continue
        found.append(one)
        pending += getattr(one, "exceptions", None) or ()
        before = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
        if before is not None:
            pending.append(before)
    return found[::-1]


def _exception(shown: traceback.TracebackException) -> str:
    frames = list(shown.stack)
    left_out = len(frames) - MOST_FRAMES
    parts = [f"<h2>{html.escape(''.join(shown.format_exception_only()).strip())}</h2>\n"]
    if left_out > 0:
        parts.append(f"<p>{left_out} outer calls are left out.</p>\n")
    groups = [(library, list(group)) for library, group in itertools.groupby(
        frames[-MOST_FRAMES:], lambda frame: _is_library(frame.filename))]
    alone = all(library for library, _ in groups)
    for library, group in groups:
        inner = "".join(map(_frame, group))
        if library:
            inner = (f"<details{' open' * alone}>\n<summary>{_summary(group)}</summary>\n{inner}"
                     "</details>\n")
        parts.append(inner)
    return "".join(parts)


def _is_library(path: str) -> bool:
    """Whether a file is Python's own or of an installed package."""
    return path.startswith(_LIBRARIES) or _INSTALLED.search(path) is not None


def _summary(frames: Iterable[traceback.FrameSummary]) -> str:
    """Return what stands for the folded calls of libraries: how many, and of which."""
    found = [_INSTALLED.search(frame.filename) for frame in frames]
    names = dict.fromkeys(match[1].removesuffix(".py") if match else "Python" for match in found)
    return html.escape(f"{len(found)} call{'s' * (len(found) != 1)} in {', '.join(names)}")


def _frame(frame: traceback.FrameSummary) -> str:
    number = frame.lineno or 0
    where = f"{frame.filename}, line {number}, in {frame.name}"
    return (f'<p class="where">{html.escape(where)}</p>\n'
            f"<pre>{''.join(_source(frame.filename, number))}</pre>\n")


def _source(filename: str, number: int) -> Iterator[str]:
    """Yield a line of a file, marked, between those around it."""
    linecache.checkcache(filename)
    for at in range(max(number - AROUND, 1), number + AROUND + 1):
        line = linecache.getline(filename, at)
        if line:
            text = html.escape(f"{at:5}  {line.rstrip()}")
            yield f"<b>{text}</b>" if at == number else f"{text}\n"
