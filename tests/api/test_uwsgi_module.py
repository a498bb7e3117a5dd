"""`import uwsgi` in real workers: the facts it publishes, its hooks, and log variables."""

import importlib
import json
import os
import sys
import types

import pytest

from geventuwsgi.api.uwsgi_module import ENGINEIO_DRIVER, ApiInstance, Uwsgi, install
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
        "opt": {key: value if value is True else value.decode()
                for key, value in uwsgi.opt.items()},
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
        # What sentry-sdk, ddtrace and others check before they start threads.
        assert found["opt"]["enable-threads"] is found["opt"]["master"] is True
        assert found["opt"]["py-call-uwsgi-fork-hooks"] is True
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


def instance(*given):
    return ApiInstance(given, 1, 1, 1, 4096, "", (), False)


def test_options_have_the_values_of_uwsgi():
    opt = Uwsgi(instance(("lazy", None), ("enable-threads", "false"), ("a", ""))).opt
    assert (opt["lazy"], opt["enable-threads"], opt["a"]) == (True, b"false", b"")
    assert opt["master"] is True


@pytest.mark.parametrize("name, instead", [
    ("cache_get", "Redis"), ("spool", "Celery"), ("lock", "multiprocessing"),
    ("add_timer", "thread"), ("websocket_recv", "flask-sock"), ("reload", "--reload PIDFILE"),
    ("mule_msg", "attach-daemon"), ("sharedarea_read", "multiprocessing.shared_memory")])
def test_a_name_that_is_missing_says_what_to_use(name, instead):
    module = Uwsgi(instance())
    assert not hasattr(module, name) and getattr(module, name, None) is None
    with pytest.raises(AttributeError, match=f"uwsgi.{name} is not in geventuwsgi: .*{instead}"):
        getattr(module, name)
    with pytest.raises(AttributeError, match="module 'uwsgi' has no attribute 'nonsense'"):
        module.nonsense
    with pytest.raises(AttributeError):
        module.__path__


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


@pytest.mark.parametrize("loop, driver", [("gevent", "gevent"), (None, "threading")])
def test_engineio_gets_the_driver_of_what_runs_requests(monkeypatch, loop, driver):
    """Its own for uWSGI has no WebSockets here, and blocks native threads."""
    for name in ("engineio", "engineio.async_drivers", "engineio.async_drivers.gevent",
                 "engineio.async_drivers.threading"):
        module = types.ModuleType(name)
        module.__path__ = []
        module._async = {"driver": name.rpartition(".")[2]}
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, ENGINEIO_DRIVER, None)
    monkeypatch.setitem(sys.modules, "uwsgi", None)
    install(instance()._replace(loop=loop))
    # As engineio.base_server imports it.
    assert importlib.import_module(ENGINEIO_DRIVER)._async == {"driver": driver}
    monkeypatch.setitem(sys.modules, f"engineio.async_drivers.{driver}", None)  # cannot be imported
    with pytest.raises(ImportError):
        importlib.import_module(ENGINEIO_DRIVER)._async
