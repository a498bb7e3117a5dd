"""Options as keyword arguments: those that are served, and those that are refused."""

from pathlib import Path

import pytest

from geventuwsgi.config.load import keywords
from geventuwsgi.config.options.table import OPTIONS
from geventuwsgi.errors import ConfigError


def test_values_of_every_type() -> None:
    settings = keywords.read({
        "http_socket": ["127.0.0.1:0", ":8001"], "bind": "unix:/tmp/app.sock",
        "harakiri": 2.5, "gevent": 7, "server_header": False, "keep_alive": 3,
        "accesslog": Path("/tmp/access.log"), "add_header": ("A: 1", "B: 2"),
        "static_map": "/static=/srv", "threads": None, "import_": None}, {})
    assert settings.listeners == (("127.0.0.1:0", "http"), (":8001", "http"),
                                  ("unix:/tmp/app.sock", "http"))
    assert (settings.harakiri, settings.gevent, settings.keepalive) == (2.5, 7, 3)
    assert settings.server_header is False and settings.access_logfile == "/tmp/access.log"
    assert settings.add_header == ("A: 1", "B: 2")
    assert settings.origin("harakiri").place == "serve()"


def test_the_environment_is_weaker() -> None:
    environ = {"GEVENTUWSGI_HARAKIRI": "9", "GEVENTUWSGI_KEEPALIVE": "8", "WEB_CONCURRENCY": "4",
               "PORT": "8123", "UWSGI_PROCESSES": "3"}
    settings = keywords.read({"harakiri": 5}, environ)
    assert (settings.harakiri, settings.keepalive, settings.processes) == (5, 8, 1)
    assert settings.listeners == (("0.0.0.0:8123", "http"),)
    assert settings.dialect == "argv"
    with pytest.raises(ConfigError, match="environment: GEVENTUWSGI_PROCESSES: serve.. is one"):
        keywords.read({}, {"GEVENTUWSGI_PROCESSES": "4"})


def test_the_default_socket() -> None:
    assert keywords.read({}, {}).listeners == (("127.0.0.1:8000", "http"),)


def test_one_slot_has_no_router() -> None:
    settings = keywords.read({"http": ":8000", "gevent": 1}, {})
    assert not settings.router and settings.listeners == ((":8000", "http"),)


@pytest.mark.parametrize("options", [
    {"workers": 1}, {"processes": "1"}, {"reload": False}, {"cheaper": 0}, {"daemonize": ""},
    {"uid": None}, {"master": True}, {"preload_app": False}])
def test_switching_off_is_not_an_error(options: dict[str, object]) -> None:
    assert keywords.read(options, {}).processes == 1


@pytest.mark.parametrize(("options", "message"), [
    ({"workers": 2}, "workers: serve() is one worker in the caller's process; for more start"),
    ({"processes": "auto"}, "processes: serve() is one worker"),
    ({"vaccum": True}, "vaccum: there is no such option; did you mean vacuum?"),
    ({"loglevl": "info"}, "loglevl: there is no such option; did you mean log_level?"),
    ({"nothing_like_it": 1}, "nothing_like_it: there is no such option"),
    ({"master_fifo": "x"}, "master_fifo: it needs a master"),
    ({"harakiri": [1, 2]}, "harakiri: takes one value, not a list"),
    ({"harakiri": "soon"}, "harakiri: 'soon' is not a number of seconds"),
    ({"bind": object()}, "bind: takes text, a number, a boolean or a list of these, not object"),
    ({"host": "::1"}, 'host: host and port are one option: write bind="HOST:PORT"'),
    ({"no_server_header": True}, "no_server_header: write server_header=False"),
    ({"http_socket": [True]}, "http_socket: takes ADDRESS, not True; None leaves it out"),
    ({"accesslog": False}, "accesslog: takes PATH, not False; None leaves it out"),
    ({"http_socket": [70000]}, "http_socket: '70000' is not a port (0 to 65535)"),
    ({"workers": 0}, "workers: must be at least 1"),
    ({"chroot": "/srv"}, "chroot: "),
    ({"module": "a:b"}, "module: the application is the object passed to serve()"),
    ({"ini": "app.ini"}, "ini: serve() reads no files"),
    ({"uid": "www-data"}, "uid: the process belongs to the caller: do this before serve()"),
    ({"reload": True}, "reload: serve() is one worker"),
    ({"touch_reload": "x"}, "touch_reload: serve() is one worker"),
    ({"cheaper": 1}, "cheaper: serve() is one worker"),
    ({"timeout": 30}, "timeout: serve() is one worker in the caller's process, without a master to "
                      "start another: harakiri ends requests"),
    ({"daemon": True}, "daemon: it needs a master: start geventuwsgi as a program"),
    ({"http_to": "127.0.0.1:1"}, "http_to: it needs a master"),
    ({"hook_as_user": "print:x"}, "hook_as_user: call it before or after serve()"),
    ({"procname": "shop"}, "procname: the process, and its name, belong to the caller"),
])
def test_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        keywords.read(options, {})
    assert str(caught.value).startswith("serve(): " + message)


def test_the_reasons_name_existing_options_and_sections() -> None:
    known = {option.name for option in OPTIONS} | {option.section for option in OPTIONS}
    assert keywords.SERVED | keywords.ALSO_SERVED | keywords.REASONS.keys() <= known
    for option in OPTIONS:
        assert keywords.served(option) or keywords.reason(option)
