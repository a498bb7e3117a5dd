"""A cheap WebSocket client: prepared frames, responses counted by length."""

import os
import selectors
import socket
import time

from benchmarks.clients import Address, LoadError
from benchmarks.measure import LOAD_CORE

HANDSHAKE = (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
SIZE = 100
# A binary message (RFC 6455 section 5.2), masked with zeros, which change nothing.
MESSAGE = bytes((0x82, 0x80 | SIZE, 0, 0, 0, 0)) + b"x" * SIZE
ECHO = 2 + SIZE


def connect(address: Address, index: int = 0) -> socket.socket:
    """Open a WebSocket; its local address depends on the index, as one has few ports."""
    connection = socket.socket()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.bind((f"127.0.0.{2 + index // 5000}", 0))
    connection.connect(address)
    connection.sendall(HANDSHAKE)
    response = connection.recv(4096)
    if b" 101 " not in response[:20] or not response.endswith(b"\r\n\r\n"):
        raise LoadError(f"connection {index}: {response[:200]!r}")
    return connection


def echo(address: Address, seconds: float, connections: int) -> int:
    """Send a message on each connection whenever the previous one was echoed."""
    os.sched_setaffinity(0, {LOAD_CORE})
    selector = selectors.EpollSelector()
    for index in range(connections):
        selector.register(connect(address, index), selectors.EVENT_READ)
    sockets = [key.fileobj for key in selector.get_map().values()]
    for connection in sockets:
        connection.send(MESSAGE)  # type: ignore[union-attr]
    missing = dict.fromkeys(sockets, ECHO)
    count = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for key, _ in selector.select(1):
            connection = key.fileobj
            data = connection.recv(4096)  # type: ignore[union-attr]
            if not data:
                raise LoadError("the server closed a WebSocket")
            missing[connection] -= len(data)
            if not missing[connection]:
                count += 1
                missing[connection] = ECHO
                connection.send(MESSAGE)  # type: ignore[union-attr]
    for connection in sockets:
        connection.close()  # type: ignore[union-attr]
    selector.close()
    return count


class IdleWebSockets:
    """WebSockets that are opened and then stay idle."""

    def __init__(self, address: Address, number: int) -> None:
        self._sockets = [connect(address, index) for index in range(number)]

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
