"""The response of a request that rules of internal routing looked at, as they want it.

The rules of this room: nothing of it is on the way of a request without rules. What rules
put in the place of a response begins where its head would have left; of a response that is
replaced the body is closed and never sent.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

from ..environ import Environ
from ..static.files import accepts_gzip
from .actions import RuleContext

_GZIP = 16 + zlib.MAX_WBITS


def wrap(application: Callable[..., Any], visit: RuleContext) -> Callable[..., Any]:
    """Return the application with what a visit wants done to its response."""
    if not (visit.added or visit.removed or visit.gzip or visit.rules.later):
        return application

    def routed(environ: Environ, start_response: Callable[..., Any]) -> Any:
        response = FilteredResponse(visit, start_response)
        return response.body(application(environ, response.start))
    return routed


class FilteredResponse:
    """One response on its way out.

    Args:
        visit: what the rules made of the request.
        start_response: the server's.
    """

    def __init__(self, visit: RuleContext, start_response: Callable[..., Any]) -> None:
        self._visit = visit
        self._start_response = start_response
        self._begun = False
        self._compressor: Any = None
        self.replacement: Any = None

    def start(self, status: str, headers: list[tuple[str, str]],
              exc_info: Any = None) -> Callable[[bytes], Any]:
        """Be the application's `start_response`."""
        visit = self._visit
        self._begun = True
        self._compressor = self.replacement = None
        if visit.rules.later:
            answer = visit.rules.respond(visit, status, headers)
            if answer is not None:
                self.replacement = answer(
                    visit.environ,
                    lambda status, headers, _=None: self._head(status, headers, exc_info))
                return _discard
        return self._head(status, headers, exc_info)

    def _head(self, status: str, headers: list[tuple[str, str]],
              exc_info: Any) -> Callable[[bytes], Any]:
        visit = self._visit
        if visit.rules.filters.auto_gzip:
            headers = self._asked_gzip(headers)
        headers = [(name, value) for name, value in headers if name.lower() not in visit.removed]
        headers += visit.added
        names = {name.lower() for name, _ in headers}
        if visit.gzip and status[:3] == "200" and "content-encoding" not in names:
            self._compressor = zlib.compressobj(wbits=_GZIP)
            headers = [one for one in headers if one[0].lower() not in ("content-length", "etag")]
            headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
        write: Callable[[bytes], Any] = self._start_response(status, headers, exc_info)
        return lambda data: write(self._compressed(data))

    def _asked_gzip(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Take `uWSGI-Encoding: gzip` as the order that it is (http-auto-gzip)."""
        rest = [one for one in headers if one[0].lower() != "uwsgi-encoding"]
        if len(rest) < len(headers) and accepts_gzip(
                self._visit.environ.get("HTTP_ACCEPT_ENCODING", "")):
            self._visit.gzip = True
        return rest

    def body(self, result: Any) -> Any:
        """Return what is to be sent in place of the application's iterable, or that."""
        if not self._begun:  # it starts the response when it is asked for its first piece
            visit = self._visit
            return Pieces(self, result) if visit.gzip or visit.rules.later else result
        if self.replacement is not None:
            _close(result)
            return self.replacement
        return result if self._compressor is None else Pieces(self, result)

    def pieces(self, result: Any) -> Iterator[bytes]:
        """Give the body piece by piece: each can be read as it comes."""
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
    """An iterable that closes those it reads from (PEP 3333)."""

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
    """What `write` does with the body of a response that was replaced."""
