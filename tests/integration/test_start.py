"""Successful and failing starts: exit statuses, sockets, pid files, users, workers."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from functools import partial

import pytest

from tests.harness import GEVENTUWSGI, ROOT, Server, alive, children, wait_until
from tests.integration.conftest import readable
from tests.integration.nginx import NOBODY, ask
from tests.parallel import in_parallel

APP = """
import os
LOADED_BY = os.getpid()

def application(environ, start_response):
    body = b"%d %d" % (LOADED_BY, os.getpid())
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def failed_start(directory, *arguments, app=APP, **named):
    """Start a server that ends by itself; return (exit status, lines of its log)."""
    with Server(directory, *arguments, app=app, ready=False, **named) as server:
        return server.wait(), server.err


# The application cannot be loaded.

BAD = {
    "missing module": ("import nothing_of_this_name\n", ["--wsgi-file", "app.py"],
                       "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
    "syntax error": ("def application(\n", ["--wsgi-file", "app.py"], "SyntaxError"),
    "exception": ("def load():\n    return {}['key']\nload()\n", ["app:application"],
                  "KeyError: 'key'"),
    "two workers": ("import geventuwsgi\ndef load():\n    return 1 / 0\nload()\n",
                    ["app:application", "--workers", "2"], 'app.py", line 3, in load'),
    "no such file": ("", ["--wsgi-file", "elsewhere.py"], "elsewhere.py"),
    "no such module": ("", ["elsewhere:application"], "elsewhere"),
    "no such attribute": ("x = 1\n", ["app:nothing"], "nothing"),
    "not callable": ("application = 3\n", ["app:application"], "application"),
    "factory that fails": ("def make():\n    raise OSError('no database')\n", ["app:make()"],
                           "OSError: no database"),
    "sys.exit": ("import sys\nsys.exit('no licence')\n", ["app:application"], "no licence"),
}


def check_load_failure(directory, name, lazy):
    directory.mkdir()
    app, arguments, expected = BAD[name]
    status, lines = failed_start(directory, *arguments, *["--lazy-apps"] * lazy, app=app)
    text = "\n".join(lines)
    assert status == 4, text
    assert expected in text
    frames = re.findall(r'^ *File "([^"]+)"', text, re.MULTILINE)
    assert not [frame for frame in frames if frame.startswith(f"{ROOT}/geventuwsgi")], text
    assert not [frame for frame in frames if "gevent/" in frame or "<frozen" in frame], text
    if name == "exception":
        assert len(frames) == 2 and all(frame.endswith("app.py") for frame in frames)


def test_an_application_that_does_not_load(tmp_path):
    """Exit status 4, and the application's traceback without frames of this server."""
    in_parallel((partial(check_load_failure, tmp_path / f"{name}, {lazy}", name, lazy)
                 for name in BAD for lazy in (False, True)), at_once=4)


@pytest.mark.parametrize("option", ["logto = app.log", "error-logfile = app.log",
                                    "logger = file:app.log", "daemonize = app.log"])
def test_a_failed_start_is_not_silent_if_the_log_is_a_file(tmp_path, option):
    """At a terminal, or in the journal of systemd."""
    (tmp_path / "app.py").write_text("raise ValueError('no database')")
    log = tmp_path / "app.log"
    ini = f"[uwsgi]\nmodule = app\nhttp-socket = 127.0.0.1:0\n{option}\n"
    status, lines = failed_start(tmp_path, app=None, ini=ini)
    assert status == 4 and "exit status 4)" in lines[-1] and "ValueError" in log.read_text()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, lines = failed_start(tmp_path, app=None, ini=ini.replace(":0\n", f":{port}\n"))
        assert status == 1 and f"127.0.0.1:{port}" in log.read_text()
        assert any("geventuwsgi: error: " in line for line in lines)


def test_an_application_that_need_not_load(directory):
    """need-app = false: the server starts, warns, and sends 500."""
    with Server(directory, app=BAD["missing module"][0],
                ini="[uwsgi]\nwsgi-file = app.py\nneed-app = false\n") as server:
        assert ask(server.address(), "/").status == 500
        server.wait_for("no python application found")
        assert server.stop() == 0


# Sockets.

def test_a_port_in_use(directory):
    with socket.create_server(("127.0.0.1", 0)) as other:
        where = "127.0.0.1:%d" % other.getsockname()[1]
        status, lines = failed_start(directory, "--http-socket", where, "--wsgi-file", "app.py",
                                     "--pidfile", "pid")
        assert status == 1
        line, = [line for line in lines if where in line and "in use" in line]
        assert f"cannot bind {where}: address already in use" in line
        assert not [line for line in lines if "Traceback" in line]
        assert not (directory / "pid").exists()


def test_a_stale_unix_socket_is_replaced(directory):
    path = directory / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Server(directory, "--http-socket", path, "--wsgi-file", "app.py", app=APP) as server:
        assert ask(str(path), "/").status == 200
        server.wait_for("replaced the stale socket file")
        assert server.stop() == 0


def test_a_live_unix_socket_is_refused(directory):
    """The server that listens there keeps serving."""
    path = directory / "app.sock"
    with Server(directory, "--http-socket", path, "--wsgi-file", "app.py", app=APP) as server:
        status, lines = failed_start(directory, "--http-socket", path, "--wsgi-file", "app.py")
        assert status == 1
        assert any(str(path) in line and "in use" in line for line in lines)
        assert ask(str(path), "/").status == 200
        assert server.stop() == 0


def test_a_regular_file_is_not_replaced(directory):
    path = directory / "app.sock"
    path.write_text("precious")
    status, lines = failed_start(directory, "--socket", path, "--wsgi-file", "app.py")
    assert status == 1 and path.read_text() == "precious"
    assert any("the file exists and is not a socket" in line for line in lines)


def test_a_socket_file_that_is_removed_while_serving(directory):
    """The other sockets keep serving, and the server stops cleanly."""
    path = directory / "app.sock"
    with Server(directory, "--socket", path, "--http-socket", "127.0.0.1:0", "--vacuum",
                "--wsgi-file", "app.py", app=APP) as server:
        path.unlink()
        assert ask(server.address("http"), "/").status == 200
        assert server.stop() == 0
        assert not server.find("Traceback") and not server.find("ERROR")


@pytest.mark.parametrize("vacuum", [False, True])
def test_mode_pid_files_and_vacuum(directory, vacuum):
    paths = [directory / name for name in ("app.sock", "http.sock", "app.pid", "safe.pid")]
    uwsgi, http, pid, safe = paths
    with Server(directory, "--socket", uwsgi, "--http-socket", http, "--chmod-socket=640",
                "--pidfile", pid, "--safe-pidfile", safe, *["--vacuum"] * vacuum,
                "--wsgi-file", "app.py", app=APP) as server:
        for path in uwsgi, http:
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
        wait_until(safe.exists, "the safe pid file")
        assert pid.read_text() == safe.read_text() == f"{server.pid}\n"
        assert server.stop() == 0
    assert [path.exists() for path in paths] == [not vacuum, not vacuum, False, False]
    assert len(server.find("VACUUM: unix socket ")) == 2 * vacuum


def test_many_sockets_of_both_protocols(directory):
    with Server(directory, "--http-socket", "127.0.0.1:0", "--http-socket", "[::1]:0",
                "--http-socket", "@geventuwsgi-%d" % os.getpid(), "--socket", directory / "a.sock",
                "--bind", f"unix:{directory}/b.sock", "--wsgi-file", "app.py", app=APP) as server:
        for index in range(4):
            assert ask(server.address("http", index), "/").status == 200
        assert server.address("uwsgi") == str(directory / "a.sock")
        assert server.stop() == 0


@pytest.mark.parametrize("named", [("--bind", "fd://3"), ()])
def test_a_socket_from_systemd(directory, named):
    """LISTEN_FDS: the descriptor is taken, named or not, and left as it is at the end."""
    launcher = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_FDS'] = '1'; "
                "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])")
    with socket.create_server(("127.0.0.1", 0)) as given:
        server = Server(directory, pass_fds=(given.fileno(),), app=APP.replace(
            'b"%d %d" % (LOADED_BY, os.getpid())', 'repr(os.environ.get("LISTEN_FDS")).encode()'))
        server.argv = (sys.executable, "-c", launcher, str(given.fileno()), *GEVENTUWSGI, *named,
                       "--wsgi-file", "app.py")
        with server:
            assert server.port == given.getsockname()[1]
            assert ask(given.getsockname(), "/").body == b"None"
            assert server.stop() == 0


# Pid files.

@pytest.mark.parametrize("dialect, kept", [("uwsgi", True), ("geventuwsgi", False)])
def test_the_pid_file(directory, dialect, kept):
    """The file of a dead server is replaced; with a [uwsgi] section ours stays, as in uWSGI."""
    path = directory / "app.pid"
    path.write_text("4194305\n")
    with Server(directory, app=APP, ini=f"[{dialect}]\nhttp-socket = 127.0.0.1:0\n"
                f"wsgi-file = app.py\npidfile = {path}\n") as server:
        assert path.read_text() == f"{server.pid}\n"
        assert server.stop() == 0
        server.wait_for("a process that is gone")
    assert path.exists() == kept


def test_a_pid_file_in_no_directory(directory):
    status, lines = failed_start(directory, "--pidfile", "/nowhere/app.pid",
                                 "--wsgi-file", "app.py")
    assert status == 1
    assert any("/nowhere/app.pid" in line for line in lines)
    assert not [line for line in lines if "Traceback" in line]


def test_a_safe_pid_file_in_no_directory(directory):
    """It is written when all workers are ready; then they are stopped, and the log says why."""
    with Server(directory, "--wsgi-file", "app.py", "--safe-pidfile", "/nowhere/safe.pid", app=APP,
                ready=False) as server:
        assert server.wait() == 1
        server.wait_for("safe-pidfile: cannot write the pid file /nowhere/safe.pid")
        assert server.find("goodbye to geventuwsgi.") and not server.find("the master disconnected")


# Workers.

def test_the_application_is_loaded_once(directory):
    with Server(directory, "--wsgi-file", "app.py", "--workers", "2", app=APP) as server:
        loaded_by, pid = server.body().split()
        assert int(loaded_by) == server.template() and int(pid) in server.workers()
        assert len(server.find("WSGI app 0")) == 1
        assert set(server.workers()) < set(children(server.pid))
        assert server.stop() == 0


def test_with_lazy_apps_each_worker_loads_it(directory):
    with Server(directory, "--wsgi-file", "app.py", "--workers", "2", "--lazy-apps",
                app=APP) as server:
        for _ in range(4):
            loaded_by, pid = server.body().split()
            assert loaded_by == pid and int(pid) in server.workers()
        assert len(server.find("WSGI app 0")) == 2
        assert server.stop() == 0


def test_processes_auto_is_the_number_of_usable_processors(directory):
    server = Server(directory, "--wsgi-file", "app.py", "--processes", "auto", app=APP)
    cpu = min(os.sched_getaffinity(0))
    server.argv = ("taskset", "-c", str(cpu), *server.argv)
    with server:
        server.wait_for("1 worker with ")
        assert len(server.workers()) == 1
        assert server.stop() == 0


# Root.

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="not root")


def readable_interpreter():
    """Return a Python that the user nobody can run, and its PYTHONPATH."""
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    if readable(os.__file__) and readable(sys.executable):
        return sys.executable, packages
    for found in filter(None, map(shutil.which, ("/usr/bin/python3", "/usr/local/bin/python3"))):
        version = subprocess.run([found, "-c", "import sys; print(*sys.version_info[:2])"],
                                 capture_output=True, text=True).stdout.split()
        if version == [str(number) for number in sys.version_info[:2]] and readable(packages):
            return found, packages
    pytest.skip("every Python of this version is in a directory that only root can enter")


@pytest.mark.root
@as_root
def test_root_is_dropped_after_the_sockets_are_bound(directory):
    python, packages = readable_interpreter()
    path = directory / "app.sock"
    closed = directory / "closed"  # only root can bind here
    closed.mkdir(mode=0o700)
    server = Server(directory, "--http-socket", path, "--socket", closed / "x.sock",
                    "--uid", "nobody", "--gid", "nogroup", "--chmod-socket=660",
                    "--chown-socket", "nobody:nogroup", "--wsgi-file", "probe.py",
                    env={"PYTHONPATH": f"{ROOT}:{packages}"})
    server.argv = (python, *server.argv[1:])
    with server:
        info = path.stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (NOBODY, NOBODY, 0o660)
        assert ask(str(path), "/who").body.split()[1:] == [b"65534", b"65534"]
        for pid in (*server.workers(), server.template()):
            with open(f"/proc/{pid}/status") as file:
                status = dict(line.split(":", 1) for line in file)
            assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
            assert set(status["Groups"].split()) <= {"65534"}
        assert not server.find("running geventuwsgi as root")
        server.kill(server.workers()[0])
        server.wait_for("Respawned")
        pids = [*server.workers(), server.template()]
        os.kill(server.pid, signal.SIGKILL)  # setuid clears the death signal
        for pid in pids:
            wait_until(lambda pid=pid: not alive(pid), f"the end of {pid}")


@pytest.mark.root
@as_root
@pytest.mark.parametrize("names", [("access", "error"), ("access", "all")])
def test_logs_that_only_root_can_open(directory, names):
    """They are opened before root is dropped; after a rotation the master opens them."""
    python, packages = readable_interpreter()
    logs, path = directory / "logs", str(directory / "app.sock")
    logs.mkdir(mode=0o700)
    access, errors = (logs / name for name in names)
    option = "--logto" if errors.name == "all" else "--error-logfile"
    server = Server(directory, "--http-socket", path, "--uid", "nobody", "--gid", "nogroup",
                    "--access-logfile", access, option, errors,
                    "--wsgi-file", "probe.py", env={"PYTHONPATH": f"{ROOT}:{packages}"},
                    ready=False)
    server.argv = (python, *server.argv[1:])
    with server:
        wait_until(lambda: errors.exists() and "ready: " in errors.read_text(),
                   lambda: server.log)
        for number in ("1", "2"):
            def arrived():
                assert ask(path, f"/fail?{number}").status == 500
                return all(f"/fail?{number}" in file.read_text() for file in (access, errors))
            wait_until(arrived, "lines in the new files")
            for file in (access, errors):
                file.rename(f"{file}.{number}")
            server.send_signal(signal.SIGUSR1)
            wait_until(lambda: errors.exists() and "logs reopened" in errors.read_text())
            # A later worker inherits the template's files, which are the new ones, too.
            os.kill(int(ask(path, "/who").body.split()[0]), signal.SIGKILL)
            wait_until(lambda: "Respawned" in errors.read_text())
        wait_until(arrived, "lines in the newest files")
        assert server.stop() == 0
    for file in (access, errors):
        assert "fail?2" not in file.with_name(f"{file.name}.1").read_text()
    assert "cannot be reopened" not in "".join(file.read_text() for file in logs.iterdir())
    assert "goodbye" in errors.read_text()


@pytest.mark.root
@as_root
def test_a_log_that_root_cannot_reopen(directory):
    python, packages = readable_interpreter()
    logs, path = directory / "logs", str(directory / "app.sock")
    logs.mkdir()
    server = Server(directory, "--http-socket", path, "--uid", "nobody", "--access-logfile",
                    logs / "access", "--wsgi-file", "probe.py",
                    env={"PYTHONPATH": f"{ROOT}:{packages}"})
    server.argv = (python, *server.argv[1:])
    with server:
        logs.rename(directory / "elsewhere")
        server.send_signal(signal.SIGUSR1)
        server.wait_for(f"{logs / 'access'} cannot be reopened, the old file is kept: No such file")
        ask(path, "/who?still")
        wait_until(lambda: "who?still" in (directory / "elsewhere" / "access").read_text())
        assert server.stop() == 0


@pytest.mark.parametrize("option", ["access-logfile", "error-logfile", "logto"])
def test_a_log_that_cannot_be_opened(directory, option):
    status, lines = failed_start(directory, f"--{option}", "/nowhere/x.log",
                                 "--wsgi-file", "app.py")
    assert status == 1
    assert [line for line in lines if "/nowhere/x.log" in line and f"--{option}" in line]
    assert not [line for line in lines if "Traceback" in line]


@pytest.mark.root
@as_root
def test_a_warning_about_root(directory):
    with Server(directory, "--wsgi-file", "app.py", app=APP) as server:
        server.wait_for("you are running geventuwsgi as root")
        assert server.stop() == 0


@pytest.mark.parametrize("ini, status", [(None, 2), ("[uwsgi]\nuid = nobody-of-this-name\n", 1)])
def test_a_user_that_does_not_exist(directory, ini, status):
    """A usage error on the command line, a configuration error in a file."""
    arguments = [] if ini else ["--uid", "nobody-of-this-name"]
    ended, lines = failed_start(directory, "--wsgi-file", "app.py", *arguments, ini=ini)
    assert ended == status
    assert any("nobody-of-this-name" in line for line in lines)


# Logs without a reader.

def accepts(path):
    """Whether a server listens there: the file exists a moment before that."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(path) == 0


@pytest.mark.parametrize("reader", ["asleep", "gone"])
def test_log_pipes_without_a_reader(directory, reader):
    """Requests, errors, respawns and the stop still work."""
    path = str(directory / "app.sock")
    server = subprocess.Popen(
        [*GEVENTUWSGI, "--http-socket", path, "--wsgi-file", "probe.py", "--workers", "2"],
        cwd=directory, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: accepts(path), "the socket")
        assert ask(path, "/who").status == 200
        if reader == "gone":
            server.stdout.close()
            server.stderr.close()
        for _ in range(250):  # 64 KiB of tracebacks, and more of request lines
            assert ask(path, "/fail?" + "x" * 500).status == 500
        pid = int(ask(path, "/who").body.split()[0])
        os.kill(pid, 9)
        wait_until(lambda: int(ask(path, "/who").body.split()[0]) != pid)
        assert json.loads(ask(path, "/variables").body)["PATH_INFO"] == "/variables"
        server.terminate()
        assert server.wait(25) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
        server.stderr.close()


@pytest.mark.parametrize(("line", "status", "message"), [
    ("home = /nonexist", 1, "home: /nonexist is not a virtual environment"),
    ("chdir = /nonexist\nsocket = a.sock", 1, "chdir: /nonexist is not a directory"),
    ("wsgi-file = nosuch.py", 4, "wsgi-file: nosuch.py: no such file"),
    ("mount = /a=nosuch.py", 4, "mount: nosuch.py: no such file"),
])
def test_a_missing_file_is_reported_with_its_line(tmp_path, line, status, message):
    module = "" if "nosuch" in line else "module = app\n"
    (tmp_path / "fb.ini").write_text(f"[uwsgi]\nhttp-socket = 127.0.0.1:0\n{module}{line}\n")
    done = failed_start(tmp_path, "fb.ini", app="application = None\n")
    assert done[0] == status
    assert f"fb.ini:{3 + bool(module)}: {message}" in "\n".join(done[1])
