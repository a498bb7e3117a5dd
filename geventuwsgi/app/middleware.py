"""Applications that may do what an option allows: they are wrapped, and others pay nothing.

Called once, when a worker begins.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .environ import Environ


def buffers(application: Callable[..., Any]) -> Callable[..., Any]:
    """Return an application whose pieces may be any buffers (wsgi-accept-buffer)."""
    def adapted(environ: Environ, start_response: Callable[..., Any]) -> Any:
        result = application(environ, start_response)
        kind = type(result)
        if kind is list or kind is tuple:
            return [octets(piece) for piece in result]
        if isinstance(result, (bytearray, memoryview)):
            return [bytes(result)]
        return result if hasattr(result, "region") else _Pieces(result)
    return adapted


def octets(piece: Any) -> Any:
    """Return a buffer as bytes, and anything else for the server to complain of."""
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
