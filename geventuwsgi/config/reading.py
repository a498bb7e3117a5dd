"""Everything an operator wrote, in the order it was read, before any of it has a meaning.

Lines come from files, the command line and the environment alike. What acts while it is
read acts here: includes, conditions and loops, `set`, `strict`. When all is read,
`expand` makes the three late passes and `ordered` brings the lines into the order in
which the last one wins.
"""

import os
import re
from collections.abc import Mapping

from geventuwsgi.config import expand, ini, logic
from geventuwsgi.config.option import Entry, Option
from geventuwsgi.config.origin import Case, Origin
from geventuwsgi.config.table import row
from geventuwsgi.errors import ConfigError

_REFERENCES = re.compile(r"%\(([^()]*)\)")
# uWSGI reads these at once too, without the late passes, so that `listen =
# @(/proc/sys/net/core/somaxconn)` is 0 there.
_IMMEDIATE = ("listen", "umask")


class Reading:
    """What has been read so far.

    Args:
        environ: the environment, for `$(NAME)` and `if-env`.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.entries: list[Entry] = []
        self.warnings: list[str] = []
        self.files: list[str] = []
        self.reads_uwsgi = False  # whether a [uwsgi] section was read
        self.placeholders: set[str] = set()
        self.references: set[str] = set()
        self.strict = False
        self._block: tuple[str, str] | None = None
        self._loading: list[tuple[str, str]] = []
        self._inherits: list[list[tuple[str, Origin]]] = [[]]
        self._first_magic: dict[str, str] | None = None

    def add(self, key: str, text: str | None, origin: Origin) -> None:
        """Take one line, as often as the block it stands in says.

        Raises:
            ConfigError: naming the place.
        """
        self.references.update(word for names in _REFERENCES.findall(text or "")
                               for word in names.split())
        if key in logic.END:
            self._block = None
            self.entries.append(Entry(key, text, origin))
        elif logic.opens(key):
            if self._block is not None:
                raise origin.error(f"blocks do not nest: {self._block[0]} is still open")
            self._block = key, text or ""
            self.entries.append(Entry(key, text, origin))
        elif self._block is None:
            self._take(Entry(key, text, origin))
        else:
            for value in self._block_values(origin):
                self._take(Entry(key, text and text.replace("%(_)", value), origin))

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
            raise origin.error(getattr(error, "message", str(error))) from None
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
        self._inherits.append([])
        self.files.append(name)
        self.reads_uwsgi |= Origin("file", section=chosen).uwsgi
        self._lines(source, chosen)
        for parent, place in self._inherits.pop():
            self.load(parent, place)
        self._loading.pop()

    def finish(self) -> None:
        """Make the three late passes over all values."""
        self._pass(lambda text: expand.environment(text, self.environ))
        self._pass(expand.files)
        self._pass(lambda text: expand.options(text, self._firsts()))

    def ordered(self) -> list[Entry]:
        """Return the lines in the order in which the last one wins.

        With a [uwsgi] section it is the order in which uWSGI reads: `UWSGI_*`, then the
        command line from left to right with each file where it is named; our own variables
        come behind the files. Else it is `UWSGI_*`, files, variables, command line.
        """
        own = [entry for entry in self.entries if _rank(entry) == 2]
        if not self.reads_uwsgi:
            return sorted(self.entries, key=_rank)
        others = [entry for entry in self.entries if _rank(entry) != 2]
        behind = max((index for index, entry in enumerate(others, 1)
                      if entry.origin.kind == "file"), default=0)
        return others[:behind] + own + others[behind:]

    @property
    def dialect(self) -> str:
        """Say whose defaults apply: 'uwsgi', 'geventuwsgi' (a file of ours) or 'argv'."""
        if self.reads_uwsgi or any(entry.origin.uwsgi and row(entry.key, True)
                                   for entry in self.entries):
            return "uwsgi"
        return "geventuwsgi" if self.files else "argv"

    def _miss(self, source: ini.Source, section: str | None, origin: Origin) -> None:
        """Tell of a section that is not there: an error for a file named at the start."""
        wanted = f"[{section}]" if section else "[uwsgi] or [geventuwsgi]"
        found = ", ".join(f"[{name}]" for name in source.sections) or "none"
        message = f"{source.name} has no section {wanted}; its sections: {found}"
        if origin.kind != "file":
            raise origin.error(message)
        Case(origin, self.warnings).warn(message)

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
        case = Case(entry.origin, self.warnings)
        if option.name == "strict":
            self.strict = bool(option.kind.cast(entry.text, case))
            return
        value = str(option.kind.cast(self._at_once(entry.text), case))
        if option.name == "ini":
            self.load(value, entry.origin)
        elif option.name.startswith("ini-paste"):
            self._paste(value, option.name.endswith("-logged"), entry.origin)
        elif option.name == "inherit":
            self._inherits[-1].append((value, entry.origin))
            if len(self._inherits) == 1:  # on the command line nothing is above it
                self.load(*self._inherits[-1].pop())
        elif option.name in ("set", "set-placeholder"):
            name, _, text = value.partition("=")
            if option.name == "set":
                self.add(name, text, entry.origin)
            elif row(name, entry.origin.uwsgi):
                case.fail(f"{name} is an option, no placeholder")
            self.placeholders.add(name)
            if option.name == "set-placeholder":
                self.entries.append(Entry(name, text, entry.origin))

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

    def _at_once(self, text: str | None) -> str | None:
        """Expand the text of a directive, which in uWSGI is taken as it stands."""
        if text is None or "(" not in text:
            return text
        text = expand.files(expand.environment(text, self.environ))
        return expand.options(text, self._firsts())

    def _block_values(self, origin: Origin) -> list[str]:
        assert self._block is not None
        key, text = self._block
        try:
            return logic.values(key, text, (self.environ, self._firsts()))
        except (ConfigError, ValueError) as error:
            raise origin.error(f"{key} = {text}: {error}") from None

    def _firsts(self) -> dict[str, str]:
        """Return the first text of each key; uWSGI's `%(name)` sees the first one."""
        return {entry.key: entry.text or "" for entry in reversed(self.entries)}

    def _pass(self, change: expand.Change) -> None:
        for index, entry in enumerate(self.entries):
            option = row(entry.key, entry.origin.uwsgi)
            text = entry.text
            if text is None or "(" not in text or (option and option.status == "directive"):
                continue
            try:
                changed = change(text)
            except ConfigError as error:
                raise entry.origin.error(error.message) from None
            if changed == text:
                continue
            if entry.key in _IMMEDIATE and entry.origin.uwsgi:
                Case(entry.origin, self.warnings).warn(
                    f"{text} is read as {changed}; uWSGI takes it as it stands, which is 0")
            self.entries[index] = Entry(entry.key, changed, entry.origin)


def _rank(entry: Entry) -> int:
    """Order the sources of a configuration without a [uwsgi] section."""
    if entry.origin.kind == "environment":
        return 0 if entry.origin.uwsgi else 2
    return 1 if entry.origin.kind == "file" else 3
