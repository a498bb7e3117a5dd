"""Environment variables: their precedence, and messages for wrong values."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from geventuwsgi.config.load.arguments import check, read
from geventuwsgi.config.settings import Settings
from geventuwsgi.errors import ConfigError

Write = Callable[..., str]

# From the weakest to the strongest, each with the number that it sets.
PLACES = {"PLATFORM": 2, "UWSGI": 3, "FILE": 4, "ARGUMENTS": 5, "OWN": 6, "ARGV": 7}


def found(written: tuple[str, ...], path: str) -> Settings:
    variables = {"PLATFORM": "WEB_CONCURRENCY", "UWSGI": "UWSGI_WORKERS",
                 "OWN": "GEVENTUWSGI_PROCESSES"}
    environ = {variables[place]: str(PLACES[place]) for place in written if place in variables}
    if "ARGUMENTS" in written:
        environ["GEVENTUWSGI_CMD_ARGS"] = f"--vacuum --workers {PLACES['ARGUMENTS']}"
    argv = ["-p", str(PLACES["ARGV"])] if "ARGV" in written else []
    settings, _ = read([path, *argv], environ)
    assert settings is not None
    return settings


@pytest.mark.parametrize("section", ["geventuwsgi", "uwsgi"])
def test_the_strongest_source_wins(write: Write, section: str) -> None:
    """argv > GEVENTUWSGI_* > GEVENTUWSGI_CMD_ARGS > file > UWSGI_* > platform > default."""
    with_line = write(f"[{section}]\nprocesses = {PLACES['FILE']}\n", "with.ini")
    without = write(f"[{section}]\nthreads = 2\n", "without.ini")
    for count in range(len(PLACES) + 1):
        for written in itertools.combinations(PLACES, count):
            path = with_line if "FILE" in written else without
            # A [uwsgi] file sets the number: the database was sized for it.
            counted = [place for place in written
                       if place != "PLATFORM" or section == "geventuwsgi"]
            expected = PLACES[counted[-1]] if counted else 1
            assert found(written, path).processes == expected, written


PLATFORM = [
    ({"PORT": " 80 "}, "bind", ("0.0.0.0:80",)),
    ({"PORT": ""}, "bind", ("127.0.0.1:8000",)),
    ({"PORT": "80", "GEVENTUWSGI_BIND": ":81"}, "bind", (":81",)),
    ({"PORT": "80", "UWSGI_HTTP_SOCKET": ":81"}, "bind", ()),
    ({"WEB_CONCURRENCY": " "}, "processes", 1),
    ({"WEB_CONCURRENCY": "3"}, "processes", 3),
    ({"WEB_CONCURRENCY": "3", "UWSGI_PROCESSES": "4"}, "processes", 4),
    ({"FORWARDED_ALLOW_IPS": "*"}, "forwarded_allow_ips", ("*",)),
    ({"FORWARDED_ALLOW_IPS": "10.0.0.0/8, ::1"}, "forwarded_allow_ips", ("10.0.0.0/8", "::1")),
    ({"FORWARDED_ALLOW_IPS": "*", "GEVENTUWSGI_FORWARDED_ALLOW_IPS": "::1"},
     "forwarded_allow_ips", ("::1",)),
    ({"FORWARDED_ALLOW_IPS": ""}, "forwarded_allow_ips", ("127.0.0.1", "::1")),
    ({"GEVENTUWSGI_PROCESSES": ""}, "processes", 1),
    ({"GEVENTUWSGI_TIMEOUT": "4"}, "worker_timeout", 4),
    ({"GEVENTUWSGI_VACUUM": "no"}, "vacuum", False),
    ({"UWSGI_VACUUM": ""}, "vacuum", True),
    ({"UWSGI_ENV": "A=1", "GEVENTUWSGI_ENV": "B=2"}, "env", ("A=1", "B=2")),
    ({"GEVENTUWSGI_CMD_ARGS": "--env 'A=1 2' mod:app"}, "env", ("A=1 2",)),
    ({"GEVENTUWSGI_CMD_ARGS": "mod:app"}, "application", "app:app"),  # argv names it, too
    ({"UWSGI_VASSALS_DIR": "/etc", "UWSGI_RELOADS": "1"}, "processes", 1),
]


@pytest.mark.parametrize(("environ", "name", "value"), PLATFORM)
def test_values(resolve: Any, environ: dict[str, str], name: str, value: object) -> None:
    settings = resolve(None, "app:app", environ=environ)
    assert getattr(settings, name) == value


def test_an_application_of_the_environment() -> None:
    for name, text in (("GEVENTUWSGI_CMD_ARGS", "mod:app -w 2"),
                       ("GEVENTUWSGI_WSGI_APP", "mod:app"), ("GEVENTUWSGI_APPLICATION", "mod:app")):
        settings, _ = read([], {name: text})
        assert settings is not None and settings.application == "mod:app"
        assert settings.origin("application").option == name


WRONG = [
    ({"PORT": "\u00b2"}, "environment: PORT: '\u00b2' is not a port"),
    ({"PORT": "0"}, "environment: PORT: '0' is not a port"),
    ({"PORT": "tcp://10.0.0.2:80"}, "environment: PORT: 'tcp://10.0.0.2:80' is not a port"),
    ({"WEB_CONCURRENCY": "2.5"}, "environment: WEB_CONCURRENCY: '2.5' is not a whole number"),
    ({"WEB_CONCURRENCY": "0"}, "environment: WEB_CONCURRENCY: '0': must be at least 1"),
    ({"FORWARDED_ALLOW_IPS": "localhost"},
     "environment: FORWARDED_ALLOW_IPS: 'localhost' is not an IP address, a network such as "
     "10.0.0.0/8, or *"),
    ({"GEVENTUWSGI_WORKERS": "-1"}, "environment: GEVENTUWSGI_WORKERS: '-1': must be at least 1"),
    ({"GEVENTUWSGI_VACUUM": "2"}, "environment: GEVENTUWSGI_VACUUM: '2' is neither true nor false"),
    ({"GEVENTUWSGI_INI": "none.ini"},
     "environment: GEVENTUWSGI_INI: cannot read none.ini: No such file or directory"),
    ({"GEVENTUWSGI_CHROOT": "/srv"},
     "environment: GEVENTUWSGI_CHROOT: the server starts new interpreters, which are not "
     "in the new root: use a container, or RootDirectory of systemd"),
    ({"GEVENTUWSGI_CMD_ARGS": "--version"},
     "environment: GEVENTUWSGI_CMD_ARGS: --version is only valid on the command line"),
    ({"GEVENTUWSGI_CMD_ARGS": "a:b 'c"},
     "environment: GEVENTUWSGI_CMD_ARGS: No closing quotation"),
    ({"GEVENTUWSGI_CMD_ARGS": "--workers"},
     "environment: GEVENTUWSGI_CMD_ARGS: --workers: needs a value (N)"),
    ({"UWSGI_PROCESSES": ""}, "environment: UWSGI_PROCESSES: '': must be at least 1"),
    ({"UWSGI_HTTP_SOCKET": "a b"},
     "environment: UWSGI_HTTP_SOCKET: 'a b': an address cannot contain blanks"),
    ({"UWSGI_INI": "none.ini"},
     "environment: UWSGI_INI: cannot read none.ini: No such file or directory"),
]


@pytest.mark.parametrize(("environ", "message"), WRONG)
def test_bad_values_name_the_variable(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(["app:app"], environ)
    assert str(caught.value) == message and caught.value.exit_status == 1
    report, _ = check(["--check-config", "app:app"], environ)
    assert not report.fine


def test_the_check_reports_variables() -> None:
    report, _ = check(["--check-config", "a:b"], {"GEVENTUWSGI_TIMEOUT": "4", "UWSGI_VACCUM": "1",
                                                  "UWSGI_VERSION": "2.0"})
    statuses = {(line.file, line.option): line.status for line in report.lines}
    assert statuses == {
        ("environment", "GEVENTUWSGI_TIMEOUT"): "taken", ("command line", "application"): "taken",
        ("environment", "UWSGI_VACCUM"): "unknown", ("environment", "UWSGI_VERSION"): "ignored"}
    assert report.fine  # UWSGI_VERSION alone does not select uWSGI's defaults, without a socket
