"""The master FIFO and the pause: orders to a running server, for real."""

import os
import re
import select
import signal
import stat
import subprocess

import pytest

from tests.harness import GEVENTUWSGI, ROOT, Server, wait_until

APP = """
import os
def application(environ, start_response):
    body = b"%d" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""
ASGI = """
async def application(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
INI = """[uwsgi]
http-socket = 127.0.0.1:0
wsgi-file = app.py
processes = 2
gevent = 10
master-fifo = first.fifo
master-fifo = second.fifo
pidfile = app.pid
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("fifo"), app=APP, ini=INI,
                start_new_session=True) as made:    # no terminal, so SIGTSTP is a pause
        yield made


def write(server, orders, name="first.fifo"):
    """Write orders as a shell's echo does: open, write, close."""
    fd = os.open(server.directory / name, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, orders.encode() + b"\n")
    os.close(fd)


def command(server, order):
    """Give an order by the pid file, and return how it ended."""
    return subprocess.run([*GEVENTUWSGI, order, "app.pid"], cwd=server.directory,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, timeout=60)


def states(server):
    """Return the state of each worker that lives, as the command `s` reports it."""
    mark = len(server.find("requests served,"))
    write(server, "s")
    server.wait_for("requests served,", mark + 1)
    # The lines of one order come together; another order's first line closes them.
    write(server, "s")
    server.wait_for("requests served,", mark + 2)
    place = [at for at, line in enumerate(server.err) if "requests served," in line][mark:mark + 2]
    return {int(found[1]): found[2] for line in list(server.err)[place[0]:place[1]]
            if (found := re.search(r"worker (\d+) \(pid: .*?\): (\w+),", line))}


def all_are(server, state, count=2):
    wait_until(lambda: list(states(server).values()) == [state] * count, f"workers to be {state}")


def ask(server):
    """Send a request on a new connection, and return the connection."""
    sock = server.connect()
    sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    return sock


def unanswered(sock):
    """Whether nothing has come yet."""
    return not select.select([sock], [], [], 0)[0]


def answered(sock):
    """Wait for the answer."""
    with sock:
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_pipe_is_for_the_workers_user_alone(server):
    state = os.stat(server.directory / "first.fifo")
    assert stat.S_ISFIFO(state.st_mode) and stat.S_IMODE(state.st_mode) == 0o600


def kept(server):
    """Return a connection that has brought a request and may bring another."""
    sock = server.connect()
    sock.sendall(REQUEST)
    data = b""
    while not data.partition(b"\r\n\r\n")[2]:
        data += sock.recv(65536)
    assert b"onnection: close" not in data
    return sock


def last_answer(sock):
    """Ask on a kept connection of a worker that pauses: it has been closed, or is now."""
    with sock:
        data = b""
        try:
            sock.sendall(REQUEST)
            while piece := sock.recv(65536):
                data += piece
        except ConnectionError:
            pass
        return data


def test_a_pause_keeps_connections_waiting(server):
    before = kept(server)
    write(server, "p")
    all_are(server, "paused")
    assert (data := last_answer(before)) == b"" or b"onnection: close" in data
    sock = ask(server)
    assert command(server, "--pause").returncode == 0   # once more changes nothing
    assert states(server) == {1: "paused", 2: "paused"} and unanswered(sock)
    assert command(server, "--resume").returncode == 0
    answered(sock)
    all_are(server, "ready")


def test_whoever_starts_during_a_pause_joins_it(server):
    os.kill(server.pid, signal.SIGTSTP)
    all_are(server, "paused")
    victim = server.spawned()[1]
    server.kill(victim)
    wait_until(lambda: server.spawned()[1] != victim, "the respawn")
    all_are(server, "paused")
    generations = len(server.find("ready: 2 workers"))
    write(server, "r")
    server.wait_for("ready: 2 workers", generations + 1)
    all_are(server, "paused")       # the old generation is gone, the new one pauses
    server.send_signal(signal.SIGUSR2)
    server.wait_for("after an upgrade")
    server.wait_for("ready: 2 workers", generations + 2)
    all_are(server, "paused")       # and the pipe is there again
    sock = ask(server)
    assert unanswered(sock)
    os.kill(server.pid, signal.SIGTSTP)
    answered(sock)


def test_workers_come_and_go(server):
    write(server, "+")
    all_are(server, "ready", 3)
    write(server, "-")
    all_are(server, "ready", 2)


def test_small_orders(server):
    (server.directory / "app.pid").unlink()
    write(server, "PlSBfx")
    server.wait_for("logs reopened")
    server.wait_for("subscriptions blocked")
    server.wait_for("there is no emperor")
    server.wait_for("the master does not fork")
    server.wait_for("master-fifo: unknown command 'x'")
    assert int((server.directory / "app.pid").read_text()) == server.pid
    write(server, "SC")
    server.wait_for("subscriptions re-enabled")
    server.wait_for("no cheap mode")


@pytest.mark.parametrize("order", [b"\xb2", b"\xb9", b"\xbe", b"\x00", b"\xff"])
def test_octets_that_are_no_command(server, order):
    """Superscript digits are digits to `str.isdigit`, and no numbers."""
    count = len(server.find("unknown command"))
    fd = os.open(server.directory / "first.fifo", os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, order)
    os.close(fd)
    server.wait_for("unknown command", count + 1)
    all_are(server, "ready")


def test_a_chain_reload(server):
    count = len(server.find("ready: 2 workers"))
    write(server, "c")
    server.wait_for("ready: 2 workers", count + 1)


def test_slots(server):
    assert not (server.directory / "second.fifo").exists()
    write(server, "1")
    server.wait_for("active master fifo is now " + str(server.directory / "second.fifo"))
    with pytest.raises(OSError):    # the first one has no reader
        write(server, "s")
    write(server, "7", "second.fifo")
    server.wait_for("active master fifo is now " + str(server.directory / "first.fifo"))
    all_are(server, "ready")


def test_a_pipe_that_is_removed_is_created_again(server):
    (server.directory / "first.fifo").unlink()
    server.wait_for("and was created again")
    all_are(server, "ready")


def test_a_file_on_its_path_is_left_alone(tmp_path):
    """While the server runs, until the file is removed, and when one starts."""
    path = tmp_path / "first.fifo"
    with Server(tmp_path, app=APP, ini=INI) as server:
        path.unlink()
        path.write_text("precious")
        server.wait_for("first.fifo: the file exists and is not a FIFO")
        assert path.read_text() == "precious" and server.body() != b""
        path.unlink()

        def reported():
            try:
                write(server, "s")
            except OSError:
                return False
            return server.find("requests served,")
        wait_until(reported, "the pipe")
        assert server.stop() == 0
    path.unlink()
    path.write_text("precious")
    with Server(tmp_path, app=APP, ini=INI, ready=False) as other:
        assert other.wait() == 1
        assert "first.fifo: the file exists and is not a FIFO" in other.log
        assert path.read_text() == "precious"


def test_an_asgi_worker_pauses_and_stops_gracefully(tmp_path):
    with Server(tmp_path, app=ASGI, ini=INI + "interface = asgi\nvacuum = true\n") as server:
        before = kept(server)
        write(server, "p")
        all_are(server, "paused")
        sock = ask(server)
        assert unanswered(sock)
        assert (data := last_answer(before)) == b"" or b"onnection: close" in data
        write(server, "p")
        answered(sock)
        with kept(server):
            pass
        write(server, "p")
        all_are(server, "paused")
        sock = ask(server)
        write(server, "q")          # who waits is served before the end
        answered(sock)
        assert server.wait() == 0
        assert not (tmp_path / "first.fifo").exists()
