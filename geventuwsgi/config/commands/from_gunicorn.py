"""--from: a settings file of gunicorn, `gunicorn.conf.py`, converted to an INI file.

The file is Python and is run, as gunicorn runs it, but only for this command; a server never reads
one. Each line that is written is read back and has to mean the same as the setting; a setting that
cannot be converted is reported with the reason. Where gunicorn's default differs from ours it is
written as a line, so that a converted file changes neither the number of requests at once nor the
log.
"""

import ast
import contextlib
import runpy
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from geventuwsgi.config.options.aliases import (
    GUNICORN_DEFAULTS, GUNICORN_HOOKS, GUNICORN_NAMES, GUNICORN_SETTINGS,
)
from geventuwsgi.config.options.application import GUNICORN_WORKERS, UVICORN_WORKERS
from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.table import nearest, row
from geventuwsgi.config.resolve.concurrency import SLOTS
from geventuwsgi.config.resolve.resolve import COMMAND, resolve
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources import ini
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.sources.references import escaped, placeholders
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import Account
from geventuwsgi.errors import ConfigError

SECTION = "geventuwsgi"
_CONNECTIONS = 1000  # gunicorn's worker_connections
_KEEPALIVE = "2"     # seconds, gunicorn's keepalive
_TIMEOUT = "30"      # seconds, gunicorn's timeout
_CHANGED = "an INI file cannot contain it: blanks, references or what looks like a comment " \
    "would be lost"
_CUTOFF = 0.85  # a Python file has names of its own: `helper` does not mean `help`


class Unconverted(NamedTuple):
    """A name of a settings file that is not converted.

    Attributes:
        name, origin: the name, and its place.
        reason: why.
        status: 'refused'; 'wrong'; 'unknown' for a likely typing error, which gunicorn ignores;
            'ignored' for a setting that changes nothing.
        text: its value, if that is a text of one line.
    """

    name: str
    origin: Origin
    reason: str
    status: str = "refused"
    text: str | None = None


def read(path: str) -> tuple[list[Entry], list[Unconverted]]:
    """Run a settings file; return the lines it makes, and the names that cannot be converted.

    Raises:
        ConfigError: the file cannot be read, or raises an error.
    """
    numbers = _line_numbers(path)
    try:
        # Its output must not be part of ours.
        with contextlib.redirect_stdout(sys.stderr):
            values = runpy.run_path(path)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"it cannot be run: {type(error).__name__}: {error}",
                          file=path) from error
    entries: list[Entry] = []
    unconverted: list[Unconverted] = []
    names = [*numbers, *(name for name in values if name not in numbers)]  # import * has no names
    for name in sorted(names, key=lambda name: numbers.get(name, 0)):
        value = values.get(name)
        origin = Origin("file", path, numbers.get(name), name, "geventuwsgi")
        for found in _converted(name, value, origin):
            if isinstance(found, Unconverted):
                unconverted.append(found)
            else:
                entries.append(found)
    return entries, unconverted


def _converted(name: str, value: object, origin: Origin) -> Iterator[Entry | Unconverted]:
    """Yield the lines that a name of a settings file makes, or the reason why it makes none."""
    key = GUNICORN_SETTINGS.get(name, name.replace("_", "-"))
    option = row(key)
    if name in GUNICORN_HOOKS and callable(value):
        yield Unconverted(name, origin, "a function in Python is not converted: "
                          + GUNICORN_HOOKS[name])
    elif value is None or name.startswith("_"):
        pass
    elif option is None or name not in GUNICORN_NAMES | GUNICORN_HOOKS.keys():
        # A name of the file itself, which gunicorn ignores too; reported if it looks mistyped.
        close = nearest(name, among=GUNICORN_NAMES, cutoff=_CUTOFF)
        if close is not None and isinstance(value, str | int | float | list | tuple):
            yield Unconverted(name, origin, f"there is no such setting; did you mean {close}?",
                              "unknown")
    elif option.status == "refused":
        default = GUNICORN_DEFAULTS.get(name)
        if value and value != default and not _is_part_of(value, default):
            yield Unconverted(name, origin, option.reason)
        else:
            why = option.reason if isinstance(value, dict) and value else (
                "it is gunicorn's default, and changes nothing")
            yield Unconverted(name, origin, why, "ignored")
    elif key == "config":
        yield Unconverted(name, origin, COMMAND, "ignored")
    else:
        for one in value if isinstance(value, list | tuple | set) else (value,):
            try:
                text = _text(one, option.value_type.octal)
                if name == "worker_class":
                    text = GUNICORN_WORKERS.get(text.lower(), text)
                yield Entry(key, text, origin)
            except TypeError:
                yield Unconverted(name, origin, f"{one!r} cannot be written in an INI file")


def _is_part_of(value: object, default: object) -> bool:
    """Whether a dictionary of header fields has nothing that the default has not."""
    if not isinstance(value, dict) or not isinstance(default, dict):
        return False
    return {str(name).upper(): text for name, text in value.items()}.items() <= default.items()


def _line_numbers(path: str) -> dict[str, int]:
    """Return the line number of each name that a file defines."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(), path)
    except OSError as error:
        raise ConfigError(str(error.strerror), file=path) from error
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"it is not Python: {error}", file=path) from error
    numbers: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            numbers.setdefault(node.id, node.lineno)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            numbers.setdefault(node.name, node.lineno)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                numbers.setdefault(alias.asname or alias.name, node.lineno)
    return numbers


def _text(value: object, octal: bool) -> str:
    """Return a Python value as the text of a line.

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
    """A line that is added because gunicorn's default differs from ours.

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
class _Line:
    """A line of the settings file, and its text in the INI file."""

    entry: Entry
    option: Option
    written: str
    wanted: object
    here: bool = True  # whether it is valid on this machine


class Conversion:
    """A settings file of gunicorn as an INI file.

    Args:
        entries, unconverted: the result of `read`.

    Attributes:
        entries: the lines that are converted.
        unconverted: the names that are not, including those of `read`.
        added: the lines for gunicorn's defaults.
        settings: those of the INI file; None if they cannot be resolved.
    """

    def __init__(self, entries: Sequence[Entry], unconverted: Iterable[Unconverted]) -> None:
        self.unconverted = list(unconverted)
        self.added = list(_added(entries))
        self.settings: Settings | None = None
        self._lines: list[_Line] = []
        self._comments: list[Entry] = []
        for entry in entries:
            self._add(entry)
        while (found := self._misread()) is not None:
            line, reason = found
            self._lines.remove(line)
            self._reject(line.entry, reason)

    @property
    def entries(self) -> list[Entry]:
        kept = [line.entry for line in self._lines] + self._comments
        return sorted(kept, key=lambda entry: entry.origin.line or 0)

    @property
    def refusals(self) -> list[str]:
        """The errors about settings that an INI file cannot have."""
        return [str(one.origin.error(one.reason)) for one in self.unconverted
                if one.status in ("refused", "wrong")]

    def ini(self) -> str:
        """Return the INI file, with the first name of each option."""
        lines = [*self._texts(self._lines)]
        for added in self.added:
            lines += [f"; {added.setting}: {added.reason}", f"{added.key} = {added.text}"]
        for entry in self._comments:
            option = row(entry.key)
            assert option is not None
            reason = COMMAND if option.status == "command" else option.reason
            lines.append(f"; {entry.key} = {entry.text}: {option.status}, {reason}")
        for one in self.unconverted:
            setting = one.name if one.text is None else f"{one.name} = {one.text}"
            lines.append(f"; {setting}: {one.reason}")
        return "\n".join(lines) + "\n"

    def _add(self, entry: Entry) -> None:
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
                self._reject(entry, error.message)
                return
            # The account may exist on the machine where the server will run; a server that does
            # not start is better than one that keeps root.
            self._lines.append(_Line(entry, option, escaped(text), None, here=False))
        else:
            self._lines.append(_Line(entry, option, escaped(text), wanted))

    def _reject(self, entry: Entry, reason: str) -> None:
        status = "refused" if reason == _CHANGED else "wrong"
        self.unconverted.append(Unconverted(entry.origin.option or entry.key, entry.origin, reason,
                                            status, entry.text))

    def _texts(self, lines: Iterable[_Line]) -> list[str]:
        """Return the section: the placeholders that the lines need, and the lines."""
        texts = [f"{line.option.name} = {line.written}" for line in lines]
        return [f"[{SECTION}]", *placeholders(texts), *texts]

    def _misread(self) -> tuple[_Line, str] | None:
        """Read back the INI file, and return a line that changed its meaning, and the reason."""
        lines = [line for line in self._lines if line.here]
        texts = self._texts(lines)
        first = len(texts) - len(lines) + 1
        texts += [f"{one.key} = {one.text}" for one in self.added]
        by_number = {first + index: line for index, line in enumerate(lines)}
        reading = Reading({})
        try:
            text = ini.substitute("\n".join(texts), ini.magic("-", None))
            for one in ini.lines(text, SECTION):
                reading.add(one.key, one.text,
                            Origin("file", "the result", one.number, one.key, SECTION))
            reading.finish()
            for entry in reading.entries:
                line = by_number.get(entry.origin.line or 0)
                if line is not None:
                    context = CastContext(entry.origin)
                    if line.option.value_type.cast(entry.text, context) != line.wanted:
                        return line, _CHANGED
            self.settings = resolve(reading)
        except ConfigError as error:
            line = by_number.get(error.line or 0)
            if line is not None:
                return line, error.message
        return None


def _added(entries: Iterable[Entry]) -> Iterable[Added]:
    """Yield the lines for gunicorn's defaults that differ from ours."""
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
        yield Added("keepalive", "keepalive", _KEEPALIVE, "gunicorn keeps an idle connection "
                    f"open for {_KEEPALIVE} seconds at most, this server for 75")
    if "access-logfile" not in texts:
        yield Added("accesslog", "disable-logging", "true", "gunicorn does not log requests "
                    "unless it is set")
    if "unix" in texts and "umask" not in texts:
        yield Added("umask", "chmod-socket", "666", "gunicorn's umask is 0, so that any user "
                    "may connect to its unix sockets")


def _slots(worker_class: str, texts: dict[str, str]) -> Iterable[Added]:
    """Yield the lines that keep how a worker runs requests: how many at once, and how long."""
    if worker_class in ("", "sync", "gthread"):
        timeout = texts.get("worker-timeout", _TIMEOUT)
        if worker_class != "gthread" and _number(texts.get("threads", ""), 1) == 1 \
                and _number(timeout, 0):
            yield Added("worker_class", "harakiri", timeout, "gunicorn kills a sync worker whose "
                        "request takes longer than timeout; without this line it may take any time")
        if not worker_class and "threads" not in texts:
            yield Added("worker_class", "threads", "1", "gunicorn's sync worker runs one request "
                        f"at a time; without this line it is {SLOTS} in greenlets")
        return
    ours = _number(texts.get("threads", ""), SLOTS)
    if worker_class in ("gevent", "eventlet"):
        slots = _number(texts.get("worker-connections", ""), _CONNECTIONS)
        reason = (f"gunicorn's {worker_class} worker runs {slots} "
                  f"request{'s' if slots > 1 else ''} at once")
    else:
        slots = 1
        reason = "the number of requests that such a worker runs at once is not known"
    if slots != ours:
        yield Added("worker_class", "gevent", str(slots),
                    f"{reason}; without this line it is {ours}")


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and int(text) else default
