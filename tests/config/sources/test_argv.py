"""The command line, and environment variables with options."""

import shlex
from pathlib import Path

import pytest

from geventuwsgi.config.options.option import Entry
from geventuwsgi.config.sources import argv, environment
from geventuwsgi.config.sources.argv import Command
from geventuwsgi.errors import UsageError


def parse(line: str) -> list[tuple[str, str | None]]:
    return [(item.key, item.text) if isinstance(item, Entry) else (item.name, item.about)
            for item in argv.parse(shlex.split(line))]


@pytest.mark.parametrize(("line", "expected"), [
    ("--processes 4", [("processes", "4")]),
    ("--processes=4", [("processes", "4")]),
    ("--workers 4", [("workers", "4")]),
    ("--module=", [("module", "")]),
    ("--lazy-apps app:app", [("lazy-apps", None), ("application", "app:app")]),
    ("--lazy-apps=false", [("lazy-apps", "false")]),
    ("--master --ini x.ini", [("master", None), ("ini", "x.ini")]),
    ("--plugin python3 -M", [("plugin", "python3"), ("master", None)]),
    ("-w 4", [("processes", "4")]), ("-w auto", [("processes", "auto")]),
    ("-w app:app", [("module", "app:app")]), ("-w4", [("processes", "4")]),
    ("-p 4", [("processes", "4")]), ("-p /run/x.pid", [("pidfile", "/run/x.pid")]),
    ("-b 32768", [("buffer-size", "32768")]), ("-b :8000", [("bind", ":8000")]),
    ("-b 127.0.0.1:8000 -b [::1]:8000", [("bind", "127.0.0.1:8000"), ("bind", "[::1]:8000")]),
    ("-c x.ini", [("ini", "x.ini")]), ("-t 30", [("worker-timeout", "30")]),
    ("-m 022", [("umask", "022")]), ("-k gevent", [("worker-class", "gevent")]),
    ("--host 0.0.0.0 --port 8080 a:b", [("application", "a:b"), ("bind", "0.0.0.0:8080")]),
    ("--port=8080", [("bind", "127.0.0.1:8080")]), ("--host ::1", [("bind", "[::1]:8000")]),
    ("--host [::] --port 1", [("bind", "[::]:1")]),
    ("--uds /run/a.sock", [("bind", "unix:/run/a.sock")]), ("--fd 3", [("bind", "fd://3")]),
    ("-b 8080 app.ini", [("buffer-size", "8080"), ("ini", "app.ini")]),
    ("-b 8080 -w app:app", [("buffer-size", "8080"), ("module", "app:app")]),
    ("-p 4 app:app", [("processes", "4"), ("application", "app:app")]),
    ("-ML -s/run/x", [("master", None), ("disable-logging", None), ("socket", "/run/x")]),
    ("-Ts :1", [("enable-threads", None), ("socket", ":1")]),
    ("--chmod-socket", [("chmod-socket", None)]),
    ("--chmod-socket 660 a:b", [("chmod-socket", "660"), ("application", "a:b")]),
    ("--chmod-socket a:b", [("chmod-socket", None), ("application", "a:b")]),
    ("-C660", [("chmod-socket", "660")]), ("-C 660", [("chmod-socket", "660")]),
    ("--access-logfile - a:b", [("access-logfile", "-"), ("application", "a:b")]),
    ("--env A=--b", [("env", "A=--b")]),
    ("conf/app.ini", [("ini", "conf/app.ini")]),
    ("conf/app.ini:dev", [("ini", "conf/app.ini:dev")]),
    ("-", [("ini", "-")]),
    ("app.py", [("application", "app.py")]),
    ("-- --odd", [("application", "--odd")]),
    ("--help", [("help", None)]), ("-h", [("help", None)]),
    ("--help processes", [("help", "processes")]),
    ("--help --harakiri", [("help", "--harakiri")]), ("-h -p", [("help", "-p")]),
    ("--version", [("version", None)]), ("-V", [("version", None)]),
    ("--show-config a:b", [("show-config", None), ("application", "a:b")]),
    ("--print-config", [("show-config", None)]),
    ("--ping-timeout 5m", [("ping-timeout", "300")]),
    ("--ping-timeout 0.5", [("ping-timeout", "0.5")]),
    ("--check-config --format JSON", [("check-config", None), ("format", "json")]),
    ("--set a=b --set-ph c=d", [("set", "a=b"), ("set-ph", "c=d")]),
])
def test_parse(line: str, expected: list[tuple[str, str | None]]) -> None:
    assert parse(line) == expected


@pytest.mark.parametrize(("line", "message"), [
    ("--procesess 4", "--procesess: there is no such option; did you mean --processes?"),
    ("--chmod_socket 660", "--chmod_socket: there is no such option; did you mean --chmod-socket?"),
    ("--xyzzy", "--xyzzy: there is no such option"),
    ("--legion x", "--legion: there is no legion: "),
    ("--chroot /x", "--chroot: the server starts new interpreters"),
    ("--processes", "--processes: needs a value (N)"),
    ("--module --lazy-apps", "--module: needs a value (NAME)"),
    ("-w", "-w: needs a value"),
    ("--ping-timeout -1", "--ping-timeout: '-1': must be at least 0.1"),
    ("--ping-timeout 0", "--ping-timeout: '0': must be at least"),
    ("--ping-timeout nan", "--ping-timeout: 'nan' is not a number of seconds"),
    ("--ping-timeout inf", "--ping-timeout: 'inf' is not a number of seconds"),
    ("--ping-timeout 9999999999", "--ping-timeout: '9999999999': must be at most 86400"),
    ("--ping 127.0.0.1:many", "--ping: '127.0.0.1:many': 'many' is not a port number"),
    ("--ping 127.0.0.1", "--ping: '127.0.0.1' has no port"),
    ("--connect-and-read @", "--connect-and-read: '@' is not the path of a unix socket"),
    ("--format xml", "--format: 'xml' is not one of text, json"),
    ("--completion csh", "--completion: 'csh' is not one of bash, zsh, fish"),
    ("-s", "-s: needs a value (ADDRESS)"),
    ("-q", "-q: there is no such option"),
    ("--port", "--port: needs a value"), ("--port 1 --port 2", "--port: is already 1"),
    ("-b 8080 app:app", "-b: 8080 beside an application: write -b :8080 for an address, or "
     "--buffer-size 8080"),
    ("app.py -b8080", "-b: 8080 beside an application"),
    ("-p 5000 app:app", "-p: 5000 beside an application: write -b :5000 for an address, or "
     "--processes 5000"),
    ("app.yaml", "app.yaml: only INI files are read"),
    ("--need-app false", "'false' is an argument of its own: write a flag's value as --name=false"),
])
def test_usage(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_status == 2


def test_commands_are_not_entries() -> None:
    assert list(argv.parse(["--version"])) == [Command("version")]


def test_variables() -> None:
    environ = {"UWSGI_HTTP_SOCKET": ":1", "UWSGI_RELOADS": "1", "UWSGI_LAZY_APPS": "",
               "GEVENTUWSGI_PROCESSES": "3", "GEVENTUWSGI_MODULE": "",
               "GEVENTUWSGI_CMD_ARGS": "-w 2", "PATH": "/bin"}
    assert [(entry.key, entry.text, entry.origin.option, entry.origin.uwsgi)
            for entry in environment.uwsgi(environ)] == [
        ("http-socket", ":1", "UWSGI_HTTP_SOCKET", True),
        ("lazy-apps", "", "UWSGI_LAZY_APPS", True)]
    assert [(entry.key, entry.text, entry.origin.uwsgi) for entry in environment.own(environ)] == [
        ("processes", "3", False)]


def test_reload_is_a_flag_unless_a_pid_file_follows(tmp_path: Path) -> None:
    pid_file, other = tmp_path / "server", tmp_path / "app.py"
    pid_file.write_text("4711\n")
    other.write_text("x = 1")
    assert parse(f"--reload {pid_file}") == parse(f"--reload={pid_file}") == [
        ("reload", str(pid_file))]
    assert [type(item) for item in argv.parse(["--reload", str(pid_file)])] == [Command]
    assert [type(item) for item in argv.parse(["--reload", "not-there.pid"])] == [Command]
    for line in (f"--reload {other}", "--reload app:app", "app:app --reload"):
        assert {name for name, _ in parse(line)} == {"reload", "application"}
        assert all(isinstance(item, Entry) for item in argv.parse(shlex.split(line)))
    assert parse("--stop x.pid") == [("stop", "x.pid")]
    with pytest.raises(UsageError, match="--stop: needs a value"):
        parse("--stop")
