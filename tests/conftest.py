"""What every test finds: the package compiled, and nobody who writes bytecode beside it.

Servers are started by the hundred. Where PYTHONDONTWRITEBYTECODE is set, as in many images,
each of them would compile the package anew: 0.48 s until it serves instead of 0.30 s.
Where it is not, an application that a test changes within a second, to as many bytes, would
be taken from its old bytecode: a change of it is seen by the second and the size.
"""

import compileall
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import ROOT


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
