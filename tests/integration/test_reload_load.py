"""Three reloads in a row under load, over every protocol, cost no request; long responses too."""

import signal
import subprocess
import sys

import pytest

from geventuwsgi.master import console_client
from tests.harness import Server, children, wait_until
from tests.integration.load import Load

APP = """
import time

def application(environ, start_response):
    environ["wsgi.input"].read()
    if environ["PATH_INFO"] == "/long":
        start_response("200 OK", [("Content-Length", "1000")])
        return slowly()
    start_response("200 OK", [("Content-Length", "5")])
    return [b"hello"]

def slowly():
    for _ in range(50):
        time.sleep(0.03)
        yield b"01234567890123456789"
"""
INI = """[uwsgi]
module = app
http-socket = 127.0.0.1:0
socket = uwsgi.sock
processes = 2
gevent = 50
pidfile = server.pid
disable-logging = true
"""


@pytest.mark.parametrize("order", [["reload"], ["reload", "chain"]])
def test_reloads_under_load(tmp_path, order):
    """0 failed; as many processes and descriptors afterwards as before."""
    with Server(tmp_path, ini=INI, app=APP) as server:
        pid_file = str(tmp_path / "server.pid")
        console_client.call(pid_file, order, print)
        wait_until(lambda: len(children(server.pid)) == 3, "a template and two workers")
        fds = server.directory / f"/proc/{server.pid}/fd"
        before = len(list(fds.iterdir()))
        with Load(server, kept=2, closed=1, packets=1, long=2) as load:
            for _ in range(3 if len(order) == 1 else 1):
                done = load.count
                console_client.call(pid_file, order, print)
                load.wait_for(done + 50)
        assert load.failures == []
        wait_until(lambda: len(children(server.pid)) == 3, "the end of the old workers")
        wait_until(lambda: len(list(fds.iterdir())) <= before, "the end of the connections")
        assert server.stop() == 0
        assert not server.find("NO MERCY") and not server.find("DAMN")


def test_old_and_new_workers_killed_during_a_reload_under_load(tmp_path):
    """Only requests on the killed fail, and all processes are there in the end."""
    with Server(tmp_path, ini=INI, app=APP) as server:
        with Load(server, kept=1, closed=1, packets=1) as load:
            load.wait_for(50)
            order = subprocess.Popen([sys.executable, "-c", "import sys\n"
                                      "from geventuwsgi.master import console_client as remote\n"
                                      "remote.call(sys.argv[1], ['reload'], print)",
                                      str(tmp_path / "server.pid")])
            server.wait_for("generation 2 of worker starts")
            server.kill(server.workers()[0])
            order.wait(30)
            failed = len(load.failures)
            assert failed <= 3
            done = load.count
            wait_until(lambda: load.count > done + 50, "further requests")
            assert len(load.failures) == failed
        wait_until(lambda: len(children(server.pid)) == 3, "a template and two workers")
        assert server.stop(signal.SIGTERM) == 0
