"""Processes die, stop and run out of descriptors while they serve clients.

Each test breaks a server of its own; its docstring says what has to hold.
"""

import os
import resource
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from geventuwsgi.errors import GeventuwsgiError
from geventuwsgi.master import console, console_client
from tests.harness import Server, alive, children, settled, wait_until
from tests.integration.conftest import MOUNTS, backend, example_ini
from tests.integration.nginx import Load, Nginx, ask, connection

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: the close is a reset


@pytest.fixture
def server(directory):
    """The example deployment, for one test."""
    with Server(directory, ini=example_ini(MOUNTS)) as started:
        yield started
        if started.process.poll() is None:
            assert started.stop() == 0


def cpu_seconds(pid):
    """Return the CPU time a process has used, in seconds."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill_and_wait(server, pid):
    """Kill a worker, and wait until its replacement serves requests."""
    count = len(server.find("Respawned"))
    number = next(number for number, one in server.spawned().items() if one == pid)
    server.kill(pid)
    wait_until(lambda: server.spawned()[number] != pid, lambda: server.log)
    new = server.spawned()[number]
    wait_until(lambda: ask(server.address(), "/probe/who").body.startswith(b"%d " % new),
               f"a response of {new}")
    assert len(server.find("Respawned")) == count + 1


def test_a_killed_worker_under_load_costs_its_own_requests_only(server):
    """Three times SIGKILL: it is replaced, and no other connection is affected."""
    with Load(server.address(), 8) as kept, Load(server.address(), 4, fresh=True) as fresh:
        kept.wait_for(200)
        for turn in range(3):
            killed = server.workers()[turn % 2]
            before = len(kept.failures), len(fresh.failures)
            kill_and_wait(server, killed)
            kept.wait_for(200)
            fresh.wait_for(50)
            new = kept.failures[before[0]:], fresh.failures[before[1]:]
            assert len(new[0]) <= 8 and len(new[1]) <= 4, new
            assert {pid for pid, _ in new[0]} <= {killed, 0}
    assert not [text for _, text in kept.failures + fresh.failures if "refused" in text]


def test_a_killed_worker_behind_nginx(server, directory):
    """Through uwsgi_pass: requests in progress fail, the next ones do not."""
    with Nginx(directory / "nginx", "uwsgi", backend(server, "uwsgi", 1)) as nginx, \
            Load(nginx.address, 8) as load:
        load.wait_for(100)
        kill_and_wait(server, server.workers()[0])
        load.wait_for(200)
        assert len(load.failures) <= 8


def test_a_kept_connection_to_another_worker_is_not_affected(server):
    """The connection that was open before continues to work."""
    clients = {}
    while len(clients) < 2:
        client = connection(server.address())
        client.request("GET", "/probe/who")
        pid = int(client.getresponse().read().split()[0])
        if pid in clients:
            client.close()
        else:
            clients[pid] = (client, client.sock)
    killed, other = clients
    server.kill(killed)
    client, sock = clients[other]
    client.request("GET", "/probe/who")
    assert int(client.getresponse().read().split()[0]) == other
    assert client.sock is sock
    for client, _ in clients.values():
        client.close()


def test_every_worker_killed_again_and_again(server):
    """The master uses little CPU, and all workers are back afterwards."""
    before, end = cpu_seconds(server.pid), time.monotonic() + 1.0
    while time.monotonic() < end:
        for pid in server.workers():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    assert cpu_seconds(server.pid) - before < 0.5
    wait_until(lambda: len(server.workers()) == 2 and all(
        ask(server.address(), "/probe/who").status == 200 for _ in range(4)), "all workers")


def test_no_process_survives_a_killed_master(server):
    """Workers and template end, and the port is free."""
    processes = [*server.workers(), server.template()]
    assert len(processes) == 3
    address = server.address()
    with Load(address, 4) as load:
        load.wait_for(50)
        os.kill(server.pid, signal.SIGKILL)
        for pid in processes:
            wait_until(lambda pid=pid: not alive(pid), f"the end of {pid}")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(address)
        again.listen()


def test_the_template_killed_is_replaced(server):
    """The workers continue to serve, and the new one forks."""
    template, workers = server.template(), server.workers()
    with Load(server.address(), 4) as load:
        load.wait_for(50)
        server.kill(template)
        wait_until(lambda: server.template() not in (None, template), lambda: server.log)
        load.wait_for(100)
        assert server.workers() == workers
    assert load.failures == []
    kill_and_wait(server, workers[0])


def test_connections_while_all_workers_are_stopped_are_served(server):
    """2,000 connections wait in the kernel's queue for a second."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    for pid in server.workers():
        os.kill(pid, signal.SIGSTOP)
    clients, began = [], time.monotonic()
    try:
        for _ in range(2000):
            client = socket.create_connection(server.address(), 20)
            clients.append(client)
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        wait_until(lambda: time.monotonic() - began >= 1.0)
        for pid in server.workers():
            os.kill(pid, signal.SIGCONT)
        answered = sum(client.recv(100).startswith(b"HTTP/1.1 204") for client in clients)
    finally:
        for client in clients:
            client.close()
    assert answered == 2000
    assert not server.find("TIMEOUT")


def test_descriptors_used_up(directory):
    """No busy loop; new requests are served, in the places of silent connections."""
    with Server(directory, ini=example_ini(MOUNTS + "processes = 1\n")) as server:
        pid, = server.workers()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, 64))
        connections = [socket.create_connection(server.address(), 20) for _ in range(100)]
        server.wait_for("cannot accept connections on http://127.0.0.1")
        before, began = cpu_seconds(pid), time.monotonic()
        wait_until(lambda: time.monotonic() - began >= 1.0)
        assert cpu_seconds(pid) - before < 0.3
        assert len(server.find("cannot accept connections")) <= 4
        assert ask(server.address(), "/healthz").status == 204
        for client in connections:
            client.close()
        assert ask(server.address(), "/probe/who").body.startswith(b"%d " % pid)
        assert server.stop() == 0


def test_descriptors_of_the_master_used_up(tmp_path):
    """Commands, a reload, an upgrade and new processes fail with a reason, and work again later."""
    application = """
def application(environ, start_response):
    start_response("204 No Content", [])
    return []
"""
    with Server(tmp_path, "-w", "app", "--processes", "2", "--pidfile", "pid",
                app=application) as server:
        pid_file = str(tmp_path / "pid")
        assert console_client.call(pid_file, ["reload"], print) == 0
        wait_until(lambda: len(children(server.pid)) == 3, "the end of the first ones")
        # The listener, the one for orders, one for each child; not that of the order any more.
        wait_until(lambda: sum(os.readlink(one.path).startswith("socket:") for one in
                               os.scandir(f"/proc/{server.pid}/fd")) == 5, "five sockets")
        count = len(os.listdir(f"/proc/{server.pid}/fd"))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (40, hard))
        connections = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(40)]
        for caller in connections:
            caller.connect(console.name_of(server.pid))
        server.wait_for("cannot accept a console connection: Too many open files")
        for command in ("reload", "stacks"):
            with pytest.raises(GeventuwsgiError, match="cannot accept the command: Too many open"):
                console_client.call(pid_file, [command], print)
        server.send_signal(signal.SIGHUP)
        server.wait_for("reload failed: ")
        server.send_signal(signal.SIGUSR2)
        server.wait_for("upgrade failed: ")
        server.send_signal(signal.SIGTTIN)
        server.wait_for("cannot start worker 3: Too many open files")
        server.kill(server.template())
        server.wait_for("cannot start a template: Too many open files")
        assert server.get("/").startswith(b"HTTP/1.1 204 ")
        # One descriptor is enough to accept a command, but not to execute it.
        connections.pop(0).close()
        with pytest.raises(GeventuwsgiError, match="Too many open files"):
            console_client.call(pid_file, ["reload"], print)
        for caller in connections:
            caller.close()
        wait_until(lambda: len(server.workers()) == 3, lambda: server.log)
        assert console_client.call(pid_file, ["reload"], print) == 0
        wait_until(lambda: len(children(server.pid)) == 4, "the end of the old workers")
        # Two more, for the control socket and the row of the third worker.
        wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) == count + 2, lambda:
                   [os.readlink(one.path) for one in os.scandir(f"/proc/{server.pid}/fd")])
        assert server.stop() == 0
        assert not server.find("Traceback")


def test_clients_that_vanish(server):
    """Resets in a response and in a request, and empty connections, affect no other client."""
    def crash(data, read):
        with socket.create_connection(server.address(), 20) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            client.sendall(data)
            if read:
                client.recv(read)
    workers = server.workers()
    with Load(server.address(), 4) as load:
        for _ in range(100):
            crash(b"GET /probe/large?4 HTTP/1.1\r\nHost: x\r\n\r\n", 1000)
            crash(b"POST /probe/digest HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\nx", 0)
            crash(b"GET / HTTP/1.1\r\nHo", 0)
            for _ in range(5):
                crash(b"", 0)
        load.wait_for(20)
    assert load.failures == []
    assert server.workers() == workers

    def connections():
        return sum(target.startswith("socket:") for pid in workers
                   for target in map(os.readlink, descriptors(pid)))

    def descriptors(pid):
        return [f"/proc/{pid}/fd/{name}" for name in os.listdir(f"/proc/{pid}/fd")]
    most = 2 * 8  # listeners, control sockets, the hub's own
    wait_until(lambda: connections() <= most, lambda: f"{connections()} sockets left")
    assert not server.find("Traceback")


def test_orphans_of_the_application_are_reaped_silently(server, directory):
    """The master adopts them; where it is PID 1, a zombie would stay forever."""
    pid = int(ask(server.address(), "/probe/orphan?free").body)
    with open(f"/proc/{pid}/stat") as file:
        assert int(file.read().rpartition(")")[2].split()[1]) == server.pid
    lines = len(server.err)
    (directory / "free").touch()
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the orphan")
    assert ask(server.address(), "/probe/who").status == 200
    assert server.err[lines:] == []


def test_adding_and_removing_a_worker(server):
    """SIGTTIN and SIGTTOU under load affect no client."""
    with Load(server.address(), 4, fresh=True) as load:
        load.wait_for(50)
        server.send_signal(signal.SIGTTIN)
        server.wait_for("spawned geventuwsgi worker 3")
        wait_until(lambda: len(load.answers) == 3, "an answer of the third worker")
        server.send_signal(signal.SIGTTOU)
        server.wait_for("worker 3 buried")
        load.wait_for(50)
    assert load.failures == []
    assert len(server.workers()) == 2


def test_a_stopped_worker_delays_no_new_request(server):
    """While one worker is stopped for a second, new requests go to the other."""
    stopped, other = server.workers()
    waits, lock = [], threading.Lock()

    def client():
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                ask(server.address(), "/probe/who")
            finally:
                with lock:
                    waits.append(time.monotonic() - began)
    os.kill(stopped, signal.SIGSTOP)
    end = time.monotonic() + 1.0
    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: time.monotonic() > end)
    os.kill(stopped, signal.SIGCONT)
    for thread in threads:
        thread.join()
    slow = [wait for wait in waits if wait > 0.5]
    assert len(waits) > 20 and len(slow) <= max(4, len(waits) * 0.02), (len(slow), len(waits))


HANGS_IN_THE_FORK = """
import os, signal
pid = os.getpid()
def hang():
    if {condition} and not os.path.exists("healed"):
        open("hanging", "w").close()
        signal.pause()
os.register_at_fork(after_in_child=hang)
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""


@pytest.mark.parametrize("condition", ["os.getppid() == pid", "os.getppid() != pid"])
def test_a_library_that_hangs_in_the_fork_does_not_hang_the_stop(tmp_path, condition):
    """As gRPC's fork handlers have done. The hanging process has not reported its role."""
    with Server(tmp_path, "app", "--graceful-timeout", "1", ready=False,
                app=HANGS_IN_THE_FORK.format(condition=condition)) as server:
        server.wait_for("application app:application loaded in")
        # If stopped before this, the child would find its parent gone and not hang.
        wait_until((tmp_path / "hanging").exists, "the forked process")
        template = server.template()    # it sleeps once it has reported the process
        settled(lambda: Path(f"/proc/{template}/stat").read_text().rpartition(")")[2].split()[0]
                == "S", "the template's report")
        left = descendants(server.pid)
        assert server.stop() == 0, server.log
        server.wait_for("has hung since it was forked, killing it")
        assert not any(map(alive, left))


def descendants(pid):
    """Return the pids of all living descendants."""
    found = children(pid)
    return found + [one for child in found for one in descendants(child)]
