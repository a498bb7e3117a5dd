"""Bounded load over every protocol at a time, that keeps each failure: for soaks and tests.

Threads of the standard library: nothing here wants to be fast. A connection that the
server closes while it is idle is opened anew, as any client does; everything else that is
not a whole answer of status 200 counts as a failure.
"""

import http.client
import socket
import threading
import time
from collections.abc import Callable

from benchmarks.clients import packet

Address = tuple[str, int] | str
PATIENCE = 30.0     # seconds for one answer
BODY = b"x" * 2000


class Failed(Exception):
    """An answer that is not whole, or not 200."""


class Load:
    """Requests without an end from `start` to `stop`.

    Args:
        address: the HTTP socket; a text is a path.
        uwsgi: the socket of the uwsgi protocol, None for no such requests.
        kept: threads that keep their connection, with GET and POST in turns.
        closed: threads with a connection per request.
        packets: threads that speak the uwsgi protocol.
        long: threads that ask for `long_path` again and again.
        long_path: a path whose answer takes long; it has to say how long it is.
        pause: seconds between two requests of a thread.

    Attributes:
        count: answers so far.
        failures: what went wrong, in words, with the time.
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
        self._over = threading.Event()
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
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self, kind: Callable[[], None]) -> None:
        while not self._over.is_set():
            try:
                kind()
            except (OSError, http.client.HTTPException, Failed) as error:
                self.failures.append(f"{time.strftime('%X')} {kind.__name__[1:]}: "
                                     f"{type(error).__name__}: {error}")
                time.sleep(0.05)

    def _turn(self) -> bool:
        self.count += 1
        time.sleep(self._pause)
        return not self._over.is_set()

    def _connect(self) -> socket.socket:
        return connect(self._address)

    def _kept(self) -> None:
        """Ask on one connection until the server says that it closes it."""
        connection = http.client.HTTPConnection("soak", timeout=PATIENCE)
        with self._connect() as connection.sock:
            going = True
            while going:
                post = self.count % 2
                connection.request("POST" if post else "GET", "/", BODY if post else None)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise Failed(f"status {answer.status}")
                going = self._turn() and not answer.will_close

    def _closed(self) -> None:
        self._whole(self._connect(), b"GET / HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n")

    def _long(self) -> None:
        self._whole(self._connect(), b"GET %s HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n"
                    % self._long_path.encode())

    def _packets(self) -> None:
        assert self._uwsgi is not None
        self._whole(connect(self._uwsgi), packet({
            "REQUEST_METHOD": "GET", "REQUEST_URI": "/", "PATH_INFO": "/", "QUERY_STRING": "",
            "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "soak", "SERVER_PORT": "80",
            "REMOTE_ADDR": "127.0.0.1"}))

    def _whole(self, sock: socket.socket, request: bytes) -> None:
        """Ask, read to the end, and compare with the length that was promised."""
        with sock:
            sock.sendall(request)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n")
                   if line.lower().startswith(b"content-length:")]
        if not head.startswith(b"HTTP/1.1 200 OK\r\n") or lengths != [len(body)]:
            raise Failed(f"{head[:40]!r}, {len(body)} bytes of {lengths}")
        self._turn()


def connect(address: Address) -> socket.socket:
    """Open a connection."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(address)
        return sock
    return socket.create_connection(address, PATIENCE)
