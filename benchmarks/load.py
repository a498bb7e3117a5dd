"""Moderate load over all protocols that records every failure, for soak runs and tests.

It uses plain threads, as it need not be fast. A connection that the server closes while idle is
opened again, as any client does; everything else but a complete response with status 200 is a
failure.
"""

import http.client
import socket
import threading
import time
from collections.abc import Callable

from benchmarks.clients import packet

Address = tuple[str, int] | str
TIMEOUT = 30.0     # seconds for one response
BODY = b"x" * 2000


class Failed(Exception):
    """A response that is incomplete, or not 200."""


class Load:
    """Requests from entering the context to leaving it.

    Args:
        address: the HTTP socket; a string is a path.
        uwsgi: the socket of the uwsgi protocol, None for no such requests.
        kept: threads with keep-alive connections, GET and POST in turn.
        closed: threads with a connection per request.
        packets: threads that use the uwsgi protocol.
        long: threads that request `long_path`.
        long_path: a path with a slow response that has a Content-Length.
        pause: seconds between two requests of a thread.

    Attributes:
        count: number of responses.
        failures: messages with the time.
    """

    def __init__(self, address: Address, uwsgi: Address | None = None, *, kept: int = 2,
                 closed: int = 1, packets: int = 1, long: int = 0, long_path: str = "/long",
                 pause: float = 0.002) -> None:
        self.count = 0
        self.failures: list[str] = []
        self._address = address
        self._uwsgi = uwsgi
        self._long_path = long_path
        self._pause = pause
        self._stopped = threading.Event()
        kinds: list[tuple[Callable[[], None], int]] = [
            (self._kept, kept), (self._closed, closed), (self._long, long),
            (self._packets, packets if uwsgi is not None else 0)]
        self._threads = [threading.Thread(target=self._run, args=(kind,), daemon=True)
                         for kind, number in kinds for _ in range(number)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(TIMEOUT)

    def _run(self, kind: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            try:
                kind()
            except (OSError, http.client.HTTPException, Failed) as error:
                self.failures.append(f"{time.strftime('%X')} {kind.__name__[1:]}: "
                                     f"{type(error).__name__}: {error}")
                time.sleep(0.05)

    def _next(self) -> bool:
        self.count += 1
        time.sleep(self._pause)
        return not self._stopped.is_set()

    def _connect(self) -> socket.socket:
        return connect(self._address)

    def _kept(self) -> None:
        """Send requests on one connection until the server announces that it closes it."""
        connection = http.client.HTTPConnection("soak", timeout=TIMEOUT)
        with self._connect() as connection.sock:
            keep = True
            while keep:
                post = self.count % 2
                connection.request("POST" if post else "GET", "/", BODY if post else None)
                response = connection.getresponse()
                response.read()
                if response.status != 200:
                    raise Failed(f"status {response.status}")
                keep = self._next() and not response.will_close

    def _closed(self) -> None:
        self._send(self._connect(), b"GET / HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")

    def _long(self) -> None:
        self._send(self._connect(), b"GET %s HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n"
                   % self._long_path.encode())

    def _packets(self) -> None:
        assert self._uwsgi is not None
        self._send(connect(self._uwsgi), packet({
            "REQUEST_METHOD": "GET", "REQUEST_URI": "/", "PATH_INFO": "/", "QUERY_STRING": "",
            "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "soak", "SERVER_PORT": "80",
            "REMOTE_ADDR": "127.0.0.1"}))

    def _send(self, sock: socket.socket, request: bytes) -> None:
        """Send a request, read to the end, and check the length of the response."""
        with sock:
            sock.sendall(request)
            response = b""
            while piece := sock.recv(65536):
                response += piece
        head, _, body = response.partition(b"\r\n\r\n")
        lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n")
                   if line.lower().startswith(b"content-length:")]
        if not head.startswith(b"HTTP/1.1 200 OK\r\n") or lengths != [len(body)]:
            raise Failed(f"{head[:40]!r}, {len(body)} bytes of {lengths}")
        self._next()


def connect(address: Address) -> socket.socket:
    """Open a connection."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(TIMEOUT)
        sock.connect(address)
        return sock
    return socket.create_connection(address, TIMEOUT)
