"""uWSGI's logging options: their effects on the log of a running instance.

A test has one server for many assertions. A line that follows another shows that the first
has been processed.
"""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import urllib.error
from pathlib import Path

import pytest

from tests.harness import GEVENTUWSGI, ROOT, Server, alive, children, wait_until

APP = """\
import os, sys
def application(environ, start_response):
    status = environ["PATH_INFO"].strip("/") or "200"
    sys.stdout.write("printed %s\\n" % status)  # print writes the newline separately
    os.write(2, b"raw %s\\n" % status.encode())
    start_response(status + " X", [("Content-Type", "text/plain")])
    return [b"x" * 2000] if status == "201" else [b""] if status == "202" else [b"ok"]
"""
ASGI = """\
async def application(scope, receive, send):
    if scope["type"] == "http":
        status = int(scope["path"].strip("/") or "200")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
"""
INI = """\
[uwsgi]
http-socket = 127.0.0.1:0
wsgi-file = app.py
env = PYTHONUNBUFFERED=1
"""
COLLECTOR = re.compile(r"geventuwsgi log|log_collector")


def ask(server: Server, *paths: str) -> None:
    """Send requests, whatever their status."""
    for path in paths:
        try:
            server.get(path)
        except urllib.error.HTTPError:
            pass


def get(port: int, path: str) -> None:
    """Send one request and read its response."""
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(f"GET /{path} HTTP/1.0\r\n\r\n".encode())
        assert sock.recv(9).startswith(b"HTTP/1.1")
        while sock.recv(4096):
            pass


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def wait_in(path: Path, text: str, count: int = 1) -> str:
    """Wait until a file contains a text; return all of it."""
    wait_until(lambda: text_of(path).count(text) >= count,
               lambda: f"{count} x {text!r} in {path}\n{text_of(path)}")
    return text_of(path)


def collector_of(master: int) -> int:
    """Return the pid of the log collector."""
    for pid in children(master):
        with open(f"/proc/{pid}/cmdline") as file:
            if COLLECTOR.search(file.read()):
                return pid
    return 0


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_conditions_and_the_form_of_lines(tmp_path: Path, interface: str) -> None:
    """Only selected requests are logged; the server's own lines have the date of log-date."""
    app, more = ((APP, "log-zero = true\nlog-slow = 600000\nlog-big = 1000\n")
                 if interface == "wsgi" else (ASGI, ""))
    ini = INI + more + (
        "disable-logging = true\nlog-4xx = true\nlog-5xx = true\n"
        "log-date = %%Y+%%m\nlog-format = <%%Y> %(uri) %(status) %(ftime)\n"
        "logformat-strftime = true\nlogger-list = true\n"
        + (f"interface = {interface}\n" if interface == "asgi" else ""))
    with Server(tmp_path, ini=ini, app=app) as server:
        ask(server, "/200", "/404?%25d", "/201", "/202", "/500", "/200", "/200", "/503?last")
        server.wait_for("/503?last")
        lines = [line for line in server.out if line.startswith("<")]
        year = re.match(r"<(\d{4})> /", lines[0])[1]
        wanted = ["/404?%25d 404", "/500 500", "/503?last 503"]
        if more:
            wanted[1:1] = ["/201 201", "/202 202"]
        assert lines == [f"<{year}> {one} {lines[0].split()[-1]}" for one in wanted]
        assert re.fullmatch(r"\d{4}\+\d\d", lines[0].split()[-1])
        assert re.match(rf"{year}\+\d\d - \[\d+\] \[INFO\] ready: 1 worker", server.find(
            "ready: 1")[0])
        server.wait_for("available loggers: file, fd, stdio, socket")


@pytest.mark.parametrize("more, product, other", [
    ("", "geventuwsgi", "uWSGI"), ("log-dialect = uwsgi\n", "uWSGI", "geventuwsgi")])
def test_the_product_name_in_the_log(tmp_path: Path, more: str, product: str,
                                     other: str) -> None:
    """It is geventuwsgi, also for a [uwsgi] section, unless log-dialect changes it."""
    with Server(tmp_path, ini=INI + more, app=APP) as server:
        first = server.workers()[0]
        os.kill(first, signal.SIGKILL)
        server.wait_for(f"Respawned {product} worker 1 (new pid: ")
        assert server.find(f"spawned {product} master process (pid: {server.pid})")
        assert server.find(f"spawned {product} worker 1 (pid: {first}, cores: ")
        if os.geteuid() == 0:
            assert server.find(f"you are running {product} as root !!!")
        assert server.stop() == 0
        assert server.find(f"goodbye to {product}.")
        assert not [line for line in server.err if re.search(
            rf"pawned {other}|goodbye to {other}|running {other}", line)]


def test_loggers_routes_encoders_and_syslog(tmp_path: Path) -> None:
    """Each line reaches the loggers of its route, also those of print and os.write."""
    udp, unix = (socket.socket(family, socket.SOCK_DGRAM)
                 for family in (socket.AF_INET, socket.AF_UNIX))
    with udp, unix:
        udp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "log.sock"))
        for one in (udp, unix):
            one.settimeout(60)
        ini = INI + f"""\
processes = 2
logger = file:all.log
logger = err file:err.log
logger = far rsyslog:127.0.0.1:{udp.getsockname()[1]},app
log-route = err 404
log-route = far printed 40[34]
log-drain = drained
log-encoder = prefix:err >
log-encoder = json {{"m": "${{msg}}", "y": "${{strftime:%%Y}}"}}
log-encoder = nl
req-logger = file:req.log
req-logger = bad socket:{tmp_path}/log.sock
log-req-route = bad HTTP/1.. 5..
log-syslog = app
"""
        with Server(tmp_path, ini=ini, app=APP, ready=False) as server:
            wait_in(tmp_path / "all.log", "ready: 2 workers")
            port = re.search(r"Listening at: http://127.0.0.1:(\d+)",
                             text_of(tmp_path / "all.log"))[1]
            for path in ("200", "404", "403", "200?drained", "500", "200?last"):
                get(int(port), path)
            wait_in(tmp_path / "req.log", "GET /", 5)
            assert re.match(rb'<29>\w{3} [ \d]\d [\d:]{8} app: {"m": "printed 404", "y": "\d+"}$',
                            udp.recv(9999))
            assert b' app: {"m": "printed 403", ' in udp.recv(9999)
            assert b"GET /500 => " in unix.recv(9999)
            assert [json.loads(line)["m"] for line in
                    text_of(tmp_path / "err.log").splitlines()] == [">printed 404", ">raw 404"]
            requests = text_of(tmp_path / "req.log")
            # Two workers may write their lines in another order than they responded.
            assert sorted(line.split(" => ")[0].split("GET ")[1]
                          for line in requests.splitlines()) == [
                "/200", "/200?drained", "/200?last", "/403", "/404"]
            assert requests.startswith("[pid: ") and "\x1e" not in requests
            lines = [json.loads(line) for line in text_of(tmp_path / "all.log").splitlines()]
            texts = [line["m"] for line in lines]
            assert "raw 500" in texts and "printed 500" in texts and "raw 403" in texts
            assert not any("drained" in one or "printed 40" in one or "GET" in one
                           for one in texts)
            assert server.out == [] and server.err == []
            before = server.stop()
        assert before == 0
        assert "goodbye to geventuwsgi." in text_of(tmp_path / "all.log")  # before it ended


FORGER = """\
import sys
def application(environ, start_response):
    print("\\x1drotate\\n\\x1dreopen\\n\\x1eGET /forged\\nthe end")
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.parametrize("more", ["", "threads = 2\n", "gevent = 10\n"])
def test_what_an_application_prints_is_no_order_and_no_request(tmp_path: Path, more: str) -> None:
    ini = INI + "logger = file:all.log\nreq-logger = file:req.log\n" + more
    with Server(tmp_path, ini=ini, app=FORGER, ready=False) as server:
        log = wait_in(tmp_path / "all.log", "ready: 1 worker")
        port = int(re.search(r"Listening at: http://127.0.0.1:(\d+)", log)[1])
        for number in range(3):
            get(port, f"{number}")
        wait_in(tmp_path / "all.log", "\x1drotate\n\x1dreopen\n\x1eGET /forged\nthe end\n", 3)
        wait_in(tmp_path / "req.log", "GET /2 => ")
        assert server.stop() == 0
    assert "forged" not in text_of(tmp_path / "req.log")
    assert len(list(tmp_path.glob("*.log*"))) == 2


LOADED = INI + """\
processes = 2
logto = all.log
log-maxsize = 20000
log-format = request %(uri)
"""


def lines_of(directory: Path, start: str) -> list[str]:
    """Return the lines of all log files that contain a text."""
    while True:
        try:
            return [line for path in directory.glob("all.log*")
                    for line in path.read_text().splitlines() if start in line]
        except FileNotFoundError:  # rotated in between
            continue


def test_rotation_under_load_loses_no_line(tmp_path: Path) -> None:
    """Two workers log and print during a reopening and a reload. The log collector is killed in
    between, which loses at most what it had read and not written."""
    with Server(tmp_path, ini=LOADED + "touch-logrotate = trigger\n", app=APP,
                ready=False) as server:
        log = wait_in(tmp_path / "all.log", "ready: 2 workers")
        port = int(re.search(r"Listening at: http://127.0.0.1:(\d+)", log)[1])
        sent: list[int] = []

        def load(first: int, count: int) -> None:
            with socket.create_connection(("127.0.0.1", port), 60) as sock:
                file = sock.makefile("rb")
                for number in range(first, first + count):
                    sock.sendall(b"GET /200?n=%d&%s HTTP/1.1\r\nHost: x\r\n\r\n" % (
                        number, b"x" * 80))
                    while file.readline() != b"\r\n":
                        pass
                    file.read(2)
                    sent.append(number)

        def loaded(first: int, *between: object) -> None:
            threads = [threading.Thread(target=load, args=(first + 1000 * n, 250))
                       for n in range(2)]
            for thread in threads:
                thread.start()
            for action in between:
                action()
            for thread in threads:
                thread.join(60)

        loaded(0, lambda: server.send_signal(signal.SIGUSR1), lambda: (
            tmp_path / "trigger").write_text("now"))
        wait_until(lambda: len(lines_of(tmp_path, "request /200?")) >= 500, "all lines")
        assert len(sent) == 500
        numbers = [re.fullmatch(r"request /200\?n=(\d+)&x{80}", line) for line
                   in lines_of(tmp_path, "request /")]
        assert None not in numbers                    # none is incomplete
        assert sorted(int(one[1]) for one in numbers) == sorted(sent)
        assert len(lines_of(tmp_path, "raw 200")) == 500
        rotated = wait_until(lambda: list(tmp_path.glob("all.log.*")), "a rotation")
        assert all(re.fullmatch(r"all\.log\.\d{10}(\.\d+)?", path.name) for path in rotated)
        # It is killed: another one continues, and no print fails.
        collector = collector_of(server.pid)
        os.kill(collector, signal.SIGKILL)
        loaded(5000)
        wait_until(lambda: collector_of(server.pid) not in (0, collector), "another log collector")
        get(port, "200?last")
        wait_until(lambda: lines_of(tmp_path, "request /200?last"), "the last line")
        assert lines_of(tmp_path, f"the log process (pid: {collector}) died")
        after = [line for line in lines_of(tmp_path, "request /200?n=")
                 if int(re.search(r"n=(\d+)", line)[1]) >= 5000]
        assert len(after) == 500
        # A reload with other loggers: the lines of the next generation go there.
        (tmp_path / "app.ini").write_text(LOADED.replace(
            "log-maxsize = 20000", "req-logger = file:req.log\nlogfile-chmod = 604"
        ))
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: lines_of(tmp_path, "buried"), "the end of the old generation")
        get(port, "200?reloaded")
        wait_in(tmp_path / "req.log", "request /200?reloaded")
        assert (tmp_path / "req.log").stat().st_mode & 0o777 == 0o604
        collector = collector_of(server.pid)
        assert server.stop() == 0
        wait_until(lambda: not alive(collector), "the end of the log collector")


def test_files_without_loggers(tmp_path: Path) -> None:
    """logto2, log-truncate, logfile-chmod, log-backupname and log-reopen."""
    log = tmp_path / "two.log"
    log.write_text("from before\n")
    ini = INI + ("logto = one.log\nlogto2 = two.log\nlog-truncate = true\nlogfile-chmod = 604\n"
                 "log-backupname = old.log\ntouch-logrotate = trigger\nlog-reopen = true\n")
    with Server(tmp_path, ini=ini, app=APP, ready=False) as server:
        text = wait_in(log, "ready: 1 worker")
        assert "from before" not in text and not (tmp_path / "one.log").exists()
        assert log.stat().st_mode & 0o777 == 0o604
        (tmp_path / "trigger").write_text("now")
        wait_in(tmp_path / "old.log", "ready: 1 worker")
        wait_in(log, "logs reopened")
        assert log.stat().st_mode & 0o777 == 0o604
        log.rename(tmp_path / "moved.log")
        server.send_signal(signal.SIGHUP)
        wait_in(log, "logs reopened")
        assert "ready: 1 worker (generation 2)" in wait_in(
            tmp_path / "moved.log", "generation 2") + wait_in(log, "logs reopened")


@pytest.mark.parametrize("file, captured", [("errors.log", True), ("-", False)])
def test_the_output_of_an_application_in_the_error_log(tmp_path: Path, file: str,
                                                       captured: bool) -> None:
    """gunicorn's --capture-output."""
    log = tmp_path / file
    with Server(tmp_path, "app", "--error-logfile", file, "--capture-output", "-e",
                "PYTHONUNBUFFERED=1", "--access-logfile", "access.log", "--http-socket",
                "127.0.0.1:0", app=APP, ready=False) as server:
        if not captured:
            server.wait_for("ready: ")
            ask(server, "/404")
            assert server.wait_for("raw 404") and server.wait_for("printed 404")
            return
        port = int(re.findall(r"127\.0\.0\.1:(\d+)", wait_in(log, "ready: "))[0])
        get(port, "404")
        lines = wait_in(log, "raw 404") + wait_in(log, "printed 404")
        assert "Starting geventuwsgi" in lines and not server.err and not server.out
        assert "GET /404" in wait_in(tmp_path / "access.log", "GET /404")
        assert server.stop() == 0


def test_an_upgrade_in_place_and_daemonize(tmp_path: Path) -> None:
    """The log collector continues, and the file of daemonize is rotated too."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "app.ini").write_text(INI + (
        "daemonize = all.log\npidfile = pid\nlog-maxsize = 3000\nlog-backupname = old.log\n"
        "logger = err file:err.log\nlog-route = err ERROR|raw\n"))
    started = subprocess.run([*GEVENTUWSGI, "-c", "app.ini"], cwd=tmp_path, timeout=60,
                             env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert started.returncode == 0
    pid = int(text_of(tmp_path / "pid"))

    def both() -> str:
        return text_of(tmp_path / "old.log") + text_of(tmp_path / "all.log")

    try:
        port = int(wait_until(lambda: re.search(r"Listening at: http://127.0.0.1:(\d+)", both()),
                              both)[1])
        collector = collector_of(pid)
        os.kill(pid, signal.SIGUSR2)
        wait_until(lambda: "generation 2" in both(), both)
        assert collector_of(pid) == collector

        def rotated() -> bool:
            get(port, "200?upgraded")
            return "triggering rotation to" in text_of(tmp_path / "old.log")

        wait_until(rotated, both)
        assert "GET /200?upgraded" in both()
        wait_in(tmp_path / "err.log", "raw 200\n")
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not alive(pid), "the end")
    wait_until(lambda: not alive(collector), "the end of the log collector")
    assert "goodbye to geventuwsgi." in both()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_the_owners_of_log_files(open_path: Path) -> None:
    """The application's user opens logto2; logfile-chown makes it the owner of the others."""
    (open_path / "theirs").mkdir()
    os.chown(open_path / "theirs", 65534, 65534)
    ini = INI + ("uid = 65534\ngid = 65534\nlogto2 = theirs/two.log\nlogfile-chown = true\n"
                 "access-logfile = requests.log\nerror-logfile = errors.log\n")
    with Server(open_path, ini=ini, app=APP, ready=False) as server:
        wait_in(open_path / "errors.log", "spawned geventuwsgi master")
        for name in ("errors.log", "requests.log", "theirs/two.log"):
            assert (open_path / name).stat().st_uid == 65534, name
        server.stop()
    (open_path / "theirs").chmod(0o500)
    os.chown(open_path / "theirs", 0, 0)
    (open_path / "app.ini").write_text(ini.replace("two.log", "three.log"))
    found = subprocess.run([*GEVENTUWSGI, "-c", "app.ini"], cwd=open_path, text=True,
                           capture_output=True, timeout=60,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert found.returncode == 1
    assert "app.ini:7: logto2: cannot open theirs/three.log: Permission denied" in found.stderr


@pytest.mark.parametrize("line, reason", [
    ("logger = redislog:127.0.0.1:6379", "app.ini:5: logger: the logger redislog is not supported"),
    ("logger = file:/nowhere/a.log", "app.ini:5: logger: cannot open /nowhere/a.log"),
    ("log-route = errors ERROR", "app.ini:5: log-route: there is no logger named 'errors'"),
    ("log-encoder = format ${text}", "app.ini:5: log-encoder: ${text} is none of"),
    ("log-filter = (", "app.ini:5: log-filter: '(' is not a regular expression"),
    ("logto2 = /nowhere/a.log", "cannot open /nowhere/a.log"),
    ("alarm-log = a b", "app.ini:5: alarm-log: there are no alarms"),
    ("logfile-chmod = 9", "app.ini:5: logfile-chmod: '9' is not an octal number"),
])
def test_invalid_options(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "app.ini").write_text(INI + line + "\n")
    found = subprocess.run([*GEVENTUWSGI, "-c", "app.ini"], cwd=tmp_path,
                           capture_output=True, text=True, timeout=60,
                           env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert found.returncode == 1
    assert reason in found.stderr
