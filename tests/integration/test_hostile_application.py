"""The master is root, and the application is not: nothing that it says or writes reaches beyond."""

import os
import signal
import subprocess
import time

import pytest

from tests.harness import GEVENTUWSGI, Server, alive, wait_until
from tests.integration.test_start import as_root, readable_interpreter

pytestmark = [pytest.mark.root, as_root]

# It sends on the control socket of its worker, and writes to every scoreboard that it has.
APP = """
import gc, os
from geventuwsgi.prefork.child import Child

def child():
    return next(one for one in gc.get_objects() if type(one) is Child)

def application(environ, start_response):
    text = environ["wsgi.input"].read().decode()
    kind, _, rest = environ["QUERY_STRING"].partition("=")
    if kind == "send":
        for line in text.split("|"):
            try:
                child().control.send(line.encode("latin-1"))
            except OSError:
                pass    # the worker is on its way out
    elif kind == "write":
        board = child().board
        for index in range(len(board) + 1):
            if index != child().row.index:
                for cell in range(32):
                    board.row(index).cells[cell] = int(text)
    elif kind == "cut":
        try:
            os.ftruncate(child().board.fd, 0)
        except PermissionError:
            pass
    elif kind == "answer":
        import signal
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        child().answer = lambda ignored: answer(text)
    elif kind == "pidfile":
        os.unlink("pid")
        with open("pid", "w") as file:
            file.write(text)
    start_response("200 OK", [])
    return [b"%d" % os.getpid()]

def answer(text):
    from geventuwsgi.ipc import channel
    me = child()
    if text == "pipe":
        fd = os.pipe()[0]
    else:
        fd = os.memfd_create("answer")
        os.write(fd, text.encode())
    channel.send_with_descriptor(type(me.control)(fileno=me._question), b"answer", fd)
"""


@pytest.fixture
def hostile(open_path):
    """Start such a server with root's master: two workers of the user nobody."""
    python, packages = readable_interpreter()
    (open_path / "app.py").write_text(APP)

    def start(*more):
        server = Server(open_path, "--uid", "nobody", "--gid", "nogroup", "--processes", "2",
                        "--wsgi-file", "app.py", "--pidfile", open_path / "pid", *more,
                        env={"PYTHONPATH": f"{os.getcwd()}:{packages}"})
        server.argv = (python, *server.argv[1:])
        return server
    return start


def post(server, query, text):
    """Send a request; the worker may die before it has answered."""
    body = text.encode()
    try:
        return server.talk(b"POST /?%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                           b"Content-Length: %d\r\n\r\n%s" % (query, len(body), body))
    except OSError:
        return b""


@pytest.fixture
def victim():
    """A process of root's that has nothing to do with the server."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("lines", [
    ["pid {victim}"], ["pid x"], ["forked x"], ["failed x y"], ["failed"], ["loaded 5"], ["ready"],
    ["die"], ["files " + "x" * 4400],
    ["forked {victim}", "forked {victim}", "forked {victim}"],
    ["failed 9999 why"], ["failed 3 why", "replace why"]])
def test_a_message_costs_its_sender_and_nobody_else(hostile, victim, lines):
    with hostile() as server:
        before = server.workers()
        post(server, b"send", "|".join(lines).format(victim=victim.pid))
        server.wait_for("is killed: it sent")
        server.wait_for("Respawned geventuwsgi worker")
        wait_until(lambda: len(server.workers()) == 2, lambda: server.log)
        assert len(set(before) & set(server.workers())) == 1
        assert alive(victim.pid)
        assert b"200 OK" in post(server, b"", "")
        assert server.stop() == 0
        assert alive(victim.pid)
        assert not server.find("Traceback")


@pytest.mark.parametrize("number", [0, -1, 2 ** 63 - 1, -2 ** 63])
def test_what_it_writes_to_the_scoreboard_hurts_nobody_else(hostile, number):
    """No worker is killed or replaced for it, and the master's sums do not overflow."""
    with hostile("--max-requests", "50", "--min-worker-lifetime", "0", "--reload-on-rss", "4000",
                 "--worker-timeout", "2", "--cheaper", "1", "--cheaper-initial", "2") as server:
        before = server.workers()
        for _ in range(5):
            assert b"200 OK" in post(server, b"write", str(number))
        time.sleep(3.5)     # the master checks heartbeats, requests and memory meanwhile
        assert not server.find("is replaced") and not server.find("TIMEOUT")
        assert set(server.workers()) <= set(before)
        server.kill(server.workers()[0])
        server.wait_for("Respawned geventuwsgi worker")
        server.send_signal(signal.SIGHUP)
        server.wait_for("(generation 2)")
        assert b"200 OK" in post(server, b"write", str(number))
        assert server.stop() == 0
        assert not server.find("Traceback")


HIDES = """
import os, signal
from geventuwsgi.prefork import template

def hide(self, message, descriptors, loaded, work):
    \"\"\"Keep the control socket of a worker in a process that the master is not informed of.\"\"\"
    if os.fork() == 0:
        if os.fork() == 0:
            for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
                signal.signal(number, signal.SIG_IGN)
            open("hidden", "w").write(str(os.getpid()))
            while True:
                signal.pause()
        os._exit(0)
    os.wait()

template.Template._fork = hide

def application(environ, start_response):
    return []
"""


def test_a_hidden_process_does_not_keep_the_server_from_stopping(hostile, open_path):
    with hostile("--graceful-timeout", "1") as server:
        os.chmod(open_path, 0o777)
        (open_path / "app.py").write_text(HIDES)
        server.send_signal(signal.SIGHUP)
        hidden = wait_until(lambda: (open_path / "hidden").exists()
                            and int((open_path / "hidden").read_text() or 0), "a hidden process")
        try:
            assert server.stop(deadline=30) == 0
        finally:
            os.kill(hidden, signal.SIGKILL)


def test_it_cannot_cut_the_scoreboard(hostile):
    with hostile() as server:
        assert b"200 OK" in post(server, b"cut", "")
        server.kill(server.workers()[0])
        server.wait_for("Respawned geventuwsgi worker")
        assert server.stop() == 0


def test_stacks_are_memory_and_printed_without_escape_sequences(hostile):
    """The master would wait for a pipe; a terminal executes what root prints there."""
    with hostile("--processes", "1") as server:
        for text, expected in (("pipe", "sent something else than memory"),
                               ("\x1b]0;x\x07", "\\x1b]0;x\\x07")):
            assert b"200 OK" in post(server, b"answer", text)
            done = command(server, "--stacks")
            assert expected in done.stdout and "\x1b" not in done.stdout + done.stderr
        assert server.stop() == 0


def command(server, option):
    """Run a command of root's for the pid file of a server."""
    return subprocess.run([*GEVENTUWSGI, option, server.directory / "pid"], text=True,
                          capture_output=True, timeout=60)


def test_root_stops_no_other_instance_by_the_pid_file_of_one(hostile, tmp_path):
    with hostile() as server, Server(tmp_path, "-w", "app", "--pidfile", tmp_path / "pid",
                                     app=APP) as other:
        server.directory.chmod(0o777)
        assert b"200 OK" in post(server, b"pidfile", str(other.pid))
        done = command(server, "--stop")
        assert done.returncode == 1 and f"is a master with {tmp_path / 'pid'}" in done.stderr
        assert b"200 OK" in post(server, b"pidfile", str(server.pid))
        done = command(server, "--stop")
        assert done.returncode == 0, done.stderr
        assert server.wait() == 0
        assert alive(other.pid) and other.stop() == 0
