"""One file and one application with geventuwsgi, real uWSGI and gunicorn: what was written for one
request at a time in the main thread, or for N native threads, gets the same answers here."""

import contextlib
import http.client
import http.server
import importlib.util
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.harness import (DEADLINE, GEVENTUWSGI, Program, free_port, installed, missing,
                           reference_uwsgi, wait_until)
from tests.integration import databases

HERE = Path(__file__).parent
PLAIN = """
[uwsgi]
http-socket = 127.0.0.1:{port}
module = native_app:application
master = true
processes = 1
enable-threads = true
need-app = true
die-on-term = true
worker-reload-mercy = 5
disable-logging = true
"""
# The lines of the file and gunicorn's arguments for the two models.
MODES = {"main": (PLAIN, ("-k", "sync")),
         "threads": (PLAIN + "threads = 4\n", ("-k", "gthread", "--threads", "4"))}
NAMES = ["apple", "pear", "plum"]
# The JSON of each response; None where only the servers are compared.
CASES = {
    "/locks": [True, 2, False],
    "/executor": [[0, 1, 2], [3, 2, 1]],
    "/run_asyncio": [[1, 2], "from the child\n", 0, False, "hello\n"],
    "/process_executor": [0, 1, 4, 9, 16],
    "/process": [36, False],
    "/run_subprocess": ["HELLO", "/\n", True, -9],
    "/fork": [["thread", "socket", "process"], 7],
    "/sqlite": [2, "b"],
    "/read_psycopg2": [[[1, 1], [2, 4], [3, 9]], True],
    "/read_psycopg": [[[1, 1], [2, 4], [3, 9]], [42]],
    "/read_pymysql": [[1], [4], [9]],
    "/use_redis": ["[{b'one': b'1', b'two': b'2'}, 1]", "pushed", "published"],
    "/use_requests": [["/0", "/1", "/2"], ["/0", "/1", "/2"]],
    "/pieces": None,
    "/written": None,
    "/file": None,
    "/flask/psycopg2": None,
    "/flask/psycopg": None,
    "/flask/pymysql": None,
    "/flask/redis": None,
    "/flask/requests": None,
    "/flask/async": [1, 2],
    "/django/sync": {"names": NAMES, "driver": "psycopg"},
    "/django/async": {"found": [1, 2], "thread": True},
    "/django/async-orm": {"names": NAMES, "first": "apple", "counts": [3] * 5, "connections": 1},
    "/django/async-in-sync": {"number": 3, "same": True},
    "/django/async-by-run": {"number": 3},
    "/django/stream": None,
    "/django/async-stream": None,
    "/django/file": None,
}
DJANGO = {path: expected for path, expected in CASES.items() if path.startswith("/django/")}
DJANGO["/django/sync"] = {"names": NAMES, "driver": "psycopg2"}


class Echo(http.server.BaseHTTPRequestHandler):
    """The other server to which the application sends requests."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Respond with the path."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """The URL of the other server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield "http://127.0.0.1:%d" % server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def place(open_root: Path) -> Path:
    """A directory that all users can enter, with the application."""
    directory = open_root / "native_threads"
    directory.mkdir()
    shutil.copy(HERE / "native_app.py", directory)
    return directory


@pytest.fixture(scope="module")
def environment(place: Path, upstream: str) -> Iterator[dict[str, str]]:
    """The environment of the application, whose databases run."""
    for name in ("psycopg", "psycopg2", "pymysql", "redis", "requests"):
        if importlib.util.find_spec(name) is None:
            missing(f"{name} is not installed")
    with contextlib.ExitStack() as stack:
        ports = {}
        for kind in (databases.postgresql, databases.redis, databases.mariadb):
            directory = place / kind.__name__
            directory.mkdir()
            ports[f"{kind.__name__.upper()}_PORT"] = stack.enter_context(kind(directory))
        yield {"UPSTREAM": upstream, **{name: str(port) for name, port in ports.items()}}


class Served:
    """A server with the application.

    Args:
        program: the running server.
        port: of HTTP.
    """

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port

    def ask(self, path: str, body: bytes | None = None,
            headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Return status and body of a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        with contextlib.closing(connection):
            connection.request("GET" if body is None else "POST", path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()

    def json(self, path: str) -> object:
        """Return the parsed body of a response, whose status has to be 200."""
        status, body = self.ask(path)
        assert status == 200, f"{status} {body!r}\n{self.program.log}"
        return json.loads(body)

    def together(self, path: str, count: int = 4) -> list:
        """Return the parsed bodies of responses to requests at the same time."""
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(self.json, [path] * count))

    def responds(self) -> bool:
        """Whether it serves."""
        assert self.program.process.poll() is None, self.program.log
        try:
            return self.ask("/thread")[0] == 200
        except OSError:
            return False


@contextlib.contextmanager
def serving(directory: Path, env: dict[str, str], kind: str, mode: str) -> Iterator[Served]:
    """Run a server of a kind in a directory with the application."""
    port = free_port()
    text, arguments = MODES[mode]
    file = directory / f"{kind}-{mode}.ini"
    file.write_text(text.format(port=port))
    command = {"geventuwsgi": lambda: (*GEVENTUWSGI, "-c", str(file)),
               "uwsgi": lambda: (reference_uwsgi(), "--ini", str(file)),
               "gunicorn": lambda: (installed("gunicorn"), "-b", f"127.0.0.1:{port}", *arguments,
                                    "native_app:application")}[kind]()
    with Program(*command, cwd=directory, env=env, start_new_session=True) as program:
        served = Served(program, port)
        wait_until(served.responds, lambda: f"{kind} to serve\n{program.log}")
        try:
            assert served.ask("/django/create") == (200, b"created"), program.log
            yield served
            if kind == "geventuwsgi":
                assert program.stop() == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)


@pytest.fixture(scope="module", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """The model: one request at a time in the main thread, or native threads."""
    return request.param


@pytest.fixture(scope="module")
def servers(place: Path, environment: dict[str, str], mode: str) -> Iterator[dict[str, Served]]:
    """All servers with the same file and application."""
    with contextlib.ExitStack() as stack:
        yield {kind: stack.enter_context(serving(place, environment, kind, mode))
               for kind in ("geventuwsgi", "uwsgi", "gunicorn")}


@pytest.fixture
def ours(servers: dict[str, Served]) -> Served:
    """geventuwsgi."""
    return servers["geventuwsgi"]


@pytest.mark.parametrize("path", CASES)
def test_same_answer(servers, path):
    answers = {kind: server.ask(path) for kind, server in servers.items()}
    status, body = answers["geventuwsgi"]
    assert status == 200, servers["geventuwsgi"].program.log
    if CASES[path] is not None:
        assert json.loads(body) == CASES[path]
    assert answers["uwsgi"] == (status, body)
    assert answers["gunicorn"] == (status, body)


def test_standard_library(servers):
    """Nothing is patched in the application's threads."""
    found = servers["geventuwsgi"].json("/modules")
    assert not [name for name, module in found.items() if "gevent" in str(module)]
    assert found["selector"] == "EpollSelector"
    assert found == servers["uwsgi"].json("/modules") == servers["gunicorn"].json("/modules")


def test_thread(servers, mode):
    """What the server says of itself; with threads, any of them may run the request."""
    found = {kind: server.json("/thread") for kind, server in servers.items()}
    if mode == "main":
        expected = {"main": True, "ident": True, "multithread": False}
        assert found == dict.fromkeys(found, expected)
    else:
        assert {thread["multithread"] for thread in found.values()} == {True}


def test_request_bodies(servers):
    for size in (0, 10, 100_000, 3_000_000):
        answers = {server.ask("/body", b"b" * size) for server in servers.values()}
        assert [(status, json.loads(text)) for status, text in answers] == [
            (200, [size, "b" if size else "", min(size, 1)])]


def test_form_with_file(servers):
    parts = (b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\nplum\r\n'
             b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
             + b"f" * 1_000_000 + b"\r\n--x--\r\n")
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for server in servers.values():
        status, text = server.ask("/flask/upload", parts, headers)
        assert (status, json.loads(text)) == (200, {"name": "plum", "size": 1_000_000})


def test_left_threads_go_on(servers):
    for server in servers.values():
        assert server.json("/leave_thread") == "left"
        assert server.json("/left_thread") == [sum(range(1000))]


def test_context_is_fresh(ours, mode):
    """uWSGI has one context for each thread."""
    assert [ours.json("/context") for _ in range(3)] == [0, 0, 0]
    if mode == "threads":
        assert ours.together("/together/context") == [0] * 4


def test_spawned_process(servers):
    """Not with uWSGI, whose sys.executable is uwsgi."""
    assert servers["geventuwsgi"].json("/spawn") == servers["gunicorn"].json("/spawn") == [1, 2]


def test_child_is_terminated(ours):
    """multiprocessing.Pool waits for ever for a process that SIGTERM does not end."""
    assert ours.json("/fork_terminate") is True
    assert ours.json("/fork_terminate_at_once") is True
    assert ours.json("/busy_pool") is True
    assert ours.json("/pool") == [[0, 1, 4, 9, 16], 49]


@pytest.mark.parametrize("mode", ["main"], indirect=True)
class TestOneAtATime:
    """A plain [uwsgi] file."""

    def test_thread_local(self, servers):
        """One thread counts all requests."""
        for server in servers.values():
            counts = [server.json("/counter") for _ in range(5)]
            assert len({thread for _, thread in counts}) == 1
            assert [count for count, _ in counts] == list(range(counts[0][0], counts[0][0] + 5))

    @pytest.mark.parametrize("path, expected", [("/alarm", [[True] * 4, 0]),
                                                ("/asyncio_signal", True)])
    def test_signals(self, servers, path, expected):
        for server in servers.values():
            assert server.json(path) == expected

    def test_child_of_uwsgi_is_terminated(self, servers):
        """What `test_child_is_terminated` expects here; gunicorn's children go on."""
        assert servers["uwsgi"].json("/fork_terminate") is True

    def test_requests_at_the_same_time(self, servers):
        """They wait for each other, and all are answered."""
        for server in servers.values():
            assert server.together("/counter", 8)[0][0] > 0

    def test_connection_of_the_database(self, servers):
        """CONN_MAX_AGE keeps one."""
        for server in servers.values():
            assert len({tuple(server.json("/django/backend")) for _ in range(5)}) == 1


@pytest.mark.parametrize("mode", ["threads"], indirect=True)
class TestThreads:
    """threads = 4."""

    def test_thread_local(self, servers):
        """Each of four threads counts its own requests."""
        for server in servers.values():
            rounds = [server.together("/together/counter") for _ in range(3)]
            threads = [{thread for _, thread in answers} for answers in rounds]
            assert len(threads[0]) == 4
            assert threads[0] == threads[1] == threads[2]
            first, *_, last = (dict((thread, count) for count, thread in answers)
                               for answers in rounds)
            assert {thread: count + 2 for thread, count in first.items()} == last

    @pytest.mark.parametrize("path", ["sleep", "sleep_psycopg2", "sleep_psycopg",
                                      "sleep_pymysql"])
    def test_drivers_at_the_same_time(self, servers, path):
        """A driver that blocks does so in one thread. After 2 s four would have run in turn."""
        for kind, server in servers.items():
            begun = time.monotonic()
            answers = server.together(f"/together/{path}")
            assert time.monotonic() - begun < 1.9, kind
            assert answers == [answers[0]] * 4

    def test_connections_of_the_database(self, servers):
        """CONN_MAX_AGE keeps one for each thread."""
        for server in servers.values():
            rounds = [sorted(map(tuple, server.together("/django/backend-together")))
                      for _ in range(3)]
            assert rounds[0] == rounds[1] == rounds[2]
            assert len({process for process, _ in rounds[0]}) == 4

    @pytest.mark.parametrize("path", ["/fork", "/run_subprocess", "/process", "/run_asyncio",
                                      "/use_redis", "/django/async-orm", "/django/async-in-sync",
                                      "/django/async"])
    def test_many_at_the_same_time(self, ours, path):
        assert ours.together(path, 8) == [CASES[path]] * 8


@pytest.mark.parametrize("mode", MODES, indirect=True)
def test_django_with_psycopg2(place, environment, mode):
    """Django takes psycopg2 where psycopg 3 is not installed."""
    directory = place / f"psycopg2-{mode}"
    directory.mkdir()
    shutil.copy(place / "native_app.py", directory)
    (directory / "psycopg.py").write_text("raise ImportError(__name__)\n")
    with serving(directory, environment, "geventuwsgi", mode) as server:
        for path, expected in DJANGO.items():
            status, body = server.ask(path)
            assert status == 200, f"{path}\n{server.program.log}"
            if expected is not None:
                assert json.loads(body) == expected
        if mode == "threads":
            assert server.together("/django/async-orm", 8) == [DJANGO["/django/async-orm"]] * 8
            rounds = [sorted(map(tuple, server.together("/django/backend-together")))
                      for _ in range(2)]
            assert rounds[0] == rounds[1]
