"""A connection on an event loop that runs one callback at a time, the one that a test chooses.

asyncio runs what `call_soon` scheduled before it looks at descriptors again, uvloop looks first.
Whatever a connection does must be right in either order, and in any other.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from geventuwsgi.app.applications import Application, Applications
from geventuwsgi.app.exceptions import ExceptionPolicy
from geventuwsgi.net.address import Address
from geventuwsgi.net.allowlist import AllowList
from geventuwsgi.net.listener import Listener
from geventuwsgi.protocol.message import Limits
from geventuwsgi.protocol.response import ResponseDefaults
from geventuwsgi.workers.asgi.http import HttpConnection, HttpsConnection
from geventuwsgi.workers.asgi.service import AsgiService
from geventuwsgi.workers.asgi.transport import SocketTransport
from geventuwsgi.workers.limits import ConnectionLimits, RequestTimeouts, WebSocketLimits
from geventuwsgi.workers.service import ServiceValues


class SteppedLoop(asyncio.SelectorEventLoop):
    """An event loop whose callbacks the test runs."""

    def is_ready(self) -> bool:
        """Whether a scheduled call waits."""
        while self._ready and self._ready[0]._cancelled:
            self._ready.popleft()
        return bool(self._ready)

    def run_ready(self) -> None:
        """Run the call that was scheduled first."""
        self._run(self._ready.popleft())

    def handles(self, fd: int) -> list[asyncio.Handle]:
        """Return the reader and the writer of a descriptor that could run now."""
        return [handle for key, events in self._selector.select(0) if key.fd == fd
                for handle, event in zip(key.data, (1, 2)) if handle and events & event]

    def run_handle(self, fd: int, index: int = 0) -> None:
        """Run one of these."""
        self._run(self.handles(fd)[index])

    def is_running(self) -> bool:
        """Whether a callback runs; eager tasks ask for it."""
        return asyncio._get_running_loop() is self

    def _run(self, handle: asyncio.Handle) -> None:
        asyncio._set_running_loop(self)
        try:
            handle._run()
        finally:
            asyncio._set_running_loop(None)


class Stepped:
    """One connection of an application, and its client.

    Args:
        app: the application.
        tls: the contexts of server and client, None for a connection without TLS.
        limits: its timeouts and sizes.
        buffer: of the sockets, in octets; 0 for the kernel's.

    Attributes:
        received: what the client has received.
        ended: it has received the end.
        errors: exceptions that reached the loop.
    """

    def __init__(self, app: Callable[..., Awaitable[None]],
                 tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None, *,
                 limits: ConnectionLimits = ConnectionLimits(), buffer: int = 0) -> None:
        self.loop = SteppedLoop()
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        none = AllowList((), "forwarded-allow-ips")
        self.service = AsgiService(
            ServiceValues(limits, Limits(), 65536, 100, RequestTimeouts(),
                          ResponseDefaults("", False), none, none, None, ExceptionPolicy(print),
                          1, os.getpid()),
            Applications([Application(0, "", "", app, "app", 0, True, True)]),
            websockets=WebSocketLimits(), access=None, root_path="")
        self.service.attach(self.loop)
        self.client, ours = socket.socketpair()
        for sock in (self.client, ours):
            sock.setblocking(False)
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.fd = ours.fileno()
        listener = Listener(ours, "http", Address(socket.AF_UNIX, path="/socket"))
        self._tls: ssl.SSLObject | None = None
        if tls is not None:
            listener.context = tls[0]
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = tls[1].wrap_bio(self._incoming, self._outgoing,
                                        server_hostname="localhost")
        self.received = bytearray()
        self._unsent = b""
        self.ended = False
        self.service.opened += 1
        self.connection = (HttpsConnection if tls else HttpConnection)(self.service, "", listener)
        self.transport = SocketTransport(self.loop, ours, self.connection)
        self.loop.call_soon(self.transport.start)
        while self._tls is not None:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.transmit(b"")
                self.settle()

    def transmit(self, data: bytes) -> None:
        """Send data, as far as the server reads; the rest goes with the next call."""
        if self._tls is not None:
            while data:
                data = data[self._tls.write(data):]
            data = self._outgoing.read()
        self._unsent += data
        try:
            while self._unsent:
                self._unsent = self._unsent[self.client.send(self._unsent):]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._unsent = b""

    def receive(self) -> bool:
        """Read what the server has sent; return whether there was anything."""
        try:
            piece = self.client.recv(65536)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            piece = b""
        self.ended = self.ended or not piece
        if self._tls is None:
            self.received += piece
            return bool(piece)
        self._incoming.write(piece)
        try:
            while text := self._tls.read(65536):
                self.received += text
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return bool(piece)

    def possible(self) -> list[Callable[[], None]]:
        """Return the next steps of the loop, of which any may come first."""
        steps: list[Callable[[], None]] = [self.loop.run_ready] * self.loop.is_ready()
        return steps + [partial(self.loop.run_handle, self.fd, index)
                        for index, _ in enumerate(self.loop.handles(self.fd))]

    def settle(self) -> None:
        """Run all that can run, and read all that comes."""
        more = True
        while more:
            self.transmit(b"")
            if more := bool(steps := self.possible()):
                steps[0]()
            more = self.receive() or more

    def close(self) -> None:
        """End the loop."""
        self.transport.abort()
        for task in tuple(self.service.tasks):
            task.cancel()
        while self.loop.is_ready():
            self.loop.run_ready()
        self.client.close()
        self.service.detach()
        self.loop.close()
