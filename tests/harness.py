"""Start a real server, read its output, and stop all its processes.

    with Server(tmp_path, "app:application", "--workers", "2", app=APP) as server:
        server.get("/")             # over its first HTTP port, which the kernel chose
        server.wait_for("Respawned geventuwsgi worker")
        server.kill(server.workers()[0])

Everything waits for a condition until a deadline; nothing sleeps for a fixed time, but `settled`
between two reads.
"""

import contextlib
import functools
import importlib.metadata
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Where programs are searched: beside this Python, on PATH, and in the sbin directories.
PATH = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
# What the command `geventuwsgi` runs; `python -m geventuwsgi` would be a development run.
GEVENTUWSGI = (sys.executable, "-c",
               "import sys; from geventuwsgi.cli import main; sys.exit(main())")
# Seconds. With twenty, two workers sometimes could not import FastAPI without bytecode on two
# cores under a load of fifteen.
DEADLINE = 60.0
LISTENING = re.compile(r"Listening at: (\w+)://(unix:)?(\S+) \(\d+\)")
SPAWNED = re.compile(r"(?:spawned|Respawned) \S+ worker (\d+) \((?:new )?pid: (\d+)")
# What `uwsgi --cflags` prints for the build of pyuwsgi's wheel.
UWSGI_WITH = {"UDEP(pyuwsgi)", "UDEP(gevent)", "UDEP(http)", "-DUWSGI_ROUTING", "-DUWSGI_PCRE2",
              "-DUWSGI_ZLIB", "-DUWSGI_YAML", "-DUWSGI_JSON", "-DUWSGI_XML"}
UWSGI_WITHOUT = {"-DUWSGI_SSL", "-DUWSGI_CAP"}

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: object = "the condition",
               deadline: float = DEADLINE) -> T:
    """Return what `condition` returns once that is true; fail after `deadline` seconds."""
    end = time.monotonic() + deadline
    while not (result := condition()):
        if time.monotonic() > end:
            text = what() if callable(what) else what
            raise AssertionError(f"waited {deadline} s in vain for {text}")
        time.sleep(0.01)
    return result


def settled(read: Callable[[], T], what: object) -> T:
    """Return what `read` returns once that is true and the same again 0.2 s later.

    For what comes to a stop because something is full, which no line reports.
    """
    def same() -> T | None:
        before = read()
        time.sleep(0.2)
        return before if read() == before else None
    return wait_until(same, what)


def missing(reason: str) -> NoReturn:
    """Skip the test, as the machine lacks something; in CI, fail it."""
    (pytest.fail if "CI" in os.environ else pytest.skip)(reason)


def installed(name: str) -> str:
    """Return the path of a program that some tests run beside the server."""
    path = shutil.which(name, path=PATH)
    if path is None:
        missing(f"{name} is not installed")
    return path


def reference_uwsgi() -> str:
    """Return the path of the uWSGI of pyuwsgi's wheel, with which geventuwsgi is compared."""
    path = installed("uwsgi")
    if difference := other_build(path):
        missing(f"{path} is another uWSGI than pyuwsgi's wheel, which the tests compare with: "
                f"{difference}")
    return path


@functools.cache
def other_build(path: str) -> str:
    """Return the differences between a uwsgi and that of pyuwsgi's wheel; "" if there are none."""
    try:
        wheel = importlib.metadata.version("pyuwsgi")
    except importlib.metadata.PackageNotFoundError:
        return "pyuwsgi is not installed"
    version, flags = (subprocess.run([path, option], capture_output=True, text=True).stdout.strip()
                      for option in ("--version", "--cflags"))
    if version != wheel.partition(".post")[0]:
        return f"its version is {version}, not {wheel}"
    features = set(re.findall(r"-DUWSGI_\w+|UDEP\(\w+\)", flags))
    return " ".join([f"without {name}" for name in sorted(UWSGI_WITH - features)]
                    + [f"with {name}" for name in sorted(UWSGI_WITHOUT & features)])


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return an unused port of 127.0.0.1.

    It is below the range from which the kernel chooses, so no other process of the tests gets it.
    """
    while True:
        port = random.randrange(20000, 32768)
        with socket.socket(type=kind) as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Return the pids of the living children of a process."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [child for child in map(int, file.read().split()) if alive(child)]
    except (FileNotFoundError, ProcessLookupError):
        return []


def parent_of(pid: int) -> int:
    """Return the pid of the parent of a process."""
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


class Program:
    """A program whose output is read by line while it runs.

    Args:
        argv: its command.
        cwd: its directory.
        env: variables to set in addition to the present ones.
        popen: further arguments of `subprocess.Popen`.
    """

    def __init__(self, *argv: str, cwd: Path | None = None, env: dict[str, str] | None = None,
                 **popen: object) -> None:
        self.argv = argv
        self.cwd = cwd
        self.env = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        self.popen = popen
        self.out: list[str] = []
        self.err: list[str] = []
        self.process: subprocess.Popen | None = None
        self._threads: list[threading.Thread] = []

    def start(self) -> "Program":
        """Start it, and the threads that read its output."""
        self.process = subprocess.Popen(
            self.argv, cwd=self.cwd, env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
            **self.popen)
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            thread = threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    @staticmethod
    def _read(stream, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Its complete output."""
        return "\n".join(("stdout:", *self.out, "stderr:", *self.err))

    def find(self, text: str) -> list[str]:
        """Return the lines that contain `text`."""
        return [line for line in (*self.out, *self.err) if text in line]

    def wait_for(self, text: str, count: int = 1, deadline: float = DEADLINE) -> str:
        """Wait until `count` lines contain `text`; return the last of them."""
        def found() -> list[str]:
            lines = self.find(text)
            if len(lines) < count and self.process.poll() is not None:
                for thread in self._threads:
                    thread.join(2)
                lines = self.find(text)
                assert len(lines) >= count, f"ended without {text!r}\n{self.log}"
            return lines if len(lines) >= count else []
        return wait_until(found, lambda: f"{count} x {text!r}\n{self.log}", deadline)[-1]

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self, deadline: float = DEADLINE) -> int:
        """Wait for it to end; return its exit status (negative: the signal)."""
        try:
            status = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end in {deadline} s\n{self.log}") from None
        for thread in self._threads:
            thread.join(2)
        return status

    def stop(self, number: int = signal.SIGTERM, deadline: float = DEADLINE) -> int:
        """Send it a signal, wait for it to end, and return its exit status."""
        if self.process.poll() is None:
            self.send_signal(number)
        return self.wait(deadline)

    def __enter__(self) -> "Program":
        return self.start() if self.process is None else self

    def __exit__(self, *_: object) -> None:
        """Kill it if it still runs, and wait for its children to end."""
        if self.process is not None and self.process.poll() is None:
            pids = children(self.pid)
            self.process.kill()
            self.process.wait()
            for pid in pids:
                if alive(pid):
                    wait_until(lambda pid=pid: not alive(pid), f"the end of {pid}", 5)
        for thread in self._threads:
            thread.join(2)


class Server(Program):
    """A geventuwsgi that runs in a directory of its own.

    Args:
        directory: where it runs; usually pytest's `tmp_path`.
        arguments: of the command line. If none is a socket, it listens for HTTP on a port that
            the kernel chooses.
        app: the source of `app.py` there, or None.
        ini: the text of `app.ini` there, read with `-c`; or None.
        ready: whether `start` waits until all workers are ready.
        env: variables to set.
        popen: further arguments of `subprocess.Popen`.
    """

    def __init__(self, directory: Path, *arguments: str, app: str | None = None,
                 ini: str | None = None, ready: bool = True, env: dict[str, str] | None = None,
                 **popen: object) -> None:
        if app is not None:
            (directory / "app.py").write_text(app)
        arguments = tuple(map(str, arguments))
        names_socket = any(word in " ".join(arguments) + (ini or "")
                           for word in ("socket", "bind", "http ", "http=", "https ", "-b ", "-s "))
        if ini is not None:
            (directory / "app.ini").write_text(ini)
            arguments = ("-c", "app.ini", *arguments)
        if not names_socket:
            arguments = ("--http-socket", "127.0.0.1:0", *arguments)
        super().__init__(*GEVENTUWSGI, *arguments, cwd=directory, env=env, **popen)
        self.directory = directory
        self._wait_ready = ready

    def start(self) -> "Server":
        """Start it, and with `ready` wait until it serves."""
        super().start()
        if self._wait_ready:
            try:
                self.wait_for("ready: ")
            except BaseException:
                self.__exit__()  # else it would run on in the next test
                raise
        return self

    @property
    def listeners(self) -> list[tuple[str, str]]:
        """(protocol, address as logged) of each socket."""
        return [(found[1], found[3]) for line in self.err if (found := LISTENING.search(line))]

    def address(self, protocol: str = "http", index: int = 0) -> tuple[str, int] | str:
        """Return the `index`-th address of a protocol for `connect`."""
        text = [address for name, address in self.listeners if name == protocol][index]
        if text.startswith("@"):
            return "\0" + text[1:]
        if text.startswith("/"):
            return text
        host, _, port = text.rpartition(":")
        return (host.strip("[]").replace("0.0.0.0", "127.0.0.1"), int(port))

    @property
    def port(self) -> int:
        """The port of the first HTTP socket over TCP."""
        address = self.address()
        assert not isinstance(address, str)
        return address[1]

    def connect(self, protocol: str = "http", index: int = 0,
                timeout: float = DEADLINE) -> socket.socket:
        """Open a connection to one of its sockets."""
        address = self.address(protocol, index)
        if isinstance(address, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            sock.connect(address)
            return sock
        return socket.create_connection(address, timeout)

    def talk(self, data: bytes, protocol: str = "http", index: int = 0) -> bytes:
        """Send bytes on a new connection; return everything received until it is closed."""
        with self.connect(protocol, index) as sock:
            sock.sendall(data)
            received = b""
            while piece := sock.recv(65536):
                received += piece
            return received

    def get(self, path: str = "/", headers: str = "") -> bytes:
        """Return the raw response to a GET over HTTP, on a connection of its own."""
        return self.talk(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n"
                         .encode("latin-1"))

    def body(self, path: str = "/") -> bytes:
        """Return the body of a GET, which must have a Content-Length."""
        return self.get(path).partition(b"\r\n\r\n")[2]

    def spawned(self) -> dict[int, int]:
        """Return the last logged pid of each worker number."""
        return {int(found[1]): int(found[2])
                for line in self.err if (found := SPAWNED.search(line))}

    def workers(self) -> list[int]:
        """Return the pids of the living workers, by number."""
        return [pid for _, pid in sorted(self.spawned().items()) if alive(pid)]

    def template(self) -> int | None:
        """Return the pid of the template."""
        workers = set(map(int, re.findall(r"awned \S+ worker \d+ \((?:new )?pid: (\d+)",
                                          "\n".join(self.err))))
        rest = [pid for pid in children(self.pid) if pid not in workers]
        return rest[0] if rest else None

    def kill(self, pid: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one of its processes; after SIGKILL wait for it to end."""
        os.kill(pid, number)
        if number == signal.SIGKILL:
            wait_until(lambda: not alive(pid), f"the end of {pid}")
