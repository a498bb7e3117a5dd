"""Load generators: `wrk` for HTTP, and small clients for everything else.

Every client raises `LoadError` if a response is not the expected one: a server that quickly
responds with errors is not fast.
"""

import os
import re
import selectors
import socket
import struct
import subprocess
import tempfile
import time

from benchmarks.measure import LOAD_CORE

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    "Accept-Language": "en-US,en;q=0.5",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Referer": "https://shop.example.org/catalogue/page/2?sort=price",
    "Cookie": "sessionid=3q8f0c2kz1x9v7w5t3r1p0o8n6m4l2k0; "
              "csrftoken=aBcDeFgHiJkLmNoPqRsTuVwXyZ012345",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-User": "?1",
    "Cache-Control": "max-age=0",
}
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
Address = tuple[str, int]


# For wrk: successive requests differ, as with many clients of a proxy.
VARYING = """
local count = 0
request = function()
    count = count + 1
    wrk.headers["Cookie"] = "session=4f3a9b2c8d7e" .. count .. "; theme=dark"
    return wrk.format(nil, "/articles/" .. count % 1000 .. "?page=" .. count)
end
"""


class LoadError(Exception):
    """The server did not respond as expected."""


def wrk(address: Address, seconds: float, connections: int,
        headers: dict[str, str] | None = None, closes: bool = False,
        script: str = "", scheme: str = "http") -> int:
    """Run `wrk` with one thread on the load core; return the number of requests served.

    Args:
        address, scheme: of the server.
        seconds: how long.
        connections: how many at a time.
        headers: of each request.
        closes: the server closes each connection. `wrk` then counts read and write errors, but
            the requests that it counts were served completely.
        script: Lua code that creates the requests.
    """
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{connections}",
               f"-d{seconds:g}s", "--timeout", "10s"]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        if script:
            file.write(script)
            file.flush()
            command += ["-s", file.name]
        command.append(f"{scheme}://{address[0]}:{address[1]}/")
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    match = re.search(r"(\d+) requests in", output)
    wrong = re.search(r"Non-2xx.*|Socket errors: .*", output)
    if wrong and not (closes and re.fullmatch(
            r"Socket errors: connect 0, read \d+, write \d+, timeout 0", wrong.group())):
        raise LoadError(wrong.group())
    if match is None or not int(match.group(1)):
        raise LoadError(f"no requests were served:\n{output}")
    return int(match.group(1))


def packet(variables: dict[str, str]) -> bytes:
    """Return a uwsgi packet: a header of four bytes, then names and values with their lengths."""
    block = b"".join(struct.pack("<H", len(text)) + text.encode()
                     for pair in variables.items() for text in pair)
    return struct.pack("<BHB", 0, len(block), 0) + block


# What nginx sends for a GET with few headers (its uwsgi_params file).
NGINX_PACKET = packet({
    "QUERY_STRING": "", "REQUEST_METHOD": "GET", "CONTENT_TYPE": "", "CONTENT_LENGTH": "",
    "REQUEST_URI": "/", "PATH_INFO": "/", "DOCUMENT_ROOT": "/usr/share/nginx/html",
    "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_SCHEME": "http", "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "40000", "SERVER_PORT": "8080", "SERVER_NAME": "localhost",
    "HTTP_HOST": "127.0.0.1:8080", "HTTP_USER_AGENT": "curl/7.88.1", "HTTP_ACCEPT": "*/*"})


def new_connections(address: Address, request: bytes, seconds: float, at_once: int = 32) -> int:
    """Send each request on a connection of its own, `at_once` at a time; return their number."""
    os.sched_setaffinity(0, {LOAD_CORE})
    selector = selectors.EpollSelector()

    def connect() -> None:
        connection = socket.socket()
        # Avoids TIME_WAIT on our side, which would exhaust the ports in a long run. The
        # server closes first, so no data is lost.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.connect(address)
        connection.send(request)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, [])

    for _ in range(at_once):
        connect()
    served = 0
    deadline = time.monotonic() + seconds
    while selector.get_map():
        for key, _ in selector.select():
            data = key.fileobj.recv(65536)  # type: ignore[union-attr]
            if data:
                key.data.append(data)
                continue
            response = b"".join(key.data)
            if b" 200 OK\r\n" not in response[:20] or not response.endswith(b"Hello, world!"):
                raise LoadError(f"response {response[:200]!r}")
            selector.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
            served += 1
            if time.monotonic() < deadline:
                connect()
    selector.close()
    return served


class IdleConnections:
    """Keep-alive connections that send one request each and then stay idle.

    Args:
        address: of the server.
        number: how many; their local addresses differ, as one has only some 28,000 ports.
    """

    def __init__(self, address: Address, number: int) -> None:
        self._sockets: list[socket.socket] = []
        for index in range(number):
            connection = socket.socket()
            self._sockets.append(connection)
            connection.bind((f"127.0.0.{2 + index // 5000}", 0))
            connection.connect(address)
            connection.sendall(GET)
            response = connection.recv(4096)
            if b" 200 OK\r\n" not in response[:20]:
                raise LoadError(f"connection {index}: {response[:200]!r}")

    def still_open(self) -> int:
        """Count the connections that the server did not close."""
        count = 0
        for connection in self._sockets:
            try:
                count += connection.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) != b""
            except BlockingIOError:
                count += 1
            except OSError:
                continue
        return count

    def close(self) -> None:
        """Close them all."""
        for connection in self._sockets:
            connection.close()


def upload(address: Address, size: int) -> None:
    """Send a body of `size` bytes; the response must be its length."""
    piece = b"x" * 65536
    with socket.create_connection(address, 60) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                           b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(piece)):
            connection.sendall(piece)
        response = b""
        while data := connection.recv(65536):
            response += data
        if not response.endswith(b"\r\n\r\n%d" % size):
            raise LoadError(f"upload: {response[:300]!r}")


def download(address: Address, size: int) -> None:
    """Receive a body of `size` bytes."""
    buffer = memoryview(bytearray(1 << 20))
    with socket.create_connection(address, 60) as connection:
        connection.sendall(b"GET /?%d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                           % (size // 65536))
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(4096)
            if not data:
                raise LoadError(f"download: {head[:300]!r}")
            head += data
        received = len(head) - head.index(b"\r\n\r\n") - 4
        while count := connection.recv_into(buffer):
            received += count
        if received != size:
            raise LoadError(f"download: {received} of {size} bytes")
