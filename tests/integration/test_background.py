"""`daemonize`: output and exit status of the starter, and the server in the background."""

import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.harness import GEVENTUWSGI, Program, alive, wait_until

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
INI = "[uwsgi]\nsocket = app.sock\nhttp-socket = 127.0.0.1:0\nwsgi-file = app.py\npidfile = pid\n"


class Started:
    """A starter, and the server that it starts."""

    def __init__(self, directory: Path, ini: str, app: str = APP, **popen: object) -> None:
        self.directory = directory
        (directory / "app.py").write_text(app)
        (directory / "app.ini").write_text(ini)
        self.starter = Program(*GEVENTUWSGI, "app.ini", cwd=directory, **popen)

    def __enter__(self) -> "Started":
        self.starter.start()
        return self

    @property
    def log(self) -> str:
        path = self.directory / "server.log"
        return path.read_text() if path.exists() else ""

    @property
    def pid(self) -> int:
        path = self.directory / "pid"
        return int(path.read_text()) if path.exists() else 0

    def __exit__(self, *_: object) -> None:
        pid = self.pid
        self.starter.__exit__()
        if pid and alive(pid):
            os.kill(pid, signal.SIGQUIT)
            wait_until(lambda: not alive(pid), "the end of the server")


def test_the_starter_ends_when_the_server_is_ready(tmp_path):
    app = "import time; time.sleep(0.3)\n" + APP
    with Started(tmp_path, INI + "daemonize = server.log\n", app) as started:
        assert started.starter.wait() == 0
        assert started.starter.err == started.starter.out == []
        assert "ready: 1 worker" in started.log
        pid = started.pid
        assert pid and pid != started.starter.pid and os.getsid(pid) not in (pid, os.getsid(0))
        assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)
        assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)] == [
            "/dev/null", f"{tmp_path}/server.log", f"{tmp_path}/server.log"]
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "app.sock"))
        # uWSGI's umask of 0 lets the web server connect; all other files keep the umask.
        assert (tmp_path / "app.sock").stat().st_mode & 0o777 == 0o777
        assert (tmp_path / "pid").stat().st_mode & 0o022 == 0
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not alive(pid), "the end of the server")
        assert "goodbye to geventuwsgi." in started.log


@pytest.mark.parametrize("name, shown", [("daemonize", False), ("daemonize2", True)])
def test_output_of_the_starter(tmp_path, name, shown):
    (tmp_path / "server.log").write_text("an old line\n")
    with Started(tmp_path, INI + f"{name} = server.log\n") as started:
        assert started.starter.wait() == 0
        assert bool(started.starter.find("ready: 1 worker")) == shown
        assert not started.starter.find("an old line") and "an old line" in started.log


@pytest.mark.parametrize("ini, app, status, words", [
    (INI, "1 / 0", 4, "ZeroDivisionError"),
    (INI + "hook-as-root = exec:exit 1\n", APP, 1, "app.ini:6: hook-as-root"),
    (INI + "hook-accepting = exec:exit 1\n", APP, 1, "app.ini:6: hook-accepting"),
    (INI.replace("app.sock", "no/such/place"), APP, 1, "cannot bind"),
    (INI.replace("pidfile = pid", "pidfile = no/such/place"), APP, 1, "cannot write the pid file"),
])
@pytest.mark.parametrize("name", ["daemonize", "daemonize2"])
def test_a_start_that_fails(tmp_path, name, ini, app, status, words):
    with Started(tmp_path, ini + f"{name} = server.log\n", app) as started:
        assert started.starter.wait() == status
        assert started.starter.find(words), started.starter.log
        assert started.starter.find(f"the start in the background failed (exit status {status})")
        assert words in started.log


def test_a_log_that_cannot_be_opened(tmp_path):
    with Started(tmp_path, INI + "daemonize = no/such/place.log\n") as started:
        assert started.starter.wait() == 1
        assert started.starter.find("app.ini:6: daemonize: no/such/place.log: No such file")


def test_a_server_that_is_killed_during_the_start(tmp_path):
    app = "import os, signal; os.kill(os.getppid(), signal.SIGKILL); os.abort()\n"
    with Started(tmp_path, INI + "daemonize = server.log\n", app) as started:
        assert started.starter.wait() == 3


def test_an_interrupted_starter_stops_the_server(tmp_path):
    app = "import time; time.sleep(1000)\n"
    with Started(tmp_path, INI + "daemonize = server.log\n", app) as started:
        pid = wait_until(lambda: started.pid, "the pid file")
        wait_until(lambda: "spawned geventuwsgi master process" in started.log, "the master")
        assert started.starter.stop(signal.SIGINT) == 0
        wait_until(lambda: not alive(pid), "the end of the server")


def test_a_reload_stays_in_the_background(tmp_path):
    with Started(tmp_path, INI + "daemonize = server.log\n") as started:
        assert started.starter.wait() == 0
        pid = started.pid
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: "(generation 2)" in started.log, "the reload")
        assert started.pid == pid and alive(pid)


def test_log_rotation(tmp_path):
    with Started(tmp_path, INI + "daemonize = server.log\n") as started:
        assert started.starter.wait() == 0
        (tmp_path / "server.log").rename(tmp_path / "old.log")
        os.kill(started.pid, signal.SIGUSR1)
        wait_until(lambda: "logs reopened" in started.log, "the new log")


def test_sockets_of_a_service_manager_reach_the_server(tmp_path):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        ini = ("[uwsgi]\nprotocol = http\nwsgi-file = app.py\npidfile = pid\n"
               "daemonize = server.log\n")
        (tmp_path / "run.py").write_text(
            "import os, sys\nos.dup2(int(sys.argv[1]), 3)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
            "os.execv(sys.executable, sys.argv[2:])\n")
        started = Started(tmp_path, ini, pass_fds=(sock.fileno(),))
        started.starter.argv = (sys.executable, "run.py", str(sock.fileno()), *GEVENTUWSGI,
                                "app.ini")
        with started:
            assert started.starter.wait() == 0, started.log
            with socket.create_connection(sock.getsockname(), 10) as client:
                client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200")
