"""Wrappers around applications, for options that only some servers set.

- `buffers`: a WSGI application may return any buffers (`wsgi-accept-buffer`).
- `fail_readiness`: readiness checks get a 503 while a server waits to stop
  (`shutdown-delay`); the applications are not wrapped before that.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from typing import Any

from .applications import Applications
from .environ import Environ


def buffers(application: Callable[..., Any]) -> Callable[..., Any]:
    """Return an application whose pieces may be any buffers."""
    def converted(environ: Environ, start_response: Callable[..., Any]) -> Any:
        result = application(environ, start_response)
        kind = type(result)
        if kind is list or kind is tuple:
            return [octets(piece) for piece in result]
        if isinstance(result, (bytearray, memoryview)):
            return [bytes(result)]
        return result if hasattr(result, "region") else _Pieces(result)
    return converted


def octets(piece: Any) -> Any:
    """Return a buffer as bytes, and anything else unchanged: the server reports it."""
    return bytes(piece) if isinstance(piece, (bytearray, memoryview)) else piece


class _Pieces:
    """The pieces of an iterable as bytes."""

    def __init__(self, result: Iterable[Any]) -> None:
        self._result = result

    def __iter__(self) -> Iterator[Any]:
        return map(octets, self._result)

    def close(self) -> None:
        close = getattr(self._result, "close", None)
        if close is not None:
            close()


BODY = b"stopping\n"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY))),
           ("Cache-Control", "no-store")]


def fail_readiness(service: Any, paths: Collection[str]) -> None:
    """Respond to readiness checks with 503 from now on, so that a load balancer sends no
    further clients. All other requests are served as before.

    Args:
        service: of the worker; has `applications` and `only`, one of them or None.
        paths: the full paths of the readiness checks, without a query.
    """
    before: Applications = service.applications
    wrap = wrap_asgi if before.asgi else wrap_wsgi
    after = before.wrapped(lambda application: wrap(application, paths))
    service.applications = after
    if service.only is not None:
        service.only = after.all[service.only.id]


def wrap_wsgi(application: Callable[..., Iterable[bytes]],
              paths: Collection[str]) -> Callable[..., Iterable[bytes]]:
    """Return the application with failing readiness checks (PEP 3333)."""
    def not_ready(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["SCRIPT_NAME"] + environ["PATH_INFO"] in paths:
            start_response("503 Service Unavailable", HEADERS)
            return [BODY]
        return application(environ, start_response)
    return not_ready


def wrap_asgi(application: Callable[..., Any],
              paths: Collection[str]) -> Callable[..., Awaitable[None]]:
    """Return the application with failing readiness checks (ASGI 3)."""
    async def not_ready(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] not in paths:
            await application(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 503,
                    "headers": [(name.lower().encode(), value.encode())
                                for name, value in HEADERS]})
        await send({"type": "http.response.body", "body": BODY})
    return not_ready
