"""Broken files, each with its complete error message and exit status.

`broken/expected.txt` contains `[FILE STATUS]`, followed by the text on standard error.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from geventuwsgi.cli import main
from geventuwsgi.config.load.arguments import check
from geventuwsgi.errors import ConfigurationEnd

BROKEN = Path(__file__).parent / "broken"
ROOT = Path(__file__).parents[2]
PARTS = re.split(r"^\[(\S+) (\d)\]\n", (BROKEN / "expected.txt").read_text(), flags=re.MULTILINE)
EXPECTED = {name: (int(status), text)
            for name, status, text in zip(PARTS[1::3], PARTS[2::3], PARTS[3::3], strict=True)}
INCLUDED = {"include-circle-2.ini"}


@pytest.fixture(autouse=True)
def in_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BROKEN)
    for name in os.environ:
        if name.startswith(("UWSGI_", "GEVENTUWSGI_", "LISTEN_")) or name == "PORT":
            monkeypatch.delenv(name)


def never(*_: object) -> int:
    raise AssertionError("the server was started")


def test_each_has_its_error() -> None:
    assert {path.name for path in BROKEN.glob("*.ini")} - INCLUDED == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_the_error(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, text = EXPECTED[name]
    assert main([name], run=never) == status
    assert capsys.readouterr() == ("", text)


@pytest.mark.parametrize("name", [name for name, (status, _) in EXPECTED.items() if status == 1])
def test_the_check_finds_it(name: str) -> None:
    """--check-config reports the same at the same line, and continues with the other lines."""
    _, text = EXPECTED[name]
    report, _ = check([name], {})
    message = text.splitlines()[-1].removeprefix("geventuwsgi: ").removeprefix("error: ")
    failing = [line for line in report.lines if line.status in ("wrong", "refused")]
    assert failing and not report.fine
    assert any(message.startswith(f"{line.file}:{line.line}: " if line.line else f"{line.file}: ")
               and line.reasons[0] in message for line in failing)


@pytest.mark.parametrize("name", ["number.ini", "include-circle.ini", "nul.ini"])
def test_by_the_command_itself(name: str) -> None:
    status, text = EXPECTED[name]
    done = subprocess.run([sys.executable, "-m", "geventuwsgi", "-c", name],
                          capture_output=True, text=True, timeout=60,
                          env={"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout, done.stderr) == (status, "", text)


def test_utf_16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for encoding in ("utf-16-le", "utf-16-be"):
        path = tmp_path / "app.ini"
        path.write_bytes("\ufeff[uwsgi]\nmodule = app\n".encode(encoding))
        assert main([str(path)], run=never) == 2
        assert f"{path} is UTF-16: save it as UTF-8\n" in capsys.readouterr().err


def test_exit_0_is_not_an_error() -> None:
    assert ConfigurationEnd(0, file="a.ini", line=2, option="exit").exit_status == 0


@pytest.mark.parametrize("name, octets", [
    ("crlf.ini", b"\r\n"), ("bom.ini", b"\xef\xbb\xbf"), ("nul.ini", b"\0"),
    ("../../corpus/sites/srv/api/dos.ini", b"\r\n")])
def test_an_editor_has_not_repaired_the_file(name: str, octets: bytes) -> None:
    assert octets in (BROKEN / name).read_bytes()


def test_an_editor_has_not_repaired_the_end_or_the_encoding() -> None:
    assert not (BROKEN / "no-newline.ini").read_bytes().endswith(b"\n")
    with pytest.raises(UnicodeDecodeError):
        (BROKEN / "latin-1.ini").read_text("utf-8")
