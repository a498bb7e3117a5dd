"""Lines become settings: precedence, defaults by dialect, origins, JSON."""

import copy
import pickle
from typing import Any

import pytest

from geventuwsgi.config.options.table import OPTIONS
from geventuwsgi.config.settings import Settings
from geventuwsgi.errors import ConfigError, UsageError

LOOPBACK = ("127.0.0.0/8", "::1")
INI = "module = a\nsocket = /run/x.sock\n"


# The commands of the README and what they mean.
@pytest.mark.parametrize(("line", "expected"), [
    ("--http-socket 127.0.0.1:8080 --wsgi-file app.py --callable application --processes 4",
     {"listeners": (("127.0.0.1:8080", "http"),), "wsgi_file": "app.py",
      "callable": "application", "processes": 4}),
    ("--socket /run/app.sock --chmod-socket=660 --module shop.wsgi:application",
     {"listeners": (("/run/app.sock", "uwsgi"),), "chmod_socket": 0o660,
      "module": "shop.wsgi:application"}),
    ("shop.wsgi:application --bind 127.0.0.1:8000 --workers 4",
     {"listeners": (("127.0.0.1:8000", "http"),), "processes": 4,
      "application": "shop.wsgi:application"}),
    ("shop.wsgi:application --protocol uwsgi --bind 127.0.0.1:8000 "
     "--uwsgi-allow-from 10.0.0.1,10.0.0.2",
     {"listeners": (("127.0.0.1:8000", "uwsgi"),), "uwsgi_allow_from": ("10.0.0.1", "10.0.0.2")}),
    ("app:app", {"listeners": (("127.0.0.1:8000", "http"),), "processes": 1, "dialect": "argv",
                 "gevent": 1000, "worker_connections": 1000, "uwsgi_allow_from": LOOPBACK}),
])
def test_commands(resolve: Any, line: str, expected: dict[str, object]) -> None:
    settings = resolve(None, *line.split())
    assert {name: getattr(settings, name) for name in expected} == expected
    assert settings.warnings == ()
    settings.require_application()
    settings.require_sockets()


# text of a [uwsgi] file, arguments, environment, what comes out
PRECEDENCE = [
    ("processes = 2\n", "", {"UWSGI_PROCESSES": "8"}, {"processes": 2}),
    ("x = 1\n", "", {"UWSGI_PROCESSES": "8"}, {"processes": 8}),
    ("processes = 2\n", "--processes 5", {}, {"processes": 5}),
    ("processes = 2\nprocesses = 3\n", "", {}, {"processes": 3}),
    ("processes = 2\nworkers = 3\n", "", {}, {"processes": 3}),
    ("processes = 2\n", "", {"GEVENTUWSGI_PROCESSES": "4"}, {"processes": 4}),
    ("processes = 2\n", "-p 5", {"GEVENTUWSGI_PROCESSES": "4"}, {"processes": 5}),
    ("processes = 2\n", "", {"GEVENTUWSGI_CMD_ARGS": "-p 6"}, {"processes": 6}),
    ("processes = 2\n", "", {"GEVENTUWSGI_CMD_ARGS": "-p 6", "GEVENTUWSGI_PROCESSES": "4"},
     {"processes": 4}),
    ("processes = 2\n", "", {"WEB_CONCURRENCY": "9"}, {"processes": 2}),
    ("", "", {"WEB_CONCURRENCY": "9"}, {"processes": 1}),
    ("[geventuwsgi]\n", "", {"WEB_CONCURRENCY": "9"}, {"processes": 9}),
    ("[geventuwsgi]\n", "", {"WEB_CONCURRENCY": ""}, {"processes": 1}),
    ("[geventuwsgi]\nprocesses = 2\n", "", {"WEB_CONCURRENCY": "9"}, {"processes": 2}),
    ("[geventuwsgi]\nprocesses = 2\n", "", {"UWSGI_PROCESSES": "3"}, {"processes": 2}),
    ("[geventuwsgi]\nprocesses = 2\n", "", {"GEVENTUWSGI_PROCESSES": "4"}, {"processes": 4}),
    ("[geventuwsgi]\nprocesses = 2\n", "-w 5", {"GEVENTUWSGI_PROCESSES": "4"}, {"processes": 5}),
    # lists are added in uWSGI's dialect, and replace each other in ours
    ("socket = a.sock\n", "--socket b.sock", {"UWSGI_SOCKET": "c.sock"},
     {"socket": ("c.sock", "a.sock", "b.sock")}),
    ("socket = a.sock\n", "", {"GEVENTUWSGI_SOCKET": "c.sock"}, {"socket": ("c.sock",)}),
    ("[geventuwsgi]\nbind = :1\nbind = :2\n", "", {}, {"bind": (":1", ":2")}),
    ("[geventuwsgi]\nbind = :1,:2\n", "-b :3 -b :4", {}, {"bind": (":3", ":4")}),
    ("[geventuwsgi]\nenv = A=1\n", "-e B=2", {}, {"env": ("A=1", "B=2")}),
    ("pythonpath = a,b\npythonpath = c\n", "", {}, {"pythonpath": ("a,b", "c")}),
    ("[geventuwsgi]\npythonpath = a,b\n", "", {}, {"pythonpath": ("a", "b")}),
    ("http-keepalive = 20\n", "", {}, {"keepalive": 20}),
    ("keepalive = 5\nhttp-keepalive = 1\n", "", {}, {"keepalive": 75}),
    ("forwarded-allow-ips = *\n", "", {"FORWARDED_ALLOW_IPS": "10.0.0.1"},
     {"forwarded_allow_ips": ("*",)}),
    ("", "", {"FORWARDED_ALLOW_IPS": "10.0.0.1, 10.2.0.0/16"},
     {"forwarded_allow_ips": ("10.0.0.1", "10.2.0.0/16")}),
]


@pytest.mark.parametrize(("text", "arguments", "environ", "expected"), PRECEDENCE)
def test_precedence(resolve: Any, text: str, arguments: str, environ: dict[str, str],
                    expected: dict[str, object]) -> None:
    settings = resolve(text, *arguments.split(), environ=environ)
    assert {name: getattr(settings, name) for name in expected} == expected


def test_a_file_after_an_argument_wins_with_a_warning(write: Any) -> None:
    from geventuwsgi.config.load.arguments import read
    path = write("processes = 2\n")
    settings, _ = read(["--processes", "5", "--ini", path], {})
    assert settings is not None and settings.processes == 2
    assert any("the file is named after --processes" in warning for warning in settings.warnings)


# text, attributes
DERIVED = [
    # application slots: never more than the file was written for
    ("", {"slots": 1, "worker_reload_mercy": 60, "worker_timeout": 30,
          "worker_timeout_action": "log", "harakiri": 0}),
    ("gevent = 100\nthreads = 4\n", {"slots": 100}),
    ("async = 50\n", {"slots": 50}),
    ("threads = 4\n", {"slots": 4}),
    ("threads = true\n", {"slots": 1}),
    ("gevent = 0\n", {"slots": 1}),
    ("[geventuwsgi]\n", {"slots": 1000, "worker_reload_mercy": 30,
                         "worker_timeout_action": "replace"}),
    ("[geventuwsgi]\nworker-class = sync\n", {"slots": 1}),
    ("[geventuwsgi]\nworker-class = gthread\n", {"slots": 1}),
    ("[geventuwsgi]\nworker-class = gthread\nthreads = 3\n", {"slots": 3}),
    # the timeout of stuck workers
    ("harakiri = 60\n", {"worker_timeout": 60, "worker_timeout_action": "replace"}),
    ("worker-timeout = 5\n", {"worker_timeout": 5, "worker_timeout_action": "replace"}),
    ("[geventuwsgi]\ntimeout = 0\n", {"worker_timeout": None, "harakiri": 0}),
    ("[geventuwsgi]\nharakiri = 10\n", {"worker_timeout": 10}),
    ("[geventuwsgi]\nharakiri = 90\n", {"worker_timeout": 30}),
    # if some paths may take longer, the worker is not killed before
    ("harakiri = 30\nharakiri-path = /a=120\n",
     {"worker_timeout": 120, "worker_timeout_action": "replace"}),
    ("harakiri = 30\nharakiri-path = /a=0\n", {"worker_timeout_action": "log"}),
    ("[geventuwsgi]\nharakiri = 10\nharakiri-path = /a=20\n", {"worker_timeout": 20}),
    # buffer-size also limits the parts of a head
    ("", {"buffer_size": 65536, "head_limit": 65536, "limit_request_line": 8190,
          "limit_request_field_size": 8190, "limit_request_fields": 100}),
    ("buffer-size = 32768\n", {"head_limit": 32768, "limit_request_line": 32768,
                               "limit_request_field_size": 32768}),
    ("buffer-size = 4096\nlimit-request-line = 1000\n",
     {"limit_request_line": 1000, "limit_request_field_size": 4096}),
    # 0 is gunicorn's "unlimited": as much as a head may have, which is gunicorn's 1 MiB then
    ("limit-request-line = 0\n", {"head_limit": 1 << 20, "limit_request_line": 1 << 20,
                                  "limit_request_field_size": 8190, "buffer_size": 65536}),
    ("limit-request-field_size = 0\nlimit-request-fields = 0\n",
     {"head_limit": 1 << 20, "limit_request_line": 8190, "limit_request_field_size": 1 << 20,
      "limit_request_fields": 32768}),
    ("limit-request-line = 0\nlimit-request-field-size = 0\nbuffer-size = 100000\n",
     {"head_limit": 100000, "limit_request_line": 100000, "limit_request_field_size": 100000}),
    ("limit-request-line = 100\nlimit-request-fields = 99999\n",
     {"limit_request_line": 100, "limit_request_fields": 32768}),
    ("auto-procname = false\nprocname-prefix = x\n", {"auto_procname": True}),
    ("auto-procname = false\n", {"auto_procname": False}),
    # sockets in the order written, each with its protocol
    ("http-socket = :1\nsocket = :2\nhttp = :3\nuwsgi-socket = :4\nsocket = :5\n",
     {"listeners": ((":1", "http"), (":2", "uwsgi"), (":3", "http"), (":4", "uwsgi"),
                    (":5", "uwsgi"))}),
    ("protocol = http\nsocket = :1\nuwsgi-socket = :2\n",
     {"listeners": ((":1", "http"), (":2", "uwsgi"))}),
    ("http11-socket = :1\n", {"listeners": ((":1", "http"),)}),
    ("[geventuwsgi]\nbind = :1\nprotocol = uwsgi\nhttp-socket = :2\n",
     {"listeners": ((":1", "uwsgi"), (":2", "http"))}),
    ("[geventuwsgi]\n", {"listeners": (("127.0.0.1:8000", "http"),)}),
    ("", {"listeners": ()}),
    # addresses allowed to use the uwsgi protocol
    ("socket = 127.0.0.1:1\n", {"uwsgi_allow_from": LOOPBACK}),
    ("socket = localhost:1\nsocket = [::1]:1\nsocket = x.sock\nsocket = @x\nsocket = fd://3\n"
     "http-socket = :1\n", {"uwsgi_allow_from": LOOPBACK}),
    ("socket = :1\nuwsgi-allow-from = 10.0.0.1\n", {"uwsgi_allow_from": ("10.0.0.1",)}),
    ("[geventuwsgi]\nsocket = :1\n", {"uwsgi_allow_from": LOOPBACK}),
    ("import = a\nimport = b.py\n", {"import_": ("a", "b.py")}),
    ("lazy = true\n", {"lazy_apps": True}),
    ("umask = 022\nlisten = 0\n", {"umask": 0o022, "listen": None}),
]


@pytest.mark.parametrize(("text", "expected"), DERIVED)
def test_derived(resolve: Any, text: str, expected: dict[str, object]) -> None:
    settings = resolve(text)
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize("address", [":3031", "0.0.0.0:3031", "10.0.0.1:3031", "web:3031",
                                     "[::]:3031"])
def test_a_uwsgi_socket_beyond_loopback(resolve: Any, address: str) -> None:
    settings = resolve(f"socket = {address}\n")
    assert settings.uwsgi_allow_from == (*LOOPBACK, "10.0.0.0/8", "172.16.0.0/12",
                                         "192.168.0.0/16", "fc00::/7")
    assert any("uwsgi-allow-from" in warning for warning in settings.warnings)


@pytest.mark.parametrize(("environ", "expected"), [
    ({}, (("127.0.0.1:8000", "http"),)),
    ({"PORT": "5000"}, (("0.0.0.0:5000", "http"),)),
    ({"LISTEN_FDS": "1"}, ()),
    ({"UWSGI_MODULE": "x"}, ()),
])
def test_no_socket_is_set(resolve: Any, environ: dict[str, str], expected: object) -> None:
    settings = resolve(None, "app:app", environ=environ)
    assert settings.listeners == expected
    if not expected and "LISTEN_FDS" not in environ:
        with pytest.raises(ConfigError, match="no socket is named"):
            settings.require_sockets()
    else:
        settings.require_sockets()


@pytest.mark.parametrize("file", [
    None, "[uwsgi]\nmodule = a\nhttp-stats-server = 127.0.0.1:9191\n"])
def test_a_socket_that_serves_no_application_is_not_one(resolve: Any, file: str | None) -> None:
    settings = resolve(file, *(() if file else ("app:app", "--http-stats-server=127.0.0.1:9191")),
                       environ={"PORT": "5000"})
    assert ("0.0.0.0:5000", "http") in settings.listeners


def test_a_socket_that_is_named_twice_is_bound_once(resolve: Any) -> None:
    settings = resolve("[uwsgi]\nmodule = a\nsocket = /run/a.sock\n"
                       "http-socket = $(UWSGI_HTTP_SOCKET)\nsocket = /run/a.sock\n"
                       "socket = 127.0.0.1:0\nsocket = 127.0.0.1:0\n",
                       environ={"UWSGI_HTTP_SOCKET": ":8000"})
    assert sorted(settings.listeners) == [
        ("/run/a.sock", "uwsgi"), ("127.0.0.1:0", "uwsgi"), ("127.0.0.1:0", "uwsgi"),
        (":8000", "http")]
    assert len(settings.tls) == len(settings.owners) == 4
    # With two protocols the addresses are two, and one cannot be bound.
    assert len(resolve("[uwsgi]\nmodule = a\nsocket = :80\nhttp-socket = :80\n").listeners) == 2


def test_a_development_run_always_listens(resolve: Any) -> None:
    settings = resolve("module = a\n", dev=True, environ={"WEB_CONCURRENCY": "4"})
    assert settings.listeners == (("127.0.0.1:8000", "http"),)
    assert settings.processes == 1 and settings.dev


def test_no_application_is_set(resolve: Any) -> None:
    with pytest.raises(ConfigError, match="no application is named"):
        resolve("socket = :1\n").require_application()
    resolve("need-app = false\n").require_application()


UNKNOWN = [
    ("vaccum = true\n", "placeholder that nothing refers to; did you mean vacuum?"),
    ("chmod_socket = 660\n", "did you mean chmod-socket?"),
    ("process = 4\n", "did you mean processes?"),
    ("project = x\n", "2: project: there is no such option, it is a placeholder that nothing "
                      "refers to"),
    ("bind = :8000\n", "in a [geventuwsgi] section and on the command line it is bind"),
    ("user = x\n", "did you mean uid?"),
    ("plugins = python3,php\n", "there is no plugin 'php'"),
    ("threads = 4 ; cores\n", "the inline comment '; cores' is cut off"),
]


@pytest.mark.parametrize(("text", "message"), UNKNOWN)
def test_warnings_of_a_uwsgi_section(resolve: Any, text: str, message: str) -> None:
    settings = resolve(text)
    assert len(settings.warnings) == 1
    assert message in settings.warnings[0] and "app.ini:2: " in settings.warnings[0]


@pytest.mark.parametrize("text", [
    "project = x\nchdir = /srv/%(project)\n", "set-ph = project=x\n",
    "strict = true\nset-placeholder = project=x\nchdir = /%(project)\n",
    "master = true\ndie-on-term = true\nthunder-lock = true\nsingle-interpreter\nvacuum\n"
    "plugins = python3\nenable-threads = yes please\nloop = gevent\n",
    "stats = :9191\nstats-no-cores = true\nstats-push = file:/x\n",
])
def test_no_warnings(resolve: Any, text: str) -> None:
    assert resolve(text).warnings == ()


@pytest.mark.parametrize(("text", "message"), [
    ("strict = true\nvaccum = true\n", "3: vaccum: there is no such option; did you mean vacuum?"),
    ("vaccum = true\nstrict = true\n", "2: vaccum: there is no such option"),
    ("[geventuwsgi]\nvaccum = true\n", "2: vaccum: there is no such option; did you mean vacuum?"),
    ("chroot = /x\n", "2: chroot: the server starts new interpreters"),
    ("fastcgi-socket = :1\n", "2: fastcgi-socket: .*uwsgi_pass"),
    ("protocol = fastcgi\n", "2: protocol: fastcgi: FastCGI is not supported"),
    ("processes = 0\n", "2: processes: '0': must be at least 1"),
    ("loop = asyncio\n", "2: loop: asyncio: the event loop"),
    ("uid = nobody-has-this\n", "2: uid: there is no user"),
])
def test_errors(resolve: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="app.ini:" + message) as caught:
        resolve(text)
    assert not isinstance(caught.value, UsageError) and caught.value.exit_status == 1


@pytest.mark.parametrize(("environ", "message"), [
    ({"PORT": "http"}, "^environment: PORT: 'http' is not a port$"),
    ({"PORT": "70000"}, "^environment: PORT: "),
    ({"WEB_CONCURRENCY": "lots"}, "^environment: WEB_CONCURRENCY: 'lots' is not a number$"),
    ({"FORWARDED_ALLOW_IPS": "x"}, "^environment: FORWARDED_ALLOW_IPS: 'x' is not an IP address"),
    ({"GEVENTUWSGI_PROCESSES": "x"}, "^environment: GEVENTUWSGI_PROCESSES: 'x' is not a number$"),
    ({"UWSGI_PROCESSES": "x"}, "^environment: UWSGI_PROCESSES: 'x' is not a number$"),
    ({"GEVENTUWSGI_CMD_ARGS": "'"}, "^environment: GEVENTUWSGI_CMD_ARGS: "),
    ({"GEVENTUWSGI_CMD_ARGS": "--processes x"}, "^environment: GEVENTUWSGI_CMD_ARGS: 'x'"),
    ({"GEVENTUWSGI_CMD_ARGS": "--proceses 3"},
     "^environment: GEVENTUWSGI_CMD_ARGS: --proceses: there is no such option"),
    ({"GEVENTUWSGI_INI": "/nowhere"}, "^environment: GEVENTUWSGI_INI: cannot read /nowhere"),
])
def test_errors_of_the_environment(resolve: Any, environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(None, "app:app", environ=environ)


def test_other_programs_variables_are_ignored(resolve: Any) -> None:
    settings = resolve(None, "app:app", environ={"GEVENTUWSGI_SECRET_KEY": "x", "UWSGI_FOO": "y"})
    assert settings.warnings == () and settings.dialect == "argv"
    settings = resolve(None, "app:app", environ={"GEVENTUWSGI_PROCESES": "3"})
    assert "did you mean processes?" in settings.warnings[0]


def test_a_file_named_by_a_variable(resolve: Any, write: Any) -> None:
    path = write("module = a\nprocesses = 3\n", "env.ini")
    for variable in ("UWSGI_INI", "GEVENTUWSGI_INI"):
        settings = resolve(None, environ={variable: path})
        assert (settings.processes, settings.files) == (3, (path,))


def test_origins(resolve: Any) -> None:
    settings = resolve("[uwsgi]\nmodule = a\nworkers = 3\nimport = x\n", "-L",
                       environ={"PORT": "80"})
    origin = settings.origin("processes")
    assert (origin.kind, origin.line, origin.option, origin.section) == (
        "file", 3, "workers", "uwsgi")
    assert origin.file == settings.files[0]
    assert settings.origin("import").line == settings.origin("import_").line == 4
    assert settings.origin("disable-logging").place == "command line"
    assert settings.origin("bind").option == "PORT"
    assert settings.origin("harakiri").kind == "default"


def test_json(resolve: Any) -> None:
    settings = resolve("module = a\nsocket = :1\nenv = A=\udcff\nmount = /x=y\nkeepalive = 2.5\n"
                       .encode("utf-8", "surrogateescape").decode("latin-1"))
    for other in (Settings.from_json(settings.to_json()), pickle.loads(pickle.dumps(settings)),
                  copy.deepcopy(settings)):
        assert other == settings
        assert other.listeners == ((":1", "uwsgi"),) and other.keepalive == 2.5
        assert other.origin("module") == settings.origin("module")


def test_frozen(resolve: Any) -> None:
    settings = resolve(INI)
    with pytest.raises(AttributeError):
        settings.processes = 3
    with pytest.raises(AttributeError):
        del settings.processes
    with pytest.raises(AttributeError, match="there is no option 'no-such'"):
        settings.no_such
    assert settings.replace(processes=3).processes == 3
    assert settings.processes == 1
    with pytest.raises(AttributeError):
        settings.replace(no_such=3)


def test_every_row_has_its_attribute(resolve: Any) -> None:
    settings = resolve(INI)
    for option in OPTIONS:
        if option.status == "taken":
            assert hasattr(settings, option.attribute), option.name


def test_given(resolve: Any) -> None:
    settings = resolve("module = a\nenable-threads = true\nmine = 1\n", "--master")
    assert ("enable-threads", "true") in settings.given
    assert ("mine", "1") in settings.given and ("master", None) in settings.given


def test_two_applications(resolve: Any) -> None:
    with pytest.raises(UsageError, match="'b:b': the application is already 'a:a'"):
        resolve(None, "a:a", "b:b")
