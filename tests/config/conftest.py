"""Configurations for the tests: files written into a directory of their own, then read."""

from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi.config.load.arguments import read
from geventuwsgi.config.settings import Settings

Resolve = Callable[..., Settings]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write an INI file and return its name; the text may lack its section."""
    def writing(text: str, name: str = "app.ini") -> str:
        path = tmp_path / name
        path.write_text(text if text.lstrip().startswith("[") else "[uwsgi]\n" + text)
        return str(path)
    return writing


@pytest.fixture
def resolve(write: Callable[..., str]) -> Resolve:
    """Return the settings of an INI text, or of arguments; keyword `environ`."""
    def resolving(text: str | None, *arguments: str, environ: dict[str, str] | None = None,
                  dev: bool = False) -> Settings:
        files = () if text is None else ("--ini", write(text))
        settings, _ = read([*files, *arguments], environ or {}, dev=dev)
        assert settings is not None
        return settings
    return resolving
