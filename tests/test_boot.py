"""From settings to a running instance: sockets, files, environment, logs, descriptors."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT, Server, alive, wait_until

pytestmark = pytest.mark.slow

APP = """
import os, sys
def application(environ, start_response):
    body = repr(eval(environ["QUERY_STRING"].replace("%20", " "))).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def ask(server, expression):
    """Have a worker evaluate an expression."""
    return eval(server.body("/?" + expression.replace(" ", "%20")))


def test_the_log_of_a_start(tmp_path):
    ini = """[uwsgi]
http-socket = 127.0.0.1:0
socket = 127.0.0.1:0
wsgi-file = app.py
processes = 2
"""
    with Server(tmp_path, app=APP, ini=ini) as server:
        assert server.find("getting INI configuration from")[0].endswith("app.ini")
        assert re.search(r"Listening at: http://127\.0\.0\.1:\d+ \(%d\)" % server.pid, server.log)
        assert re.search(r"Listening at: uwsgi://127\.0\.0\.1:\d+", server.log)
        server.wait_for("2 workers, each with one request at a time in the main thread; "
                        "threads = N or gevent = N for more")
        server.wait_for("application app.py:application loaded in ")
        server.wait_for("spawned geventuwsgi worker 2 (pid: ")
        assert len(server.err) <= 14, server.log
        assert server.stop() == 0


def test_the_application_is_imported_patched_unless_switched_off(tmp_path):
    with Server(tmp_path, "app", app=APP) as server:
        assert ask(server, "__import__('socket').socket.__module__").startswith("gevent")
    with Server(tmp_path, "app", "--monkey-patch=false", app=APP) as server:
        assert ask(server, "__import__('socket').socket.__module__") == "socket"


def test_files_named_like_modules_do_not_break_the_server(tmp_path):
    for name in ("json", "logging", "geventuwsgi", "select"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('the wrong one')")
    # Started as the console script is: `python -m` itself looks into the directory first.
    server = Server(tmp_path, "app", app=APP)
    server.argv = (sys.executable, "-c", "import sys; sys.path.remove(''); "
                   "from geventuwsgi.cli import main; sys.exit(main())", *server.argv[3:])
    with server:
        assert ask(server, "sys.path[0]") == str(tmp_path)


def test_paths_and_environment(tmp_path):
    (tmp_path / "site" / "one").mkdir(parents=True)
    (tmp_path / "site" / "two").mkdir()
    (tmp_path / "site" / "app.py").write_text(APP)
    ini = """[uwsgi]
http-socket = 127.0.0.1:0
chdir = site
pythonpath = one
pythonpath = t*
env = COLOUR=blue = green
env = PYTHONHASHSEED=0
unenv = REMOVED
module = app
import = nosuchmodule
"""
    with Server(tmp_path, ini=ini, env={"REMOVED": "1", "NOTIFY_SOCKET": "/x"}) as server:
        site = str(tmp_path / "site")
        assert ask(server, "sys.path[:3]") == [f"{site}/two", f"{site}/one", site]
        assert ask(server, "os.getcwd()") == site
        assert ask(server, "os.environ.get('COLOUR')") == "blue = green"
        assert ask(server, "[os.environ.get(n) for n in ('REMOVED', 'NOTIFY_SOCKET')]") == [
            None, None]
        assert ask(server, "sys.flags.hash_randomization") == 0
        assert ask(server, "len(sys.argv)") == 1
        server.wait_for("no module named 'nosuchmodule'")


def test_home_puts_its_packages_first(tmp_path):
    version = "python%d.%d" % sys.version_info[:2]
    packages = tmp_path / "venv" / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    (packages / "shop.py").write_text(APP)
    (packages / "more.pth").write_text(str(tmp_path) + "\n")
    with Server(tmp_path, "shop:application", "--home", str(tmp_path / "venv")) as server:
        path = ask(server, "sys.path")
        assert path.index(str(packages)) < path.index(os.path.dirname(os.__file__))
        assert ask(server, "sys.prefix") == str(tmp_path / "venv")
        assert server.stop() == 0


def test_a_virtualenv_of_another_python_exits_with_1(tmp_path):
    (tmp_path / "venv" / "lib" / "python3.2" / "site-packages").mkdir(parents=True)
    with Server(tmp_path, "app", "--virtualenv", str(tmp_path / "venv"), app=APP,
                ready=False) as server:
        assert server.wait() == 1
        assert server.find("Python 3.2") and server.find("Python %d.%d" % sys.version_info[:2])


def test_umask(tmp_path):
    with Server(tmp_path, "app", "--umask", "027", app=APP) as server:
        assert ask(server, "os.umask(0)") == 0o027


def test_process_titles(tmp_path):
    pytest.importorskip("setproctitle")
    ini = "[uwsgi]\nhttp-socket = 127.0.0.1:0\nmodule = app\nprocname-prefix-spaced = shop\n"

    def titles(server):
        pids = [server.pid, *server.workers(), server.template()]
        return [Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0") for pid in pids]
    with Server(tmp_path, app=APP, ini=ini) as server:
        assert titles(server) == ["shop geventuwsgi master", "shop geventuwsgi worker 1",
                                  "shop geventuwsgi template 1"]
    with Server(tmp_path, app=APP, ini=ini + "log-dialect = uwsgi\n") as server:
        assert titles(server)[:2] == ["shop uWSGI master", "shop uWSGI worker 1"]
    with Server(tmp_path, "app", app=APP) as server:
        assert titles(server)[:2] == ["geventuwsgi master", "geventuwsgi worker 1"]
    with Server(tmp_path, "app", "--auto-procname=false", app=APP) as server:
        assert "python" in titles(server)[0]


def test_logto_receives_all_output_and_is_reopened(tmp_path):
    log, old = tmp_path / "app.log", tmp_path / "app.log.1"
    app = APP + "print('printed by the application', flush=True)\n"
    with Server(tmp_path, "app", "--logto", "app.log", app=app, ready=False) as server:
        wait_until(lambda: log.exists() and "ready: 1 worker" in log.read_text())
        assert "printed by the application" in log.read_text()
        log.rename(old)
        server.send_signal(signal.SIGUSR1)
        wait_until(lambda: log.exists() and "logs reopened" in log.read_text())
        assert server.stop() == 0
        assert "goodbye to geventuwsgi." in log.read_text()
        assert server.out == server.err == []


def test_descriptors_of_a_worker(tmp_path):
    """A worker has no descriptors of the master's loop or of other workers."""
    def descriptors(pid):
        return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    with Server(tmp_path, "app", "--workers", "3", app=APP) as server:
        counts = [len(descriptors(pid)) for pid in server.workers()]
        assert len(set(counts)) == 1  # the last one holds no control socket of the first
        master = set(descriptors(server.pid))
        worker = set(descriptors(server.workers()[0]))
        shared = {link for link in master & worker if link.startswith("socket:")}
        assert len(shared) == 1  # the listening socket; the ends of a pair differ
        assert any("scoreboard" in link for link in worker)


def test_a_killed_worker_is_replaced_and_workers_of_a_killed_master_exit(tmp_path):
    with Server(tmp_path, "app", "--workers", "2", app=APP) as server:
        first = server.workers()
        server.kill(first[0])
        server.wait_for("Respawned geventuwsgi worker 1")
        assert ask(server, "os.getpid()") in server.workers()
        workers, address = server.workers(), server.address()
        server.kill(server.pid)
        server.wait()
        for pid in workers:
            wait_until(lambda: not alive(pid), f"the end of {pid}")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


def test_random_numbers_differ_between_workers(tmp_path):
    app = APP + "import random; random.random()\n"
    with Server(tmp_path, "app", "--workers", "2", app=app) as server:
        seen = {}

        def both():
            seen.setdefault(*ask(server, "(os.getpid(), __import__('random').random())"))
            return len(seen) == 2
        wait_until(both)
        assert len(set(seen.values())) == 2


def test_the_master_stays_small(tmp_path):
    with Server(tmp_path, "app", app=APP) as server:
        maps = Path(f"/proc/{server.pid}/maps").read_text()
        assert "gevent" not in maps.replace("geventuwsgi", "")
        assert "_lzma" not in maps, "a module imports shutil or a compression library"
        with open(f"/proc/{server.pid}/smaps_rollup") as file:
            private = sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
        assert private < 14_000, f"{private} kB"


def test_flags_of_the_interpreter_reach_the_worker(tmp_path):
    server = Server(tmp_path, "app", app=APP)
    server.argv = (sys.executable, "-O", "-W", "error::SyntaxWarning", "-X", "utf8",
                   *server.argv[1:])
    with server:
        assert ask(server, "(sys.flags.optimize, sys.flags.utf8_mode)") == (1, 1)
        assert ask(server, "sys.warnoptions") == ["error::SyntaxWarning"]


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_root_is_dropped_before_the_application_is_imported(tmp_path):
    readable = subprocess.run(
        [sys.executable, "-c", "import os; os.setuid(65534); os.execv(os.sys.executable, "
         "[os.sys.executable, '-c', 'import gevent'])"], capture_output=True).returncode == 0
    tmp_path.chmod(0o755)
    app = APP + "print('imported as', os.getuid(), flush=True)\n"
    with Server(tmp_path, "app", "--uid", "nobody", "--chdir", "/tmp", app=app,
                ready=False) as server:
        if not readable:  # the tests' interpreter is in root's home
            assert server.wait() == 3
            server.wait_for("cannot read Python's library")
            return
        server.wait_for("imported as 65534")


def test_plugins_of_gevent_are_called_when_it_patches(tmp_path):
    """Plugins are installed distributions with an entry point, as in gevent's manual."""
    about = tmp_path / "listening-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: listening\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("".join(
        f"[gevent.plugins.monkey.{event}]\nlistening = listening:{event}\n"
        for event in ("will_patch_all", "did_patch_all")))
    (tmp_path / "listening.py").write_text("import socket\nbefore = socket.socket\n" + "".join(
        f"def {event}(_):\n    print('{event}', socket.socket is before, flush=True)\n"
        for event in ("will_patch_all", "did_patch_all")))
    with Server(tmp_path, "app:application", app=APP,
                env={"PYTHONPATH": f"{tmp_path}:{ROOT}"}) as server:
        server.wait_for("did_patch_all False")
        server.wait_for("will_patch_all True")
