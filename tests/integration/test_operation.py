"""Options of operation, each by its effect on a running server."""

import os
import socket
import subprocess

import pytest

from tests.harness import GEVENTUWSGI, ROOT, Server, wait_until
from tests.integration.test_start import as_root, readable_interpreter

APP = """
import atexit, os, sys
import uwsgi
STDIN = os.read(0, 100)
ROOT = os.geteuid()
def note(text):
    with open("notes", "a") as file:
        file.write(text)
uwsgi.atexit = lambda: note("uwsgi.atexit ")
atexit.register(note, "atexit ")
def application(environ, start_response):
    if environ["PATH_INFO"] == "/child":    # a child that ends and is not waited for
        body = b"%d" % os.posix_spawn("/bin/true", ["true"], {})
    else:
        body = b"%s %d %d %d" % (STDIN, os.getpid(), ROOT, os.geteuid())
    if environ["PATH_INFO"] == "/uwsgi":
        body = uwsgi.mode + b" " + uwsgi.pidfile
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
INI = "[uwsgi]\nwsgi-file = app.py\n"


def run(server, *arguments):
    return subprocess.run([*GEVENTUWSGI, *arguments], cwd=server.directory, capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, timeout=60)


def response_of(server, index=0, protocol="http"):
    """Return (standard input, pid, uid while loading, uid) of the application."""
    with server.connect(protocol, index) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        data = b""
        while piece := sock.recv(65536):
            data += piece
    return data.partition(b"\r\n\r\n")[2].rsplit(b" ", 3)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with two workers, each with its own socket."""
    directory = tmp_path_factory.mktemp("operation")
    (directory / "input").write_text("what stdin holds")
    (directory / "ready").touch()
    with socket.create_server(("127.0.0.1", 0)) as database:
        made = Server(directory, app=APP, ini=INI + f"""
shared-socket = 127.0.0.1:0
http-socket = =0
http-socket = 127.0.0.1:0
socket = {directory}/abstract
abstract-socket = true
map-socket = 0:1
map-socket = 1:2
processes = 2
honour-stdin = true
pidfile = app.pid
flock = app.lock
wait-for-file = ready
wait-for-interface = lo
wait-for-socket = 127.0.0.1:{database.getsockname()[1]}
tcp-fast-open = 5
reaper = true
mode = staging
""")
        made.argv = ("/bin/sh", "-c", 'exec "$@" < input', "sh", *made.argv)
        with made:
            yield made
            assert made.stop() == 0


def test_a_socket_for_each_worker(server):
    for index, number in ((0, 1), (1, 2)):
        pids = [int(response_of(server, index)[1]) for _ in range(3)]
        assert pids == [server.spawned()[number]] * 3
    # The new worker has the same socket.
    pid = server.spawned()[1]
    server.kill(pid)
    wait_until(lambda: server.spawned()[1] != pid, "the respawn")
    assert int(response_of(server)[1]) == server.spawned()[1]


def test_standard_input(server):
    assert response_of(server)[0] == b"what stdin holds"


def test_the_module_uwsgi(server):
    assert server.body("/uwsgi") == b"staging app.pid"


def test_an_abstract_socket_answers_a_ping(server):
    name = f"@{server.directory}/abstract"
    assert server.address("uwsgi") == "\0" + name[1:]
    assert not (server.directory / "abstract").exists()
    result = run(server, "--ping", name, "--ping-timeout", "30")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    result = run(server, "--ping", name + "x")
    assert result.returncode == 1 and "does not answer: Connection refused" in result.stderr
    assert run(server, "--ping-timeout", "soon", "--ping", name).returncode == 2


def test_a_zombie_of_the_application_is_reaped(server):
    pid = int(server.body("/child"))
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the zombie")


def test_a_locked_file_ends_the_start(server):
    result = run(server, "--flock", "app.lock", "--http-socket", "127.0.0.1:0", "app:application")
    assert result.returncode == 1
    assert "--flock: app.lock is locked by another process" in result.stderr


def test_a_wait_that_times_out_ends_the_start(server):
    common = ("--http-socket", "127.0.0.1:0", "app:application")
    result = run(server, "--wait-for-dir", "nowhere", "--wait-for-fs-timeout", "0", *common)
    assert result.returncode == 1
    assert "wait-for-dir: directory nowhere is not there after 0 seconds" in result.stderr
    result = run(server, "--wait-for-socket", "./none.sock", "--wait-for-socket-timeout", "0",
                 *common)
    assert result.returncode == 1
    assert "wait-for-socket: socket ./none.sock is not there after 0 seconds" in result.stderr


def test_skip_atexit(tmp_path):
    with Server(tmp_path, app=APP, ini=INI + "skip-atexit = true\n") as server:
        assert server.stop() == 0
    assert not (tmp_path / "notes").exists()


def test_a_lock_is_kept_through_an_upgrade_and_waited_for(tmp_path):
    ini = INI + "http-socket = 127.0.0.1:0\nflock-wait = app.lock\n"
    with Server(tmp_path, app=APP, ini=ini) as first:
        first.send_signal(12)       # SIGUSR2: an upgrade in place
        first.wait_for("after an upgrade")
        second = Server(tmp_path, ini=ini, ready=False)
        with second:
            second.wait_for("app.lock is locked by another process: waiting for it")
            assert first.body()
            first.kill(first.pid)   # its lock ends with it
            second.wait_for("ready: 1 worker")
            assert second.stop() == 0
        assert (tmp_path / "notes").read_text().endswith("uwsgi.atexit atexit ")


def test_a_stop_while_it_waits(tmp_path):
    with Server(tmp_path, app=APP, ini=INI + "wait-for-file = never\n", ready=False) as server:
        server.wait_for("waiting for file never")
        assert server.stop() == 0


@pytest.mark.root
@as_root
def test_rights(directory):
    """A server that drops root late, and one whose master drops it."""
    python, packages = readable_interpreter()
    directory.chmod(0o777)

    def served(text):
        made = Server(directory, app=APP, ini=INI + "http-socket = 127.0.0.1:0\n" + text,
                      env={"PYTHONPATH": f"{ROOT}:{packages}"})
        made.argv = (python, *made.argv[1:])
        return made

    def status(pid):
        with open(f"/proc/{pid}/status") as file:
            return dict(line.split(":", 1) for line in file)

    with served("uid = nobody\nadd-gid = 7\nno-initgroups = true\ndrop-after-apps = true\n"
                ) as server:
        assert response_of(server)[2:] == [b"0", b"65534"]
        assert set(status(server.workers()[0])["Groups"].split()) == {"7", "65534"}
        template = server.template()
        server.kill(server.pid)     # the death signal is set again after the change of user
        wait_until(lambda: not os.path.exists(f"/proc/{template}"), "the template's end")
    with served("immediate-uid = nobody\nimmediate-gid = nogroup\npidfile = own.pid\n"
                "master-fifo = own.fifo\n") as server:
        assert response_of(server)[2:] == [b"65534", b"65534"]
        assert status(server.pid)["Uid"].split() == ["65534"] * 4
        files = directory / "own.pid", directory / "own.fifo"
        assert {path.stat().st_uid for path in files} == {65534}
        assert server.stop() == 0
