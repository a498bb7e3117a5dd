"""What every test finds: the package compiled, and nobody who writes bytecode beside it.

Servers are started by the hundred. Where PYTHONDONTWRITEBYTECODE is set, as in many images,
each of them would compile the package anew: 0.48 s until it serves instead of 0.30 s.
Where it is not, an application that a test changes within a second, to as many bytes, would
be taken from its old bytecode: a change of it is seen by the second and the size.
"""

import compileall
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
# More examples than `fast`: in CI, and with --hypothesis-profile=full.
settings.register_profile("fast", deadline=None, database=None, max_examples=20)
settings.register_profile("full", deadline=None, database=None)
settings.load_profile("full" if "CI" in os.environ else "fast")
# What pytest makes of the tests is kept, or each process of a run would do it anew: 5 s each.
sys.dont_write_bytecode = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Say how many processes run the tests: tests mostly wait, and a file has one process."""
    files = [path for path in config.args if ".py" in path]
    if len(files) == len(config.args) == 1:
        return 0
    return min(2 * len(os.sched_getaffinity(0)), 8)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow by its folder, and what is not slow `fast`; begin with what is slow.

    The processes that share the tests out are done at the same time if the last ones are short.
    """
    for item in items:
        if SLOW.intersection(item.path.relative_to(ROOT).parts):
            item.add_marker("slow")
        if item.get_closest_marker("slow") is None:
            item.add_marker("fast")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_sessionstart() -> None:
    """Compile the package once, unless that has been done or its directory is not ours."""
    compileall.compile_dir(ROOT / "geventuwsgi", quiet=2)
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority, and certificates of it for localhost and for other.test."""
    made = Authority(tmp_path_factory.mktemp("tls"))
    made.issue("here", "localhost")
    made.issue("other", "other.test")
    return made


@pytest.fixture(scope="session")
def open_root() -> Iterator[Path]:
    """A directory that nobody's processes can reach.

    Those of pytest are its user's alone, and any other pytest that starts makes them so again.
    """
    directory = Path(tempfile.mkdtemp(prefix="geventuwsgi-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def open_path(open_root: Path) -> Path:
    """The directory of one test that every user may enter."""
    directory = Path(tempfile.mkdtemp(prefix="open-", dir=open_root))
    directory.chmod(0o755)
    return directory
