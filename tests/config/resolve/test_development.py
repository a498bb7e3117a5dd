"""The settings of a development run, and those of a file that it does not use."""

from collections.abc import Callable

import pytest

from geventuwsgi.config.load.arguments import read
from geventuwsgi.config.options.option import Option
from geventuwsgi.config.options.table import OPTIONS
from geventuwsgi.config.resolve.development import DEFAULTS, OVERRIDES
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.values.daemons import Daemon
from geventuwsgi.config.values.hooks import CommandLine, Hook
from geventuwsgi.config.values.router import Spec
from geventuwsgi.config.values.tls import ServerName, TlsSocket
from geventuwsgi.config.values.types import Account, Address, Owner
from geventuwsgi.errors import ConfigError, UsageError

Resolve = Callable[..., Settings]

PRODUCTION = """[uwsgi]
module = shop
socket = /run/shop.sock
processes = 8
cheaper = 2
cheaper-step = 2
gevent = 20
uid = root
chown-socket = root
pidfile = /run/shop.pid
daemonize = /var/log/shop.log
touch-logreopen = /run/reopen
harakiri = 30
harakiri-path = /reports=60
worker-reload-mercy = 60
subscribe-to = 127.0.0.1:4040:shop
disable-logging = true
logger = syslog
log-req-encoder = json {}
log-maxsize = 1000000
exit-on-reload = true
block-warning = 100
"""


def test_production_settings_are_not_used(resolve: Resolve) -> None:
    settings = resolve(PRODUCTION, dev=True)
    for name, value in OVERRIDES.items():
        assert getattr(settings, name) == (None if name == "worker_timeout" else value), name
    assert settings.listeners == (("127.0.0.1:8000", "http"),)
    assert (settings.dev, settings.reload, settings.py_autoreload) == (True, True, 0.5)
    assert (settings.gevent, settings.block_warning) == (20, 100)
    note = settings.notes[1]
    assert note.startswith("not used in a development run: socket (")
    assert "app.ini:4)" in note and "subscribe-to" in note and "block-warning" not in note
    assert not settings.warnings
    ordinary = resolve(PRODUCTION)
    assert (ordinary.dev, ordinary.processes, ordinary.harakiri) == (False, 8, 30)
    assert not ordinary.reload and not ordinary.py_autoreload


def test_the_command_line_wins(resolve: Resolve) -> None:
    settings = resolve(PRODUCTION, "--dev", "--processes", "4", "--harakiri=5", "--no-reload",
                       "--worker-timeout", "9", "--logto", "log", "--block-warning", "0")
    assert (settings.processes, settings.harakiri, settings.worker_timeout, settings.logto) == (
        4, 5, 9, "log")
    assert not settings.reload and not settings.py_autoreload and not settings.block_warning
    assert "a changed file" not in settings.notes[0]


@pytest.mark.parametrize(("text", "arguments", "environ", "dev"), [
    ("[geventuwsgi]\nmodule = a\ndev = true\n", (), {}, True),
    ("[geventuwsgi]\nmodule = a\ndev = true\n", ("--no-dev",), {}, False),
    ("[geventuwsgi]\nmodule = a\n", ("--dev",), {}, True),
    ("[uwsgi]\nmodule = a\ndev = true\n", (), {}, False),   # a placeholder of uWSGI's
    (None, ("a:b",), {"GEVENTUWSGI_DEV": "1"}, True),
    (None, ("a:b", "--dev=false"), {"GEVENTUWSGI_DEV": "1"}, False),
])
def test_where_dev_is_set(resolve: Resolve, text: str | None, arguments: tuple[str, ...],
                          environ: dict[str, str], dev: bool) -> None:
    assert resolve(text, *arguments, environ=environ).dev is dev


def test_dev_is_switched_off(resolve: Resolve) -> None:
    for argument in ("--no-dev", "--dev=false"):
        settings = resolve(None, "a:b", argument, dev=True)
        assert not settings.dev and all(
            getattr(settings, name) != value for name, value in DEFAULTS.items())


@pytest.mark.parametrize(("text", "arguments", "environ", "listeners"), [
    ("module = a\n", (), {}, ["127.0.0.1:8000"]),
    ("module = a\nhttp-socket = :9000\n", (), {}, [":9000"]),
    ("module = a\nhttp = :9000\n", (), {}, [":9000"]),
    ("module = a\nsocket = x\nprotocol = http\n", (), {}, ["127.0.0.1:8000"]),
    ("module = a\nsocket = localhost:7000\nprotocol = http\n", (), {}, ["localhost:7000"]),
    ("module = a\nsocket = x\n", ("--bind", ":7000"), {}, [":7000"]),
    ("module = a\n", ("--socket", "x", "--bind", ":7000"), {}, ["x", ":7000"]),
    ("module = a\nhttp-socket = :80\nhttp-socket = [::1]:5000\n", (), {}, ["[::1]:5000"]),
    ("module = a\nhttp-socket = 10.0.0.5:8080\nhttps = :8443,a.crt,a.key\n", (), {},
     ["127.0.0.1:8000"]),
    ("module = a\nhttp-socket = :80\n", (), {"PORT": "5000"}, ["127.0.0.1:5000"]),
    ("http = 127.0.0.1:8080\nhttp-to = 127.0.0.1:3031\n", (), {}, ["127.0.0.1:8080"]),
    (None, ("a",), {"PORT": "5000"}, ["127.0.0.1:5000"]),
    (None, ("a",), {"LISTEN_FDS": "1"}, []),
])
def test_sockets(resolve: Resolve, text: str | None, arguments: tuple[str, ...],
                 environ: dict[str, str], listeners: list[str]) -> None:
    settings = resolve(text, *arguments, environ=environ, dev=True)
    assert [address for address, _ in settings.listeners] == listeners
    exposed = [note for note in settings.notes if "clients that can connect" in note]
    assert len(exposed) == sum(address.startswith(":") for address in listeners)


ELSEWHERE = (Account, Address, Daemon, Hook, CommandLine, Owner, Spec, TlsSocket, ServerName)
TEXTS: dict[type, str] = {Account: "no-such-user", Address: "10.1.2.3:80", Owner: "no-such-user",
                          TlsSocket: "10.1.2.3:443,/no/crt,/no/key", ServerName: "a /no/crt,/no/k"}


@pytest.mark.parametrize("option", [
    option for option in OPTIONS if option.status == "taken"
    and isinstance(getattr(option.value_type, "of", option.value_type), ELSEWHERE)],
    ids=lambda option: option.name)
def test_nothing_of_another_machine_is_used(resolve: Resolve, option: Option) -> None:
    """Whatever option of such a type there will be: addresses, accounts, certificates, programs."""
    kind = getattr(option.value_type, "of", option.value_type)
    texts = [text for one, text in TEXTS.items() if isinstance(kind, one)]
    if isinstance(kind, Spec):
        texts = ["server=10.1.2.3:4040,key=a", "10.1.2.3:80:a", "/a=10.1.2.3:80",
                 "10.1.2.3:80", "SHA1:/no/keys"]
    # The form of a value counts, as in every other run.
    for text in texts or ["exec:/no/program", "/no/program", "cmd=/no/program",
                          "/no/file exec:/no/program", "/no/file /no/program"]:
        try:
            settings = resolve(f"[geventuwsgi]\nmodule = a\n{option.name} = {text}\n", dev=True)
        except ConfigError:
            continue
        assert settings.origin(option.attribute).kind == "default"
        assert settings.listeners == (("127.0.0.1:8000", "http"),)
        return
    raise AssertionError(f"none of {texts} is a value")


def test_flags_are_switched_off() -> None:
    settings, _ = read(["a:b", "--vacuum", "--no-vacuum", "--no-auto-procname"], {})
    assert settings is not None and not settings.vacuum and not settings.auto_procname
    for argument in ("--no-processes", "--no-vacuum=1", "--no-such"):
        with pytest.raises(UsageError, match="there is no such option"):
            read(["a:b", argument], {})


def test_an_extra_file_without_autoreload_is_a_warning(resolve: Resolve) -> None:
    arguments = ("a:b", "--reload-extra-file", ".env", "--reload-extra-file=*.yaml")
    for more in (("--reload",), ("--dev",), ("--py-autoreload=2",)):
        settings = resolve(None, *arguments, *more)
        assert settings.reload_extra_file == (".env", "*.yaml") and not settings.warnings
    text = "[uwsgi]\nmodule = a\nreload-extra-file = .env\nreload-extra-file = %d*.yaml\n"
    settings = resolve(text, dev=True)
    assert settings.reload_extra_file[0] == ".env" and len(settings.reload_extra_file) == 2
    assert not resolve(text).warnings  # in a file it is for development runs
    assert resolve(None, *arguments).warnings == (
        "command line: reload-extra-file: has no effect without py-autoreload",)
