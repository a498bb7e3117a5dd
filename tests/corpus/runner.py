"""Run one file of the corpus with one server; return its responses and the files it creates.

A run uses only its own directory and TCP ports of loopback, which a bound socket reserves until
the run ends. A server that goes into the background is found by a variable of its environment.
"""

import contextlib
import gzip
import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import struct
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from pwd import getpwuid
from typing import Any

from tests.corpus.entry import Ask, Entry
from tests.harness import GEVENTUWSGI, ROOT, Program, alive, reference_uwsgi, wait_until

SITES = Path(__file__).with_name("sites")
# Directories of a real machine that the files name; each run has its own.
PLACES = re.compile(r"(?<![\w.%)}/*])/(?=(?:srv|var|run|home|opt|tmp|etc/uwsgi)\b)")
PORT = re.compile(r"(?<=:)\d{4,5}\b|(?<=^port = )\d{4,5}\b", re.MULTILINE)
EMPTY = ("run/shop", "run/blog", "run/uwsgi", "run/lock", "var/run", "var/log/uwsgi",
         "var/www", "var/tmp", "opt", "tmp")
# The record of an entry that uWSGI cannot run.
NOTHING: dict[str, Any] = {"answers": {}, "running": {}, "after": {}, "status": None}
MOVED = (".ini", ".conf", ".env")
CHANGED = 1577836800.0  # 2020-01-01, so that Last-Modified is the same everywhere
OWN = {"date", "server", "connection", "keep-alive", "transfer-encoding"}
DEADLINE = 60.0  # seconds for one answer
UWSGI_TIMEOUT = 20.0  # seconds; sometimes a worker of uWSGI does not end


class Run:
    """A directory with a copy of `sites/` in which one server runs.

    Args:
        entry: the entry to run.
    """

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.root = Path(tempfile.mkdtemp(prefix="corpus-"))
        self.ports: dict[str, socket.socket] = {}
        self._create_files()
        self.before = set(self._tree())
        self.file = self.path(entry)
        self.env = self.environ(entry)

    def path(self, entry: Entry) -> str:
        """Return the path of an entry's file in this directory."""
        file, _, section = entry.file.partition(":")
        return str(self.root / file) + (f":{section}" if section else "")

    def environ(self, entry: Entry) -> dict[str, str]:
        """Return the environment of an entry's server."""
        ports = {name: str(self.port(text)) for name, text in entry.env.items()
                 if text.isdigit() and len(text) > 3}
        return {**{name: text for name, text in os.environ.items()
                   if name in ("PATH", "CI", "LANG", "TMPDIR")},
                "HOME": str(self.root / "home/deploy"), "PYTHONDONTWRITEBYTECODE": "1",
                "CORPUS_ROOT": str(self.root),
                **{name: self.moved(text) for name, text in entry.env.items()}, **ports}

    def _create_files(self) -> None:
        self.root.chmod(0o755)
        shutil.copytree(SITES, self.root, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("__pycache__"))
        for place in EMPTY:
            (self.root / place).mkdir(parents=True, exist_ok=True)
        if self.entry.root and os.getuid() == 0:
            shutil.chown(self.root / "run/shop", self.entry.root)
        for path in (self.root / "srv/www/docs/words.txt", self.root / "srv/shop/static/js/app.js"):
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        (self.root / "srv/www/docs/leaving").symlink_to(self.root / "srv/data/release")
        self._environment()
        for path in self.root.rglob("*"):
            if path.suffix in MOVED or path.name == ".env":
                with path.open(newline="") as file:
                    text = file.read()
                with path.open("w", newline="") as file:
                    file.write(self.moved(text))
            if not path.is_symlink():
                os.utime(path, (CHANGED, CHANGED))

    def _environment(self) -> None:
        """Create a virtual environment with a package, as by `python -m venv`."""
        home = self.root / "home/deploy/venv"
        version = sysconfig.get_python_version()
        packages = home / f"lib/python{version}/site-packages"
        packages.mkdir(parents=True)
        (packages / "extra_venv.py").write_text('"""Of the virtual environment."""\n')
        (home / "bin").mkdir()
        (home / "bin/python").symlink_to(sys.executable)
        (home / "pyvenv.cfg").write_text(
            f"home = {Path(sys.base_prefix) / 'bin'}\ninclude-system-site-packages = false\n"
            f"version = {version}.0\n")
        # The applications use the packages of this Python.
        (packages / "site.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def moved(self, text: str) -> str:
        """Return a text with its paths below the root and its ports replaced."""
        return PORT.sub(lambda found: str(self.port(found[0])),
                        PLACES.sub(f"{self.root}/", text))

    def port(self, written: str) -> int:
        """Return the port that replaces a port of the file.

        It is bound here without listening: with SO_REUSEADDR the server can bind it too, and
        the kernel does not choose it for other processes.
        """
        if written not in self.ports:
            holder = self.ports[written] = socket.socket()
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", 0))
        return self.ports[written].getsockname()[1]

    def unmoved(self, text: str) -> str:
        """Return a text of a response with the paths and ports of the file."""
        text = text.replace(str(self.root), "").replace(
            str(self.root).replace("/", "_"), "")
        for written, holder in self.ports.items():
            text = re.sub(rf"\b{holder.getsockname()[1]}\b", written, text)
        return text

    def remove(self) -> None:
        """Remove the directory and release the ports."""
        for holder in self.ports.values():
            holder.close()
        shutil.rmtree(self.root)

    def _tree(self) -> dict[str, str]:
        """Return the contents of the directory: sockets with mode and owner, files, directories."""
        found = {}
        for path in self.root.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                about = path.lstat()
                kind = "socket" if stat.S_ISSOCK(about.st_mode) else "file"
                owner = getpwuid(about.st_uid).pw_name if os.getuid() == 0 else "-"
                found[str(path.relative_to(self.root))] = (
                    f"socket {stat.S_IMODE(about.st_mode):03o} {owner}" if kind == "socket"
                    else kind)
        return found

    def appeared(self) -> dict[str, str]:
        """Return what the server has added to the directory."""
        return {path: about for path, about in sorted(self._tree().items())
                if path not in self.before and "__pycache__" not in path}

    def left(self) -> list[int]:
        """Return the pids of all processes of this run."""
        mark = f"CORPUS_ROOT={self.root}\0".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes():
                    found.append(int(path.parent.name))
        return [pid for pid in found if alive(pid)]


def ours(entry: Entry, known: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """Run an entry with geventuwsgi; return its answers, see `answers`.

    Args:
        entry: the entry to run.
        known: the record of uWSGI; its files are waited for.
    """
    return _run(entry, list(GEVENTUWSGI), signal.SIGTERM, known)


def theirs(entry: Entry, known: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """Run an entry with real uWSGI."""
    return _run(entry, [reference_uwsgi()], signal.SIGINT, known)


def _run(entry: Entry, command: list[str], ending: int,
         known: Mapping[str, Any]) -> dict[str, Any]:
    run = Run(entry)
    if ending == signal.SIGTERM:
        run.env["PYTHONPATH"] = str(ROOT)
    program = Quiet(*command, *map(run.moved, entry.arguments), "--ini", run.file,
                    cwd=run.root / entry.directory, env=run.env)
    try:
        with program:
            awaited = {path for path in known["running"]
                       if entry.difference(f"running: {path}") is None}
            result = answers(run, program, ending, awaited)
            if ending == signal.SIGTERM:
                status = result["status"]
                assert status == (entry.status or 0), \
                    f"it ended with {status}\n{logs_of(run, program)}"
            return result
    finally:
        for pid in run.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not run.left(), "the end of all processes")
        run.remove()


class Quiet(Program):
    """A program with its own environment instead of the present one."""

    def __init__(self, *argv: str, cwd: Path, env: dict[str, str]) -> None:
        super().__init__(*argv, cwd=cwd, umask=0o022)
        self.env = env


def logs_of(run: Run, program: Program) -> str:
    """Return all logs of a run."""
    logs = [f"{path}:\n{path.read_text(errors='replace')}" for path in
            sorted((run.root / "var/log").rglob("*")) if path.is_file()]
    return "\n".join([program.log, *logs])


def answers(run: Run, program: Program, ending: int, awaited: set[str]) -> dict[str, Any]:
    """Send all requests; return responses, files while running and afterwards, and the status."""
    if run.entry.status is not None:
        return {"answers": {}, "running": {}, "after": None, "status": program.wait()}
    found = {}
    for address, asks in run.entry.asks.items():
        for number, ask in enumerate(asks):
            first = number == 0
            found[f"{address} {ask.label}"] = (
                _ask_until_served if first else _answer)(run, program, address, ask)
    with contextlib.suppress(AssertionError):  # the comparison shows what is missing
        wait_until(lambda: awaited <= set(run.appeared()), deadline=10)
    running = run.appeared()
    if "daemonize =" in Path(run.file.partition(":")[0]).read_text():  # it runs in the background
        assert program.wait() == 0, logs_of(run, program)
        pid = int(next(run.root.glob("**/*.pid")).read_text())
        os.kill(pid, ending)
        wait_until(lambda: not alive(pid), lambda: f"its end\n{logs_of(run, program)}")
        status = 0
    else:
        status = _stopped(program, ending)
    return {"answers": found, "running": running, "status": status,
            "after": run.appeared() if status is not None else None}


def _stopped(program: Program, ending: int) -> int | None:
    """Stop a server; return its status, None if it is uWSGI and does not end."""
    try:
        return program.stop(ending, DEADLINE if ending == signal.SIGTERM else UWSGI_TIMEOUT)
    except AssertionError:
        if ending == signal.SIGTERM:
            raise
        return None


def _ask_until_served(run: Run, program: Program, address: str, ask: Ask) -> dict[str, Any]:
    """Send a request until a server responds."""
    end = time.monotonic() + DEADLINE
    while True:
        try:
            answer = _answer(run, program, address, ask)
            if answer["status"] not in (None, 502, 503):
                return answer
        except (ConnectionError, FileNotFoundError):
            pass
        if time.monotonic() > end or program.process.poll() not in (None, 0):
            raise AssertionError(f"nothing answers at {address}\n{logs_of(run, program)}")
        time.sleep(0.02)


def _answer(run: Run, program: Program, address: str, ask: Ask) -> dict[str, Any]:
    """Send a request; the status is None if the connection was closed without a response."""
    spoken, _, place = address.rpartition(":") if ":" in address else ("", "", address)
    spoken = spoken or ("uwsgi" if "/" in place else "http")
    method, target = ask.line.split(" ", 1)
    with _connected(run, place) as sock:
        sock.sendall(_over_http(ask) if spoken == "http" else _over_uwsgi(ask))
        response = http.client.HTTPResponse(sock, method=method)
        try:
            response.begin()
        except http.client.RemoteDisconnected:
            return {"status": None}
        except (TimeoutError, ConnectionResetError) as error:
            raise AssertionError(f"{address} {ask.label}: {error!r}\n"
                                 f"{logs_of(run, program)}") from None
        body = response.read()
    return {"status": response.status, "reason": response.reason,
            "headers": dict(sorted(_headers(run, response, body, method))),
            "body": _body(run, response, body)}


def _connected(run: Run, place: str) -> socket.socket:
    if "/" in place:
        sock = socket.socket(socket.AF_UNIX)
        address: object = str(run.root) + place
    else:
        sock = socket.socket()
        address = ("127.0.0.1", run.port(place))
    sock.settimeout(DEADLINE)
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _over_http(ask: Ask) -> bytes:
    length = {"Content-Length": str(len(ask.body))} if ask.body else {}
    headers = {"Host": "shop.example", "Connection": "close", **length, **ask.headers}
    return (f"{ask.line} HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text
                                                 in headers.items()) + "\r\n").encode() + ask.body


def _over_uwsgi(ask: Ask) -> bytes:
    """Encode a request as nginx does with uwsgi_params."""
    method, target = ask.line.split(" ", 1)
    path, _, query = target.partition("?")
    headers = {"Host": "shop.example", **ask.headers}
    variables = {
        "QUERY_STRING": query, "REQUEST_METHOD": method,
        "CONTENT_TYPE": ask.headers.get("Content-Type", ""),
        "CONTENT_LENGTH": str(len(ask.body)) if ask.body else "", "REQUEST_URI": target,
        "PATH_INFO": re.sub("%([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), path),
        "DOCUMENT_ROOT": "/var/www", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_SCHEME": "http",
        "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "50000", "SERVER_PORT": "80",
        "SERVER_NAME": headers["Host"],
        **{"HTTP_" + name.upper().replace("-", "_"): text for name, text in headers.items()},
        **ask.variables}
    block = b"".join(struct.pack("<H", len(part)) + part for pair in variables.items()
                     for part in (pair[0].encode(), pair[1].encode()))
    return struct.pack("<BHB", 0, len(block), 0) + block + ask.body


def _headers(run: Run, response: http.client.HTTPResponse, body: bytes,
             method: str) -> Iterator[tuple[str, str]]:
    """Yield the fields to compare, without a Content-Length that is the body's length."""
    fields: dict[str, str] = {}
    for name, text in response.getheaders():
        fields[name.lower()] = ", ".join([fields[name.lower()], text] if name.lower() in fields
                                         else [text])
    for name, text in fields.items():
        if name in OWN or name == "content-length" and method != "HEAD" and int(text) == len(body):
            continue
        if name == "expires":
            ahead = parsedate_to_datetime(text).timestamp() - time.time()
            # To the minute: the response is older than the clock here.
            text = f"in {round(ahead / 60)} minutes" if ahead > -1e6 else text
        yield name, run.unmoved(text)


def _body(run: Run, response: http.client.HTTPResponse, body: bytes) -> object:
    if response.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    text = run.unmoved(body.decode("utf-8", "replace"))
    if response.headers.get("Content-Type", "").startswith("application/json") and text:
        return json.loads(text)
    return text
