"""One option is one row: its names, what it says of itself, and where it may be written.

Beside the row stand the two things that travel with every value: the `Origin` (where it
was written) and the `Entry` (key, text and origin, before anything was made of them).

What turns the text into a value is the row's kind (`kinds`).
"""

from dataclasses import dataclass, field
from keyword import iskeyword
from pathlib import Path

import geventuwsgi
from geventuwsgi.config.values.origin import Origin
from geventuwsgi.config.values.types import ValueType, Switch


def shared(package: Path) -> str:
    """Return the directory that conf, docs and init are in, with a slash, or "" if there is none.

    Beside the package in a checkout (also after `pip install -e`); else pip puts them in
    share/geventuwsgi of the prefix, of the user's base or of `--target`, all above the package.

    Args:
        package: the directory of the package.
    """
    prefixes = package.parents[:4]  # site-packages, python3.N, lib, the prefix
    for directory in (package.parent, *(one / "share/geventuwsgi" for one in prefixes)):
        if (directory / "docs/options.rst").exists():
            return f"{directory}/"
    return ""


# Put before the name of a file in a reason, so that a message names the path on this machine.
SHARED = shared(Path(geventuwsgi.__file__).parent)


@dataclass(frozen=True)
class Entry:
    """One line of an operator: a key, its text and where both stood.

    `text` is None where the key stands alone (`--lazy-apps`, `master` without `=`).
    """

    key: str
    text: str | None
    origin: Origin


@dataclass(frozen=True)
class Option:
    """A row of the table.

    Args:
        name: the first name: uWSGI's where it has one, else gunicorn's or ours.
        kind: what turns its text into a value.
        help: what it does, in one sentence without a full stop.
        section: the heading it stands under in `--help` and in the reference.
        default: the value where nobody wrote one; None also where `settings` derives it.
        aliases: further names that uWSGI or we have; read everywhere.
        gunicorn: gunicorn's and uvicorn's names. In a [uwsgi] section they are what they are under
            uWSGI, placeholders: real files have `user`, `name` and `timeout` as such.
        letters: single letters of the command line.
        uwsgi_default: the default where a [uwsgi] section or `UWSGI_*` gave the settings.
        derived: how the default comes about where it is no constant, for the reference.
        to: the attribute of the settings it sets, where that is another row's.
        everywhere: whether the name is read in [uwsgi] sections too.
        merge: a repeatable row's values of the command line come behind those of a file
            instead of replacing them.
        difference: how its effect differs from uWSGI's, for the reference.
        status: "taken"; "ignored" or "refused" with a reason; "directive" acts while the
            configuration is read; "command" is for the command line alone.
        reason: why it is ignored or refused, and what to use instead.
    """

    name: str
    kind: ValueType
    help: str
    section: str = ""
    default: object = None
    aliases: tuple[str, ...] = ()
    gunicorn: tuple[str, ...] = ()
    letters: str = ""
    uwsgi_default: object = field(default=...)
    derived: str = ""
    to: str = ""
    everywhere: bool = True
    merge: bool = False
    difference: str = ""
    status: str = "taken"
    reason: str = ""

    @property
    def attribute(self) -> str:
        """Name the attribute of the settings: `import` becomes `import_`."""
        name = (self.to or self.name).replace("-", "_")
        return name + "_" if iskeyword(name) else name

    @property
    def names(self) -> tuple[str, ...]:
        """All long names, the first one first."""
        return (self.name, *self.aliases, *self.gunicorn)

    def default_for(self, dialect: str) -> object:
        """Return the constant default under a dialect ('uwsgi', 'geventuwsgi', 'argv')."""
        if dialect == "uwsgi" and self.uwsgi_default is not ...:
            return self.uwsgi_default
        return self.default


def ignored(names: str, reason: str, kind: ValueType | None = None,
            letters: str = "") -> tuple[Option, ...]:
    """Make one row for each of the blank-separated names that are harmless and without effect.

    Args:
        names: the names.
        reason: why, in words that end a sentence.
        kind: what may still be said of the text; None is a flag.
        letters: letters of the command line.
    """
    return tuple(Option(name, kind or Switch(), "", letters=letters, status="ignored",
                        reason=reason) for name in names.split())


def refused(names: str, reason: str) -> tuple[Option, ...]:
    """Make one row for each of the names that would change behaviour or safety if left out."""
    return tuple(Option(name, Switch(), "", status="refused", reason=reason)
                 for name in names.split())
