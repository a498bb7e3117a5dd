"""Several wrong lines: each is reported, and --show-config prints the rest."""

from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi.cli import main
from geventuwsgi.config.load.arguments import read
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
    assert "\nharakiri = 3 " in shown.out and "\nprocesses = 1 " in shown.out
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
