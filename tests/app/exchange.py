"""A `WsgiExchange` without a connection: a transport that records, bodies that count closes."""

import os
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults

from geventuwsgi.app.wsgi import WsgiExchange
from geventuwsgi.protocol.response import ResponseDefaults

OK, TYPE = "200 OK", [("Content-Type", "text/plain")]


class Transport:
    """The transport of a request without a body, onto a `Wire`."""

    body = None

    def __init__(self, wire: "Wire", persists: bool = True) -> None:
        self.response_defaults = ResponseDefaults("", False)
        self.persists = persists
        self.stream = wire

    def release(self) -> None:
        if "release" not in self.stream.events:
            self.stream.events.append("release")


class Wire:
    """An output that records: `events` in order, and all `octets`."""

    def __init__(self) -> None:
        self.octets = b""
        self.events: list[str] = []

    def send(self, data: bytes) -> None:
        assert type(data) is bytes
        self.events.append("send")
        self.octets += data

    def send_pair(self, head: bytes, body: bytes) -> None:
        self.send(head + body)

    def send_file(self, fd: int, offset: int, count: int) -> int:
        self.events.append("sendfile")
        found = os.pread(fd, count, offset)
        self.octets += found
        return len(found)

    @property
    def head(self) -> bytes:
        return self.octets.partition(b"\r\n\r\n")[0]

    @property
    def body(self) -> bytes:
        return self.octets.partition(b"\r\n\r\n")[2]


class Body:
    """An iterable that counts its closes; an exception among the pieces is raised."""

    def __init__(self, *pieces: Any, close: Callable[[], None] | None = None) -> None:
        self.pieces = pieces
        self.closed = 0
        self._close = close

    def __iter__(self) -> Iterator[Any]:
        for piece in self.pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def close(self) -> None:
        self.closed += 1
        if self._close is not None:
            self._close()


def exchange(method: str = "GET", protocol: str = "HTTP/1.1", raw: bool = False,
             persist: bool = True) -> tuple[WsgiExchange, Wire]:
    environ: dict[str, Any] = {"REQUEST_METHOD": method}
    setup_testing_defaults(environ)
    wire = Wire()
    return WsgiExchange(Transport(wire, persist), environ, method, "/", protocol,
                        protocol == "HTTP/1.1", raw), wire


def returning(result: Any, *headers: tuple[str, str], status: str = OK) -> Callable[..., Any]:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        start_response(status, [*TYPE, *headers])
        return result
    return application


def run(result: Any, *headers: tuple[str, str], status: str = OK,
        **kind: Any) -> tuple[WsgiExchange, Wire]:
    """Run an application that starts with `status` and returns `result`."""
    one, wire = exchange(**kind)
    one.run(returning(result, *headers, status=status))
    return one, wire
