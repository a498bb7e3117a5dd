"""Real configuration files start here, with the same responses as in real uWSGI.

The responses of uWSGI are recorded in answers.json; `python -m tests.corpus --record` records
them again. Each test run compares a few files with uWSGI itself; with CORPUS=all, all files.
"""

import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from geventuwsgi import cli
from tests.corpus import runner
from tests.corpus.__main__ import RECORD
from tests.corpus.catalogue import ENTRIES
from tests.corpus.comparison import unexpected
from tests.corpus.entry import Entry
from tests.integration.conftest import readable

RECORDED = json.loads(RECORD.read_text())
# Fast ones with each kind of socket; the others are compared with uWSGI when they change.
LIVE = ("both", "routes", "static-maps")
BY_NAME = {entry.name: entry for entry in ENTRIES}


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[dict[str, Future]]:
    """The runs of the selected entries with geventuwsgi, started in advance, two at a time."""
    chosen = [item.callspec.params["name"] for item in request.session.items
              if getattr(item, "function", None) is test_answers_as_uwsgi]
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(runner.ours, BY_NAME[name], known(name)) for name in chosen
               if runnable(BY_NAME[name])}


def known(name: str) -> dict[str, Any]:
    """Return the recorded run of uWSGI."""
    return RECORDED.get(name, runner.NOTHING)


def runnable(entry: Entry) -> bool:
    """Whether this user can run an entry."""
    return not entry.root or os.getuid() == 0 and (entry.root == "root" or readable(os.__file__))


@pytest.mark.parametrize("name", BY_NAME)
def test_answers_as_uwsgi(name: str, runs: dict[str, Future]) -> None:
    if name not in runs:
        pytest.skip("needs root, and a Python that www-data can read")
    assert unexpected(BY_NAME[name], runs[name].result(), known(name)) == []


@pytest.mark.parametrize(
    "name", [entry.name for entry in ENTRIES if entry.alone is None]
    if os.environ.get("CORPUS") == "all" else LIVE)
def test_the_record_is_what_uwsgi_answers(name: str) -> None:
    entry = BY_NAME[name]
    if not runnable(entry):
        pytest.skip("needs root, and a Python that www-data can read")
    same = Entry(entry.file, entry.asks)  # without differences
    assert unexpected(same, runner.theirs(entry, known(name)), known(name)) == []


@pytest.fixture(scope="module")
def sites() -> Iterator[runner.Run]:
    """A directory with all files."""
    run = runner.Run(ENTRIES[0])
    yield run
    run.remove()


@pytest.mark.parametrize("name", BY_NAME)
def test_every_line_has_a_status(name: str, sites: runner.Run, monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    entry = BY_NAME[name]
    monkeypatch.chdir(sites.root / entry.directory)
    for variable in [*os.environ]:
        if variable.startswith(("UWSGI_", "GEVENTUWSGI_")):
            monkeypatch.delenv(variable)
    for variable, text in sites.environ(entry).items():
        monkeypatch.setenv(variable, text)
    status = cli.main(["--check-config", "--format", "json", "--ini", sites.path(entry)])
    report = json.loads(capsys.readouterr().out)
    refused = {line["option"] for line in report["lines"] if line["status"] == "refused"}
    assert refused == set(entry.refused)
    assert entry.status == 1 or "wrong" not in {line["status"] for line in report["lines"]}
    assert status == (1 if entry.refused or entry.status == 1 else 0)


def test_the_record_is_of_these_entries() -> None:
    assert set(RECORDED) == {entry.name for entry in ENTRIES if entry.alone is None}
    assert len(BY_NAME) == len(ENTRIES) >= 40


def test_each_file_is_asked_for() -> None:
    named = {entry.file.partition(":")[0] for entry in ENTRIES}
    there = {str(path.relative_to(runner.SITES)) for path in runner.SITES.rglob("*.ini")}
    # These are read by other files.
    assert there - named == {
        "etc/uwsgi/conf.d/10-first.ini", "etc/uwsgi/conf.d/20-second.ini",
        "etc/uwsgi/defaults.ini", "srv/board/development.ini"}
    assert not any(stat.S_ISLNK(path.lstat().st_mode) for path in Path(runner.SITES).rglob("*"))
