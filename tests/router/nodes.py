"""Nodes for the tests of the router: scripted ones, and real servers."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.harness import Program, Server, reference_uwsgi, wait_until

# What the nodes of these tests serve.
APP = """
import hashlib, os, time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    headers = [("Content-Type", "text/plain"), ("X-Node", os.environ.get("NODE", "-"))]
    if path == "/stream":
        start_response("200 OK", headers)
        return iter([b"one ", b"two ", b"three"])
    if path == "/big":
        size = int(environ["QUERY_STRING"])
        start_response("200 OK", headers + [("Content-Length", str(size))])
        return (b"x" * 65536 if left > 65536 else b"x" * left
                for left in range(size, 0, -65536))
    if path == "/hold":  # write the pid, and wait until the request is released
        name = environ["QUERY_STRING"]
        with open(f"{name}.new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(f"{name}.new", f"{name}.pid")
        while not os.path.exists(f"{name}.release"):
            time.sleep(0.01)
    if path == "/slow":
        time.sleep(float(environ["QUERY_STRING"] or 1))
    if path == "/sum":
        digest, size = hashlib.sha1(), 0
        while data := environ["wsgi.input"].read(65536):
            digest.update(data)
            size += len(data)
        out = f"{size} {digest.hexdigest()}".encode()
    elif path == "/env":
        out = "\\n".join(f"{k}={v}" for k, v in sorted(environ.items())
                        if isinstance(v, str)).encode()
    elif path in ("/pid", "/hold"):
        out = str(os.getpid()).encode()
    else:
        out = path.encode("latin-1")
    start_response("200 OK", headers + [("Content-Length", str(len(out)))])
    return [out]
"""


class Scripted:
    """A node that calls a function with each connection.

    Args:
        act: called with the connected socket, in a thread of its own.
    """

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.act = act
        self.seen = 0
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.sock.getsockname()[1]}"

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self.sock.accept()
            except OSError:
                return
            self.seen += 1
            threading.Thread(target=self._one, args=(peer,), daemon=True).start()

    def _one(self, peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            self.act(peer)

    def __enter__(self) -> "Scripted":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def head_of(peer: socket.socket) -> bytes:
    """Read an HTTP head, and what came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = peer.recv(65536)
        if not piece:
            break
        data += piece
    return data


def held(response: bytes, go: threading.Event) -> Callable[[socket.socket], None]:
    """Return a function that reads a head and sends a response after an event."""
    def act(peer: socket.socket) -> None:
        head_of(peer)
        go.wait(15)
        peer.sendall(response)
    return act


def responding(response: bytes) -> Callable[[socket.socket], None]:
    """Return a function that reads a request, sends this response, and closes."""
    def act(peer: socket.socket) -> None:
        peer.settimeout(10)
        peer.recv(65536)
        peer.sendall(response)
        peer.shutdown(socket.SHUT_WR)
        while peer.recv(65536):
            pass
    return act


def hanging(peer: socket.socket) -> None:
    """Read, and never respond."""
    peer.settimeout(30)
    while peer.recv(65536):
        pass


def our_node(directory: Path, name: str, *arguments: str) -> Server:
    """A geventuwsgi with a uwsgi socket and an HTTP one."""
    directory.mkdir(exist_ok=True)
    return Server(directory, "--uwsgi-socket", "127.0.0.1:0", "--http-socket", "127.0.0.1:0",
                  "--disable-logging", "app", *arguments, app=APP, env={"NODE": name})


def text_of(address: object) -> str:
    """Write an address of the harness for a command line."""
    return address if isinstance(address, str) else "{}:{}".format(*address)  # type: ignore


@contextlib.contextmanager
def real_uwsgi(directory: Path, name: str, *arguments: str, app: str = APP) -> Iterator[str]:
    """A real uWSGI on a unix socket; yields its address."""
    directory.mkdir(exist_ok=True)
    (directory / "app.py").write_text(app)
    address = str(directory / "uwsgi.sock")
    with Program(reference_uwsgi(), "--master", "--socket", address, "--wsgi-file", "app.py",
                 "--die-on-term", "--disable-logging", *arguments, cwd=directory,
                 env={"NODE": name, "PYTHONPATH": ""}) as program:
        program.wait_for("spawned uWSGI worker")
        wait_until(lambda: Path(address).exists())
        yield address
        program.stop()


def router(directory: Path, *arguments: str, **more: object) -> Server:
    """A router without an application."""
    directory.mkdir(exist_ok=True)
    return Server(directory, "--http", "127.0.0.1:0", *arguments, **more)  # type: ignore


def node_of(response: bytes) -> str:
    """Return the name of the node that responded."""
    for line in response.split(b"\r\n"):
        if line.lower().startswith(b"x-node: "):
            return line[8:].decode()
    return ""
