"""The table: no name twice, no option without a text or a reason."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import geventuwsgi
from geventuwsgi.config.commands import help
from geventuwsgi.config.options.aliases import NAMES_OF
from geventuwsgi.config.options.option import Option, shared
from geventuwsgi.config.options.table import BY_NAME, OPTIONS, nearest, row, suggest
from geventuwsgi.errors import ConfigError


def test_no_name_and_no_letter_twice() -> None:
    names = Counter(name for option in OPTIONS for name in option.names)
    letters = Counter(letter for option in OPTIONS for letter in option.letters)
    assert [name for name, count in (names + letters).items() if count > 1] == []


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_rows_are_complete(option: Option) -> None:
    assert option.status in ("taken", "ignored", "refused", "directive", "command")
    if option.status in ("ignored", "refused"):
        assert option.reason and not option.section
    else:
        assert option.help and option.section and not option.help.endswith(".")
    if option.value_type.repeats:
        assert isinstance(option.default, tuple)
    if option.to:
        assert row(option.to) is not None


def test_files_that_a_reason_names_are_where_it_says() -> None:
    named = [path for option in OPTIONS
             for path in re.findall(r"\S*(?:conf|docs|init)/[\w@.-]*\w", option.reason)]
    assert len(named) > 1 and all(path[0] == "/" and Path(path).is_file() for path in named)
    assert str(Path(geventuwsgi.__file__).parents[1]) not in help.reference()


@pytest.mark.parametrize(("package", "directory"), [
    ("checkout/geventuwsgi", "checkout/"),
    ("venv/lib/python3.11/site-packages/geventuwsgi", "venv/share/geventuwsgi/"),
    ("usr/lib/python3/dist-packages/geventuwsgi", "usr/share/geventuwsgi/"),
    ("home/.local/lib/python3.14/site-packages/geventuwsgi", "home/.local/share/geventuwsgi/"),
    ("target/geventuwsgi", "target/share/geventuwsgi/"),
    ("some/lib/python3.12/site-packages/geventuwsgi", ""),
])
def test_where_pip_puts_the_files_beside_the_package(
        tmp_path: Path, package: str, directory: str) -> None:
    (tmp_path / package).mkdir(parents=True)
    if directory:
        (tmp_path / directory / "docs").mkdir(parents=True)
        (tmp_path / directory / "docs/options.rst").touch()
    assert shared(tmp_path / package) == (directory and f"{tmp_path}/{directory}")


# Families whose attribute names are composed where they are read.
FAMILIES = ("hook_", "exec_", "attach_", "smart_attach_", "unique_cron", "touch_exec",
            "static_expires_", "wait_for_")


def test_each_taken_option_is_read_somewhere() -> None:
    """An option that no code reads would have no effect."""
    words = set(re.findall(r"\w+", "".join(
        path.read_text() for path in Path(geventuwsgi.__file__).parent.rglob("*.py")
        if path.parent.name != "options")))
    taken = [option for option in OPTIONS if option.status == "taken" and not option.to]
    assert [option.name for option in taken if option.attribute not in words
            and not option.attribute.startswith(FAMILIES)] == []


def test_names_of_uvicorn(resolve: Any) -> None:
    settings = resolve(None, "--timeout-keep-alive", "5", "--timeout-graceful-shutdown=9",
                       "--limit-max-requests", "100", "--limit-max-requests-jitter", "10",
                       "--app-dir", "src", "--header", "X-A:b", "--no-access-log",
                       "--ssl-certfile", "a.pem", "--proxy-headers", "--ws", "auto",
                       "--ws-ping-interval", "7", "--timeout-worker-healthcheck", "11", "a:b")
    assert (settings.keepalive, settings.worker_reload_mercy, settings.max_requests,
            settings.max_requests_jitter, settings.worker_timeout) == (5, 9, 100, 10, 11)
    assert settings.pythonpath[-1].endswith("src") and settings.disable_logging
    assert len(settings.add_header) == 1
    assert settings.certfile == "a.pem" and settings.ws_ping_interval == 7
    for name in frozenset().union(*NAMES_OF.values()):  # a [uwsgi] section may have placeholders
        assert row(name) is not None and row(name, uwsgi=True) is None


@pytest.mark.parametrize(("arguments", "words"), [
    (("--port", "many"), "--port: "),
    (("--no-server-header",), "write server-header = false"),
    (("--ws", "none"), "--ws: none: WebSockets are served"),
    (("--loop", "uvloop"), "--loop: uvloop: write asgi-loop = uvloop"),
    (("--http", "h11"), "--http: h11 is a parser's name or a version in uvicorn and granian"),
    (("--http", "1"), "--http: 1 is a parser's name or a version"),
    (("-k", "uvloop"), "-k: uvloop: write interface = asgi and asgi-loop = uvloop"),
    (("-k", "eventlet"), "-k: eventlet: write worker-class = gevent"),
    (("-k", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"), "simple-websocket"),
])
def test_uvicorns_options_with_another_name(resolve: Any, arguments: tuple[str, ...],
                                            words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(None, *arguments, "a:b")
    assert words in str(caught.value)


@pytest.mark.parametrize(("arguments", "attribute", "value"), [
    (("-k", "gunicorn.workers.ggevent.GeventWorker"), "worker_class", "gevent"),
    (("-k", "Gunicorn.Workers.Sync.SyncWorker"), "worker_class", "sync"),
    (("--log-level", "trace"), "log_level", "debug"),
    (("--log-level=WARN",), "log_level", "warning"),
    (("--http", "./h11"), "http", ("./h11",))])
def test_other_spellings(resolve: Any, arguments: tuple[str, ...], attribute: str,
                         value: object) -> None:
    settings = resolve(None, *arguments, "a:b")
    assert getattr(settings, attribute) == value and not settings.warnings


def test_names_of_granian_and_hypercorn(resolve: Any) -> None:
    settings = resolve(None, "--uds-permissions", "660", "--blocking-threads", "3", "--working-dir",
                       "/", "--http1-buffer-size", "9000", "--pid-file", "p", "--process-name", "x",
                       "--ssl-certificate", "c", "--ssl-ca", "a", "--verify-mode", "CERT_REQUIRED",
                       "--ssl-protocol-min", "tls1.3", "--workers-lifetime", "1h",
                       "--workers-max-rss", "512", "--workers-kill-timeout", "9", "--task-impl",
                       "rust", "--error-log", "-", "--read-timeout", "7",
                       "--websocket-ping-interval", "5", "a:b")
    assert (settings.chmod_socket, settings.threads, settings.chdir, settings.buffer_size) == (
        0o660, 3, "/", 9000)
    assert (settings.pidfile, settings.procname_prefix_spaced) == ("/p", "x")
    assert (settings.cert_reqs, settings.ssl_version) == ("required", "TLSv1.3")
    assert (settings.max_worker_lifetime, settings.reload_on_rss) == (3600, 512)
    assert (settings.worker_reload_mercy, settings.socket_timeout) == (9, 7)
    assert (settings.error_logfile, settings.ws_ping_interval) == ("-", 5)
    assert not settings.warnings
    for name in ("backpressure", "no-http1-keep-alive", "static-path-mount", "debug", "quic-bind"):
        with pytest.raises(ConfigError, match=f"--{name}: "):
            resolve(None, f"--{name}", "a:b")
    assert suggest("debug", "true", uwsgi=True) == "" == suggest("log", "x", uwsgi=True)


def test_gunicorns_names_are_placeholders_in_uwsgi_sections() -> None:
    for name in ("timeout", "user", "name", "bind", "application"):
        assert row(name) is not None and row(name, uwsgi=True) is None
    for name in ("threads", "workers", "worker-connections", "uwsgi-allow-from"):
        assert row(name, uwsgi=True) is BY_NAME[name]


@pytest.mark.parametrize(("name", "close"), [
    ("vaccum", "vacuum"), ("chmod_socket", "chmod-socket"), ("process", "processes"),
    ("chmod-sock", "chmod-socket"), ("HARAKIRI", "harakiri"), ("project", None), ("base", None),
    ("bufer-size", "buffer-size"), ("psgi", None), ("cache-expires", None), ("modul", "module"),
    ("hom", "home"),
])
def test_nearest(name: str, close: str | None) -> None:
    assert nearest(name, uwsgi=True) == close


def test_a_common_placeholder_has_no_hint() -> None:
    assert suggest("name", "shop", uwsgi=True) == ""
    assert suggest("user", "deploy", uwsgi=True) == "did you mean uid?"


def test_every_option_has_a_help_text() -> None:
    for name in BY_NAME:
        text = help.about(name)
        assert "``" not in text and len(text) > 20
