"""Everything an operator wrote, in the order it was read, before any of it has a meaning.

Lines come from files, the command line and the environment alike. What acts while it is
read acts here: includes, conditions and loops, `set`, `strict`. When all is read,
`expand` makes the three late passes and `ordered` brings the lines into the order in
which the last one wins.
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
# uWSGI reads these at once too, without the late passes, so that `listen =
# @(/proc/sys/net/core/somaxconn)` is 0 there.
_IMMEDIATE = ("listen", "umask")
_FIXED = ("set-placeholder", "set-ph")  # nor are these expanded there, nor inherited files


class Skipped(NamedTuple):
    """A line in a block that does not hold.

    Attributes:
        entry: the line, whose references are not replaced.
        why: what does not hold.
        place: how many lines were taken before it.
    """

    entry: Entry
    why: str
    place: int


class Reading:
    """What has been read so far.

    Args:
        environ: the environment, for `$(NAME)` and `if-env`.
        developing: for a development run, to which a file of PasteDeploy in the place of an
            INI file is what `--paste` names.
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
        self._own = 0  # how many lines were not inherited
        self._permission = Permission()
        self._loading: list[tuple[str, str]] = []
        self._inherits: list[tuple[str, Origin, list[tuple[str, str]]]] = []
        self._first_magic: dict[str, str] | None = None

    def add(self, key: str, text: str | None, origin: Origin) -> None:
        """Take one line, as often as the block it stands in says.

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
        _without_place(lambda: self._permission.check(key), context)
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
                self._block = None  # what the line includes or sets stands for itself
            changed = text if text is None or value is None else text.replace("%(_)", value)
            self._take(Entry(key, changed, origin))
            if block is not None:
                self._block = block

    def _open(self, entry: Entry, context: CastContext, skipped: bool) -> None:
        """Begin a block, which may not stand in another that holds."""
        if self._block is None:
            option = row(entry.key)
            text = option.value_type.uncomment(entry.text or "", context) if option else entry.text or ""
            if option is not None and option.value_type.comments:  # a path, or a number of times
                text = self._at_once(text, context) or ""
            self._block = blocks.Block(entry.key, text, context)
            self.entries.append(entry)
        elif skipped:
            context.warn(f"blocks do not nest: this one is skipped with the {self._block.key} it "
                         f"stands in, and the first end ends both")
        else:
            context.fail(f"blocks do not nest: {self._block.key} is still open")

    def load(self, spec: str, origin: Origin) -> None:
        """Read a file, or a section of one (`file.ini:section`), at this point.

        Args:
            spec: the name as written; `:section` is that section of the file read last.
            origin: where the file is named.
        """
        name, section = ini.split_section(spec)
        if not name:
            if not self.files:
                raise origin.error(f"{spec}: no file was read before it")
            name = self.files[-1]
        try:
            source = ini.read(name)
            magic = ini.magic(name, section)
        except (ConfigError, OSError) as error:
            beside = os.path.join(os.path.dirname(origin.file or ""), name)
            hint = (f": a path is relative to where the server is started, write %d{name}"
                    if not os.path.isabs(name) and os.path.isfile(beside) else "")
            raise origin.error(getattr(error, "message", str(error)) + hint) from None
        if self.developing and origin.kind != "file" and not section and source.is_pastes:
            self._paste(name, False, origin)
            return
        if self._first_magic is None:
            self._first_magic = magic
        source = ini.Source(name, ini.substitute(source.text,
                                                 ini.with_first(magic, self._first_magic)))
        chosen = section or ("geventuwsgi" if "geventuwsgi" in source.sections else "uwsgi")
        if chosen not in source.sections:
            self._miss(source, section, origin)
        identity = os.path.realpath(name), chosen
        if identity in self._loading:
            raise origin.error(f"{spec} leads back to itself")
        self._loading.append(identity)
        self.files.append(name)
        self.reads_uwsgi |= Origin("file", section=chosen).uwsgi
        self._lines(source, chosen)
        self._loading.pop()

    def finish(self) -> None:
        """Read what is inherited, behind all else as in uWSGI, and make the three late passes."""
        self._own = len(self.entries)
        for parent, place, self._loading in self._inherits:  # which may inherit in turn
            self.load(parent, place)
        self._inherits.clear()
        if self._block is not None:
            self._block.context.warn("it has no end: all lines behind it belong to it, as in uWSGI")
        self._pass(lambda text, warn, _: references.environment(text, self.environ, warn))
        self._pass(lambda text, warn, _: references.files(text, warn))
        self._pass(lambda text, warn, entry: references.options(text, self._visible(entry), warn))

    def without(self, indices: Collection[int]) -> "Reading":
        """Return what was read less some of the lines, when all is read."""
        other = copy.copy(self)
        other.entries = [entry for index, entry in enumerate(self.entries)
                         if index not in indices]
        return other

    def ordered(self) -> list[Entry]:
        """Return the lines in the order in which the last one wins.

        With a [uwsgi] section it is the order in which uWSGI reads: `UWSGI_*`, then the
        command line from left to right with each file where it is named; our own variables
        come behind the files. Else it is `UWSGI_*`, files, variables, command line.
        """
        entries = [one for entry in self.entries for one in (entry, *self.expansion(entry))]
        own = [entry for entry in entries if _rank(entry) == 2]
        if not self.reads_uwsgi:
            return sorted(entries, key=_rank)
        others = [entry for entry in entries if _rank(entry) != 2]
        behind = max((index for index, entry in enumerate(others, 1)
                      if entry.origin.kind == "file"), default=0)
        return others[:behind] + own + others[behind:]

    def expansion(self, entry: Entry, within: tuple[str, ...] = ()) -> list[Entry]:
        """Return the lines that a line with a name of declare-option stands for.

        Raises:
            ConfigError: at the line, for a name that stands for itself, or for what acts
                while lines are read, which is over.
        """
        declared = self.declared.get(entry.key)
        if declared is None:
            return []
        if entry.key in within:
            raise entry.origin.error(f"{entry.key} stands for itself")
        found: list[Entry] = []
        for one in declared.entries(entry):
            option = row(one.key, one.origin.uwsgi)
            if option is not None and option.status == "directive":
                raise entry.origin.error(f"{one.key} acts while the file is read: it cannot stand "
                                         f"in a declare-option")
            found += [one, *self.expansion(one, (*within, entry.key))]
        return found

    @property
    def dialect(self) -> str:
        """Say whose defaults apply: 'uwsgi', 'geventuwsgi' (a file of ours) or 'argv'."""
        # UWSGI_VERSION is a variable of many images, and orders nothing.
        options = (row(entry.key, True) for entry in self.entries if entry.origin.uwsgi)
        if self.reads_uwsgi or any(one and one.status != "command" for one in options):
            return "uwsgi"
        return "geventuwsgi" if self.files else "argv"

    def _miss(self, source: ini.Source, section: str | None, origin: Origin) -> None:
        """Tell of a section that is not there: an error for a file named at the start."""
        wanted = f"[{section}]" if section else "[uwsgi] or [geventuwsgi]"
        found = ", ".join(f"[{name}]" for name in source.sections) or "none"
        message = f"{source.name} has no section {wanted}; " + ini.FOREIGN.get(
            source.name.rpartition(".")[2], f"its sections: {found}")
        if source.is_pastes and not section:
            message += (f"; it is PasteDeploy's: --paste config:{source.name} serves its "
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

    def _take(self, entry: Entry) -> None:
        """Keep a line; a directive acts."""
        option = row(entry.key, entry.origin.uwsgi)
        self.entries.append(entry)
        if option is not None and option.status == "directive":
            self._act(option, entry)

    def _act(self, option: Option, entry: Entry) -> None:
        context = CastContext(entry.origin, self.warnings)
        name = option.name
        if name == "strict":
            self.strict = bool(option.value_type.cast(entry.text, context))
        elif name in ("blacklist", "whitelist", "end-blacklist", "end-whitelist"):
            self._permission.turn(name, entry.text or "")
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
            value = str(option.value_type.cast(self._at_once(entry.text, context), context))
            self._act_on(name, value, entry.origin, context)

    def _act_on(self, name: str, value: str, origin: Origin, context: CastContext) -> None:
        """Do what a directive with a file, a variable or a placeholder says."""
        if name == "ini":
            self.load(value, origin)
        elif name.startswith("ini-paste"):
            self._paste(value, name.endswith("-logged"), origin)
        elif name == "inherit":
            if value.startswith(":") and self.files:
                value = self.files[-1] + value
            self._inherits.append((value, origin, list(self._loading)))
        elif name == "early-envdir":
            found = _without_place(lambda: directives.variables(value), context)
            self.early |= found
            self.environ = {key: text for key, text in {**self.environ, **found}.items()
                            if text is not None}
        else:  # set-placeholder, resolve
            key, _, text = value.partition("=")
            if row(key, origin.uwsgi):
                context.fail(f"{key} is an option, no placeholder")
            if name == "resolve":
                text = _without_place(lambda: directives.address_of(text), context)
            self.placeholders.add(key)
            self.entries.append(Entry(key, text, origin))

    def _declare(self, text: str, context: CastContext) -> None:
        """Take an option that stands for others."""
        declared = _without_place(lambda: Declared.read(text), context)
        if row(declared.name, context.origin.uwsgi):
            context.warn(f"{declared.name} is an option already: the line has no effect")
        else:
            self.declared[declared.name] = declared

    def _paste(self, path: str, logged: bool, origin: Origin) -> None:
        """Read what a file of PasteDeploy says to the server, and name its application."""
        try:
            sections = ini.read(path).sections
        except (ConfigError, OSError) as error:
            raise origin.error(getattr(error, "message", str(error))) from None
        if "uwsgi" in sections or "geventuwsgi" in sections:
            self.load(path, origin)
        self.add("paste", f"config:{os.path.abspath(path)}", origin)
        if logged:
            self.add("paste-logger", "true", origin)

    def _at_once(self, text: str | None, context: CastContext) -> str | None:
        """Expand the text of a directive, which in uWSGI is taken as it stands."""
        if text is None or "(" not in text:
            return text
        warn = context.warn if context.origin.uwsgi else None

        def expanded() -> str:
            changed = references.files(references.environment(text, self.environ), warn)
            return references.options(changed, self.firsts())
        changed = _without_place(expanded, context)
        if changed != text and context.origin.uwsgi:
            context.warn(f"{text} is read as {changed}; uWSGI takes it as it stands")
        return changed

    def firsts(self) -> dict[str, str]:
        """Return the first text of each key; uWSGI's `%(name)` sees the first one."""
        return {entry.key: entry.text or "" for entry in reversed(self.entries)}

    def _visible(self, entry: Entry) -> dict[str, str]:
        """Return what `%(name)` may name in a line.

        gunicorn's `pid` and `user` are variables of a log line to uWSGI.
        """
        option = row(entry.key, entry.origin.uwsgi)
        if option is None or option.name != "log-format" or entry.origin.uwsgi:
            return self.firsts()
        rows = ((key, row(key)) for key in self.firsts())
        theirs = {key for key, one in rows if one is not None and key in one.gunicorn}
        return {key: text for key, text in self.firsts().items() if key not in theirs}

    def _pass(self, change: Callable[[str, references.Warn | None, Entry], str]) -> None:
        for index, entry in enumerate(self.entries):
            option = row(entry.key, entry.origin.uwsgi)
            text = entry.text
            if text is None or "(" not in text or (option and option.status == "directive"):
                continue
            context = CastContext(entry.origin, self.warnings)
            changed = _without_place(
                lambda: change(text, context.warn if context.origin.uwsgi else None, entry), context)
            if changed == text:
                continue
            if entry.key in _IMMEDIATE and entry.origin.uwsgi:
                context.warn(f"{text} is read as {changed}; uWSGI takes it as it stands, which is 0")
            if entry.origin.uwsgi and (entry.origin.option in _FIXED or index >= self._own):
                context.warn(f"{entry.key} = {text} is read as {changed}; uWSGI takes it as it stands")
            self.entries[index] = Entry(entry.key, changed, entry.origin)


def _without_place(read: Callable[[], T], context: CastContext) -> T:
    """Return what `read` returns; what it raises gets the place."""
    try:
        return read()
    except ConfigError as error:
        context.fail(error.message)
    except (OSError, ValueError) as error:
        context.fail(str(error))


def _rank(entry: Entry) -> int:
    """Order the sources of a configuration without a [uwsgi] section."""
    if entry.origin.kind == "environment":
        return 0 if entry.origin.uwsgi else 2
    return 1 if entry.origin.kind == "file" else 3
