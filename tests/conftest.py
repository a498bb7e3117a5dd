"""Fixtures and settings of all tests. The package is compiled, and no server writes bytecode.

Servers are started by the hundred. Where PYTHONDONTWRITEBYTECODE is set, as in many images,
each of them would compile the package anew: 0.48 s until it serves instead of 0.30 s.
Where it is not set, an application that a test changes within a second without a change of
its size would be loaded from its old bytecode, which only has the second and the size.
"""

import compileall
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.certificates import Authority
from tests.harness import ROOT

# Folders all of whose tests are slow.
SLOW = {"integration", "corpus"}
# `full` has more examples: in CI, and with --hypothesis-profile=full.
settings.register_profile("fast", deadline=None, database=None, max_examples=20)
settings.register_profile("full", deadline=None, database=None)
settings.load_profile("full" if "CI" in os.environ else "fast")
# Keep the test modules as pytest rewrites them: each process would spend 5 s on it otherwise.
sys.dont_write_bytecode = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of processes: tests mostly wait, and a file has one process."""
    files = [path for path in config.args if ".py" in path]
    if len(files) == len(config.args) == 1:
        return 0
    return min(2 * len(os.sched_getaffinity(0)), 8)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests as `slow` by their folder, all others as `fast`; run the slow ones first.

    The processes that run the tests end at about the same time if the last tests are short.
    """
    for item in items:
        if SLOW.intersection(item.path.relative_to(ROOT).parts):
            item.add_marker("slow")
        if item.get_closest_marker("slow") is None:
            item.add_marker("fast")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_sessionstart() -> None:
    """Compile the package, unless that is done or its directory is not writable."""
    compileall.compile_dir(ROOT / "geventuwsgi", quiet=2)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What is logged, from INFO on."""
    caplog.set_level(logging.INFO, "geventuwsgi.error")
    return caplog


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with certificates for localhost and other.test."""
    made = Authority(tmp_path_factory.mktemp("tls"))
    made.issue("here", "localhost")
    made.issue("other", "other.test")
    return made


@pytest.fixture(scope="session")
def open_root() -> Iterator[Path]:
    """A directory that all users can enter, such as `nobody`.

    pytest's own directories are only for its user, and each other pytest that starts closes
    them again.
    """
    directory = Path(tempfile.mkdtemp(prefix="geventuwsgi-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def open_path(open_root: Path) -> Path:
    """A directory for one test that all users can enter."""
    directory = Path(tempfile.mkdtemp(prefix="open-", dir=open_root))
    directory.chmod(0o755)
    return directory
