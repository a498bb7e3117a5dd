"""Stopping, reloading and log rotation by signal, under load; titles of the processes.

Requests "in progress" are those that wait for a file which the test makes.
"""

import http.client
import os
import re
import signal
import socket
import threading

import pytest

from tests.harness import Server, alive, wait_until
from tests.integration.conftest import MOUNTS, backend, example_ini
from tests.integration.nginx import Load, Nginx, ask

QUICKLY = 25  # seconds, on the busiest machine: less than any limit of the server


@pytest.fixture
def serve(directory):
    """A function that starts the example deployment with more lines in its file."""
    started = []

    def start(more="", **named):
        started.append(Server(directory, ini=example_ini(MOUNTS + more), **named).start())
        return started[-1]
    yield start
    for server in started:
        server.__exit__()


class Waiting:
    """Requests that are inside the application until `finish()`.

    Args:
        address: whom to ask.
        directory: where the application looks for its file.
        name: the file.
        count: how many requests.
    """

    def __init__(self, address, directory, name="go", count=4):
        self.directory, self.name = directory, name
        self.answers = []
        self._threads = [threading.Thread(target=self._run, args=(address,))
                         for _ in range(count)]
        for thread in self._threads:
            thread.start()
        wait_until(lambda: len(self.begun) == count, "the requests to begin")

    def _run(self, address):
        try:
            self.answers.append(ask(address, f"/probe/wait?{self.name}").status)
        except (OSError, http.client.HTTPException) as error:
            self.answers.append(repr(error))

    @property
    def begun(self):
        """The pid of the worker that has it, for each request."""
        return [int(file.name.split("-")[-2])
                for file in self.directory.glob(f"{self.name}.begun-*")]

    def finish(self):
        """Let them go on, and return their statuses."""
        (self.directory / self.name).touch()
        for thread in self._threads:
            thread.join(20)
        return self.answers


def test_a_graceful_stop_lets_requests_finish(serve, directory):
    """SIGTERM: nothing is accepted any more, what is inside gets its answer, status 0."""
    server = serve()
    waiting = Waiting(server.address(), directory)
    with Load(server.address(), 4) as load:
        load.wait_for(50)
        server.send_signal(signal.SIGTERM)
        server.wait_for("graceful shutdown triggered")
        wait_until(lambda: any("refused" in text.lower() for _, text in load.failures),
                   "a refused connection")
    assert server.process.poll() is None and waiting.answers == []
    assert waiting.finish() == [200] * 4
    assert server.wait(QUICKLY) == 0
    assert server.find("goodbye to geventuwsgi.") and not server.find("Traceback")
    assert not server.find("DAMN")


def test_a_graceful_stop_through_nginx(serve, directory):
    """The same over uwsgi_pass on a unix socket."""
    server = serve()
    with Nginx(directory / "nginx", "uwsgi", backend(server, "uwsgi", 1)) as nginx:
        waiting = Waiting(nginx.address, directory)
        server.send_signal(signal.SIGTERM)
        wait_until(lambda: nginx.ask("/healthz").status == 502, "a refused connection")
        assert waiting.finish() == [200] * 4
        assert server.wait(QUICKLY) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_second_signal_stops_at_once(serve, directory, second):
    server = serve()
    waiting = Waiting(server.address(), directory)
    server.send_signal(signal.SIGTERM)
    server.wait_for("graceful shutdown triggered")
    server.send_signal(second)
    assert server.wait(QUICKLY) == 0
    assert not any(answer == 200 for answer in waiting.finish())


def test_mercy_ends(serve, directory):
    """A request that never ends is cut off when worker-reload-mercy is over."""
    server = serve("worker-reload-mercy = 1\n")
    waiting = Waiting(server.address(), directory)
    assert server.stop(deadline=QUICKLY) == 0
    server.wait_for("NO MERCY")
    waiting.finish()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_is_graceful(serve, directory, number):
    """Ctrl-C reaches every process of the terminal; the workers finish all the same."""
    server = serve(start_new_session=True)
    waiting = Waiting(server.address(), directory)
    os.killpg(server.pid, number)
    server.wait_for("graceful shutdown triggered")
    wait_until(lambda: len(server.workers()) == len(set(waiting.begun)), "the idle worker's end")
    assert waiting.finish() == [200] * 4
    assert server.wait(QUICKLY) == 0
    assert not server.find("Traceback") and not server.find("KeyboardInterrupt")


def test_an_idle_connection_delays_no_stop(serve):
    server = serve()
    connections = [server.connect() for _ in range(20)]
    for one in connections[:10]:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert one.recv(1000).startswith(b"HTTP/1.1 204")
    assert server.stop(deadline=QUICKLY) == 0
    for one in connections:
        assert one.recv(1000) == b""
        one.close()


def test_a_stop_in_the_middle_of_bodies(serve, directory):
    """An upload that has begun is read to its end, a download sent to its end."""
    server = serve()
    with server.connect() as upload, server.connect("uwsgi", 1) as packet, \
            server.connect() as download:
        upload.sendall(b"POST /probe/digest HTTP/1.1\r\nHost: x\r\n"
                       b"Content-Length: 1000\r\n\r\n" + b"x" * 500)
        packet.sendall(uwsgi_packet("/probe/digest", 100000) + b"x" * 500)
        download.sendall(b"GET /probe/large?20 HTTP/1.1\r\nHost: x\r\n\r\n")
        received = len(download.recv(1000))
        ask(server.address(), "/probe/who")
        server.send_signal(signal.SIGTERM)
        server.wait_for("graceful shutdown triggered")
        wait_until(lambda: refuses(server.address()), "closed listeners")
        upload.sendall(b"x" * 500)
        packet.sendall(b"x" * 99500)
        for sock, size in ((upload, 1000), (packet, 100000)):
            answer = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
            assert b" 200 OK\r\n" in answer and b"\r\n\r\n%d " % size in answer, answer
        while piece := download.recv(1 << 20):
            received += len(piece)
        assert received > 20 << 20
    assert server.wait(QUICKLY) == 0


def refuses(address):
    """Return whether no socket listens there any more."""
    try:
        socket.create_connection(address, 5).close()
    except ConnectionRefusedError:
        return True
    return False


def uwsgi_packet(path, length):
    """Return the head of a POST as a uwsgi packet."""
    variables = {"REQUEST_METHOD": "POST", "PATH_INFO": path, "CONTENT_LENGTH": str(length),
                 "SERVER_NAME": "x", "SERVER_PORT": "80", "REQUEST_URI": path}
    block = b"".join(len(text).to_bytes(2, "little") + text.encode()
                     for pair in variables.items() for text in pair)
    return b"\0" + len(block).to_bytes(2, "little") + b"\0" + block


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("more", ["", "lazy-apps = true\n"])
def test_a_stop_while_the_application_is_imported(serve, directory, number, more):
    """It may take minutes to import; the stop does not wait for it, and it is not a failure."""
    (directory / "example_app.py").write_text(
        "import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(60)\n")
    server = serve(more, ready=False, start_new_session=True)
    wait_until((directory / "importing").exists, "the import")
    os.killpg(server.pid, number)
    assert server.wait(QUICKLY) == 0
    assert not server.find("Traceback")


def test_reloads_under_load_lose_nothing(serve, directory):
    """Three SIGHUPs; kept connections, new ones, nginx (POSTs, which it does not repeat),
    and long requests beside them."""
    server = serve()
    master, first = server.pid, set(server.workers())
    waiting = Waiting(server.address(), directory, count=2)
    with Nginx(directory / "nginx", "uwsgi", backend(server, "uwsgi", 0)) as uwsgi, \
            Nginx(directory / "nginx2", "http", backend(server, "http", 0)) as http11, \
            Load(server.address(), 3) as kept, Load(server.address(), 3, fresh=True) as fresh, \
            Load(uwsgi.address, 3) as packets, \
            Load(http11.address, 3, body=b"x" * 1000) as proxied:
        loads = (kept, fresh, packets, proxied)
        for number in range(2, 5):
            server.send_signal(signal.SIGHUP)
            server.wait_for(f"ready: 2 workers (generation {number})")
            for load in loads:
                load.wait_for(30)
        assert set(waiting.begun) <= first and all(map(alive, waiting.begun))
        assert waiting.finish() == [200] * 2
        for pid in first:
            wait_until(lambda pid=pid: not alive(pid), f"the end of {pid}")
    for load in loads:
        assert load.failures == []
    assert len(proxied.answers) >= 4
    assert server.pid == master and server.stop() == 0
    assert not server.find("Traceback") and not server.find("NO MERCY")


def test_a_reload_brings_the_new_code(serve, directory):
    """And code that does not load leaves the old one serving."""
    server = serve()
    file = directory / "example_app.py"
    old = file.read_text()
    file.write_text(old.replace("It works", "It works better"))
    server.send_signal(signal.SIGHUP)
    server.wait_for("ready: 2 workers (generation 2)")
    wait_until(lambda: b"It works better" in server.body("/"), "the new code")
    file.write_text("import nothing_of_this_name\n")
    server.send_signal(signal.SIGHUP)
    server.wait_for("reload failed")
    server.wait_for("No module named 'nothing_of_this_name'")
    for _ in range(4):
        assert b"It works better" in server.body("/")
    assert server.stop() == 0


@pytest.mark.parametrize("option", ["logto", "access-logfile"])
def test_a_rotation_loses_no_line(serve, directory, option):
    """mv and SIGUSR1 under load, three times: as many lines as answers, none torn."""
    log = directory / "request.log"
    server = serve(f"{option} = {log}\n", ready=False)
    wait_until((directory / "app.sock").exists, "the socket")
    front = Nginx(directory / "nginx", "uwsgi", f"unix:{directory}/app.sock")
    with front as nginx, Load(nginx.address, 6) as load:
        for turn in range(3):
            load.wait_for(100)
            log.rename(directory / f"request.log.{turn}")
            server.send_signal(signal.SIGUSR1)
            wait_until(lambda: log.exists() and log.stat().st_size > 10000, "the new file")
    assert load.failures == []
    assert server.stop() == 0
    text = "".join(file.read_text() for file in directory.glob("request.log*"))
    lines = re.findall(r"^\[pid: .*\} \[.*\] GET /probe/who => generated \d+ bytes .*\)$", text,
                       re.MULTILINE)
    assert len(lines) == load.count
    rest = [line for line in text.splitlines() if "/probe/who" in line and line not in lines]
    assert rest == []


def test_titles(serve):
    """ps shows which process is which."""
    server = serve("procname-prefix-spaced = shop\n")

    def title(pid):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().rstrip(b"\0").decode()
    assert title(server.pid) == "shop geventuwsgi master"
    assert title(server.template()) == "shop geventuwsgi template 1"
    assert sorted(map(title, server.workers())) == ["shop geventuwsgi worker 1",
                                                    "shop geventuwsgi worker 2"]
    assert server.stop() == 0
