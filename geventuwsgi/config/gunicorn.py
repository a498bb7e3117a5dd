"""gunicorn's settings file, `gunicorn.conf.py`: run, and read as lines of an INI file.

The rules of this room: the file is Python and is run, as gunicorn runs it, by whoever asks
for it on the command line; a server never reads one. What only Python can say is told and
not converted.
"""

import ast
import runpy
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from geventuwsgi.config.option import Entry
from geventuwsgi.config.origin import Origin
from geventuwsgi.config.rows_gunicorn import HOOKS, SETTINGS
from geventuwsgi.config.table import row
from geventuwsgi.errors import ConfigError


class Left(NamedTuple):
    """A name of a settings file that is not converted."""

    name: str
    origin: Origin
    reason: str


def read(path: str) -> tuple[list[Entry], list[Left]]:
    """Run a settings file and return what it sets, and what of it cannot be converted.

    Raises:
        ConfigError: the file cannot be read, or raises an error.
    """
    places = _places(path)
    try:
        values = runpy.run_path(path)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"it cannot be run: {type(error).__name__}: {error}",
                          file=path) from error
    entries: list[Entry] = []
    left: list[Left] = []
    for name in sorted(places, key=lambda name: places[name]):
        value = values.get(name)
        key = SETTINGS.get(name, name.replace("_", "-"))
        origin = Origin("file", path, places[name], name, "geventuwsgi")
        if name in HOOKS:
            left.append(Left(name, origin, "a hook in Python, which is not converted"))
        elif row(key) is None:
            continue  # a helper of the file's own, as gunicorn ignores it too
        elif value is None:
            continue
        else:
            try:
                entries += [Entry(key, text, origin) for text in _texts(value)]
            except TypeError:
                left.append(Left(name, origin, f"{value!r} cannot be written in an INI file"))
    return entries, left


def _places(path: str) -> dict[str, int]:
    """Find the line of each name that a file defines."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(), path)
    except OSError as error:
        raise ConfigError(str(error.strerror), file=path) from error
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"it is no Python: {error}", file=path) from error
    places: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            places.setdefault(node.id, node.lineno)
        elif isinstance(node, ast.FunctionDef) and node.name in HOOKS:
            places.setdefault(node.name, node.lineno)
    return places


def _texts(value: object) -> Iterator[str]:
    """Write a Python value as the texts of lines.

    Raises:
        TypeError: for a value that has no text.
    """
    if isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, str | int | float):
        yield str(value)
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _texts(one)
    else:
        raise TypeError(value)


def to_ini(entries: Iterable[Entry], left: Iterable[Left]) -> str:
    """Write the INI file that says the same, with our first names, or uWSGI's."""
    lines = ["[geventuwsgi]"]
    for entry in entries:
        option = row(entry.key)
        assert option is not None
        if option.status == "taken":
            lines.append(f"{option.name} = {entry.text}")
        else:
            lines.append(f"; {entry.key} = {entry.text}: {option.status}, {option.reason}")
    lines += [f"; {one.name}: {one.reason}" for one in left]
    return "\n".join(lines) + "\n"
