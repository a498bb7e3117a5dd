"""Apply rules of internal routing to a response.

Only requests with rules for responses are wrapped. A rule may replace a response instead of
its head; the body of the replaced response is closed and never sent.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

from ..environ import Environ
from ..static.files import accepts_gzip
from .actions import RuleContext

_GZIP = 16 + zlib.MAX_WBITS


def wrap(application: Callable[..., Any], context: RuleContext) -> Callable[..., Any]:
    """Return the application with the rules applied to its responses."""
    if not (context.added or context.removed or context.gzip or context.rules.later):
        return application

    def filtered(environ: Environ, start_response: Callable[..., Any]) -> Any:
        response = FilteredResponse(context, start_response)
        return response.body(application(environ, response.start))
    return filtered


class FilteredResponse:
    """One response.

    Args:
        context: of the request.
        start_response: the server's.
    """

    def __init__(self, context: RuleContext, start_response: Callable[..., Any]) -> None:
        self._context = context
        self._start_response = start_response
        self._begun = False
        self._compressor: Any = None
        self.replacement: Any = None

    def start(self, status: str, headers: list[tuple[str, str]],
              exc_info: Any = None) -> Callable[[bytes], Any]:
        """The application's `start_response`."""
        context = self._context
        self._begun = True
        self._compressor = self.replacement = None
        if context.rules.later:
            application = context.rules.respond(context, status, headers)
            if application is not None:
                self.replacement = application(
                    context.environ,
                    lambda status, headers, _=None: self._head(status, headers, exc_info))
                return _discard
        return self._head(status, headers, exc_info)

    def _head(self, status: str, headers: list[tuple[str, str]],
              exc_info: Any) -> Callable[[bytes], Any]:
        context = self._context
        if context.rules.filters.auto_gzip:
            headers = self._asked_gzip(headers)
        headers = [(name, value) for name, value in headers if name.lower() not in context.removed]
        headers += context.added
        names = {name.lower() for name, _ in headers}
        if context.gzip and status[:3] == "200" and "content-encoding" not in names:
            self._compressor = zlib.compressobj(wbits=_GZIP)
            headers = [one for one in headers if one[0].lower() not in ("content-length", "etag")]
            headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
        write: Callable[[bytes], Any] = self._start_response(status, headers, exc_info)
        return lambda data: write(self._compressed(data))

    def _asked_gzip(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Remove `uWSGI-Encoding`, and compress if it is gzip (http-auto-gzip)."""
        rest = [one for one in headers if one[0].lower() != "uwsgi-encoding"]
        if len(rest) < len(headers) and accepts_gzip(
                self._context.environ.get("HTTP_ACCEPT_ENCODING", "")):
            self._context.gzip = True
        return rest

    def body(self, result: Any) -> Any:
        """Return the iterable to send instead of the application's, or that one."""
        if not self._begun:  # an iterator may start the response with its first piece
            context = self._context
            return Pieces(self, result) if context.gzip or context.rules.later else result
        if self.replacement is not None:
            _close(result)
            return self.replacement
        return result if self._compressor is None else Pieces(self, result)

    def pieces(self, result: Any) -> Iterator[bytes]:
        """Yield the body piece by piece; each can be decompressed when it arrives."""
        for piece in result:
            if self.replacement is not None:
                break
            yield self._compressed(piece)
        if self.replacement is not None:
            yield from self.replacement
        elif self._compressor is not None:
            yield self._compressor.flush()

    def _compressed(self, data: bytes) -> bytes:
        compressor = self._compressor
        if compressor is None or not data:
            return data
        octets: bytes = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return octets


class Pieces:
    """An iterable that closes the iterables it reads from (PEP 3333)."""

    def __init__(self, response: FilteredResponse, result: Any) -> None:
        self._response = response
        self._result = result

    def __iter__(self) -> Iterator[bytes]:
        return self._response.pieces(self._result)

    def close(self) -> None:
        try:
            _close(self._result)
        finally:
            _close(self._response.replacement)


def _close(result: Any) -> None:
    close = getattr(result, "close", None)
    if close is not None:
        close()


def _discard(data: bytes) -> None:
    """The `write` of a response that was replaced."""
