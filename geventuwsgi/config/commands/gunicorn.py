"""gunicorn's settings file, `gunicorn.conf.py`: run, and read as lines of an INI file.

The rules of this room: the file is Python and is run, as gunicorn runs it, by whoever asks
for it on the command line; a server never reads one. What only Python can say is told and
not converted.
"""

import ast
import contextlib
import runpy
import sys
from collections.abc import Iterator
from typing import NamedTuple

from geventuwsgi.config.options.option import Entry
from geventuwsgi.config.values.origin import Origin
from geventuwsgi.config.resolve.resolve import COMMAND
from geventuwsgi.config.options.aliases import DEFAULTS, HOOKS, NAMES, SETTINGS, WORKERS
from geventuwsgi.config.options.table import nearest, row
from geventuwsgi.errors import ConfigError

_LIKENESS = 0.85  # a file of Python has names of its own: `helper` does not mean `help`


class Left(NamedTuple):
    """A name of a settings file that is not converted.

    Attributes:
        name, origin: the name, and where it stands.
        reason: why.
        verdict: 'refused'; 'wrong'; 'unknown', most likely mistyped, of which gunicorn takes
            no notice; 'ignored', what says what is so without it.
        text: what it says, where that has a text of one line.
    """

    name: str
    origin: Origin
    reason: str
    verdict: str = "refused"
    text: str | None = None


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
        for found in _converted(name, value, origin):
            if isinstance(found, Left):
                left.append(found)
            else:
                entries.append(found)
    return entries, left


def _converted(name: str, value: object, origin: Origin) -> Iterator[Entry | Left]:
    """Yield the lines that a name of a settings file makes, or why it makes none."""
    key = SETTINGS.get(name, name.replace("_", "-"))
    option = row(key)
    if name in HOOKS and callable(value):
        yield Left(name, origin, "a hook in Python, which is not converted")
    elif value is None or name.startswith("_"):
        pass
    elif option is None or name not in NAMES | HOOKS:
        # A name of the file's own, which gunicorn passes over too: unless it looks mistyped.
        close = nearest(name, among=NAMES, likeness=_LIKENESS)
        if close is not None and isinstance(value, str | int | float | list | tuple):
            yield Left(name, origin, f"there is no such setting; did you mean {close}?", "unknown")
    elif option.status == "refused":
        if value and value != DEFAULTS.get(name):
            yield Left(name, origin, option.reason)
        else:
            yield Left(name, origin, "it says gunicorn's default, and asks for nothing", "ignored")
    elif key == "config":
        yield Left(name, origin, COMMAND, "ignored")
    else:
        for one in value if isinstance(value, list | tuple | set) else (value,):
            try:
                text = _text(one, option.kind.octal)
                yield Entry(key, WORKERS.get(text, text) if name == "worker_class" else text,
                            origin)
            except TypeError:
                yield Left(name, origin, f"{one!r} cannot be written in an INI file")


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


def _text(value: object, octal: bool) -> str:
    """Write a Python value as the text of a line.

    Raises:
        TypeError: for a value that has no text.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f"{value:03o}" if octal else str(int(value))  # those of ssl are enumerations
    if isinstance(value, str | float) and not set("\n\0") & set(str(value)):
        return str(value)
    raise TypeError(value)
