"""All lines of a configuration, in the order in which they are read, before they are interpreted.

Lines come from files, the command line and the environment. Directives act while they are read:
includes, conditions and loops, `set`, `strict`. `finish` then replaces the references, and
`ordered` sorts the lines so that the last one wins.
"""

import copy
import os
import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, TypeVar

from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.table import row
from geventuwsgi.config.sources import blocks, directives, ini, references
from geventuwsgi.config.sources.directives import Declared, Permission
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.errors import ConfigError, ConfigurationEnd

T = TypeVar("T")
_REFERENCES = re.compile(r"%\(([^()]*)\)")
# uWSGI reads these before it replaces references, so that `listen =
# @(/proc/sys/net/core/somaxconn)` is 0 there.
_IMMEDIATE = ("listen", "umask")
# uWSGI replaces no references in these, nor in inherited files.
_FIXED = ("set-placeholder", "set-ph")


class Skipped(NamedTuple):
    """A line in a block whose condition is false.

    Attributes:
        entry: the line, whose references are not replaced.
        why: the condition, for a message.
        position: the number of lines read before it.
    """

    entry: Entry
    why: str
    position: int


class Reading:
    """The lines that have been read so far.

    Args:
        environ: the environment, for `$(NAME)` and `if-env`.
        developing: whether this is a development run, in which a PasteDeploy file may be named
            like an INI file.
    """

    def __init__(self, environ: Mapping[str, str], developing: bool = False) -> None:
        self.environ = environ
        self.developing = developing
        self.entries: list[Entry] = []
        self.skipped: list[Skipped] = []
        self.warnings: list[str] = []
        self.files: list[str] = []
        self.reads_uwsgi = False  # whether a [uwsgi] section was read
        self.placeholders: set[str] = set()
        self.references: set[str] = set()
        self.strict = False
        self.declared: dict[str, Declared] = {}
        self.early: dict[str, str | None] = {}  # variables of early-envdir; None is removed
        self._block: blocks.Block | None = None
        self._own = 0  # number of lines that were not inherited
        self._permission = Permission()
        self._loading: list[tuple[str, str]] = []
        self._inherits: list[tuple[str, Origin, list[tuple[str, str]]]] = []
        self._first_magic: dict[str, str] | None = None

    def add(self, key: str, text: str | None, origin: Origin) -> None:
        """Add a line, as often as the block that contains it says.

        Raises:
            ConfigError: naming the place.
        """
        self.references.update(word for names in _REFERENCES.findall(text or "")
                               for word in names.split())
        context = CastContext(origin, self.warnings)
        if key in blocks.END:
            self._block = None
            self.entries.append(Entry(key, text, origin))
            return
        _with_place(lambda: self._permission.check(key), context)
        values = self._block.values((self.environ, self.firsts())) if self._block else [None]
        if self._block is not None and not values:
            self.skipped.append(Skipped(Entry(key, text, origin), self._block.why_not,
                                        len(self.entries)))
        if blocks.opens(key):
            self._open(Entry(key, text, origin), context, skipped=not values)
            return
        block = self._block
        for value in values:
            if block is not None:
                self._block = None  # lines that this one includes or sets are not in the block
            changed = text if text is None or value is None else text.replace("%(_)", value)
            self._append(Entry(key, changed, origin))
            if block is not None:
                self._block = block

    def _open(self, entry: Entry, context: CastContext, skipped: bool) -> None:
        """Begin a block, which may not be inside another that is read."""
        if self._block is None:
            option = row(entry.key)
            text = entry.text or ""
            if option is not None:
                text = option.value_type.uncomment(text, context)
            if option is not None and option.value_type.comments:  # a path, or a number of times
                text = self._expanded(text, context) or ""
            self._block = blocks.Block(entry.key, text, context)
            self.entries.append(entry)
        elif skipped:
            context.warn(f"blocks do not nest: this one is skipped with the {self._block.key} "
                         f"that contains it, and the first end ends both")
        else:
            context.fail(f"blocks do not nest: {self._block.key} has no end yet")

    def load(self, spec: str, origin: Origin) -> None:
        """Read a file, or a section of one (`file.ini:section`), at this point.

        Args:
            spec: the name as written; `:section` is a section of the file read last.
            origin: where the file is named.
        """
        name, section = ini.split_section(spec)
        if not name:
            if not self.files:
                raise origin.error(f"{spec}: no file was read before")
            name = self.files[-1]
        try:
            source = ini.read(name)
            magic = ini.magic(name, section)
        except (ConfigError, OSError) as error:
            beside = os.path.join(os.path.dirname(origin.file or ""), name)
            hint = (": a path is relative to the directory where the server is started: write "
                    f"%d{name}" if not os.path.isabs(name) and os.path.isfile(beside) else "")
            raise origin.error(getattr(error, "message", str(error)) + hint) from None
        if self.developing and origin.kind != "file" and not section and source.is_paste:
            self._paste(name, False, origin)
            return
        if self._first_magic is None:
            self._first_magic = magic
        source = ini.Source(name, ini.substitute(source.text,
                                                 ini.with_first(magic, self._first_magic)))
        chosen = section or ("geventuwsgi" if "geventuwsgi" in source.sections else "uwsgi")
        if chosen not in source.sections:
            self._report_missing(source, section, origin)
        identity = os.path.realpath(name), chosen
        if identity in self._loading:
            raise origin.error(f"{spec} includes itself")
        self._loading.append(identity)
        self.files.append(name)
        self.reads_uwsgi |= Origin("file", section=chosen).uwsgi
        self._lines(source, chosen)
        self._loading.pop()

    def finish(self) -> None:
        """Read inherited files, after everything else as in uWSGI, and replace the references."""
        self._own = len(self.entries)
        for parent, origin, self._loading in self._inherits:  # which may inherit in turn
            self.load(parent, origin)
        self._inherits.clear()
        if self._block is not None:
            self._block.context.warn("it has no end: all lines after it belong to it, as in uWSGI")
        self._replace(lambda text, warn, _: references.environment(text, self.environ, warn))
        self._replace(lambda text, warn, _: references.files(text, warn))
        self._replace(lambda text, warn, entry: references.options(
            text, self._visible(entry), warn))

    def without(self, indices: Collection[int]) -> "Reading":
        """Return a copy without some of the lines, after `finish`."""
        other = copy.copy(self)
        other.entries = [entry for index, entry in enumerate(self.entries)
                         if index not in indices]
        return other

    def ordered(self) -> list[Entry]:
        """Return the lines in the order in which the last one wins.

        With a [uwsgi] section it is the order in which uWSGI reads: `UWSGI_*`, then the
        command line from left to right with each file where it is named; our own variables
        come after the files. Otherwise it is `UWSGI_*`, files, variables, command line.
        """
        entries = [one for entry in self.entries for one in (entry, *self.expansion(entry))]
        own = [entry for entry in entries if _rank(entry) == 2]
        if not self.reads_uwsgi:
            return sorted(entries, key=_rank)
        others = [entry for entry in entries if _rank(entry) != 2]
        after = max((index for index, entry in enumerate(others, 1)
                     if entry.origin.kind == "file"), default=0)
        return others[:after] + own + others[after:]

    def expansion(self, entry: Entry, within: tuple[str, ...] = ()) -> list[Entry]:
        """Return the lines that replace a line with an option of declare-option.

        Raises:
            ConfigError: at the line, for an option that contains itself or a directive, which
                would act too late.
        """
        declared = self.declared.get(entry.key)
        if declared is None:
            return []
        if entry.key in within:
            raise entry.origin.error(f"{entry.key} contains itself")
        found: list[Entry] = []
        for one in declared.entries(entry):
            option = row(one.key, one.origin.uwsgi)
            if option is not None and option.status == "directive":
                raise entry.origin.error(f"{one.key} acts while the file is read: it cannot "
                                         f"be used in a declare-option")
            found += [one, *self.expansion(one, (*within, entry.key))]
        return found

    @property
    def dialect(self) -> str:
        """The dialect whose defaults apply: 'uwsgi', 'geventuwsgi' (our own section) or 'argv'."""
        # UWSGI_VERSION is a variable in many images, and no option.
        options = (row(entry.key, True) for entry in self.entries if entry.origin.uwsgi)
        if self.reads_uwsgi or any(one and one.status != "command" for one in options):
            return "uwsgi"
        return "geventuwsgi" if self.files else "argv"

    def _report_missing(self, source: ini.Source, section: str | None, origin: Origin) -> None:
        """Report a missing section: an error, but in an included file a warning."""
        wanted = f"[{section}]" if section else "[uwsgi] or [geventuwsgi]"
        found = ", ".join(f"[{name}]" for name in source.sections) or "none"
        message = f"{source.name} has no section {wanted}; " + ini.FOREIGN.get(
            source.name.rpartition(".")[2], f"its sections: {found}")
        if source.is_paste and not section:
            message += (f"; it is a PasteDeploy file: --paste config:{source.name} serves its "
                        "application")
        if origin.kind != "file":
            raise origin.error(message)
        CastContext(origin, self.warnings).warn(message)

    def _lines(self, source: ini.Source, section: str) -> None:
        try:
            found = ini.lines(source.text, section)
        except ConfigError as error:
            error.file = source.name
            raise
        for line in found:
            self.add(line.key, line.text,
                     Origin("file", source.name, line.number, line.key, section))

    def _append(self, entry: Entry) -> None:
        """Append a line, and run a directive."""
        option = row(entry.key, entry.origin.uwsgi)
        self.entries.append(entry)
        if option is not None and option.status == "directive":
            self._run(option, entry)

    def _run(self, option: Option, entry: Entry) -> None:
        context = CastContext(entry.origin, self.warnings)
        name = option.name
        if name == "strict":
            self.strict = bool(option.value_type.cast(entry.text, context))
        elif name in ("blacklist", "whitelist", "end-blacklist", "end-whitelist"):
            self._permission.set(name, entry.text or "")
        elif name == "declare-option":
            self._declare(entry.text or "", context)
        elif name == "set":
            key, _, text = str(option.value_type.cast(entry.text, context)).partition("=")
            self.placeholders.add(key)
            self.add(key, text, entry.origin)
        elif name == "exit":
            status = option.value_type.cast(entry.text or "0", context)
            raise ConfigurationEnd(int(str(status)), file=entry.origin.file,
                                   line=entry.origin.line, option=entry.origin.option)
        else:
            value = str(option.value_type.cast(self._expanded(entry.text, context), context))
            self._run_with_value(name, value, entry.origin, context)

    def _run_with_value(self, name: str, value: str, origin: Origin, context: CastContext) -> None:
        """Run a directive that names a file, a variable or a placeholder."""
        if name == "ini":
            self.load(value, origin)
        elif name.startswith("ini-paste"):
            self._paste(value, name.endswith("-logged"), origin)
        elif name == "inherit":
            if value.startswith(":") and self.files:
                value = self.files[-1] + value
            self._inherits.append((value, origin, list(self._loading)))
        elif name == "early-envdir":
            found = _with_place(lambda: directives.variables(value), context)
            self.early |= found
            self.environ = {key: text for key, text in {**self.environ, **found}.items()
                            if text is not None}
        else:  # set-placeholder, resolve
            key, _, text = value.partition("=")
            if row(key, origin.uwsgi):
                context.fail(f"{key} is an option, not a placeholder")
            if name == "resolve":
                text = _with_place(lambda: directives.address_of(text), context)
            self.placeholders.add(key)
            self.entries.append(Entry(key, text, origin))

    def _declare(self, text: str, context: CastContext) -> None:
        """Add an option that is replaced by others."""
        declared = _with_place(lambda: Declared.parse(text), context)
        if row(declared.name, context.origin.uwsgi):
            context.warn(f"{declared.name} is already an option: the line has no effect")
        else:
            self.declared[declared.name] = declared

    def _paste(self, path: str, logged: bool, origin: Origin) -> None:
        """Read the [uwsgi] section of a PasteDeploy file, and set `paste` to its application."""
        try:
            sections = ini.read(path).sections
        except (ConfigError, OSError) as error:
            raise origin.error(getattr(error, "message", str(error))) from None
        if "uwsgi" in sections or "geventuwsgi" in sections:
            self.load(path, origin)
        self.add("paste", f"config:{os.path.abspath(path)}", origin)
        if logged:
            self.add("paste-logger", "true", origin)

    def _expanded(self, text: str | None, context: CastContext) -> str | None:
        """Return the text of a directive with its references replaced; uWSGI leaves them."""
        if text is None or "(" not in text:
            return text
        warn = context.warn if context.origin.uwsgi else None

        def replaced() -> str:
            changed = references.files(references.environment(text, self.environ), warn)
            return references.options(changed, self.firsts())
        changed = _with_place(replaced, context)
        if changed != text and context.origin.uwsgi:
            context.warn(f"{text} is read as {changed}; uWSGI replaces no references here")
        return changed

    def firsts(self) -> dict[str, str]:
        """Return the first text of each key, which is what `%(name)` means in uWSGI."""
        return {entry.key: entry.text or "" for entry in reversed(self.entries)}

    def _visible(self, entry: Entry) -> dict[str, str]:
        """Return the keys that `%(name)` may refer to in a line, with their texts.

        In a log-format gunicorn's `pid` and `user` are variables of the request line.
        """
        option = row(entry.key, entry.origin.uwsgi)
        if option is None or option.name != "log-format" or entry.origin.uwsgi:
            return self.firsts()
        options = ((key, row(key)) for key in self.firsts())
        gunicorn = {key for key, one in options if one is not None and key in one.gunicorn}
        return {key: text for key, text in self.firsts().items() if key not in gunicorn}

    def _replace(self, change: Callable[[str, references.Warn | None, Entry], str]) -> None:
        for index, entry in enumerate(self.entries):
            option = row(entry.key, entry.origin.uwsgi)
            text = entry.text
            if text is None or "(" not in text or (option and option.status == "directive"):
                continue
            context = CastContext(entry.origin, self.warnings)
            warn = context.warn if context.origin.uwsgi else None
            changed = _with_place(lambda: change(text, warn, entry), context)
            if changed == text:
                continue
            if entry.key in _IMMEDIATE and entry.origin.uwsgi:
                context.warn(f"{text} is read as {changed}; uWSGI replaces no references here, and "
                             "reads 0")
            if entry.origin.uwsgi and (entry.origin.option in _FIXED or index >= self._own):
                context.warn(f"{entry.key} = {text} is read as {changed}; uWSGI replaces no "
                             "references here")
            self.entries[index] = Entry(entry.key, changed, entry.origin)


def _with_place(read: Callable[[], T], context: CastContext) -> T:
    """Return what `read` returns, and add the place to its errors."""
    try:
        return read()
    except ConfigError as error:
        context.fail(error.message)
    except (OSError, ValueError) as error:
        context.fail(str(error))


def _rank(entry: Entry) -> int:
    """The order of the sources in a configuration without a [uwsgi] section."""
    if entry.origin.kind == "environment":
        return 0 if entry.origin.uwsgi else 2
    return 1 if entry.origin.kind == "file" else 3
