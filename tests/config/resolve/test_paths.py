"""Relative paths with chdir: as observed with uWSGI and with gunicorn."""

import os
from typing import Any

import pytest

from geventuwsgi.config.commands.show import shown
from geventuwsgi.errors import ConfigError

APP = "module = app\nchdir = /srv/app\n"


@pytest.mark.parametrize(("line", "name", "expected"), [
    ("socket = app.sock", "listeners", (("/srv/app/app.sock", "uwsgi"),)),
    ("http-socket = unix:run/app.sock", "listeners", (("unix:/srv/app/run/app.sock", "http"),)),
    ("https-socket = app.sock,a.crt,a.key", "listeners", (("/srv/app/app.sock", "https"),)),
    ("https-socket = addr=a.sock,cert=b,key=c", "listeners", (("/srv/app/a.sock", "https"),)),
    ("socket = /run/app.sock", "listeners", (("/run/app.sock", "uwsgi"),)),
    ("socket = @app", "listeners", (("@app", "uwsgi"),)),
    ("socket = fd://3", "listeners", (("fd://3", "uwsgi"),)),
    ("socket = localhost:3031", "listeners", (("localhost:3031", "uwsgi"),)),
    ("socket = app.sock\nabstract-socket = 1", "listeners", (("@app.sock", "uwsgi"),)),
    ("shared-socket = app.sock\nsocket = =0", "listeners",
     ((os.path.abspath("app.sock"), "uwsgi"),)),
    ("http = :0\nhttp-to = http://node.sock,weight=2", "http_to",
     ("http:///srv/app/node.sock,weight=2",)),
    ("pidfile = x", "pidfile", os.path.abspath("x")), ("logto = x", "logto", "x"),
    ("home = x", "home", "x"),
    ("daemonize = x", "daemonize", "x"), ("flock = x", "flock", ("x",)),
    ("wsgi-file = x.py", "wsgi_file", "x.py"),
    ("static-map = /a=x", "static_map", ("/a=x",)),
    *((f"{name} = x", name.replace("-", "_"), "/srv/app/x") for name in (
        "pidfile2", "safe-pidfile", "safe-pidfile2", "daemonize2", "py-tracebacker")),
    *((f"{name} = x*\n{name} = /y", name.replace("-", "_"), ("/srv/app/x*", "/y")) for name in (
        "master-fifo", "touch-reload", "touch-chain-reload", "touch-logreopen",
        "touch-logrotate", "mount-check")),
    ("fs-reload = ~/x", "touch_reload", ("~/x",)),
    ("hook-touch = x exec:y z", "hook_touch", ("/srv/app/x exec:y z",)),
    ("touch-exec = x y z", "touch_exec", ("/srv/app/x y z",)),
    ("logger = file:x", "logger", ("file:/srv/app/x",)),
    ("req-logger = a file:logfile=x,maxsize=9,backupname=y", "req_logger",
     ("a file:logfile=/srv/app/x,maxsize=9,backupname=/srv/app/y",)),
    ("log-socket = x.sock,prefix", "logger", ("socket:/srv/app/x.sock,prefix",)),
    ("log-socket = localhost:9", "logger", ("socket:localhost:9",)),
    ("logger = syslog:x", "logger", ("syslog:x",)),
    ("access-logfile = -", "access_logfile", "-"),
])
def test_relative_to_chdir(resolve: Any, line: str, name: str, expected: object) -> None:
    settings = resolve(APP + ("" if "socket" in line or "http" in line else "http-socket = :0\n")
                       + line + "\n")
    assert getattr(settings, name) == expected


def test_a_directory_with_a_colon(resolve: Any) -> None:
    with pytest.raises(ConfigError, match="app.ini:4: log-socket: /srv/a:b/x.sock: with a colon"):
        resolve("module = a\nchdir = /srv/a:b\nlog-socket = x.sock\nsocket = y.sock\n")


def test_as_gunicorn(resolve: Any) -> None:
    """It changes the directory before it opens anything."""
    settings = resolve(None, "app", "--chdir", "site", "-b", "unix:a.sock", "-p", "a.pid",
                       "--error-logfile", "e.log", "--certfile", "a.crt")
    site = os.path.abspath("site")
    assert settings.bind == (f"unix:{site}/a.sock",)
    assert (settings.pidfile, settings.error_logfile, settings.certfile) == (
        f"{site}/a.pid", f"{site}/e.log", f"{site}/a.crt")
    settings = resolve("[geventuwsgi]\nmodule = a\nchdir = /srv\nbind = unix:a.sock\npid = a\n")
    assert (settings.bind, settings.pidfile) == (("unix:/srv/a.sock",), "/srv/a")


def test_without_chdir_nothing_changes(resolve: Any) -> None:
    settings = resolve("module = app\nsocket = a.sock\ntouch-reload = x\n")
    assert (settings.socket, settings.touch_reload) == (("a.sock",), ("x",))


def test_show_config(resolve: Any) -> None:
    text = shown(resolve(APP + "socket = app.sock\n"))
    assert "; listens: /srv/app/app.sock (uwsgi)\n" in text
    assert "\nsocket = /srv/app/app.sock " in text


def test_files_of_daemons(resolve: Any) -> None:
    settings = resolve(APP + "socket = :0\nsmart-attach-daemon = x.pid,9 run me\n"
                       "attach-daemon2 = cmd=run,touch=a;/b,chdir=c\n")
    second, first = map(dict, settings.daemons)
    assert (first["pidfile"], first["command"]) == ("/srv/app/x.pid", "run me")
    assert (second["touch"], second["directory"]) == (("/srv/app/a", "/b"), "/srv/app/c")


def test_a_path_that_becomes_too_long(resolve: Any) -> None:
    with pytest.raises(ConfigError, match=r"app.ini:4: socket: .*at most 107 bytes"):
        resolve(f"module = app\nchdir = /srv/{'x' * 110}\nsocket = app.sock\n")
