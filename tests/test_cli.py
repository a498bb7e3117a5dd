"""The command: exit statuses, one line per error, and the settings that reach `boot`."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi import __version__, cli
from geventuwsgi.config.settings import Settings
from geventuwsgi.errors import AppLoadError, BindError, BootError, GeventuwsgiError
from tests.harness import GEVENTUWSGI, ROOT


def geventuwsgi(*arguments: str, cwd: Path = ROOT,
                **environ: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*GEVENTUWSGI, *arguments], cwd=cwd, text=True, timeout=60,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ})


def recording(seen: list[Settings]) -> Callable[..., int]:
    """Return a `run` for `cli.main` that serves nothing, but keeps the settings it gets."""
    def run(settings: Settings, *_: object) -> int:
        seen.append(settings)
        return 0
    return run


@pytest.mark.parametrize(("arguments", "status", "message"), [
    ([], 2, "nothing to serve: give an INI file (-c FILE) or package.module:name"),
    (["--procesess", "4", "a:b"], 2,
     "--procesess: there is no such option; did you mean --processes?"),
    (["--processes", "many", "a:b"], 2, "--processes: 'many' is not a number"),
    (["-c", "nowhere.ini"], 2, "-c: cannot read nowhere.ini: No such file or directory"),
    (["-c", "broken.ini"], 1, "broken.ini:3: harakiri: 'soon' is not a number of seconds"),
    (["-c", "empty.ini"], 1, "empty.ini: no application is named: "),
    (["--bind", "127.0.0.1:0"], 1, "no application is named: "),
    (["-c", "other.ini"], 2, "-c: other.ini has no section [uwsgi] or [geventuwsgi]; "
                             "its sections: [app:main]"),
    (["--help", "procesess"], 2, "--procesess: there is no such option"),
])
def test_errors_are_one_line(tmp_path: Path, arguments: list[str], status: int,
                             message: str) -> None:
    (tmp_path / "broken.ini").write_text("[uwsgi]\nmodule = a\nharakiri = soon\n")
    (tmp_path / "empty.ini").write_text("[uwsgi]\nsocket = 127.0.0.1:0\n")
    (tmp_path / "other.ini").write_text("[app:main]\nuse = egg:x\n")
    result = geventuwsgi(*arguments, cwd=tmp_path)
    assert result.returncode == status
    lines = result.stderr.splitlines()
    assert lines[0].startswith("geventuwsgi: error: " + message)
    assert lines[1:] == (["geventuwsgi: --help lists the options"] if status == 2 else [])
    assert result.stdout == ""


def test_an_error_names_the_variable() -> None:
    result = geventuwsgi("a:b", GEVENTUWSGI_PROCESSES="x")
    assert (result.returncode, result.stderr) == (
        1, "geventuwsgi: error: environment: GEVENTUWSGI_PROCESSES: 'x' is not a number\n")


def test_help_and_version() -> None:
    assert geventuwsgi("--version").stdout == f"geventuwsgi (version {__version__})\n"
    result = geventuwsgi("--help")
    assert result.returncode == 0 and result.stdout.startswith("Usage: geventuwsgi [OPTIONS]")
    result = geventuwsgi("--help", "workers")
    assert result.returncode == 0 and result.stdout.startswith("-p, -w, --processes N\n")


def test_a_closed_pipe_is_not_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([sys.executable, "-m", "geventuwsgi", "--help"], cwd=ROOT,
                            stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, b"")


def test_show_config(tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_text("[uwsgi]\nmodule = a\nworkers = 3\nvaccum = 1\n")
    result = geventuwsgi("-c", "app.ini", "--harakiri=5", "--show-config", cwd=tmp_path)
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert "processes = 3 ; app.ini:3 (workers)" in lines
    assert "harakiri = 5 ; command line" in lines
    assert "; socket-timeout = 30 ; default" in lines
    assert result.stderr == (
        "geventuwsgi: warning: app.ini:4: vaccum: there is no such option, it is a placeholder "
        "that nothing refers to; did you mean vacuum?\n")


def test_settings_reach_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("UWSGI_", "GEVENTUWSGI_")) or name in ("PORT", "LISTEN_FDS"):
            monkeypatch.delenv(name)
    seen: list[Settings] = []
    run = recording(seen)
    assert cli.main(["app:app"], run=run) == 0
    assert cli.main(["app:app"], run=run, dev=True) == 0
    assert [(s.application, s.listeners, s.processes, s.dev) for s in seen] == [
        ("app:app", (("127.0.0.1:8000", "http"),), 1, False),
        ("app:app", (("127.0.0.1:8000", "http"),), 1, True)]


def test_a_development_run_finds_its_application(tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    for name in list(os.environ):
        if name.startswith(("UWSGI_", "GEVENTUWSGI_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    seen: list[Settings] = []
    run = recording(seen)
    assert cli.main([], run=run, dev=True) == cli.main([], run=run) == 2
    assert cli.main(["--dev"], run=run) == 2
    error = capsys.readouterr().err
    assert "nothing to serve" in error and "none of app.ini, uwsgi.ini, wsgi.py, app.py" in error
    (tmp_path / "app.py").touch()
    (tmp_path / "app.ini").write_text("[alembic]\nscript_location = x\n")
    assert cli.main([], run=run, dev=True) == 0 and cli.main([], run=run) == 2
    assert cli.main(["--dev"], run=run) == 0
    with monkeypatch.context() as within:
        within.setenv("GEVENTUWSGI_DEV", "1")
        assert cli.main([], run=run) == 0
    assert {(s.application, s.dev) for s in seen} == {("app.py", True)} and len(seen) == 3
    del seen[1:]
    (tmp_path / "app.ini").write_text("[uwsgi]\nmodule = shop\n")
    assert cli.main([], run=run, dev=True) == 0
    assert cli.main(["--bind", ":1"], run=run, dev=True) == 0
    assert cli.main(["--no-dev"], run=run, dev=True) == 1
    monkeypatch.setenv("GEVENTUWSGI_MODULE", "other")
    assert cli.main([], run=run, dev=True) == 0
    assert [(s.application, s.module, s.dev) for s in seen] == [
        ("app.py", None, True), (None, "shop", True), (None, "shop", True),
        (None, "other", True)]


def test_a_paste_deploy_file_instead_of_an_ini(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    """A development run serves its application; otherwise the error says how to."""
    monkeypatch.chdir(tmp_path)
    seen: list[Settings] = []
    run = recording(seen)
    for name in ("app.ini", "production.ini"):
        (tmp_path / name).write_text("[composite:main]\nuse = egg:Paste#urlmap\n")
    assert cli.main(["production.ini"], run=run, dev=True) == 0
    assert cli.main(["-c", "production.ini", "--dev"], run=run) == 0
    assert cli.main([], run=run, dev=True) == 0
    assert [s.paste for s in seen] == [f"config:{tmp_path}/production.ini"] * 2 + [
        f"config:{tmp_path}/app.ini"]
    for words in (["production.ini"], ["production.ini", "--no-dev"]):
        assert cli.main(words, run=run, dev="--no-dev" in words) == 2
        assert "--paste config:production.ini serves its application" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [
    (BindError("127.0.0.1:80: in use"), 1), (BootError("no worker"), 3),
    (AppLoadError("no module"), 4),
])
def test_exit_statuses(error: GeventuwsgiError, status: int,
                       capsys: pytest.CaptureFixture[str]) -> None:
    def run(settings: Settings, *_: object) -> int:
        raise error

    assert cli.main(["a:b", "--bind", "127.0.0.1:0"], run=run) == status
    assert capsys.readouterr().err == f"geventuwsgi: error: {error}\n"


@pytest.mark.parametrize("program", ["import geventuwsgi", "import geventuwsgi.flask",
                                     "from geventuwsgi import __main__"])
def test_another_platform_is_reported_at_once(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.platform = 'darwin'\n{program}"],
        cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == (
        "ImportError: geventuwsgi runs only on Linux, and this is darwin: use a container, or WSL "
        "on Windows")
