"""Fixtures that write and read configurations."""

from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi.config.load.arguments import read
from geventuwsgi.config.settings import Settings

Resolve = Callable[..., Settings]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write an INI file and return its name; [uwsgi] is added to a text without a section."""
    def writing(text: str, name: str = "app.ini") -> str:
        path = tmp_path / name
        path.write_text(text if text.lstrip().startswith("[") else "[uwsgi]\n" + text)
        return str(path)
    return writing


@pytest.fixture
def resolve(write: Callable[..., str]) -> Resolve:
    """Return the settings of an INI text, arguments and `environ`."""
    def resolving(text: str | None, *arguments: str, environ: dict[str, str] | None = None,
                  dev: bool = False) -> Settings:
        files = () if text is None else ("--ini", write(text))
        settings, _ = read([*files, *arguments], environ or {}, dev=dev)
        assert settings is not None
        return settings
    return resolving
