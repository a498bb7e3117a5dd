"""SIGHUP and --reload: the files are read again, and what fails changes nothing."""

import os
import signal
import socket
import stat
import subprocess
import sys

import pytest

from tests.harness import ROOT, Server, alive, children, free_port, wait_until

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    return [b"one"]
"""
INI = """[uwsgi]
module = app
http-socket = 127.0.0.1:0
pidfile = server.pid
"""


@pytest.fixture
def serve(tmp_path):
    """Start servers from `app.ini`; nothing of them is left after the test."""
    started = []

    def start(more="", app=APP, **further):
        server = Server(tmp_path, ini=INI + more, app=app, **further).start()
        started.append(server)
        return server
    yield start
    for server in started:
        server.__exit__()


def write(server, text):
    (server.directory / "app.ini").write_text(text)


def reload(server):
    """Run `--reload server.pid`; return (status, what it says)."""
    done = subprocess.run([sys.executable, "-m", "geventuwsgi", "--reload", "server.pid"],
                          cwd=server.directory, text=True, capture_output=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_the_configuration_is_read_again(serve):
    server = serve("processes = 1\n")
    old = server.workers()
    write(server, INI + "processes = 3\nif-reload = 1\nadd-header = X-New: yes\nendif =\n"
          "if-not-reload = 1\nadd-header = X-New: no\nendif =\n")
    (server.directory / "app.py").write_text(APP.replace("[b\"one\"]", "[b\"two\"]"))
    server.send_signal(signal.SIGHUP)
    server.wait_for("ready: 3 workers (generation 2)")
    wait_until(lambda: not any(map(alive, old)), "the end of the old worker")
    answer = server.get()
    assert b"X-New: yes" in answer and b"X-New: no" not in answer and answer.endswith(b"two")
    assert server.stop() == 0


def test_sockets_come_stay_and_go(serve):
    server = serve("http-socket = going.sock\nsocket = staying.sock\nchmod-socket = 600\n")
    port, going = server.port, server.directory / "going.sock"
    staying = server.directory / "staying.sock"
    number = staying.stat().st_ino
    write(server, INI + "http-socket = coming.sock\nsocket = staying.sock\nchmod-socket = 660\n"
          "listen = 7\n")
    kept = socket.create_connection(("127.0.0.1", port), 10)  # in a queue, or accepted
    assert reload(server) == (0, "")
    kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert kept.recv(999).startswith(b"HTTP/1.1 200 OK")
    kept.close()
    assert server.get().endswith(b"one") and server.port == port
    assert not going.exists() and server.find("no longer listening at: http://unix:")
    assert staying.stat().st_ino == number
    assert stat.S_IMODE(staying.stat().st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(server.directory / "coming.sock"))
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert sock.recv(999).startswith(b"HTTP/1.1 200 OK")
    fds = os.listdir(f"/proc/{server.pid}/fd")
    assert reload(server) == (0, "")
    wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) <= len(fds), "the same fds")
    assert server.stop() == 0


def test_a_removed_port_is_free_again(serve):
    port = free_port()
    server = serve(f"http-socket = 127.0.0.1:{port}\n")
    write(server, INI)
    assert reload(server)[0] == 0

    def refused():
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            return True
        return False
    wait_until(refused, "a refused connection")
    assert server.stop() == 0


def test_a_socket_may_change_its_protocol(serve):
    server = serve("socket = two.sock\n")
    write(server, INI + "http-socket = two.sock\n")
    assert reload(server) == (0, "")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(server.directory / "two.sock"))
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert sock.recv(999).startswith(b"HTTP/1.1 200 OK")
    assert server.stop() == 0


def test_what_fails_changes_nothing(serve):
    """A file that does not read, a socket that cannot be bound, code that does not load."""
    server = serve()
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    old = server.workers()
    for number, (ini, app, reason) in enumerate([
            (INI + "processes = many\n", APP, "app.ini:5: processes: "),
            (INI + "xml = x\n", APP, "app.ini:5: xml: configuration files are INI"),
            (INI + "uid = nobody-at-all\n", APP, "there is no user 'nobody-at-all'"),
            (INI + f"http-socket = new.sock\nhttp-socket = 127.0.0.1:{port}\n", APP,
             f"app.ini:6: http-socket: cannot bind 127.0.0.1:{port}: address already in use"),
            (INI + "logto = /nowhere/log\n", APP, "app.ini:5: logto: cannot open /nowhere/log"),
            (INI, "import nothing_of_this_name", "nothing_of_this_name"),
            (INI + "lazy-apps = true\n", "import os; os._exit(7)",
             " ended before it was ready (exit status 7)"),
            (INI, APP, "")]):
        write(server, ini)
        (server.directory / "app.py").write_text(app)
        status, said = reload(server)
        if reason:
            assert status == 1 and said.startswith("geventuwsgi: error: reload failed: ")
            assert reason in said, said
            server.wait_for("generation 1 keeps serving", number + 1)
            assert server.get().endswith(b"one") and all(map(alive, old))
            assert not (server.directory / "new.sock").exists()
        else:
            assert (status, said) == (0, "")
    taken.close()
    (server.directory / "app.ini").unlink()
    status, said = reload(server)
    assert status == 1 and "No such file" in said
    assert server.get().endswith(b"one")
    assert server.stop() == 0


def test_what_takes_a_restart_is_said(serve):
    server = serve()
    write(server, INI.replace("server.pid", "other.pid"))
    assert reload(server)[0] == 0
    server.wait_for("app.ini:4: pidfile: this change needs a restart")
    assert not (server.directory / "other.pid").exists()
    assert server.stop() == 0


def test_logs_move_with_a_reload(serve):
    server = serve("logto = first.log\n", ready=False)
    directory = server.directory
    wait_until(lambda: (directory / "first.log").exists()
               and "ready: " in (directory / "first.log").read_text(), "the start")
    write(server, INI + "logto = second.log\n")
    assert reload(server)[0] == 0
    assert server.stop() == 0
    assert "goodbye to geventuwsgi" in (directory / "second.log").read_text()
    assert "goodbye to geventuwsgi" not in (directory / "first.log").read_text()


def test_a_template_killed_during_a_reload(serve):
    """The attempt fails, the old generation serves on, the next one succeeds."""
    server = serve()
    (server.directory / "app.py").write_text(
        "import os, time\nopen('loading', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    server.send_signal(signal.SIGHUP)
    loading = server.directory / "loading"
    wait_until(lambda: loading.exists() and loading.read_text(), "the new template")
    os.kill(int(loading.read_text()), signal.SIGKILL)
    server.wait_for("reload failed: the template ended before it had loaded (killed by signal 9)")
    assert server.get().endswith(b"one")
    (server.directory / "app.py").write_text(APP)
    assert reload(server) == (0, "")
    assert server.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGHUP, signal.SIGUSR2])
def test_a_signal_to_a_template_that_has_just_begun(serve, number):
    """It waits until there are handlers: a log rotation or a signal to the group ends no reload."""
    server = serve()
    server.send_signal(signal.SIGHUP)
    server.wait_for("generation 2 of worker starts")

    def templates():
        found = [pid for pid in children(server.pid) if pid not in server.spawned().values()]
        return found if len(found) == 2 else []
    for pid in wait_until(templates, "the new template"):
        os.kill(pid, number)
    server.wait_for("ready: 1 worker (generation 2)")
    assert not server.find("reload failed")
    assert server.stop() == 0


def test_a_worker_that_dies_during_a_reload(serve):
    """It is respawned with the old code, and the reload goes on."""
    server = serve("processes = 2\n")
    (server.directory / "app.py").write_text(
        "import os, time\nopen('loading', 'w').close()\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n" + APP.replace("one", "two"))
    server.send_signal(signal.SIGHUP)
    wait_until((server.directory / "loading").exists, "the new template")
    server.kill(server.workers()[0])
    server.wait_for("Respawned geventuwsgi worker 1")
    assert server.get().endswith(b"one")
    (server.directory / "go").touch()
    server.wait_for("ready: 2 workers (generation 2)")
    wait_until(lambda: server.get().endswith(b"two") and server.get().endswith(b"two"),
               "the new code")
    assert server.stop() == 0


def test_reloads_while_reloading_are_one_more(serve):
    """Ten signals in a row: the newest code serves in the end."""
    server = serve()
    for number in range(10):
        (server.directory / "app.py").write_text(APP.replace("one", f"{number:03}"))
        server.send_signal(signal.SIGHUP)
    wait_until(lambda: server.get().endswith(b"009"), "the newest code")
    assert server.stop() == 0
    assert len(server.find("ready: 1 worker (generation")) < 10


def test_a_stop_during_a_reload(serve):
    server = serve()
    (server.directory / "app.py").write_text("open('loading', 'w'); import time; time.sleep(60)")
    waiting = subprocess.Popen([sys.executable, "-m", "geventuwsgi", "--reload", "server.pid"],
                               cwd=server.directory, text=True, stderr=subprocess.PIPE,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})
    wait_until((server.directory / "loading").exists, "the new template")
    assert server.stop(deadline=25) == 0
    _, said = waiting.communicate(timeout=60)
    assert waiting.returncode == 1 and "reload failed: the server is stopping" in said


def test_what_waits_in_the_queue_of_a_socket_that_goes_is_served(serve):
    """The worker is busy; a connection that is not accepted yet survives a reload and a stop."""
    slow = APP.replace("    start_response", """
    if environ["PATH_INFO"] == "/slow":
        open("begun", "w").close()
        import os, time
        while not os.path.exists("go"): time.sleep(0.01)
    start_response""").replace("time.sleep(0.01)", "os.getpid()")  # the hub is blocked
    server = serve("http-socket = going.sock\ngevent = 5\n", app=slow)
    busy, waiting = server.connect(), socket.socket(socket.AF_UNIX)
    busy.sendall(b"GET /slow HTTP/1.0\r\n\r\n")
    wait_until((server.directory / "begun").exists, "the slow request")
    waiting.connect(str(server.directory / "going.sock"))
    waiting.sendall(b"GET / HTTP/1.0\r\n\r\n")
    write(server, INI)
    assert reload(server) == (0, "")
    (server.directory / "go").touch()
    for sock in (busy, waiting):
        sock.settimeout(10)
        with sock:
            assert sock.recv(999).startswith(b"HTTP/1.1 200 OK")
    assert server.stop() == 0


NATIVE = """
print("APP imported", flush=True)

async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"native"})
"""
OBJECT = """
import socket
from gevent.monkey import is_module_patched

class Application:
    def __call__(self, environ, start_response):
        start_response("200 OK", [])
        return [b"patched" if is_module_patched("socket") else b"not patched"]

application = Application()
"""


def test_an_application_found_to_be_asgi_is_not_loaded_twice_at_a_reload(serve):
    server = serve("gevent = 10\nprocesses = 2\nlifespan = off\n", app=NATIVE)
    assert server.body() == b"native" and server.find("the application is ASGI and is loaded agai")
    imported = server.out.count("APP imported")
    assert reload(server)[0] == 0 and server.body() == b"native"
    assert len(server.find("the application is ASGI and is loaded again")) == 1
    assert server.out.count("APP imported") == imported + 2  # each worker, as it is not shared


@pytest.mark.parametrize("more", ["", "lazy-apps = false\n"])
def test_an_application_that_is_no_longer_asgi(serve, more):
    server = serve("gevent = 10\nprocesses = 2\n" + more, app=NATIVE)
    for code, body in ((OBJECT, b"patched"), (NATIVE, b"native"), (NATIVE, b"native"),
                       (OBJECT, b"patched"), (OBJECT, b"patched")):
        (server.directory / "app.py").write_text(code)
        assert reload(server) == (0, "")
        assert server.body() == body
    # With lazy-apps off a template finds out, otherwise the first worker and maybe the second.
    assert len(server.find("is no longer ASGI")) in ((2,) if more else (2, 3, 4))
    assert len(server.find("is ASGI and is loaded again")) == 2
    (server.directory / "app.py").write_text("application = 1 / 0")
    status, said = reload(server)
    assert status == 1 and "division by zero" in said and server.body() == b"patched"
    assert not server.find("died") and server.stop() == 0


def test_an_application_that_is_no_longer_asgi_and_does_not_load(serve):
    """The first template, unpatched, has loaded it; the second one fails."""
    server = serve("gevent = 10\nlifespan = off\n", app=NATIVE)
    (server.directory / "app.py").write_text(
        OBJECT + "if is_module_patched('socket'):\n    raise ValueError('patched')\n")
    status, said = reload(server)
    assert status == 1 and "ValueError: patched" in said and server.body() == b"native"
    assert server.stop() == 0
