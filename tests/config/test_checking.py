"""--check-config: a verdict for each line, of INI files and of gunicorn's settings files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi.cli import main
from geventuwsgi.config import gunicorn
from geventuwsgi.config.checking import Line, Report
from geventuwsgi.config.reader import check, read
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


def verdicts(report: Report) -> dict[str, Line]:
    return {line.option: line for line in report.lines}


def test_each_line_has_its_verdict(write: Callable[..., str]) -> None:
    path = write(FILE)
    report, in_json = check(["--check-config", path], {})
    assert not in_json and not report.fine and report.files == [path]
    found = verdicts(report)
    assert [line.line for line in report.lines[1:]] == list(range(2, 13))
    assert {name: line.verdict for name, line in found.items()} == {
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


@pytest.mark.parametrize("text, option, line, reason", [
    ("[uwsgi]\nmodule = app\nhttp-socket = :0\nprocesses = many\n", "processes", 4, "many"),
    ("[uwsgi]\nmodule = app\n", "configuration", None, "socket"),
    ("[uwsgi]\nhttp-socket = :0\n", "configuration", None, "no application is named"),
    ("[uwsgi]\nmodule = app\nhttp-socket = :0\nprocesses = 2\ncheaper = 2\n", "cheaper", 5,
     "processes"),
    ("[uwsgi]\nini = none.ini\n", "ini", 2, "none.ini"),
    ("[geventuwsgi]\nprocces = 2\n", "procces", 2, "there is no such option"),
])
def test_what_is_wrong(write: Callable[..., str], text: str, option: str, line: int | None,
                       reason: str) -> None:
    report, _ = check(["--check-config", write(text)], {})
    wrong = [one for one in report.lines if one.verdict == "wrong"]
    assert len(wrong) == 1 and not report.fine
    assert wrong[0].line == line and reason in wrong[0].reasons[0]
    assert wrong[0].option == option


def test_exit_status_and_json(write: Callable[..., str],
                              capsys: pytest.CaptureFixture[str]) -> None:
    good = write("[uwsgi]\nmodule = app\nhttp-socket = :0\n", "good.ini")
    assert main(["--check-config", good]) == 0
    assert "module = app: taken\n" in capsys.readouterr().out
    assert main(["-c", write(FILE), "--check-config", "--format", "json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False and told["summary"]["refused"] == 2
    assert told["lines"][1] == {
        "file": told["files"][0], "line": 2, "option": "http-socket", "text": "127.0.0.1:0",
        "verdict": "taken with a difference", "reasons": told["lines"][1]["reasons"]}
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
    found = verdicts(report)
    assert found["bind"].text == "unix:/tmp/x.sock" and found["bind"].line == 3
    assert found["workers"].text == "5" and found["preload-app"].verdict == "ignored"
    assert found["post_fork"].verdict == "refused" and found["timeout"].line == 18
    assert found["secure_scheme_headers"].verdict == "refused"
    assert "helper" not in found and "graceful-timeout" not in found and not report.fine
    assert main(["--from", str(path)]) == 0
    text = capsys.readouterr().out
    (tmp_path / "same.ini").write_text(text)
    settings, _ = read(["-c", str(tmp_path / "same.ini"), "app:app"], {})
    assert settings is not None
    assert (settings.processes, settings.worker_timeout, settings.log_level) == (5, 60, "debug")
    assert settings.listeners == (("127.0.0.1:8000", "http"), ("unix:/tmp/x.sock", "http"))
    assert "; post_fork: a hook in Python, which is not converted" in text


@pytest.mark.parametrize("text, reason", [
    ("import nowhere\n", "it cannot be run: ModuleNotFoundError"),
    ("workers = \n", "it is no Python"), ("import sys; sys.exit(3)\n", "SystemExit")])
def test_settings_files_that_do_not_run(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "gunicorn.conf.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        gunicorn.read(str(path))
    report, _ = check(["--check-config", str(path)], {})
    assert not report.fine and reason in report.lines[-1].reasons[0]
    with pytest.raises(ConfigError):
        gunicorn.read(str(tmp_path / "none.py"))


def test_a_wrong_command_line_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        check(["--check-config", "--procesess", "2"], {})
