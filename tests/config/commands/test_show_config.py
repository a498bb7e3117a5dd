"""Several wrong lines: each is reported, and --show-config prints the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geventuwsgi.cli import main
from geventuwsgi.boot.process_setup import environ_of
from geventuwsgi.config.commands.show import shown
from geventuwsgi.config.load.arguments import read
from geventuwsgi.config.options.option import Option
from geventuwsgi.config.options.table import OPTIONS, row
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.errors import ConfigError

TEXT = """[uwsgi]
module = app
chroot = /x
processes = many
socket = /run/app.sock
slow-request = 5
harakiri = 3
fallback-config = safe.ini
"""
PLACES = ("3: chroot: ", "4: processes: 'many' is not a number")


def never(*_: object) -> int:
    raise AssertionError("the server was started")


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "app.ini").write_text(TEXT)
    return str(tmp_path / "app.ini")


def test_a_start_reports_all_of_them(path: str, capsys: pytest.CaptureFixture[str],
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(path).parent)    # without the fallback file
    assert main([path], run=never) != 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"geventuwsgi: error: {path}:{place}")
            for line, place in zip(lines, PLACES)] == [True, True]


def test_a_reload_reports_all_of_them_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "app.ini"
    path.write_text("[uwsgi]\nmodule = app\nsocket = /run/app.sock\n")

    def run(settings: object, again: Callable[[], object], environ: object) -> int:
        path.write_text(TEXT)
        with pytest.raises(ConfigError) as caught:
            again()
        first, second = (f"{path}:{place}" for place in PLACES)
        assert str(caught.value).startswith(first) and f"; {second}" in str(caught.value)
        return 0

    assert main([str(path)], run=run) == 0


def test_the_other_lines_are_printed(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--show-config does not read the fallback."""
    assert main([path, "--show-config"], run=never) == 1
    shown = capsys.readouterr()
    assert "; listens: /run/app.sock (uwsgi)\n" in shown.out
    assert "\nharakiri = 3 " in shown.out and "\n; processes = 1 " in shown.out
    errors = [line for line in shown.err.splitlines() if "warning" not in line]
    assert len(errors) == 3
    for line, place in zip(errors, (*PLACES, "6: slow-request: no request runs for 5")):
        assert line.startswith(f"geventuwsgi: error: {path}:{place}")


def test_consequences_of_an_error_are_not_reported(tmp_path: Path) -> None:
    path = tmp_path / "app.ini"
    path.write_text("[uwsgi]\nmodule = app\nlogger = nosuch:x\nharakiri = x\nsocket = :0\n"
                    "http-socket = =7\n")
    settings, _ = read([str(path), "--show-config"], {})
    assert settings is not None
    assert [text.split(":")[2].strip() for text in settings.refusals] == [
        "logger", "harakiri", "http-socket"]


def test_an_error_without_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read([str(tmp_path / "nothing.ini"), "--show-config"], {})


def test_shown_settings(resolve: Any) -> None:
    text = shown(resolve("module = a\nsocket = x.sock\nsocket = :1\nchmod-socket = 660\n"
                         "workers = 3\n", "-L"))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for piece in ("socket = x.sock ; ", "socket = :1 ; ", "chmod-socket = 660 ; ",
                  "processes = 3 ; ", "disable-logging = true ; command line (L)",
                  "; harakiri = 0 ; default", "; chdir = ; default"):
        assert any(line.startswith(piece) for line in lines), piece
    assert any(line.endswith("app.ini:6 (workers)") for line in lines)
    assert "; listens: x.sock (uwsgi)" in lines


TEXTS = (
    "1", "2", "0", "30", "true", "false", "", "a", "/a", "a.py", "a:b", "127.0.0.1:80", ":8000",
    "x.sock", "660", "root", "root:root", "a=b", "/a=b", "/a=3", "X-A: b", "^/a$ last:", "last:",
    "exec:true", "/a exec:true", "/a true", "true", "file:/a", "a file:/a", "json {}", "a ^b", "*",
    "10.0.0.0/8", "asgi", "wsgi", "http", "uwsgi", "/a,/b", ":1,/a,/b", "0:1", "debug", "gevent",
    "127.0.0.1:1:a", "server=127.0.0.1:1,key=a", "404=/a", "X-A VAR", "A= $(B) @(c) 5%% ; d #e ",
    "%(c)s $(B) 5%% %%", "a /b,/c", "a=/b", "TERM true", "-5", "/a b", "text/css=5", "command=true",
    "'/a b'", '"a"', "a#b;c", "\u20ac\udcff", "%%(x)", "X-A:  $( ")
# Options that read files or other lines, or name what follows from the section.
SKIPPED = ("envdir", "env-file", "print", "fallback-config")


def values_of(option: Option, section: str) -> list[str]:
    found = []
    for text in TEXTS:
        try:
            option.value_type.cast(text, CastContext(Origin("file", "x", 1, option.name, section)))
        except ConfigError:
            continue
        found.append(text)
    return found


def lines_of(section: str) -> list[str]:
    return [f"{option.name} = {text}" for option in OPTIONS
            if option.status == "taken" and option.name not in SKIPPED
            and row(option.name, section == "uwsgi") for text in values_of(option, section)]


LINES = {section: lines_of(section) for section in ("uwsgi", "geventuwsgi")}


def test_most_options_have_values_to_try() -> None:
    keys = {line.partition(" = ")[0] for line in LINES["geventuwsgi"]}
    assert len(keys) > 0.93 * sum(option.status == "taken" for option in OPTIONS)


def same(first: Settings, second: Settings) -> bool:
    """Whether settings are the same, apart from where they were set.

    A stuck worker that is only logged, as without harakiri in a [uwsgi] section, is not an option.
    """
    assert sorted(first.listeners) == sorted(second.listeners)
    assert environ_of(first) == environ_of(second)
    names = {option.attribute for option in OPTIONS if option.status == "taken"} - {"env", "unenv"}
    names |= {"tls_bind", "router", "standalone", "redirect_port", "head_limit", "bindings"}
    if first.worker_timeout_action == "log":
        names.remove("worker_timeout")
        assert second.worker_timeout is None
    if first.interface == "asgi":   # which has no slots
        names -= {"gevent", "threads", "monkey_patch", "worker_class"}
    assert {name: getattr(first, name) for name in names} == {
        name: getattr(second, name) for name in names}
    return True


@settings(max_examples=5 * settings().max_examples,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_it_can_be_read_back(tmp_path: Path, data: st.DataObject) -> None:
    section = data.draw(st.sampled_from(sorted(LINES)))
    lines = data.draw(st.lists(st.sampled_from(LINES[section]), max_size=12))
    dev = data.draw(st.booleans())
    path = tmp_path / "app.ini"
    text = "\n".join([f"[{section}]", "module = a", *lines, ""])
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        first, _ = read(["-c", str(path)], {}, dev=dev)
    except ConfigError:
        return
    assert first is not None
    if all(protocol in ("redirect", "statistics") for _, protocol in first.listeners):
        return  # nothing would be served
    text = shown(first)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    second, _ = read(["-c", str(path)], {})
    assert second is not None and ("an INI file cannot contain" in text or same(first, second))
