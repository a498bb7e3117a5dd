"""nginx in front of a server, HTTP clients, and a bounded load.

nginx runs without root, from the files in `conf/` with the addresses replaced. It inherits
its listening socket (the NGINX variable, as in its own binary upgrade), so that the kernel
chooses the port and no other process can bind it.
"""

import http.client
import os
import re
import socket
import threading
import time
from pathlib import Path

from tests.harness import DEADLINE, ROOT, Program, installed, wait_until

CONF = ROOT / "conf"
NOBODY = 65534


class Answer:
    """A response: status, fields in order (names in lower case), body."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.fields = [(name.lower(), value) for name, value in response.getheaders()]
        self.body = response.read()

    def all(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for field, value in self.fields if field == name]

    def get(self, name: str) -> str | None:
        """Return the first value of a field."""
        return next(iter(self.all(name)), None)


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("unix", timeout=DEADLINE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection(address: tuple[str, int] | str) -> http.client.HTTPConnection:
    """Return a client's connection to an address."""
    if isinstance(address, str):
        return UnixConnection(address)
    return http.client.HTTPConnection(*address, timeout=DEADLINE)


def ask(address: tuple[str, int] | str, path: str = "/", method: str = "GET",
        body: object = None, headers: dict[str, str] | None = None, **more: object) -> Answer:
    """Make one request on a connection of its own."""
    client = connection(address)
    try:
        client.request(method, path, body, headers or {}, **more)
        return Answer(client.getresponse())
    finally:
        client.close()


class Nginx(Program):
    """nginx with one of the configurations in `conf/`.

    Args:
        directory: where it may write; created if missing.
        kind: "uwsgi" or "http": the file of `conf/`.
        backend: the server's address in nginx's syntax, "127.0.0.1:3031" or "unix:/path".
        http: directives to add to the http block.
        location: directives to add to the location.
        edit: (old, new) texts to replace in the file, which must contain each old one.
    """

    def __init__(self, directory: Path, kind: str, backend: str, *, http: str = "",
                 location: str = "", edit: tuple[tuple[str, str], ...] = ()) -> None:
        binary = installed("nginx")
        directory.mkdir(exist_ok=True)
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(1024)
        self.socket.setblocking(False)
        self.address = self.socket.getsockname()
        text = (CONF / f"nginx-{kind}.conf").read_text()
        port = {"uwsgi": "3031", "http": "8000"}[kind]
        for old, new in ((f"server 127.0.0.1:{port};", f"server {backend};"),
                         ("listen 127.0.0.1:8080;", "listen 127.0.0.1:%d;" % self.address[1]),
                         ("access_log off;", f"access_log off;\n{http}"),
                         ("location / {", f"location / {{\n{location}"), *edit):
            assert old in text, f"{old!r} is not in nginx-{kind}.conf"
            text = text.replace(old, new)
        file = directory / "nginx.conf"
        file.write_text(text)
        identity: dict[str, object] = {}
        if os.geteuid() == 0:
            os.chown(directory, NOBODY, NOBODY)
            identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        super().__init__(binary, "-e", "stderr", "-p", str(directory), "-c", str(file),
                         env={"NGINX": f"{self.socket.fileno()};"},
                         pass_fds=(self.socket.fileno(),), **identity)

    def start(self) -> "Nginx":
        """Start it, and wait for its pid file."""
        super().start()
        self.socket.close()  # it is nginx's now
        wait_until(lambda: self.process.poll() is not None or
                   (Path(self.argv[4]) / "nginx.pid").exists(), lambda: self.log)
        assert self.process.poll() is None, self.log
        return self

    def ask(self, path: str = "/", method: str = "GET", body: object = None,
            headers: dict[str, str] | None = None, **more: object) -> Answer:
        """Make one request through it."""
        return ask(self.address, path, method, body, headers, **more)

    def __exit__(self, *_: object) -> None:
        """Stop it. Its workers would outlive a master that is killed."""
        if self.process is not None:
            self.stop()
        super().__exit__()

    @property
    def errors(self) -> list[str]:
        """The lines of its error log."""
        return [line for line in self.err if re.search(r"\[(error|crit|alert|emerg)\]", line)]


# Seconds between two requests of a client. A load checks that no request fails; without a
# pause it would use the processor time that a reload needs.
PAUSE = 0.01


class Clients:
    """Threads that each call `_run` until the block ends.

    Attributes:
        count: the number of responses.
        failures: what went wrong.
    """

    count: int
    failures: list

    def __init__(self, clients: int) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self) -> None:
        """Send requests until `_stop` is set."""
        raise NotImplementedError

    def wait_for(self, more: int) -> None:
        """Wait for `more` further responses."""
        target = self.count + more
        wait_until(lambda: self.count >= target, lambda: f"{target} responses; {self.failures[:5]}")

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)


class Load(Clients):
    """Clients that request `path`, each on a persistent connection, until the block ends.

        with Load(address, clients=8) as load:
            load.wait_for(200)      # more responses
            ...
        assert not load.failures

    Args:
        address: of the server or of nginx.
        clients: how many run at a time.
        path: what to request; the response begins with the pid of the worker.
        fresh: use a new connection for every request.
        body: send this by POST instead of a GET.

    Attributes:
        answers: the number of responses by pid.
        failures: (pid of the connection's last response or 0, the error).
    """

    def __init__(self, address: tuple[str, int] | str, clients: int = 8,
                 path: str = "/probe/who", fresh: bool = False,
                 body: bytes | None = None) -> None:
        super().__init__(clients)
        self.address = address
        self.path = path
        self.body = body
        self.fresh = fresh
        self.answers: dict[int, int] = {}
        self.failures: list[tuple[int, str]] = []
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """The number of responses."""
        with self._lock:
            return sum(self.answers.values())

    def _run(self) -> None:
        client = connection(self.address)
        pid = 0
        while not self._stop.is_set():
            try:
                client.request("GET" if self.body is None else "POST", self.path, self.body,
                               {"Connection": "close"} if self.fresh else {})
                response = client.getresponse()
                body = response.read()
                if response.status != 200:
                    raise http.client.HTTPException(f"status {response.status}: {body[:80]!r}")
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failures.append((pid, repr(error)))
                client.close()
                pid = 0
                time.sleep(PAUSE)
                continue
            pid = int(body.split()[0])
            with self._lock:
                self.answers[pid] = self.answers.get(pid, 0) + 1
            if self.fresh or response.will_close:
                client.close()
                pid = 0
            time.sleep(PAUSE)
        client.close()
