"""`import uwsgi` in real workers: the facts it publishes, its hooks, and log variables."""

import json
import os

import pytest

from tests.harness import Program, Server, wait_until

APP = """
import json, os, sys
import uwsgi

loaded_as = uwsgi.worker_id(), uwsgi.masterpid()
forked = []

def write_line(text):
    os.write(1, text.encode() + b"\\n")  # one call, since two workers write

def after_fork():
    forked.append(uwsgi.worker_id())
    write_line("forked %d" % uwsgi.worker_id())

def at_exit():
    write_line("leaving %d" % uwsgi.worker_id())

uwsgi.post_fork_hook = after_fork
uwsgi.atexit = at_exit
try:
    uwsgi.set_logvar("user", "x")
except SystemError:
    write_line("no request here")

def application(environ, start_response):
    uwsgi.set_logvar("who", b"alice")
    uwsgi.set_logvar(b"shop", environ["QUERY_STRING"])
    start_response("200 OK", [])
    return [json.dumps({
        "opt": {key: value.decode() for key, value in uwsgi.opt.items()},
        "worker": uwsgi.worker_id(), "master": uwsgi.masterpid(), "loaded": loaded_as,
        "forked": forked, "numproc": uwsgi.numproc, "cores": uwsgi.cores,
        "version": uwsgi.version.decode(), "user": uwsgi.get_logvar("who").decode(),
        "none": uwsgi.get_logvar("none"), "pid": os.getpid(), "parent": os.getppid(),
        "reload": uwsgi.is_a_reload, "loop": uwsgi.loop.decode()}).encode()]
"""
INI = """[uwsgi]
http-socket = 127.0.0.1:0
wsgi-file = app.py
processes = 2
gevent = 3
shop.name = %(base)/x
base = /srv
log-format = %(uri) by %(who) of %(shop)
"""


@pytest.mark.parametrize("lazy", ["", "lazy-apps = true\n"])
def test_facts_hooks_and_log_variables(tmp_path, lazy):
    with Server(tmp_path, ini=INI + lazy, app=APP) as server:
        found = json.loads(server.body("/?books"))
        assert found["opt"]["shop.name"] == "/srv/x" and found["opt"]["processes"] == "2"
        assert found["worker"] in (1, 2) and found["forked"] == [found["worker"]]
        assert found["master"] == server.pid == found["parent"]
        assert found["loaded"] == [found["worker"] if lazy else 0, server.pid]
        assert (found["numproc"], found["cores"], found["loop"]) == (2, 3, "gevent")
        assert found["version"].startswith("2.0.") and found["user"] == "alice"
        assert found["none"] is None and found["reload"] is False
        server.wait_for("by alice of books")
        server.wait_for("no request here")
        server.wait_for("forked 1")
        assert server.stop() == 0
        assert sorted(line.split()[-1] for line in server.find("leaving")) == ["1", "2"]


def test_a_hook_that_fails_is_logged(tmp_path):
    app = """
import uwsgi
uwsgi.post_fork_hook = lambda: 1 / 0

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]
"""
    with Server(tmp_path, "app:application", "--http-socket", "127.0.0.1:0",
                "--workers", "1", app=app) as server:
        assert server.body("/") == b"served"
        server.wait_for("uwsgi.post_fork_hook failed")


def test_outside_a_server_the_import_fails():
    with Program("python3", "-c", "import geventuwsgi.api.uwsgi_module\nimport uwsgi",
                 env=dict(os.environ)) as program:
        assert program.wait() == 1
        wait_until(lambda: "No module named 'uwsgi'" in program.log, "the error")
