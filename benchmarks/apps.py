"""The WSGI applications of the scenarios; each does as little as possible."""

import time
from collections.abc import Callable, Iterable
from typing import Any

Environ = dict[str, Any]
Start = Callable[..., Any]

HELLO = b"Hello, world!"
PIECE = b"x" * 65536


def hello(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Thirteen bytes."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [HELLO]


def sleep(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Thirteen bytes after ten milliseconds, as if waiting for a database."""
    time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "13")])
    return [HELLO]


def spin(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Compute for as many seconds as the query string says."""
    end = time.monotonic() + float(environ["QUERY_STRING"] or 0)
    while time.monotonic() < end:
        pass
    return hello(environ, start_response)


def upload(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """Read the body in pieces of 64 KiB; respond with its length."""
    body = environ["wsgi.input"]
    length = 0
    while piece := body.read(65536):
        length += len(piece)
    text = b"%d" % length
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


def download(environ: Environ, start_response: Start) -> Iterable[bytes]:
    """As many pieces of 64 KiB as the query string says."""
    pieces = int(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "application/octet-stream"),
                              ("Content-Length", str(pieces * len(PIECE)))])
    return (PIECE for _ in range(pieces))
