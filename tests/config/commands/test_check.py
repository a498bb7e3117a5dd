"""--check-config: a status for each line, of INI files and of gunicorn's settings files."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi.boot.preflight import failures
from geventuwsgi.cli import main
from geventuwsgi.config.commands import from_gunicorn
from geventuwsgi.config.commands.check import ConfigReport, Line
from geventuwsgi.config.commands.from_gunicorn import Conversion
from geventuwsgi.config.load.arguments import check, read
from geventuwsgi.config.options.aliases import GUNICORN_HOOKS
from geventuwsgi.config.options.table import row
from geventuwsgi.config.resolve.concurrency import PER, summary
from geventuwsgi.config.settings import Settings
from geventuwsgi.errors import ConfigError, UsageError

FILE = """[uwsgi]
http-socket = 127.0.0.1:0
module = app
base = /srv
chdir = %(base)/x
processes = 2
thunder-lock = true
harakiri = 30
chroot = /jail
vaccum = true
legion = x
gevent = 10 ; slots
"""


def by_option(report: ConfigReport) -> dict[str, Line]:
    return {line.option: line for line in report.lines}


def test_each_line_has_its_status(write: Callable[..., str]) -> None:
    path = write(FILE)
    report, in_json = check(["--check-config", path], {})
    assert not in_json and not report.fine and report.files == [path]
    found = by_option(report)
    assert [line.line for line in report.lines[1:]] == list(range(2, 13))
    assert {name: line.status for name, line in found.items()} == {
        "ini": "taken", "http-socket": "taken with a difference", "module": "taken",
        "base": "taken", "chdir": "taken", "processes": "taken", "thunder-lock": "ignored",
        "harakiri": "taken with a difference", "chroot": "refused", "vaccum": "unknown",
        "legion": "refused", "gevent": "taken with a difference"}
    assert found["base"].reasons == ("a placeholder",)
    assert "did you mean vacuum?" in found["vaccum"].reasons
    assert "there is no legion" in found["legion"].reasons[0]
    assert "the inline comment '; slots' is cut off" in found["gevent"].reasons[-1]
    text = report.text()
    assert f"{path}:9: chroot = /jail: refused\n    " in text
    assert text.endswith("12 lines: 5 taken, 3 taken with a difference, 1 ignored, 2 refused, "
                         "1 unknown\n")


def test_without_effect_with_asgi_is_ignored(write: Callable[..., str]) -> None:
    path = write("""[uwsgi]
http-socket = :0
static-map = /static=/srv
static-index = index.html
threads = 4
post-buffering = 4096
harakiri = 3
asgi = m:app
""")
    report, _ = check([path], {})
    found = by_option(report)
    assert report.fine and report.counts["ignored"] == 2
    assert found["static-index"].status == "taken"
    for name in ("threads", "post-buffering"):
        line = found[name]
        assert line.status == "ignored" and "has no effect with ASGI" in line.reasons[0]
        assert len(line.reasons) == 1


@pytest.mark.parametrize("text, option, line, reason", [
    ("[uwsgi]\nmodule = app\nhttp-socket = :0\nprocesses = many\n", "processes", 4, "many"),
    ("[uwsgi]\nmodule = app\n", "configuration", None, "socket"),
    ("[uwsgi]\nhttp-socket = :0\nasgi = m:a\nroute-run = break:403\n", "route-run", 4, "ASGI"),
    ("[uwsgi]\nhttp-socket = :0\nmodule = a\nroute = / goto:x\n", "route", 4, "no route-label"),
    ("[uwsgi]\nhttp-socket = :0\n", "configuration", None, "no application is named"),
    ("[uwsgi]\nmodule = app\nhttp-socket = :0\nprocesses = 2\ncheaper = 2\n", "cheaper", 5,
     "processes"),
    ("[uwsgi]\nini = none.ini\n", "ini", 2, "none.ini"),
    ("[geventuwsgi]\nprocces = 2\n", "procces", 2, "there is no such option"),
])
def test_wrong_lines(write: Callable[..., str], text: str, option: str, line: int | None,
                     reason: str) -> None:
    report, _ = check(["--check-config", write(text)], {})
    wrong = [one for one in report.lines if one.status == "wrong"]
    assert len(wrong) == 1 and not report.fine
    assert wrong[0].line == line and reason in wrong[0].reasons[0]
    assert wrong[0].option == option


def test_exit_status_and_json(write: Callable[..., str],
                              capsys: pytest.CaptureFixture[str]) -> None:
    good = write("[uwsgi]\nmodule = app\nhttp-socket = :0\n", "good.ini")
    assert main(["--check-config", good]) == 0
    assert "module = app: taken\n" in capsys.readouterr().out
    assert main(["-c", write(FILE), "--check-config", "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False and report["summary"]["refused"] == 2
    assert report["lines"][1] == {
        "file": report["files"][0], "line": 2, "option": "http-socket", "text": "127.0.0.1:0",
        "status": "taken with a difference", "reasons": report["lines"][1]["reasons"]}
    assert main(["--check-config", good, "--format=xml"]) == 2
    assert main(["--check-config", "nowhere.ini"]) == 2


SETTINGS = """
import os
bind = ["127.0.0.1:8000", f"unix:{os.sep}tmp/x.sock"]
workers = 2 * 2 + 1
worker_class = "gevent"
loglevel = "debug"
accesslog = "-"
preload_app = True
raw_env = ["A=1"]
graceful_timeout = None
helper = 5
secure_scheme_headers = {"X-SSL": "on"}

def post_fork(server, worker):
    pass

if workers > 3:
    timeout = 60
"""


def test_a_settings_file_of_gunicorn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(SETTINGS)
    report, _ = check(["--check-config", str(path)], {})
    found = by_option(report)
    assert found["bind"].text == "unix:/tmp/x.sock" and found["bind"].line == 3
    assert found["workers"].text == "5" and found["preload-app"].status == "ignored"
    assert found["post_fork"].status == "refused" and found["timeout"].line == 18
    assert found["secure_scheme_headers"].status == "refused"
    assert "helper" not in found and "graceful-timeout" not in found and not report.fine
    assert main(["--from", str(path)]) == 1
    text, errors = capsys.readouterr()
    assert errors == (
        f"geventuwsgi: error: {path}:12: secure_scheme_headers: X-Forwarded-Proto and "
        "X-Forwarded-Ssl are used, if they come from forwarded-allow-ips\n"
        f"geventuwsgi: error: {path}:14: post_fork: a function in Python is not converted: call "
        "os.register_at_fork(after_in_child=FUNCTION) in the application, without lazy-apps; "
        "with lazy-apps its module runs in each worker\n")
    (tmp_path / "same.ini").write_text(text)
    settings, _ = read(["-c", str(tmp_path / "same.ini"), "app:app"], {})
    assert settings is not None
    assert (settings.processes, settings.worker_timeout, settings.log_level) == (5, 60, "debug")
    assert settings.listeners == (("127.0.0.1:8000", "http"), ("unix:/tmp/x.sock", "http"))
    assert "; post_fork: a function in Python is not converted: call os.register" in text


@pytest.mark.parametrize(("headers", "status"), [
    ({"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https", "X-FORWARDED-SSL": "on"}, 0),
    ({"X-Forwarded-Proto": "https"}, 0), ({}, 0), ({"X-FORWARDED-SSL": "off"}, 1),
    ({"X-FORWARDED-PROTO": "https", "X-SSL": "on"}, 1)])
def test_a_part_of_gunicorns_secure_scheme_headers(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], headers: dict[str, str],
        status: int) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(f"secure_scheme_headers = {headers}\n")
    assert main(["--from", str(path)]) == status
    assert bool(capsys.readouterr().err) is bool(status)
    report, _ = check(["--check-config", str(path)], {})
    assert report.fine is not bool(status)


def test_each_hook_of_gunicorn_says_what_to_use(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("".join(f"def {name}(*_): ...\n" for name in GUNICORN_HOOKS))
    found = by_option(check(["--check-config", str(path)], {})[0])
    for name in GUNICORN_HOOKS:
        said = found[name].reasons[0]
        assert said == f"a function in Python is not converted: {GUNICORN_HOOKS[name]}"
        for option in re.findall(r"\b(hook-[\w-]+|[\w-]+(?= = )|route-run|log-format)\b", said):
            known = row(option)
            assert known is not None and known.status == "taken", option


LINES = [
    # line, status, the beginning of each reason
    ("chdir = /srv", "taken", []),
    ("project = shop", "unknown", ["a placeholder that nothing refers to"]),
    ("set-ph = name=shop", "taken", []),
    ("gevent = 4", "taken with a difference", [
        "4 greenlets per worker, standard library", "gevent = 1 is allowed; a worker at its max"]),
    ("processes = 4 ; cores", "taken with a difference", [
        "4 workers, each with one request at a time", "the inline comment '; cores' is cut"]),
    ("chdir = '/srv/my app'", "taken with a difference", ["the quotes around '/srv/my app' are"]),
    ('processes = "4"', "taken with a difference", [
        "4 workers, each with", 'the quotes around "4" are cut off; in uWSGI']),
    ('vacuum = "no" # never', "taken with a difference", [
        "the inline comment '# never'", 'the quotes around "no"']),
    ("env = A='b'", "taken", []),
    ("http-keepalive = true", "taken with a difference", ["'true' is on, with 75 seconds"]),
    ("listen = $(QUEUE)", "taken with a difference", [
        "a value above somaxconn is lowered",
        "$(QUEUE) is read as 64; uWSGI replaces no references"]),
    ("set-ph = base=$(QUEUE)", "taken with a difference", ["base=$(QUEUE) is read as base=64"]),
    ("threads = 3", "taken", ["3 threads per worker"]),
    ("monkey-patch = true", "taken", ["1 greenlet per worker, standard library patched"]),
    ("gevent-wait-for-hub = true", "ignored", ["has no effect without gevent: requests run in"]),
    ("master = true", "ignored", ["there is always a master"]),
    ("show-config = true", "ignored", ["it is only valid on the command line"]),
    ("plugins = python3, php", "ignored", ["Python, gevent", "there is no plugin 'php'"]),
    ("chroot = /srv", "refused", ["the server starts new interpreters, which are not in"]),
    ("raw-socket = :1", "refused", ["the application is WSGI: use http-socket"]),
    ("chmod_socket = 660", "unknown", ["a placeholder that", "did you mean chmod-socket?"]),
    ("module: app", "unknown", ["a placeholder that", "did you mean module = app?"]),
    ("else =", "unknown", ["a placeholder that", "uWSGI 2.0 has no else: write the opposite"]),
    ("if-env = NONE", "taken with a difference", ["it has no end: all lines after it belong"]),
    ("timeout = 5", "unknown", ["a placeholder that", "did you mean worker-timeout?"]),
    ("harakiri = soon", "wrong", ["'soon' is not a number of seconds"]),
    ("declare-option = two=processes=$1;chdir=/", "taken with a difference",
     ["it also applies to lines before it"]),
    ("stats = :9191", "taken with a difference", ["a client that sends an HTTP request"]),
    ("stats-push = file:/x", "ignored", ["statistics are not sent: metrics serves them"]),
    ("x = 1", "unknown", ["a placeholder that nothing refers to"]),
]


def test_a_declared_option_that_is_only_referred_to(write: Callable[..., str]) -> None:
    path = write("[uwsgi]\nmodule = a\nhttp-socket = :0\ndeclare-option = deb-name=$1\n"
                 "pidfile = /run/%(deb-name).pid\n")
    report, _ = check(["--ini", path], {"UWSGI_DEB_NAME": "shop"})
    assert [(line.status, line.reasons) for line in report.lines
            if line.option == "UWSGI_DEB_NAME"] == [("taken", ("a placeholder",))]


@pytest.mark.parametrize(("line", "status", "reasons"), LINES)
def test_statuses(write: Callable[..., str], line: str, status: str, reasons: list[str]) -> None:
    path = write(f"[uwsgi]\nwsgi-file = a.py\nhttp-socket = :0\n{line}\n")
    report, _ = check(["--check-config", path], {"QUEUE": "64"})
    found = next(one for one in report.lines if one.line == 4)
    assert found.status == status and len(found.reasons) == len(reasons), found.reasons
    for reason, beginning in zip(found.reasons, reasons):
        assert reason.startswith(beginning)
    assert report.fine == (status not in ("refused", "wrong"))
    assert json.loads(report.json())["summary"][status] >= 1 and f": {status}" in report.text()


@pytest.mark.parametrize(("text", "requests"), [
    ("module = a\n", "one at a time in the main thread; threads = N or gevent = N for more"),
    ("module = a\nthreads = 4\n", "4 threads per worker"),
    ("module = a\nthreads = 1\n", "one at a time in the main thread"),
    ("module = a\ngevent = 9\nthreads = 4\n",
     "9 greenlets per worker, standard library patched"),
    ("asgi = m:a\n", "1000 connections at a time"),
    ("http = :0\nhttp-to = :3031\n", None),   # no workers
])
def test_how_requests_run(write: Callable[..., str], text: str, requests: str | None) -> None:
    report, _ = check([write(text + "http-socket = :0\n" * ("http = " not in text))], {})
    assert report.fine and json.loads(report.json())["requests"] == requests
    line = report.text().splitlines()[-2]
    assert line == f"requests: {requests}" if requests else not line.startswith("requests: ")


def test_notes_and_declared_options(write: Callable[..., str]) -> None:
    path = write("module = a\nsocket = 0.0.0.0:0\ndeclare-option = two=processes=$1;legion=x\n"
                 "two = 2\nif-env = NONE\nharakiri = x\nendif =\n")
    report, _ = check(["--check-config", "--vacuum", path], {})
    assert {line.option: line.status for line in report.lines}["two"] == "refused"
    path = write("module = a\nsocket = 0.0.0.0:0\nfor = a b\nmount = /%(_)=%(_)\nend\n")
    report, _ = check([path, "--processes", "2"], {})
    assert report.fine and len(report.notes) == 1 and "uwsgi-allow-from" in report.notes[0]
    assert f"note: {report.notes[0]}\n" in report.text()
    assert [line.text for line in report.lines if line.option == "mount"] == ["/a=a", "/b=b"]
    assert f"{path}:6: end: taken\n" in report.text()
    assert json.loads(report.json())["notes"] == report.notes


ODD = """
from threading import Timer as on_exit
from collections import *
async def on_starting(server): ...
pre_fork = lambda server, worker: None
bind: str = "unix:/run/a.sock"
umask = 0o027
timeout, keepalive = 5, 2
access_log_format = '%(h)s %{X}i 50%'
raw_env = {"A=b c"}
worker_conections = 5
project = "shop"
wsgi_app = "first\\nsecond"
logconfig_dict = {}
proc_name = None
def worker(): return 1
print("noise")
"""


def test_an_unusual_settings_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(ODD)
    assert main(["--check-config", "-c", str(path), "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    found = {line["option"]: (line["line"], line["status"]) for line in report["lines"]}
    assert found == {
        "on_exit": (2, "refused"), "on_starting": (4, "refused"), "pre_fork": (5, "refused"),
        "bind": (6, "taken"), "umask": (7, "taken"), "timeout": (8, "taken"),
        "keepalive": (8, "taken"), "access-logformat": (9, "taken"), "raw-env": (10, "taken"),
        "worker_conections": (11, "unknown"), "wsgi_app": (13, "refused"),
        "logconfig_dict": (14, "ignored"),
        **dict.fromkeys(("worker_class", "preload_app", "accesslog"),
                        (None, "taken with a difference"))}
    assert main(["--from", str(path)]) == 1
    printed = capsys.readouterr()
    assert "noise" not in printed.out and "noise" in printed.err
    assert "umask = 027\n" in printed.out and "log-format = %(h)s %%{X}i 50%%\n" in printed.out
    assert "; worker_conections: there is no such setting; did you mean worker_connections?\n" \
        in printed.out
    (tmp_path / "same.ini").write_text(printed.out)
    settings, _ = read(["-c", str(tmp_path / "same.ini"), "a:b"], {})
    assert settings is not None
    assert (settings.umask, settings.worker_timeout, settings.keepalive, settings.env) == (
        0o27, 5, 2, ("A=b c",))
    assert settings.log_format == "%(h)s %{X}i 50%"


def converted(tmp_path: Path, text: str) -> tuple[Settings, str]:
    """Convert a settings file; return the settings that the result makes, and the result."""
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(text)
    text = Conversion(*from_gunicorn.read(str(path))).ini()
    (tmp_path / "same.ini").write_text(text)
    settings, _ = read(["-c", str(tmp_path / "same.ini"), "app:app"], {"HOME": "/x"})
    assert settings is not None
    return settings, text


@pytest.mark.parametrize(("text", "slots"), [
    ("workers = 4", 1), ("threads = 8", 8), ("worker_class = 'sync'", 1),
    ("worker_class, threads = 'sync', 3", 3), ("worker_class, threads = 'gthread', 3", 3),
    ("worker_class = 'gthread'", 1), ("worker_class = 'gevent'", 1000),
    ("worker_class, worker_connections = 'gevent', 50", 50), ("worker_class = 'tornado'", 1),
    ("worker_class = 'gunicorn.workers.ggevent.GeventWorker'", 1000),
    ("worker_class, worker_connections = 'eventlet', 30", 30),
])
def test_conversion_keeps_the_concurrency(tmp_path: Path, text: str, slots: int) -> None:
    settings, _ = converted(tmp_path, text)
    assert settings.slots == slots
    report, _ = check(["--check-config", str(tmp_path / "gunicorn.conf.py")], {})
    assert report.requests == summary(settings, PER).replace("one request at", "one at")


@pytest.mark.parametrize(("text", "harakiri"), [
    ("", 30), ("worker_class = 'sync'", 30), ("timeout = 90", 90), ("timeout = 0", 0),
    ("worker_class, threads, timeout = 'sync', 1, 7", 7), ("threads = 2", 0),
    ("worker_class = 'gthread'", 0), ("worker_class = 'gevent'", 0),
])
def test_conversion_keeps_the_time_limit_of_sync_workers(tmp_path: Path, text: str,
                                                         harakiri: int) -> None:
    """Other workers of gunicorn have no limit for a request either."""
    settings, _ = converted(tmp_path, text)
    assert settings.harakiri == harakiri


def test_gunicorns_other_defaults_become_lines(tmp_path: Path) -> None:
    settings, text = converted(tmp_path, "workers = 4\nbind = 'unix:/run/x.sock'\n")
    assert "\n; accesslog: gunicorn does not log requests" in text
    assert (settings.keepalive, settings.disable_logging, settings.lazy_apps) == (2, True, True)
    assert settings.chmod_socket == 0o666
    settings, text = converted(tmp_path, "worker_class = 'uvicorn.workers.UvicornWorker'\n"
                               "keepalive = 5\naccesslog = '-'\numask = 0o27\n")
    assert (settings.keepalive, settings.disable_logging) == (5, False)
    assert "gevent =" not in text and "lazy" not in text and "chmod" not in text
    report, _ = check(["--check-config", str(tmp_path / "gunicorn.conf.py")], {})
    assert report.fine and by_option(report)["worker-class"].status == "taken with a difference"
    (tmp_path / "gunicorn.conf.py").write_text("accesslog = None\nthreads = 2\n")
    report, _ = check(["--check-config", str(tmp_path / "gunicorn.conf.py")], {})
    found = by_option(report)
    assert (found["threads"].status, found["threads"].reasons) == (
        "taken", ("2 threads per worker",))
    assert found["accesslog"].reasons[-1] == "--from writes disable-logging = true"


def test_settings_that_cannot_be_converted(tmp_path: Path) -> None:
    """The converted settings keep their meaning, whatever the environment and the files."""
    settings, text = converted(tmp_path, r'''
import socket, json
raw_env = ["P=@(/etc/hostname)", "Q=a$(HOME)b", "R=x ", "S= y", "T=1\n2", "U=%(bind)s", "V=5%"]
workers, worker_class, chdir, bind = "two", "tornado", "/srv/a ;b", "127.0.0.1:0"
limit_request_line = limit_request_field_size = -1
user, keyfile, config, check_config = "root", "/x", "x", False
spew = capture_output = syslog = False
statsd_prefix, syslog_facility, logconfig_dict = "", "user", {}
''')
    assert settings.env == ("P=@(/etc/hostname)", "Q=a$(HOME)b", "R=x ", "V=5%")
    assert (settings.processes, settings.chdir, settings.uid) == (1, None, "root")
    for comment in ("workers = two: 'two' is not", "worker_class = tornado: tornado: write",
                    "limit_request_line = -1: '-1': must be", "raw_env = S= y: an INI file cannot",
                    "raw_env = U=%(bind)s: an INI file cannot", "raw_env: 'T=1",
                    "config: it is only", "chdir = /srv/a ;b: an INI file cannot",
                    "keyfile = /x: there is no cert",
                    "check-config = false: command, it is only", "spew: it is gunicorn's default"):
        assert f"\n; {comment}" in text
    assert "socket" not in text and "json" not in text
    report, _ = check(["--check-config", str(tmp_path / "gunicorn.conf.py")], {})
    found = by_option(report)
    assert found["workers"].status == "wrong" and found["workers"].text == "two"
    assert {found[name].status for name in ("spew", "syslog", "config", "statsd-prefix")} == {
        "ignored"}


def test_an_account_of_another_machine_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("user = 'nobody-has-it'\nthreads = 2\n")
    text = Conversion(*from_gunicorn.read(str(path))).ini()
    assert "\nuid = nobody-has-it\nthreads = 2\n" in text


def test_a_settings_file_is_not_a_configuration(tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text("workers = 2\n")
    assert main(["-c", str(path)]) == 2
    assert "it is Python: geventuwsgi --from FILE prints a gunicorn.conf.py as an INI file" \
        in capsys.readouterr().err
    assert main([f"--check-config={path}"]) == 2
    assert f"--check-config: takes no value: write --check-config {path}\n" \
        in capsys.readouterr().err


def test_any_bytes_are_printed(tmp_path: Path) -> None:
    path = tmp_path / "app.ini"
    path.write_bytes(b"[uwsgi]\nmodule = a\nhttp-socket = :0\nenv = X=/caf\xe9\nodd = \xe9\n")
    for command in ("--check-config", "--show-config"):
        done = subprocess.run([sys.executable, "-m", "geventuwsgi", str(path), command],
                              capture_output=True, timeout=60, cwd=Path(__file__).parents[3])
        assert done.returncode == 0, done.stderr
        assert b"/caf\xe9" in done.stdout


@pytest.mark.parametrize("text, reason", [
    ("import nowhere\n", "it cannot be run: ModuleNotFoundError"),
    ("workers = \n", "it is not Python"), ("import sys; sys.exit(3)\n", "SystemExit")])
def test_settings_files_that_do_not_run(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        from_gunicorn.read(str(path))
    report, _ = check(["--check-config", str(path)], {})
    assert not report.fine and reason in report.lines[-1].reasons[0]
    with pytest.raises(ConfigError):
        from_gunicorn.read(str(tmp_path / "none.py"))


def test_a_wrong_command_line_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        check(["--check-config", "--procesess", "2"], {})


def test_lines_of_a_false_block(write: Callable[..., str]) -> None:
    path = write("[uwsgi]\nmodule = app\nhttp-socket = :0\nif-env = PRODUCTION\nchroot = /x\n"
                 "processes = zero\nthreads = $(N)\nchdir = /srv\nendif =\nfor =\nenv = A=b\n"
                 "endfor =\n")
    report, _ = check(["--check-config", path], {})
    assert report.fine and [line.line for line in report.lines[1:]] == list(range(2, 13))
    found = {line.line: line for line in report.lines}
    reason = "if-env = PRODUCTION is false"
    assert found[5].status == "not read here"
    assert found[5].reasons[0] == f"{reason}; otherwise: refused"
    assert "new interpreters" in found[5].reasons[1]
    assert found[6].reasons == (f"{reason}; otherwise: wrong", "'zero' is not a number")
    assert found[7].reasons[0] == f"{reason}; otherwise: taken with a difference"
    assert found[8].reasons == (f"{reason}; otherwise: taken",)
    assert found[11].reasons == ("for is empty; otherwise: taken",)
    assert "5 not read here" in report.text().splitlines()[-1]
    report, _ = check(["--check-config", path], {"PRODUCTION": "1"})
    assert {line.line for line in report.lines if line.status in ("refused", "wrong")} == {5, 6}


def test_a_wrong_line_does_not_hide_others(write: Callable[..., str]) -> None:
    path = write("[uwsgi]\nmodule = app\nhttp-socket = :0\nchroot = /x\nprocesses = 2\n"
                 "cheaper = 9\nreload-on-rss = 900\nevil-reload-on-rss = 800\n")
    report, _ = check(["--check-config", path], {})
    assert {line.line: line.status for line in report.lines
            if line.status in ("refused", "wrong")} == {4: "refused", 6: "wrong", 7: "wrong"}
    # An error that is only due to the omitted line is not reported.
    path = write("[uwsgi]\nhttp-socket = :0\nprocesses = two\ncheaper = 1\n")
    report, _ = check(["--check-config", path], {})
    assert [line.line for line in report.lines if line.status == "wrong"] == [3]


def test_lines_without_effect(write: Callable[..., str]) -> None:
    write("[uwsgi]\nmax-requests = 5\nenv = A=1\n", "other.ini")
    path = write("[uwsgi]\nmodule = app\nhttp-socket = :0\nharakiri = 20\nprocesses = 2\n"
                 "max-requests = 4\nini = %dother.ini\nharakiri = 30\nhttp-keepalive = 3\n"
                 "keepalive = 4\nenv = B=2\nfor = 1 2\nlisten = %(_)\nendfor =\nvacuum = 1\n")
    report, _ = check(["--check-config", path, "--vacuum"],
                      {"UWSGI_PROCESSES": "8", "GEVENTUWSGI_MAX_REQUESTS": "3"})
    lost = {line.option if line.line is None else line.line: line.reasons[0]
            for line in report.lines if line.status == "ignored"}
    other = path.replace("app.ini", "other.ini")
    assert report.fine and lost == {
        "UWSGI_PROCESSES": f"no effect: {path}:5 wins", 4: "no effect: line 8 wins",
        6: f"no effect: {other}:2 wins", 9: "no effect: keepalive in line 10 wins",
        2: "no effect: GEVENTUWSGI_MAX_REQUESTS in the environment wins",
        15: "no effect: --vacuum on the command line wins"}


def test_a_typo_in_the_environment_is_not_an_error(write: Callable[..., str]) -> None:
    path = write("[uwsgi]\nmodule = app\nhttp-socket = :0\nstrict = 1\n")
    environ = {"GEVENTUWSGI_PROCESES": "2", "UWSGI_HARAKIRY": "2"}
    report, _ = check(["--check-config", path], environ)
    found = by_option(report)
    assert report.fine
    for name, close in (("GEVENTUWSGI_PROCESES", "processes"), ("UWSGI_HARAKIRY", "harakiri")):
        assert found[name].status == "unknown"
        assert found[name].reasons == ("there is no such option", f"did you mean {close}?")
    settings, _ = read([path], environ)
    assert settings is not None and len(settings.warnings) == 2
    report, _ = check(["--check-config", write("[geventuwsgi]\nbind =\nmodule = a\n")], {})
    assert report.fine


def test_errors_of_the_preflight(tmp_path: Path, write: Callable[..., str]) -> None:
    """Nothing is imported and no file is created."""
    (tmp_path / "env").mkdir()
    (tmp_path / "there.py").write_text("raise SystemExit\n")
    good = f"[uwsgi]\nchdir = {tmp_path}\nwsgi-file = there.py:app\nhttp-socket = :0\n"
    report, _ = check([write(good + f"logto = {tmp_path}/log\ncallable = a.b\n")], {}, failures)
    assert report.fine and not (tmp_path / "log").exists()
    path = write(
        f"[uwsgi]\nchdir = {tmp_path}\nwsgi-file = there.txt\nhome = %denv\nlogto = /no/dir/x\n"
        "callable = 1x\nmodule = a b\nhttps-socket = :0,/no/c.pem,/no/k.pem\nchdir2 = none\n"
        "mount = /x=none.py\nreq-logger = file:/no/log\n")
    report, _ = check(["--check-config", path], {}, failures)
    wrong = {line.option: line.reasons[0] for line in report.lines if line.status == "wrong"}
    for option, reason in {
            "wsgi-file": "there.txt: no such file in ",
            "home": "is not a virtual environment",
            "logto": "/no/dir/x cannot be created: there is no directory /no/dir",
            "callable": "cannot understand '1x'", "module": "'a b' is not the name of a module",
            "https-socket": "/no/c.pem: No such file", "chdir2": "cannot change to none",
            "mount": "none.py: no such file", "req-logger": "there is no directory /no"}.items():
        assert reason in wrong.pop(option)
    assert not wrong and not report.fine
    report, _ = check([write(good + "chdir = /no/where\n")], {}, failures)
    assert [(line.line, line.reasons) for line in report.lines if line.status == "wrong"] == [
        (5, ("cannot change to /no/where: it is not a directory",))]
    # A hook may create it.
    report, _ = check([write(good + "chdir = /no/where\nhook-asap = exec:true\n")], {}, failures)
    assert report.fine


def test_directories_of_what_would_be_created(tmp_path: Path, write: Callable[..., str]) -> None:
    """Each is reported for its own line; what is below /run may come with the service."""
    (tmp_path / "there").mkdir()
    lines = ["socket = /no/a.sock", f"socket = {tmp_path}/there/a.sock", "http-socket = /no/b.sock",
             "http-socket = 127.0.0.1:0", "uwsgi-socket = @abstract", "shared-socket = :0",
             "http-socket = =0", "https-socket = /no/c.sock,a.crt,a.key", "pidfile = /no/pid",
             "pidfile2 = there/pid", "safe-pidfile = no/pid", "master-fifo = /no/fifo",
             f"master-fifo = {tmp_path}/there/fifo", "flock = /no/lock", "stats = /no/stats",
             "logger = file:/no/all.log", f"logger = x file:{tmp_path}/there/x.log",
             "py-tracebacker = /no/tb", "http-subscription-server = /no/subscriptions",
             "http = /no/http.sock"]
    run = ["socket = /run/no-such-service/a.sock", "pidfile = /var/run/no-such-service/pid"]
    text = f"[uwsgi]\nchdir = {tmp_path}\nmodule = a\n"
    report, _ = check([write(text + "\n".join(lines + run[:1]))], {}, failures)
    wrong = [(f"{line.option} = {line.text}", line.reasons[0]) for line in report.lines
             if line.status == "wrong" and "there is no directory" in line.reasons[0]]
    assert [line for line, _ in wrong] == [
        line for line in lines if "= /no/" in line or "= no/" in line or ":/no/" in line]
    for line, reason in wrong:
        assert reason.startswith((f"{line.rpartition('/no/')[1]}", f"{tmp_path}/no/pid")), reason
    report, _ = check([write(text + "\n".join(run))], {}, failures)
    assert report.fine
    assert [line.reasons[-1] for line in report.lines[-2:]] == [
        f"{one.partition(' = ')[2]} cannot be created: there is no directory "
        f"{one.partition(' = ')[2].rpartition('/')[0]} now (systemd: RuntimeDirectory)"
        for one in run]


@pytest.mark.parametrize("more, means", [
    ("", "a router process accepts the connections"),
    ("threads = 4\n", "the workers accept the connections; there is no router"),
    ("http-router = true\nthreads = 4\n", "a router process accepts the connections"),
    ("http-router = false\n", "the workers accept the connections; there is no router")])
def test_who_accepts_from_http(write: Callable[..., str], more: str, means: str) -> None:
    report, _ = check([write("[uwsgi]\nhttp = :8080\nmodule = a\n" + more)], {})
    line, = [line for line in report.lines if line.option == "http"]
    assert line.reasons[0].startswith(means)
