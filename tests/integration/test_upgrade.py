"""SIGUSR2: the server becomes its new version in place, and no client notices.

The two versions are copies of the package whose version strings differ, behind a link as
deployments have it.
"""

import os
import shutil
import signal
import socket
import sys
import threading
import urllib.request

import pytest

from geventuwsgi.master import console_client
from tests.harness import GEVENTUWSGI, ROOT, Program, Server, alive, children, wait_until
from tests.integration.load import Load

APP = """
import os, time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        open("begun-%d" % os.getpid(), "w").close()
        while not os.path.exists("go"):
            time.sleep(0.02)
    body = environ["SERVER_SOFTWARE"].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
INI = """[uwsgi]
module = app
http-socket = 127.0.0.1:0
socket = uwsgi.sock
pidfile = server.pid
processes = 2
gevent = 20
"""


def make(directory, version, broken=""):
    """Copy the package, give it a version, and break a file of it."""
    package = directory / version / "geventuwsgi"
    shutil.copytree(ROOT / "geventuwsgi", package)
    init = package / "__init__.py"
    text = init.read_text()
    assert "__version__ = " in text
    head, _, rest = text.partition("__version__ = ")
    init.write_text(f"{head}__version__ = {version!r}{rest[rest.index(chr(10)):]}")
    if broken:
        (package / broken).write_text("def broken(:")


def switch(directory, version):
    """Have the link lead to a version."""
    (directory / "next").symlink_to(directory / version)
    os.rename(directory / "next", directory / "current")


@pytest.fixture
def server(tmp_path):
    make(tmp_path, "1.0")
    switch(tmp_path, "1.0")
    work = tmp_path / "work"
    work.mkdir()
    with Server(work, ini=INI, app=APP,
                env={"PYTHONPATH": str(tmp_path / "current")}) as started:
        yield started
        family = children(started.pid)
    for pid in family:
        wait_until(lambda pid=pid: not alive(pid), "the end of every process")


def test_an_upgrade_under_load(server, tmp_path):
    """No request fails, one in progress is finished by the old worker; twice in a row."""
    assert server.body() == b"geventuwsgi/1.0"
    pid, old = server.pid, server.workers()
    slow = []
    thread = threading.Thread(target=lambda: slow.append(server.body("/slow")))
    thread.start()
    wait_until(lambda: list(server.directory.glob("begun-*")), "the slow request")
    with Load(server) as load:
        for number, version in ((2, "2.0"), (3, "3.0")):
            make(tmp_path, version)
            switch(tmp_path, version)
            done = load.count
            server.send_signal(signal.SIGUSR2)
            server.wait_for(f"ready: 2 workers (generation {number})")
            wait_until(lambda: server.body() == f"geventuwsgi/{version}".encode(), "the new one")
            load.wait_for(done + 200)
    assert load.failures == []
    assert server.find("Starting geventuwsgi 3.0") and server.pid == pid
    busy = [one for one in old if alive(one)]
    assert len(busy) == 1 and slow == []
    (server.directory / "go").touch()
    thread.join(20)
    assert slow == [b"geventuwsgi/1.0"]
    wait_until(lambda: not alive(busy[0]), "the end of the old worker")
    assert (server.directory / "server.pid").read_text() == f"{pid}\n"
    assert server.stop() == 0
    assert server.find("goodbye to geventuwsgi.") and not server.find("NO MERCY")


def test_a_version_that_does_not_start(server, tmp_path):
    """The check fails, and nothing has happened."""
    make(tmp_path, "2.0", broken="cli.py")
    switch(tmp_path, "2.0")
    old = server.workers()
    server.send_signal(signal.SIGUSR2)
    server.wait_for("upgrade failed: the version on disk does not start (exit status 1)")
    assert server.body() == b"geventuwsgi/1.0" and server.workers() == old
    assert server.stop() == 0


def test_a_configuration_that_the_new_version_refuses(server, tmp_path):
    make(tmp_path, "2.0")
    switch(tmp_path, "2.0")
    (server.directory / "app.ini").write_text(INI + "xml = x\n")
    server.send_signal(signal.SIGUSR2)
    server.wait_for("upgrade failed")
    server.wait_for("app.ini:8: xml: ")
    assert server.body() == b"geventuwsgi/1.0"
    assert server.stop() == 0


def test_a_version_whose_workers_do_not_start(server, tmp_path):
    """The master is the new one, the workers the old ones, until a reload succeeds."""
    make(tmp_path, "2.0", broken="workers/wsgi/worker.py")
    switch(tmp_path, "2.0")
    old = server.workers()
    server.send_signal(signal.SIGUSR2)
    server.wait_for("Starting geventuwsgi 2.0")
    server.wait_for("generation 1 keeps serving")
    assert server.body() == b"geventuwsgi/1.0" and server.workers() == old
    worker = "geventuwsgi/workers/wsgi/worker.py"
    shutil.copy(ROOT / worker, tmp_path / "2.0" / worker)
    server.kill(old[0])  # it is not replaced, but another generation is tried
    server.wait_for("ready: 2 workers (generation 3)")
    wait_until(lambda: server.body() == b"geventuwsgi/2.0", "the new version")
    assert server.stop() == 0


def test_a_stop_and_a_reload_after_an_upgrade(server, tmp_path):
    """Signals right behind the order are not lost, and the console answers."""
    make(tmp_path, "2.0")
    switch(tmp_path, "2.0")
    server.send_signal(signal.SIGUSR2)
    server.send_signal(signal.SIGHUP)
    server.wait_for("Starting geventuwsgi 2.0")
    assert console_client.call(str(server.directory / "server.pid"), ["reload"], print) == 0
    server.send_signal(signal.SIGUSR2)
    server.wait_for("Starting geventuwsgi 2.0", 2)
    assert server.stop() == 0
    assert not server.find("Traceback")


def test_daemons_change_with_the_version(server, tmp_path):
    """The old one ends, the new one starts, and none is left at the end."""
    program = "import os, time; open('daemon-%d' % os.getpid(), 'w'); time.sleep(600)"
    (server.directory / "daemon.py").write_text(program)
    (server.directory / "app.ini").write_text(
        INI + f"attach-daemon = {sys.executable} daemon.py\n")

    def daemons():
        return {int(path.name[7:]) for path in server.directory.glob("daemon-*")}
    server.send_signal(signal.SIGHUP)
    first = wait_until(daemons, "the daemon").pop()
    make(tmp_path, "2.0")
    switch(tmp_path, "2.0")
    server.send_signal(signal.SIGUSR2)
    server.wait_for("Starting geventuwsgi 2.0")
    wait_until(lambda: not alive(first), "the end of the old daemon")
    wait_until(lambda: any(map(alive, daemons())), "the new daemon")
    server.wait_for("gracefully killing workers", 2)
    assert server.stop() == 0
    # Once with each version: a take-over is no further reload.
    assert len(server.find("[uwsgi-daemons] spawning")) == 2
    assert not server.find("[uwsgi-daemons] respawning")
    assert not any(map(alive, daemons()))


def test_sockets_of_a_service_manager_stay(server, tmp_path):
    """LISTEN_FDS counts after an upgrade too, and no child gets it."""
    app = APP.replace('environ["SERVER_SOFTWARE"].encode()',
                      'repr([n for n in os.environ if "LISTEN" in n or "HANDOVER" in n]).encode()')
    (server.directory / "app.py").write_text(app)
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    code = ("import os, sys; os.dup2(int(sys.argv[1]), 3); "
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
            "os.execv(sys.executable, sys.argv[2:])")
    program = Program(sys.executable, "-c", code, str(listening.fileno()), *GEVENTUWSGI,
                      "app:application", cwd=server.directory,
                      env={"PYTHONPATH": str(tmp_path / "current")},
                      pass_fds=(listening.fileno(),))
    with program:
        listening.close()
        program.wait_for("ready: ")
        for number in (2, 3):
            program.send_signal(signal.SIGUSR2)
            program.wait_for(f"ready: 1 worker (generation {number})")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=20) as answer:
                assert answer.read() == b"[]"
        assert program.stop() == 0
