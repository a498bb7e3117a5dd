"""Workers that are replaced, and workers that come and go, while clients see nothing of it."""

import itertools
import os
import re
import signal
import threading
from functools import partial

import pytest

from tests.harness import Server, alive, wait_until
from tests.integration.nginx import Load, ask
from tests.parallel import in_parallel

APP = """
import os, time, uuid
KEPT = []

def application(environ, start_response):
    path, number = environ["PATH_INFO"], int(environ["QUERY_STRING"] or 0)
    if path == "/wait":
        open(f"begun-{os.getpid()}-{uuid.uuid4().hex}", "w").close()
        while not os.path.exists("go"):
            time.sleep(0.01)
    elif path == "/burn":
        end = time.process_time() + number / 1000
        while time.process_time() < end:
            pass
    elif path == "/grow":
        KEPT.append(b"x" * (number << 20))
    body = b"%d" % os.getpid()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def serve(tmp_path):
    """Start servers with these lines in their file, each in a directory of its own."""
    started = []
    numbers = itertools.count()

    def start(more):
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        ini = "[uwsgi]\nmodule = app\nhttp-socket = 127.0.0.1:0\ndisable-logging = true\n" + more
        server = Server(directory, ini=ini, app=APP).start()
        started.append(server)
        return server
    yield start
    for server in started:
        (server.directory / "go").touch()
        server.__exit__()


class Asking:
    """Requests that run beside the test."""

    def __init__(self, address, path, count=1):
        self.answers = []
        self.threads = [threading.Thread(target=self._run, args=(address, path))
                        for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, address, path):
        try:
            self.answers.append(ask(address, path).status)
        except OSError as error:
            self.answers.append(repr(error))

    def end(self):
        for thread in self.threads:
            thread.join(20)
        return self.answers


def begun(server, count):
    """Wait until so many requests wait inside the application; return the pids."""
    def found():
        names = [name for name in os.listdir(server.directory) if name.startswith("begun-")]
        return [int(name.split("-")[1]) for name in names] if len(names) >= count else []
    return wait_until(found, lambda: f"{count} requests to begin\n{server.log}")


# Recycling.

def recycling_under_load_fails_no_request(serve, fresh):
    server = serve("processes = 3\ngevent = 50\nmax-requests = 150\nmin-worker-lifetime = 0\n"
                   "max-requests-delta = 20\n")
    with Load(server.address(), clients=6, path="/", fresh=fresh) as load:
        server.wait_for("is done. Seeya!", 4)
    assert not load.failures
    assert len(load.answers) >= 5
    assert not server.find("DAMN") and not server.find("NO MERCY")
    assert server.stop() == 0


def a_long_request_survives_the_recycling_of_its_worker(serve):
    server = serve("processes = 1\ngevent = 50\nmax-requests = 20\nmin-worker-lifetime = 0\n")
    waiting = Asking(server.address(), "/wait")
    old, = begun(server, 1)
    for _ in range(20):
        assert ask(server.address(), "/").status == 200
    server.wait_for("Respawned geventuwsgi worker 1")
    wait_until(lambda: ask(server.address(), "/").body.decode() != str(old), "the replacement")
    assert alive(old)
    (server.directory / "go").touch()
    assert waiting.end() == [200]
    server.wait_for(f"The work of process {old} is done")
    assert not server.find("NO MERCY")
    assert server.stop() == 0


def a_recycled_worker_that_does_not_end_is_killed(serve):
    server = serve("processes = 1\ngevent = 50\nmax-requests = 5\nmin-worker-lifetime = 0\n"
                   "worker-reload-mercy = 1\n")
    Asking(server.address(), "/wait")
    old, = begun(server, 1)
    for _ in range(5):
        ask(server.address(), "/")
    server.wait_for(f"worker 1 (pid: {old}) is taking too much time to die...NO MERCY !!!")
    wait_until(lambda: not alive(old))
    assert ask(server.address(), "/").status == 200
    assert server.stop() == 0


def a_worker_that_grows_is_replaced(serve):
    server = serve("processes = 2\ngevent = 5\nreload-on-rss = 120\nmin-worker-lifetime = 0\n")
    first = server.workers()
    grown = int(ask(server.address(), "/grow?120").body)
    server.wait_for(f"(pid: {grown}) is replaced: it uses")
    server.wait_for(f"The work of process {grown} is done")
    assert len(set(server.workers()) & set(first)) == 1
    assert server.stop() == 0


def an_old_worker_is_replaced(serve):
    server = serve("processes = 1\nmax-worker-lifetime = 1\n")
    old, = server.workers()
    server.wait_for("worker 1 lifetime reached, it was running for 1 second(s)")
    server.wait_for(f"The work of process {old} is done")
    assert ask(server.address(), "/").status == 200
    assert server.stop() == 0


def a_reload_while_workers_are_recycled(serve):
    server = serve("processes = 3\ngevent = 20\nmax-requests = 100\nmin-worker-lifetime = 0\n")
    with Load(server.address(), clients=4, path="/", fresh=True) as load:
        server.wait_for("is replaced", 2)
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: 3 workers (generation 2)")
        seen = len(server.find("is replaced"))
        server.wait_for("is replaced", seen + 1)
    assert not load.failures
    assert not server.find("DAMN")
    assert server.stop() == 0


def test_recycling(serve):
    in_parallel([*(partial(recycling_under_load_fails_no_request, serve, fresh)
                   for fresh in (False, True)),
                 *(partial(check, serve) for check in (
                     a_long_request_survives_the_recycling_of_its_worker,
                     a_recycled_worker_that_does_not_end_is_killed, a_worker_that_grows_is_replaced,
                     an_old_worker_is_replaced, a_reload_while_workers_are_recycled))], at_once=4)


def test_the_memory_report(serve):
    server = serve("processes = 1\nmemory-report = true\ndisable-logging = false\n")
    ask(server.address(), "/")
    line = server.wait_for("GET / => generated")
    assert re.match(r"\{address space usage: \d+ bytes/\d+MB\} \{rss usage: \d+ bytes/\d+MB\} "
                    r"\[pid: ", line)
    assert not line.startswith("{address space usage: 0 ")
    assert server.stop() == 0


# More and fewer. These take some seconds each, for the master looks once a second, and are
# therefore tried beside each other.

CHEAPER = "processes = 3\ncheaper = 1\ncheaper-overload = 1\n"


def slots_in_use_bring_workers_and_free_ones_let_them_go(serve):
    """Under gevent; a few requests that go on do not keep a worker that is not needed."""
    server = serve(CHEAPER + "gevent = 4\n")
    assert len(server.workers()) == 1
    waiting = Asking(server.address(), "/wait", 6)
    server.wait_for("2 workers from now on: 4.0 of 4 slots in use")
    server.wait_for("spawned geventuwsgi worker 2")
    with Load(server.address(), clients=1, path="/") as load:
        load.wait_for(10)
        (server.directory / "go").touch()
        assert waiting.end() == [200] * 6
        server.wait_for("geventuwsgi worker 2 cheaped.")
        load.wait_for(10)
    assert not load.failures and len(server.workers()) == 1
    assert server.stop() == 0


def requests_that_compute_bring_workers(serve):
    """They are never seen in progress, for the hub runs between them only."""
    # A fifth of a processor, for other tests compute as well.
    server = serve(CHEAPER + "gevent = 100\ncheaper-algo = busyness\n"
                   "cheaper-busyness-max = 20\ncheaper-busyness-min = 1\n")
    with Load(server.address(), clients=2, path="/burn?20") as load:
        server.wait_for("2 workers from now on")
    assert not load.failures
    assert server.stop() == 0


def waiting_connections_bring_workers(serve, sockets):
    """The queue of a unix socket is read as well."""
    server = serve(CHEAPER + sockets + "cheaper-algo = backlog\ngevent = 1\n")
    address = server.address(index=1 if sockets else 0)
    waiting = Asking(address, "/wait", 5)
    server.wait_for("connections wait (backlog)")
    (server.directory / "go").touch()
    assert waiting.end() == [200] * 5
    assert server.stop() == 0


def busyness(serve):
    server = serve(CHEAPER + "gevent = 4\ncheaper-algo = busyness\ncheaper-busyness-max = 50\n"
                   "cheaper-busyness-min = 20\ncheaper-busyness-multiplier = 1\n"
                   "cheaper-busyness-verbose = true\n")
    waiting = Asking(server.address(), "/wait", 3)
    server.wait_for("[busyness] 1s average busyness is at")
    server.wait_for("will spawn 1 new worker(s)")
    server.wait_for("spawned geventuwsgi worker 2")
    (server.directory / "go").touch()
    assert waiting.end() == [200] * 3
    server.wait_for("cheap one of 2 running workers")
    server.wait_for("geventuwsgi worker 2 cheaped.")
    assert server.stop() == 0


def the_number_survives_reload_and_upgrade(serve, number):
    server = serve("processes = 5\ncheaper = 1\ncheaper-algo = manual\n")
    for count in (2, 3):
        server.send_signal(signal.SIGTTIN)
        server.wait_for(f"spawned geventuwsgi worker {count}")
    old = server.workers()
    with Load(server.address(), clients=2, path="/") as load:
        server.send_signal(number)
        server.wait_for("ready: 3 workers (generation 2)")
        for pid in old:
            wait_until(lambda pid=pid: not alive(pid), f"the end of {pid}")
        load.wait_for(10)
    assert not load.failures
    server.send_signal(signal.SIGTTOU)
    server.wait_for("cheaped.")
    assert server.stop() == 0


def cheap_mode(serve):
    server = serve("processes = 2\nidle = 1\ngevent = 4\ncheap = true\n")
    assert server.find("cheap mode enabled") or server.wait_for("cheap mode enabled")
    assert not server.workers()
    assert ask(server.address(), "/").status == 200
    server.wait_for("a connection arrived: leaving cheap mode")
    server.wait_for("workers have been inactive for more than 1 seconds")
    server.wait_for("worker 2 buried")
    assert ask(server.address(), "/").status == 200
    assert server.stop() == 0


def test_more_and_fewer(serve):
    in_parallel([
        *(partial(waiting_connections_bring_workers, serve, sockets)
          for sockets in ("", "http-socket = app.sock\n")),
        *(partial(the_number_survives_reload_and_upgrade, serve, number)
          for number in (signal.SIGHUP, signal.SIGUSR2)),
        *(partial(check, serve) for check in (
            slots_in_use_bring_workers_and_free_ones_let_them_go,
            requests_that_compute_bring_workers, busyness, cheap_mode))], at_once=4)


def test_the_worst_moment_a_stop_in_cheap_mode_with_a_connection_on_its_way(serve):
    server = serve("processes = 1\ncheap = true\n")
    server.wait_for("cheap mode enabled")
    with server.connect():
        assert server.stop(signal.SIGTERM) == 0


def test_a_drain_serves_what_it_accepts_at_the_last_moment(serve):
    """One connection that is done at once must not end the worker under the next one."""
    server = serve("processes = 1\ngevent = 10\n")
    old, = server.workers()
    os.kill(old, signal.SIGSTOP)
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with server.connect() as quick, server.connect() as slow:
        quick.sendall(request)
        os.kill(old, signal.SIGHUP)  # drain, as on a reload
        os.kill(old, signal.SIGCONT)
        assert quick.makefile("rb").read().endswith(b"%d" % old)
        slow.sendall(request)
        assert slow.makefile("rb").read().endswith(b"%d" % old)
    assert server.stop() == 0
