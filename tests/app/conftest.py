"""Fixture for files that can be imported and are unloaded afterwards."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.loading import Write


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write files into the working directory, which is importable; unload them afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)

    def write_file(name: str, text: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    yield write_file
    for name in set(sys.modules) - known:
        del sys.modules[name]
