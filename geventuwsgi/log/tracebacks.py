"""Stacks as text: of a greenlet, a native thread or a task, innermost call last.

The rules of this room: no gevent, no locks and no imports at the moment of need, as it is
asked from signal handlers and from native threads while the process is stuck. What stands
around the application (our own frames at its outer end) is left out.
"""

import linecache
import os
import tokenize  # noqa: F401 (linecache imports it when it is first asked)
import traceback
from collections.abc import Iterable, Mapping
from types import FrameType

OURS = ("geventuwsgi.workers.wsgi.", "geventuwsgi.app.", "geventuwsgi.workers.asgi.")
_PACKAGE_DIRECTORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SERVER_DIRECTORIES = tuple(os.path.join(_PACKAGE_DIRECTORY, wing, "")
                            for wing in ("workers", "app"))
NOTHING = "  (no Python frame)"

# What a log may tell of a request: no cookie, no Authorization, no body.
ESSENTIALS = (
    "REQUEST_METHOD", "REQUEST_URI", "SERVER_PROTOCOL", "SCRIPT_NAME", "PATH_INFO", "HTTP_HOST",
    "REMOTE_ADDR", "REMOTE_PORT", "REMOTE_USER", "HTTP_X_FORWARDED_FOR", "HTTP_X_REQUEST_ID",
    "HTTP_USER_AGENT", "HTTP_REFERER", "CONTENT_TYPE", "CONTENT_LENGTH", "wsgi.url_scheme")


def frames(frame: FrameType | None) -> list[tuple[FrameType, int]]:
    """Return (frame, line number) from the outermost call of the application inward."""
    if frame is None:
        return []  # walk_stack would take the caller's
    found = list(traceback.walk_stack(frame))
    found.reverse()
    inner = next((index for index, (one, _) in enumerate(found) if not is_ours(one)), 0)
    return found[inner:]


def is_ours(frame: FrameType) -> bool:
    """Whether a frame belongs to the machinery around the application."""
    return str(frame.f_globals.get("__name__", "")).startswith(OURS)


def in_debugger(frame: FrameType | None) -> bool:
    """Whether a stack stands in Python's debugger, which waits for its user."""
    return any(one.f_globals.get("__name__") == "bdb" for one, _ in traceback.walk_stack(frame))


def is_our_file(path: str) -> bool:
    """Whether a file is of the machinery around the application."""
    return path.startswith(_SERVER_DIRECTORIES)


def text(frame: FrameType | None) -> str:
    """Return a stack in Python's form, without a line break at its end."""
    if frame is None:
        return NOTHING
    return "".join(traceback.StackSummary.extract(frames(frame)).format()).rstrip()


def uwsgi_lines(title: str, frame: FrameType | None) -> str:
    """Return a stack in the form of uWSGI's tracebacker: one line per call.

    Args:
        title: what uWSGI writes as `thread_id`.
        frame: the innermost call.
    """
    lines = []
    for one, number in frames(frame):
        code = one.f_code
        source = linecache.getline(code.co_filename, number, one.f_globals).strip()
        lines.append(f"thread_id = {title} filename = {code.co_filename} lineno = {number} "
                     f"function = {code.co_name} line = {source}\n")
    return "".join(lines)


def essentials(environ: Mapping[str, object]) -> str:
    """Return what may be told of a request's variables, one per line, indented."""
    return "\n".join(f"  {name} = {environ[name]}" for name in ESSENTIALS if environ.get(name))


def whole(pid: int, worker: int, sections: Iterable[tuple[str, FrameType | None]],
          closing: str = "") -> str:
    """Return the stacks of a process under their titles.

    Args:
        pid: of the process.
        worker: its number.
        sections: title and innermost frame of each.
        closing: a line at the end, where there is more to say.
    """
    parts = [f"worker {worker} (pid: {pid})"]
    parts += [f"{title}\n{text(frame)}" for title, frame in sections]
    if closing:
        parts.append(closing)
    return "\n\n".join(parts) + "\n"
