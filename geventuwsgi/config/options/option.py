"""One option: its names, its texts, and where it may be written; and one line of a configuration.

An `Option` has a `ValueType` that turns a text into a value. An `Entry` is a line before that:
key, text and origin.
"""

from dataclasses import dataclass, field
from keyword import iskeyword
from pathlib import Path

import geventuwsgi
from geventuwsgi.config.values.origin import Origin
from geventuwsgi.config.values.types import Switch, ValueType


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


# The `difference` of a flag that uWSGI has switched off.
ON_BY_DEFAULT = "on unless switched off"


@dataclass(frozen=True)
class Entry:
    """One line of a configuration: a key, its text and where they were written.

    `text` is None if the key has no value (`--lazy-apps`, `master` without `=`).
    """

    key: str
    text: str | None
    origin: Origin


@dataclass(frozen=True)
class Option:
    """An option of the table.

    Args:
        name: the first name: uWSGI's where it has one, else gunicorn's or ours.
        value_type: turns its text into a value.
        help: what it does, in one sentence without a full stop.
        section: its heading in `--help` and in the reference.
        default: the value if it is not set; None also if `resolve` derives it.
        aliases: further names, uWSGI's or ours; valid everywhere.
        gunicorn: the names of gunicorn, uvicorn, granian and hypercorn. In a [uwsgi] section they
            are placeholders, as under uWSGI: real files have some called `user` or `timeout`.
        letters: single letters of the command line.
        uwsgi_default: the default if the settings come from a [uwsgi] section or `UWSGI_*`.
        derived: how the default is found if it is not constant, for the reference.
        to: the option whose attribute of the settings it sets, if not its own.
        everywhere: whether the name is also valid in [uwsgi] sections.
        merge: whether the values of a repeatable option on the command line are added to those
            of a file instead of replacing them.
        difference: how its effect differs from uWSGI's, for the reference.
        status: "taken"; "ignored" or "refused" with a reason; "directive" acts while the
            configuration is read; "command" is only valid on the command line.
        reason: why it is ignored or refused, and what to use instead.
    """

    name: str
    value_type: ValueType
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
        """The attribute of the settings; `import` becomes `import_`."""
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


def ignored(names: str, reason: str, value_type: ValueType | None = None,
            letters: str = "") -> tuple[Option, ...]:
    """Make a row for each of the blank-separated names, which have no effect and are harmless.

    Args:
        names: the names.
        reason: why, without a capital and a full stop.
        value_type: checks the text; None is a flag.
        letters: single letters of the command line.
    """
    return tuple(Option(name, value_type or Switch(), "", letters=letters, status="ignored",
                        reason=reason) for name in names.split())


def refused(names: str, reason: str) -> tuple[Option, ...]:
    """Make a row for each of the names that must not be silently left out."""
    return tuple(Option(name, Switch(), "", status="refused", reason=reason)
                 for name in names.split())
