"""A client that sends exactly the bytes it is given and reads responses strictly, one by one."""

import json
import socket
import ssl
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tests.harness import Server, wait_until

HOST = b"Host: test\r\n"
# A good request that follows a rejected one and must never be served.
NEXT_REQUEST = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"


class Response(NamedTuple):
    """One response; `whole` is whether its framing was complete."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool


class RawClient:
    """One connection.

    Args:
        sock: a connected socket, which is closed with this object.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffered = b""
        self.ended = False
        self.reset = False

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    @property
    def name(self) -> str:
        """The name of this connection in the server's log."""
        host, port = self.sock.getsockname()[:2]
        return f"{host}:{port}"

    def send(self, data: bytes) -> None:
        """Send as much as the server accepts; it may have rejected the request already."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            pass

    def get(self, path: str, *fields: str, method: str = "GET", version: str = "1.1") -> Response:
        """Send a request without a body and read its response."""
        lines = [f"{method} {path} HTTP/{version}", "Host: test", *fields, "", ""]
        self.send("\r\n".join(lines).encode("latin-1"))
        return self.read_response(method)

    def receive(self) -> bool:
        """Receive once; return whether anything came."""
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

    def read_to_end(self) -> bytes:
        """Read until the server closes."""
        pieces = [self.buffered]
        self.buffered = b""
        while self.receive():
            pieces.append(self.buffered)
            self.buffered = b""
        return b"".join(pieces)

    def read(self, count: int) -> bytes:
        """Read `count` bytes, fewer if the server closes before."""
        while len(self.buffered) < count and self.receive():
            pass
        piece, self.buffered = self.buffered[:count], self.buffered[count:]
        return piece

    def readline(self) -> bytes:
        """Read a line, CRLF included."""
        while b"\r\n" not in self.buffered and self.receive():
            pass
        line, end, rest = self.buffered.partition(b"\r\n")
        self.buffered = rest
        return line + end

    def read_response(self, method: str = "GET") -> Response:
        """Read one response."""
        first = self.readline()
        assert first, "the server closed without a response"
        version, code, _ = first.split(b" ", 2)
        assert version == b"HTTP/1.1"
        status, headers = int(code), {}
        while (line := self.readline()) != b"\r\n":
            assert line.endswith(b"\r\n"), f"the head ends in {line!r}"
            name, _, value = line.decode("latin-1").partition(":")
            assert name.lower() not in headers, f"{name} twice"
            headers[name.lower()] = value.strip()
        if method == "HEAD" or status < 200 or status in (204, 304):
            return Response(status, headers, b"", True)
        if "transfer-encoding" in headers:
            assert headers["transfer-encoding"] == "chunked" and "content-length" not in headers
            return Response(status, headers, *self._read_chunks())
        if "content-length" in headers:
            length = int(headers["content-length"])
            body = self.read(length)
            return Response(status, headers, body, len(body) == length)
        body = self.read_to_end()
        return Response(status, headers, body, not self.reset)

    def _read_chunks(self) -> tuple[bytes, bool]:
        body = b""
        while line := self.readline():
            size = int(line, 16)
            body += self.read(size)
            if self.read(2) != b"\r\n":
                break
            if not size:
                return body, True
        return body, False

    def closed(self) -> bool:
        """Wait until the server closes; return whether it sent nothing more."""
        return self.read_to_end() == b""


def connect(server: Server, protocol: str = "http", index: int = 0,
            source: str | None = None) -> RawClient:
    """Open a connection, from another loopback address if `source` is given."""
    if source is None:
        return RawClient(server.connect(protocol, index))
    return RawClient(socket.create_connection(server.address(protocol, index), 20, (source, 0)))


def get(server: Server, path: str, *fields: str, **options: Any) -> Response:
    """Get one response on a connection of its own."""
    with connect(server) as client:
        return client.get(path, "Connection: close", *fields, **options)


def get_json(server: Server, path: str) -> Any:
    """Get the JSON value at a path."""
    return json.loads(get(server, path).body)


def wait_for_rejection(server: Server, client: RawClient, *words: str) -> str:
    """Return the log line that says why this connection was closed, once it is there."""
    def found() -> list[str]:
        return [line for line in server.find(f"{client.name}: ")
                if all(word in line for word in words)]
    return wait_until(found, lambda: f"{words} in {server.find(client.name)}")[0]


def packet(variables: Mapping[str, str] | Iterable[tuple[str, str]] = (), body: bytes = b"",
           modifier1: int = 0, size: int | None = None) -> bytes:
    """Build a uwsgi packet; `size` is a false size of its block."""
    pairs = variables.items() if isinstance(variables, Mapping) else variables
    block = b""
    for pair in pairs:
        for text in pair:
            octets = text.encode("latin-1")
            block += struct.pack("<H", len(octets)) + octets
    return struct.pack("<BHB", modifier1, len(block) if size is None else size, 0) + block + body


def request(path: str = "/hello", method: str = "GET", **variables: str) -> dict[str, str]:
    """Return the variables of a request as nginx sends them."""
    return {"REQUEST_METHOD": method, "REQUEST_URI": path, "PATH_INFO": path.partition("?")[0],
            "QUERY_STRING": path.partition("?")[2], "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "front", "SERVER_PORT": "80", "REMOTE_ADDR": "10.9.8.7",
            "REMOTE_PORT": "1234", "CONTENT_LENGTH": "", "HTTP_HOST": "front", **variables}
