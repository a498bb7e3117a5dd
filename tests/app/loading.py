"""Helpers for tests of the loader: sources, calls, and failures."""

from collections.abc import Callable
from pathlib import Path

import pytest

from geventuwsgi.app.applications import Application
from geventuwsgi.app.loader import load
from geventuwsgi.errors import AppLoadError

Write = Callable[..., Path]
WSGI = """
def {name}(environ, start_response):
    start_response('200 OK', [])
    return [{text!r}]
"""


def wsgi(name: str = "application", text: bytes = b"ok") -> str:
    return WSGI.format(name=name, text=text)


def answer(app: Application | None) -> bytes:
    assert app is not None
    return b"".join(app.callable({}, lambda status, headers: None))


def failure(**arguments: object) -> AppLoadError:
    with pytest.raises(AppLoadError) as caught:
        load(**arguments)  # type: ignore[arg-type]
    return caught.value
