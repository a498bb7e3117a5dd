"""Bounded load from threads, over every protocol at a time; each failure is kept."""

import http.client
import socket
import threading
import time

from tests.harness import Server, wait_until
from tests.server.wire import packet


class Load:
    """Requests without a pause until the end of the `with` block.

    Args:
        server: the server.
        kept: threads that keep their connection.
        closed: threads with a connection per request.
        uwsgi: threads that speak the uwsgi protocol, on its first such socket.
        pause: seconds between two requests of a thread, so that others have the machine.
    """

    def __init__(self, server: Server, kept: int = 2, closed: int = 1, uwsgi: int = 1,
                 pause: float = 0.002) -> None:
        self.server = server
        self.count = 0
        self.failures: list[str] = []
        self._pause = pause
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(ask,), daemon=True)
                         for ask, number in ((self._kept, kept), (self._closed, closed),
                                             (self._uwsgi, uwsgi)) for _ in range(number)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def wait_for(self, count: int) -> None:
        """Wait until so many requests were answered."""
        wait_until(lambda: self.count >= count or self.failures,
                   lambda: f"{count} requests, there are {self.count}")

    def _run(self, ask) -> None:
        state: list = []
        while not self._over.is_set():
            try:
                ask(state)
                self.count += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures.append(f"{ask.__name__}: {type(error).__name__}: {error}")
                self._let_go(state)
            time.sleep(self._pause)
        self._let_go(state)

    @staticmethod
    def _let_go(state: list) -> None:
        while state:
            state.pop().close()

    def _kept(self, state: list) -> None:
        """One request on a connection that is opened anew where the server said so."""
        if not state:
            state.append(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20))
        state[0].request("GET", "/")
        answer = state[0].getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        if answer.will_close:
            state.pop().close()

    def _closed(self, state: list) -> None:
        answer = self.server.get()
        assert answer.startswith(b"HTTP/1.1 200 OK"), answer[:80]

    def _uwsgi(self, state: list) -> None:
        request = packet({"REQUEST_METHOD": "GET", "REQUEST_URI": "/", "PATH_INFO": "/",
                          "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1",
                          "SERVER_NAME": "x", "SERVER_PORT": "80", "REMOTE_ADDR": "127.0.0.1"})
        with self.server.connect("uwsgi") as sock:
            assert isinstance(sock, socket.socket)
            sock.sendall(request)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 OK"), answer[:80]
