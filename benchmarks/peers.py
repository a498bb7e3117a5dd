"""The servers to compare: the command of each, with comparable options.

One application; one worker and no access log unless a scenario asks for them; a connection limit
that is high enough for every scenario.
"""

import atexit
import contextlib
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

from benchmarks.clients import NGINX_PACKET
from benchmarks.measure import SERVER_CORE

PROJECT = Path(__file__).parent.parent
SCRIPTS = Path(sys.executable).parent
# What the command `geventuwsgi` runs; `python -m geventuwsgi` would be a development run.
GEVENTUWSGI = (sys.executable, "-c",
               "import sys; from geventuwsgi.cli import main; sys.exit(main())")


@dataclass(frozen=True)
class Wanted:
    """The configuration of a server for a scenario.

    `access_log` is a path or None; `protocol` is "http", "https" or "uwsgi"; `interface` is
    "wsgi" or "asgi".
    """

    application: str
    port: int = 0
    protocol: str = "http"
    workers: int = 1
    access_log: str | None = None
    interface: str = "wsgi"


def certified(wanted: Wanted, prefix: str = "") -> list[str]:
    """Return the arguments for HTTPS, if it is wanted."""
    if wanted.protocol != "https":
        return []
    cert, key = certificate()
    return [f"--{prefix}certfile", cert, f"--{prefix}keyfile", key]


@cache
def certificate() -> tuple[str, str]:
    """Create an ECDSA certificate for this run; return its file and that of its key."""
    directory = tempfile.mkdtemp(prefix="benchmarks-")
    atexit.register(shutil.rmtree, directory)
    cert, key = f"{directory}/cert.pem", f"{directory}/key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def geventuwsgi(wanted: Wanted) -> list[str]:
    """Return our own command."""
    log = ["--disable-logging"] if wanted.access_log is None else [
        "--access-logfile", wanted.access_log]
    return [*GEVENTUWSGI, wanted.application, "--bind", f"127.0.0.1:{wanted.port}",
            "--protocol", wanted.protocol.removesuffix("s"), "--interface", wanted.interface,
            "--workers", str(wanted.workers), "--worker-connections", "20000", *log,
            *certified(wanted)]


def gunicorn(wanted: Wanted) -> list[str]:
    """Return gunicorn's command, with its gevent worker."""
    log = [] if wanted.access_log is None else ["--access-logfile", wanted.access_log]
    return [sys.executable, "-m", "gunicorn", wanted.application, "-k", "gevent",
            "-b", f"127.0.0.1:{wanted.port}", "-w", str(wanted.workers),
            "--worker-connections", "20000", "--keep-alive", "75", "--log-level", "warning", *log,
            *certified(wanted)]


def uwsgi(wanted: Wanted) -> list[str]:
    """Return uWSGI's command, with its gevent loop; over HTTP it closes each connection."""
    kind = "--http-socket" if wanted.protocol == "http" else "--socket"
    log = ["--disable-logging"] if wanted.access_log is None else ["--logto", wanted.access_log]
    return [str(SCRIPTS / "pyuwsgi"), kind, f"127.0.0.1:{wanted.port}", "--module",
            wanted.application, "--processes", str(wanted.workers), "--master",
            "--gevent", "1000", "--gevent-monkey-patch", "--listen", "1024", "--need-app",
            "--die-on-term", "--buffer-size", "32768", *log]


def pywsgi(wanted: Wanted) -> list[str]:
    """Return the command of gevent's own server."""
    log = [] if wanted.access_log is None else [wanted.access_log]
    return [sys.executable, str(PROJECT / "benchmarks" / "pywsgi.py"), wanted.application,
            str(wanted.port), *log]


def uvicorn(wanted: Wanted) -> list[str]:
    """Return uvicorn's command, with its fastest options."""
    return [sys.executable, "-m", "uvicorn", wanted.application, "--port", str(wanted.port),
            "--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level",
            "warning", "--timeout-keep-alive", "75", "--lifespan", "off", "--backlog", "4096",
            *certified(wanted, "ssl-")]


def granian(wanted: Wanted) -> list[str]:
    """Return granian's command."""
    return [sys.executable, "-m", "granian", "--interface", "asginl", "--port", str(wanted.port),
            "--loop", "uvloop", "--no-log", "--backlog", "4096", wanted.application]


COMMANDS = {"geventuwsgi": geventuwsgi, "gunicorn": gunicorn, "uwsgi": uwsgi, "pywsgi": pywsgi,
            "uvicorn": uvicorn, "granian": granian}
WSGI = {"geventuwsgi", "gunicorn", "uwsgi", "pywsgi"}
SPEAKS_HTTPS = {"geventuwsgi", "gunicorn"}
SPEAKS_UWSGI = {"geventuwsgi", "uwsgi"}
FORKS = {"geventuwsgi", "gunicorn", "uwsgi"}


@dataclass
class Server:
    """A running server."""

    name: str
    wanted: Wanted
    process: "subprocess.Popen[bytes]" = field(repr=False)

    @property
    def pid(self) -> int:
        """The pid of the process that was started: the master, if there is one."""
        return self.process.pid

    @property
    def address(self) -> tuple[str, int]:
        """The address that it listens on."""
        return "127.0.0.1", self.wanted.port


def free_port() -> int:
    """Ask the kernel for a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _prepare() -> None:
    os.sched_setaffinity(0, {SERVER_CORE})
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def running(name: str, wanted: Wanted,
            command: Callable[[Wanted], list[str]] | None = None,
            project: Path = PROJECT) -> Iterator[Server]:
    """Start a server, wait until it serves, and stop it at the end.

    Args:
        name: of the peer.
        wanted: what it serves.
        command: makes another command than the peer's own.
        project: the checkout that is imported.

    Raises:
        RuntimeError: it ended by itself or did not serve within 20 seconds.
    """
    wanted = Wanted(wanted.application, free_port(), wanted.protocol, wanted.workers,
                    wanted.access_log, wanted.interface)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            (command or COMMANDS[name])(wanted), cwd=project, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, preexec_fn=_prepare, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(project)})
        server = Server(name, wanted, process)
        try:
            _wait_until_it_serves(server, output)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                # It has a session of its own, so only its own processes are in the group.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _connected(server: Server) -> socket.socket:
    connection = socket.create_connection(server.address, 5)
    if server.wanted.protocol != "https":
        return connection
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


def _wait_until_it_serves(server: Server, output: IO[bytes]) -> None:
    # Wait for a response: a master accepts connections before its workers exist.
    request = NGINX_PACKET
    if server.wanted.protocol != "uwsgi":
        request = b"GET /?0 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
    deadline = time.monotonic() + 20
    while True:
        if server.process.poll() is not None or time.monotonic() > deadline:
            output.seek(0)
            text = output.read().decode(errors="replace")
            raise RuntimeError(f"{server.name} did not start:\n{text[-3000:]}")
        try:
            with _connected(server) as connection:
                connection.sendall(request)
                if connection.recv(100):
                    return
        except OSError:
            time.sleep(0.05)
