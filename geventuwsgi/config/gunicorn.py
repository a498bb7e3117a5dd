"""gunicorn's settings file, `gunicorn.conf.py`: run, and read as lines of an INI file.

The rules of this room: the file is Python and is run, as gunicorn runs it, by whoever asks
for it on the command line; a server never reads one. What only Python can say is told and
not converted.
"""

import ast
import contextlib
import re
import runpy
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from geventuwsgi.config.option import Entry
from geventuwsgi.config.origin import Origin
from geventuwsgi.config.rows_gunicorn import HOOKS, SETTINGS
from geventuwsgi.config.table import nearest, row
from geventuwsgi.errors import ConfigError

_LIKENESS = 0.85  # a file of Python has names of its own: `helper` does not mean `help`


class Left(NamedTuple):
    """A name of a settings file that is not converted.

    Attributes:
        name, origin: the name, and where it stands.
        reason: why.
        unknown: it is most likely mistyped; gunicorn takes no notice of it.
    """

    name: str
    origin: Origin
    reason: str
    unknown: bool = False


def read(path: str) -> tuple[list[Entry], list[Left]]:
    """Run a settings file and return what it sets, and what of it cannot be converted.

    Raises:
        ConfigError: the file cannot be read, or raises an error.
    """
    places = _places(path)
    try:
        # What it prints is not to stand within what we print.
        with contextlib.redirect_stdout(sys.stderr):
            values = runpy.run_path(path)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"it cannot be run: {type(error).__name__}: {error}",
                          file=path) from error
    entries: list[Entry] = []
    left: list[Left] = []
    names = [*places, *(name for name in values if name not in places)]  # import * has no names
    for name in sorted(names, key=lambda name: places.get(name, 0)):
        value = values.get(name)
        origin = Origin("file", path, places.get(name), name, "geventuwsgi")
        found = _converted(name, value, origin)
        if isinstance(found, Left):
            left.append(found)
        else:
            entries += found
    return entries, left


def _converted(name: str, value: object, origin: Origin) -> list[Entry] | Left:
    """Return the lines that a name of a settings file makes, or why it makes none."""
    key = SETTINGS.get(name, name.replace("_", "-"))
    option = row(key)
    if name in HOOKS and callable(value):
        return Left(name, origin, "a hook in Python, which is not converted")
    if value is None or name.startswith("_"):
        return []
    if option is None:
        # A name of the file's own, which gunicorn passes over too: unless it looks mistyped.
        close = nearest(key, likeness=_LIKENESS)
        if close is None or not isinstance(value, str | int | float | list | tuple):
            return []
        return Left(name, origin, f"there is no such setting; did you mean {close}?", unknown=True)
    if option.status == "refused":
        return Left(name, origin, option.reason)
    try:
        return [Entry(key, text, origin) for text in _texts(value, option.kind.octal)]
    except TypeError:
        return Left(name, origin, f"{value!r} cannot be written in an INI file")


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
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            places.setdefault(node.name, node.lineno)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                places.setdefault(alias.asname or alias.name, node.lineno)
    return places


def _texts(value: object, octal: bool) -> Iterator[str]:
    """Write a Python value as the texts of lines.

    Raises:
        TypeError: for a value that has no text.
    """
    if isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, int) and octal:
        yield f"{value:03o}"
    elif isinstance(value, str | int | float) and "\n" not in str(value):
        yield str(value)
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _texts(one, octal)
    else:
        raise TypeError(value)


def to_ini(entries: Iterable[Entry], left: Iterable[Left]) -> str:
    """Write the INI file that says the same, with our first names, or uWSGI's."""
    lines = ["[geventuwsgi]"]
    for entry in entries:
        option = row(entry.key)
        assert option is not None
        if option.status == "taken":
            # Only what stands before a parenthesis is no magic variable of an INI file.
            text = re.sub(r"%(?!\()", "%%", entry.text or "")
            lines.append(f"{option.name} = {text}")
        else:
            lines.append(f"; {entry.key} = {entry.text}: {option.status}, {option.reason}")
    lines += [f"; {one.name}: {one.reason}" for one in left]
    return "\n".join(lines) + "\n"
