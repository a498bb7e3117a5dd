"""A client that says exactly what it is told, and reads answers one by one."""

import json
import socket
import ssl
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tests.harness import Server, wait_until

HOST = b"Host: test\r\n"
# What stands behind a refused message, and must never be served.
BEHIND = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"


class Answer(NamedTuple):
    """One response: `whole` tells whether its framing was kept to the end."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool


class Wire:
    """One connection.

    Args:
        sock: connected; closed with this.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffered = b""
        self.ended = False
        self.reset = False

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    @property
    def name(self) -> str:
        """How the server's log calls this connection."""
        host, port = self.sock.getsockname()[:2]
        return f"{host}:{port}"

    def send(self, data: bytes) -> None:
        """Send as much as the server takes: it may have refused already."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            pass

    def get(self, path: str, *fields: str, method: str = "GET", version: str = "1.1") -> Answer:
        """Send a request without a body and read its answer."""
        lines = [f"{method} {path} HTTP/{version}", "Host: test", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))
        return self.answer(method)

    def more(self) -> bool:
        """Receive once; tell whether anything came."""
        if self.ended:
            return False
        try:
            piece = self.sock.recv(65536)
        except ConnectionResetError:
            self.reset = True
            piece = b""
        self.ended = not piece
        self.buffered += piece
        return not self.ended

    def rest(self) -> bytes:
        """Read until the server closes."""
        pieces = [self.buffered]
        self.buffered = b""
        while self.more():
            pieces.append(self.buffered)
            self.buffered = b""
        return b"".join(pieces)

    def take(self, count: int) -> bytes:
        """Read so many bytes, fewer if the server closes before."""
        while len(self.buffered) < count and self.more():
            pass
        taken, self.buffered = self.buffered[:count], self.buffered[count:]
        return taken

    def line(self) -> bytes:
        """Read a line, CRLF included."""
        while b"\r\n" not in self.buffered and self.more():
            pass
        line, end, rest = self.buffered.partition(b"\r\n")
        self.buffered = rest
        return line + end

    def answer(self, method: str = "GET") -> Answer:
        """Read one response, strictly."""
        first = self.line()
        assert first, "the server closed without an answer"
        version, code, _ = first.split(b" ", 2)
        assert version == b"HTTP/1.1"
        status, headers = int(code), {}
        while (line := self.line()) != b"\r\n":
            assert line.endswith(b"\r\n"), f"the head ends in {line!r}"
            name, _, value = line.decode("latin-1").partition(":")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        if method == "HEAD" or status < 200 or status in (204, 304):
            return Answer(status, headers, b"", True)
        if "transfer-encoding" in headers:
            assert headers["transfer-encoding"] == "chunked" and "content-length" not in headers
            return Answer(status, headers, *self._chunks())
        if "content-length" in headers:
            length = int(headers["content-length"])
            body = self.take(length)
            return Answer(status, headers, body, len(body) == length)
        body = self.rest()
        return Answer(status, headers, body, not self.reset)

    def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        while line := self.line():
            size = int(line, 16)
            body += self.take(size)
            if self.take(2) != b"\r\n":
                break
            if not size:
                return body, True
        return body, False

    def closed(self) -> bool:
        """Wait until the server closes; tell whether it did so without a further byte."""
        return self.rest() == b""


def connect(server: Server, protocol: str = "http", index: int = 0,
            source: str | None = None) -> Wire:
    """Open a connection, from another loopback address if need be."""
    if source is None:
        return Wire(server.connect(protocol, index))
    return Wire(socket.create_connection(server.address(protocol, index), 20, (source, 0)))


def get(server: Server, path: str, *fields: str, **kind: Any) -> Answer:
    """Get one answer on a connection of its own."""
    with connect(server) as wire:
        return wire.get(path, "Connection: close", *fields, **kind)


def ask(server: Server, path: str) -> Any:
    """Get what a path tells as JSON."""
    return json.loads(get(server, path).body)


def refused(server: Server, wire: Wire, *words: str) -> str:
    """Wait for the line that says why this connection was refused; return it."""
    def told() -> list[str]:
        return [line for line in server.find(f"{wire.name}: ")
                if all(word in line for word in words)]
    return wait_until(told, lambda: f"{words} in {server.find(wire.name)}")[0]


def packet(variables: Mapping[str, str] | Iterable[tuple[str, str]] = (), body: bytes = b"",
           modifier1: int = 0, size: int | None = None) -> bytes:
    """Build a uwsgi packet, honest but for `size`."""
    pairs = variables.items() if isinstance(variables, Mapping) else variables
    block = b""
    for pair in pairs:
        for text in pair:
            octets = text.encode("latin-1")
            block += struct.pack("<H", len(octets)) + octets
    return struct.pack("<BHB", modifier1, len(block) if size is None else size, 0) + block + body


def request(path: str = "/hello", method: str = "GET", **variables: str) -> dict[str, str]:
    """The variables of a request as nginx sends them."""
    return {"REQUEST_METHOD": method, "REQUEST_URI": path, "PATH_INFO": path.partition("?")[0],
            "QUERY_STRING": path.partition("?")[2], "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "front", "SERVER_PORT": "80", "REMOTE_ADDR": "10.9.8.7",
            "REMOTE_PORT": "1234", "CONTENT_LENGTH": "", "HTTP_HOST": "front", **variables}
