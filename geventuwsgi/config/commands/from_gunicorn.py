"""What a settings file of gunicorn says, as an INI file that says the same here.

The rules of this room: what is written is read back, here and now, and has to mean what the
settings file means; what does not is told with the reason and left out. gunicorn's defaults
that differ from ours are written as lines too: nobody gets more requests at a time, or
another log, for having converted a file.
"""

import ast
import contextlib
import re
import runpy
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from geventuwsgi.config.options.aliases import (
    GUNICORN_DEFAULTS, GUNICORN_NAMES, GUNICORN_HOOKS, GUNICORN_SETTINGS, GUNICORN_WORKERS,
)
from geventuwsgi.config.options.application import UVICORN_WORKERS
from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.table import nearest, row
from geventuwsgi.config.resolve.resolve import COMMAND, SLOTS, resolve
from geventuwsgi.config.sources import ini
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import Account
from geventuwsgi.errors import ConfigError

SECTION = "geventuwsgi"
_CONNECTIONS = 1000  # gunicorn's worker_connections
_KEEPALIVE = "2"     # seconds, gunicorn's keepalive
_CHANGED = "an INI file cannot say it: its blanks, its references or what looks like a comment " \
    "would be lost"
# What opens a reference of an INI file, each with the placeholder that is put for it. `%(` has
# none: it is what asks for one.
_ESCAPES = {"$(": ("dollar", "$"), "@(": ("at", "@")}
_BLANK = "nothing"  # stands where a blank would be stripped


# gunicorn's settings file, `gunicorn.conf.py`: run, and read as lines of an INI file.
#
# The rules of this room: the file is Python and is run, as gunicorn runs it, by whoever asks
# for it on the command line; a server never reads one. What only Python can say is told and
# not converted.

_CUTOFF = 0.85  # a Python file has names of its own: `helper` does not mean `help`


class Unconverted(NamedTuple):
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


def read(path: str) -> tuple[list[Entry], list[Unconverted]]:
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
    left: list[Unconverted] = []
    names = [*places, *(name for name in values if name not in places)]  # import * has no names
    for name in sorted(names, key=lambda name: places.get(name, 0)):
        value = values.get(name)
        origin = Origin("file", path, places.get(name), name, "geventuwsgi")
        for found in _converted(name, value, origin):
            if isinstance(found, Unconverted):
                left.append(found)
            else:
                entries.append(found)
    return entries, left


def _converted(name: str, value: object, origin: Origin) -> Iterator[Entry | Unconverted]:
    """Yield the lines that a name of a settings file makes, or why it makes none."""
    key = GUNICORN_SETTINGS.get(name, name.replace("_", "-"))
    option = row(key)
    if name in GUNICORN_HOOKS and callable(value):
        yield Unconverted(name, origin, "a hook in Python, which is not converted")
    elif value is None or name.startswith("_"):
        pass
    elif option is None or name not in GUNICORN_NAMES | GUNICORN_HOOKS:
        # A name of the file's own, which gunicorn passes over too: unless it looks mistyped.
        close = nearest(name, among=GUNICORN_NAMES, cutoff=_CUTOFF)
        if close is not None and isinstance(value, str | int | float | list | tuple):
            yield Unconverted(name, origin, f"there is no such setting; did you mean {close}?",
                              "unknown")
    elif option.status == "refused":
        if value and value != GUNICORN_DEFAULTS.get(name):
            yield Unconverted(name, origin, option.reason)
        else:
            yield Unconverted(name, origin, "it says gunicorn's default, and asks for nothing",
                              "ignored")
    elif key == "config":
        yield Unconverted(name, origin, COMMAND, "ignored")
    else:
        for one in value if isinstance(value, list | tuple | set) else (value,):
            try:
                text = _text(one, option.value_type.octal)
                yield Entry(key, GUNICORN_WORKERS.get(text, text) if name == "worker_class" else text,
                            origin)
            except TypeError:
                yield Unconverted(name, origin, f"{one!r} cannot be written in an INI file")


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


class Added(NamedTuple):
    """A line that a settings file lacks, because gunicorn's default differs from ours.

    Attributes:
        setting: gunicorn's name.
        key, text: the line.
        reason: how they differ.
    """

    setting: str
    key: str
    text: str
    reason: str


@dataclass(frozen=True)
class _Piece:
    """A line of the settings file on its way to the INI file."""

    entry: Entry
    option: Option
    written: str
    wanted: object
    here: bool = True  # whether it can be carried out on this machine


class Conversion:
    """A settings file of gunicorn as an INI file.

    Args:
        entries, left: what `gunicorn.read` found.

    Attributes:
        entries: the lines that are converted.
        left: what is not, those of `left` included.
        added: the lines that gunicorn's defaults make.
    """

    def __init__(self, entries: Sequence[Entry], left: Iterable[Unconverted]) -> None:
        self.left = list(left)
        self.added = list(_added(entries))
        self._pieces: list[_Piece] = []
        self._comments: list[Entry] = []
        for entry in entries:
            self._take(entry)
        while (found := self._misread()) is not None:
            piece, reason = found
            self._pieces.remove(piece)
            self._leave(piece.entry, reason)

    @property
    def entries(self) -> list[Entry]:
        kept = [piece.entry for piece in self._pieces] + self._comments
        return sorted(kept, key=lambda entry: entry.origin.line or 0)

    def ini(self) -> str:
        """Write the INI file, with our first names, or uWSGI's."""
        lines = [*self._lines(self._pieces)]
        for one in self.added:
            lines += [f"; {one.setting}: {one.reason}", f"{one.key} = {one.text}"]
        for entry in self._comments:
            option = row(entry.key)
            assert option is not None
            reason = COMMAND if option.status == "command" else option.reason
            lines.append(f"; {entry.key} = {entry.text}: {option.status}, {reason}")
        for left in self.left:
            said = left.name if left.text is None else f"{left.name} = {left.text}"
            lines.append(f"; {said}: {left.reason}")
        return "\n".join(lines) + "\n"

    def _take(self, entry: Entry) -> None:
        option, text = row(entry.key), entry.text or ""
        assert option is not None
        if option.status != "taken":
            self._comments.append(entry)
            return
        try:
            wanted = option.value_type.cast(text, CastContext(Origin("serve()", section=SECTION)))
            if option.name == "env" and wanted != (text,):
                raise ConfigError(_CHANGED)
        except ConfigError as error:
            if not isinstance(option.value_type, Account):
                self._leave(entry, error.message)
                return
            # The machine where it is to run may well have the account: a server that refuses to
            # start is better than one that keeps root.
            self._pieces.append(_Piece(entry, option, _escaped(text), None, here=False))
        else:
            self._pieces.append(_Piece(entry, option, _escaped(text), wanted))

    def _leave(self, entry: Entry, reason: str) -> None:
        if entry.key.startswith("limit-request") and entry.text == "0":
            reason += "; 0 is no limit to gunicorn, and here there always is one"
        verdict = "refused" if reason == _CHANGED else "wrong"
        self.left.append(Unconverted(entry.origin.option or entry.key, entry.origin, reason,
                                     verdict,
                                     entry.text))

    def _lines(self, pieces: Iterable[_Piece]) -> list[str]:
        """Write the lines, behind the placeholders that they need."""
        lines = [f"{piece.option.name} = {piece.written}" for piece in pieces]
        names = (*_ESCAPES.values(), (_BLANK, ""))
        needed = [f"set-ph = {name}={text}" for name, text in names
                  if any(f"%({name})" in line for line in lines)]
        return [f"[{SECTION}]", *needed, *lines]

    def _misread(self) -> tuple[_Piece, str] | None:
        """Read back what would be written, and return what does not mean the same."""
        pieces = [piece for piece in self._pieces if piece.here]
        lines = self._lines(pieces)
        first = len(lines) - len(pieces) + 1
        lines += [f"{one.key} = {one.text}" for one in self.added]
        at = {first + index: piece for index, piece in enumerate(pieces)}
        reading = Reading({})
        try:
            text = ini.substitute("\n".join(lines), ini.magic("-", None))
            for line in ini.lines(text, SECTION):
                reading.add(line.key, line.text,
                            Origin("file", "the result", line.number, line.key, SECTION))
            reading.finish()
            for entry in reading.entries:
                piece = at.get(entry.origin.line or 0)
                if piece is not None:
                    context = CastContext(entry.origin)
                    if piece.option.value_type.cast(entry.text, context) != piece.wanted:
                        return piece, _CHANGED
            resolve(reading)
        except ConfigError as error:
            piece = at.get(error.line or 0)
            if piece is not None:
                return piece, error.message
        return None


def _escaped(text: str) -> str:
    """Write a text so that no reference in it is replaced and no blank at its ends is lost."""
    # Only what stands before a parenthesis is no magic variable of an INI file.
    text = re.sub(r"%(?!\()", "%%", text)
    for opening, (name, _) in _ESCAPES.items():
        text = text.replace(opening, f"%({name})(")
    if text != text.lstrip():
        text = f"%({_BLANK})" + text
    if text != text.rstrip():
        text += f"%({_BLANK})"
    return text


def _added(entries: Iterable[Entry]) -> Iterable[Added]:
    """Yield the lines that gunicorn's defaults make."""
    texts: dict[str, str] = {}
    for entry in entries:
        option = row(entry.key)
        assert option is not None
        texts[option.name] = entry.text or ""
        if option.name == "bind" and texts["bind"].startswith("unix:") and "umask" not in texts:
            texts["unix"] = texts["bind"]
    worker_class = texts.get("worker-class", "").lower()
    asgi = worker_class == "asgi" or worker_class in UVICORN_WORKERS
    if not asgi:
        yield from _slots(worker_class, texts)
        if texts.get("preload-app") != "true":
            yield Added("preload_app", "lazy-apps", "true", "gunicorn loads the application in "
                        "each worker; without this line it is loaded once, before they fork")
    if "keepalive" not in texts:
        yield Added("keepalive", "keepalive", _KEEPALIVE, "gunicorn keeps an idle connection for "
                    f"{_KEEPALIVE} seconds at most, this server for 75")
    if "access-logfile" not in texts:
        yield Added("accesslog", "disable-logging", "true", "gunicorn writes no line per request "
                    "unless it says where")
    if "unix" in texts and "umask" not in texts:
        yield Added("umask", "chmod-socket", "666", "gunicorn's umask is 0, so that everybody "
                    "may connect to its unix sockets")


def _slots(worker_class: str, texts: dict[str, str]) -> Iterable[Added]:
    """Yield the line that keeps the number of requests that a worker takes at a time."""
    threads = _number(texts.get("threads", ""), 1)
    if worker_class in ("", "sync", "gthread"):
        # A sync worker with threads is gunicorn's gthread.
        slots, kind = threads, "gthread" if threads > 1 else worker_class or "sync"
        ours = {"sync": 1, "": threads if "threads" in texts else SLOTS}.get(worker_class, threads)
    elif worker_class in ("gevent", "eventlet"):
        slots, kind = _number(texts.get("worker-connections", ""), _CONNECTIONS), worker_class
        ours = threads if "threads" in texts else SLOTS
    else:
        slots, kind, ours = 1, "", SLOTS
    if slots == ours:
        return
    reason = (f"gunicorn's {kind} worker takes {slots} request{'s' if slots > 1 else ''} at a time"
              if kind else "how many requests such a worker takes at a time is not known here")
    yield Added("worker_class", "gevent", str(slots), f"{reason}; without this line one takes "
                f"{ours}")


def _number(text: str, default: int) -> int:
    return int(text) if text.isdecimal() and int(text) else default
