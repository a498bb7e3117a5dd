"""Stacks and tracebacks as text, without the frames of this server around the application.

Stacks are asked for by signal handlers and by native threads while the process is stuck, so
nothing here uses gevent, takes a lock or imports a module when it is called.
"""

import linecache
import os
import tokenize  # noqa: F401 (linecache imports it on first use)
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, TracebackType
from typing import Any

PACKAGE_DIRECTORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SERVER_DIRECTORIES = tuple(os.path.join(PACKAGE_DIRECTORY, name, "")
                            for name in ("workers", "app"))
NO_FRAME = "  (no Python frame)"

# The variables of a request that may be logged: no cookie, no Authorization, no body.
LOGGED_VARIABLES = (
    "REQUEST_METHOD", "REQUEST_URI", "SERVER_PROTOCOL", "SCRIPT_NAME", "PATH_INFO", "HTTP_HOST",
    "REMOTE_ADDR", "REMOTE_PORT", "REMOTE_USER", "HTTP_X_FORWARDED_FOR", "HTTP_X_REQUEST_ID",
    "HTTP_USER_AGENT", "HTTP_REFERER", "CONTENT_TYPE", "CONTENT_LENGTH", "wsgi.url_scheme")


def is_server_file(path: str) -> bool:
    """Whether a file belongs to the part of this server that calls the application."""
    return path.startswith(_SERVER_DIRECTORIES)


def is_server_frame(frame: FrameType) -> bool:
    """Whether a frame belongs to the part of this server that calls the application."""
    return is_server_file(frame.f_code.co_filename)


# Stacks

def frames(frame: FrameType | None) -> list[tuple[FrameType, int]]:
    """Return (frame, line number) of each call, from the application's outermost inward."""
    if frame is None:
        return []  # walk_stack would start at the caller
    found = list(traceback.walk_stack(frame))
    found.reverse()
    ours = [is_server_frame(one) for one, _ in found]
    # The main thread has frames before those that call the application.
    begin = ours.index(True) if True in ours else 0
    return found[ours.index(False, begin) if False in ours[begin:] else 0:]


def in_debugger(frame: FrameType | None) -> bool:
    """Whether a stack is inside Python's debugger, which waits for its user."""
    return any(one.f_globals.get("__name__") == "bdb" for one, _ in traceback.walk_stack(frame))


def text(frame: FrameType | None) -> str:
    """Return a stack in Python's form, without a line break at its end."""
    if frame is None:
        return NO_FRAME
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


def of_process(pid: int, worker: int, sections: Iterable[tuple[str, FrameType | None]],
               closing: str = "") -> str:
    """Return the stacks of a process under their titles.

    Args:
        pid: of the process.
        worker: its number.
        sections: title and innermost frame of each stack.
        closing: text after the last stack.
    """
    parts = [f"worker {worker} (pid: {pid})"]
    parts += [f"{title}\n{text(frame)}" for title, frame in sections]
    if closing:
        parts.append(closing)
    return "\n\n".join(parts) + "\n"


def request_variables(environ: Mapping[str, object]) -> str:
    """Return the `LOGGED_VARIABLES` of a request, one per line, indented."""
    return "\n".join(f"  {name} = {environ[name]}"
                     for name in LOGGED_VARIABLES if environ.get(name))


# Exceptions

def application_part(error: BaseException) -> TracebackType | None:
    """Return the traceback of an exception from the application's first frame on; None if
    it never reached the application."""
    trace = error.__traceback__
    while trace is not None and is_server_frame(trace.tb_frame):
        trace = trace.tb_next
    return trace


def exc_info(error: BaseException) -> tuple[Any, BaseException, TracebackType | None]:
    """Return what `logging` needs to log an exception with the application's part of its
    traceback, or with all of it if the application has no part in it."""
    return type(error), error, application_part(error) or error.__traceback__


def of_exception(error: BaseException) -> str:
    """Return the traceback of an exception, from the application's first frame on."""
    return "".join(traceback.format_exception(type(error), error, application_part(error)))


def without_frames(error: BaseException,
                   is_omitted: Callable[[str], bool]) -> traceback.TracebackException:
    """Return a summary of an exception and of all that led to it, without some frames.

    Args:
        error: the exception.
        is_omitted: whether the frames of a file are left out.
    """
    summary = traceback.TracebackException.from_exception(error)
    for one in related(summary):
        one.stack = traceback.StackSummary.from_list(
            [frame for frame in one.stack if not is_omitted(frame.filename)])
    return summary


def related(summary: traceback.TracebackException) -> list[traceback.TracebackException]:
    """Return an exception, its causes, its contexts and the members of its group."""
    found: list[traceback.TracebackException] = []
    seen: set[int] = set()
    pending: list[traceback.TracebackException | None] = [summary]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        found.append(one)
        pending += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]
    return found
