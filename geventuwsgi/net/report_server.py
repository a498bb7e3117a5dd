"""Answers each connection of a socket with one document, then closes it.

uWSGI's stats servers send at once, without a request: on such a socket a client that sends
nothing within a moment gets the document, one that sends an HTTP request gets a response.
"""

from collections.abc import Callable
from http import HTTPStatus
from time import monotonic
from typing import Any, NamedTuple

from greenlet import GreenletExit

from ..errors import ClientDisconnected
from .acceptor import Acceptor
from .listener import Listener
from .stream import Expired, Stream, in_greenlets

_CONNECTIONS = 64           # open at a time; more wait in the kernel's queue
_REQUEST_SIZE = 16384       # octets of a request head
_REQUEST_TIMEOUT = 5.0      # seconds for a request head, and for each send
_MOMENT = 0.05              # seconds until a client without a request gets the document


class Document(NamedTuple):
    """The content of a response.

    Attributes:
        body: in octets.
        content_type: of the body.
        status: its code.
    """

    body: bytes
    content_type: str = "application/json"
    status: HTTPStatus = HTTPStatus.OK


class Request(NamedTuple):
    """A request: the method "" stands for a client that has sent none."""

    method: str
    path: str
    head: str

    def field(self, name: str) -> str:
        """Return the value of a header field, "" if there is none."""
        for line in self.head.split("\r\n")[1:]:
            key, colon, value = line.partition(":")
            if colon and key.lower() == name.lower():
                return value.strip()
        return ""


class ReportServer:
    """Answers the connections of one listening socket.

    Args:
        hub: the hub of this thread.
        listener: the socket.
        respond: returns the document for a request.
        at_once: do not wait longer than a moment for a request.
        bare: send clients without a request the document without an HTTP head.
    """

    def __init__(self, hub: Any, listener: Listener, respond: Callable[[Request], Document],
                 *, at_once: bool = True, bare: bool = True) -> None:
        self._hub = hub
        self._respond = respond
        self._at_once = at_once
        self._bare = bare
        self._streams: set[Stream] = set()
        self._acceptor = Acceptor(listener, in_greenlets(hub, self._serve),
                                  lambda: _CONNECTIONS - len(self._streams), hub.loop)

    def start(self) -> None:
        """Start accepting."""
        self._acceptor.start()

    @property
    def idle(self) -> bool:
        """Whether there is no connection."""
        return not self._streams

    def finish(self) -> None:
        """Accept what is in the queue, and no more."""
        self._acceptor.finish()

    def close(self) -> None:
        """Stop accepting."""
        self._acceptor.close()

    def forget(self) -> None:
        """Close this process's descriptors only, in a forked process."""
        self._acceptor.close()
        for stream in self._streams:
            stream.forget()

    def poll(self, now: float) -> None:
        """End waits whose deadline has passed; accept again."""
        for stream in tuple(self._streams):
            if stream.deadline <= now:
                self._hub.loop.run_callback(stream.expire)
        self._acceptor.resume()

    def _serve(self, sock: Any, address: Any, listener: Listener) -> None:
        stream = Stream(sock, self._hub, _REQUEST_TIMEOUT)
        self._streams.add(stream)
        try:
            stream.send(self._response(_parse(self._receive(stream))))
            stream.linger(1.0, 65536)
        except (ClientDisconnected, GreenletExit):
            pass  # the client has disconnected
        finally:
            self._streams.discard(stream)
            stream.close()

    def _receive(self, stream: Stream) -> bytes:
        """Return a request head, or what there is of it; b"" without a request."""
        data = b""
        end = monotonic() + _REQUEST_TIMEOUT
        moment = self._hub.loop.timer(_MOMENT, _MOMENT)     # sweeps are rarer
        if self._at_once:
            end = monotonic() + _MOMENT
            moment.start(stream.expire)
        try:
            while b"\r\n\r\n" not in data and b"\n\n" not in data and len(data) < _REQUEST_SIZE:
                piece = stream.receive(max(end - monotonic(), 0.0))
                if not piece:
                    break
                if not data:
                    moment.stop()
                    end = monotonic() + _REQUEST_TIMEOUT
                data += piece
        except Expired:
            if data or not self._at_once:
                raise
        finally:
            moment.close()
        return data

    def _response(self, request: Request) -> bytes:
        if self._bare and not request.method:
            return self._respond(request).body
        if request.method in ("", "GET", "HEAD"):
            document = self._respond(request)
        else:
            document = Document(b"GET and HEAD only\n", "text/plain",
                                HTTPStatus.METHOD_NOT_ALLOWED)
        head = (f"HTTP/1.1 {document.status:d} {document.status.phrase}\r\n"
                f"Content-Type: {document.content_type}\r\n"
                f"Content-Length: {len(document.body)}\r\nCache-Control: no-store\r\n"
                + "Allow: GET, HEAD\r\n" * (document.status == HTTPStatus.METHOD_NOT_ALLOWED)
                + "Connection: close\r\n\r\n").encode()
        return head if request.method == "HEAD" else head + document.body


def _parse(data: bytes) -> Request:
    """Return the parts of a request head; every text is one, as only the path selects."""
    text = data.decode("latin-1")
    words = text.split("\n", 1)[0].split()
    if len(words) < 2:
        return Request("" if not data else "?", "", text)
    return Request(words[0], words[1].partition("?")[0], text)
