"""`--help`, `--help OPTION` and the reference, generated from the option table.

`python -m geventuwsgi.config.commands.help` prints the reference, docs/options.rst; a test fails
if that file is stale.
"""

import textwrap
from collections.abc import Iterable, Iterator

from geventuwsgi.config.options.aliases import NAMES_OF
from geventuwsgi.config.options.names import by_server
from geventuwsgi.config.options.option import SHARED, Option
from geventuwsgi.config.options.table import BY_LETTER, NO_SUCH_OPTION, OPTIONS, nearest, row
from geventuwsgi.errors import UsageError

WIDTH = 80
_USAGE = """\
Usage: geventuwsgi [OPTIONS] APPLICATION
       geventuwsgi [OPTIONS] -c FILE.ini[:SECTION]
       python -m geventuwsgi [OPTIONS] [APPLICATION | FILE.ini]   (development)

Serve a WSGI or ASGI application over HTTP and the uwsgi protocol.
APPLICATION is package.module:name, package.module:factory() or file.py:name.
"""
_CLOSING = """\
Each option may be set in a file as NAME = VALUE under [uwsgi] or [geventuwsgi],
and in the environment as GEVENTUWSGI_NAME. --no-NAME switches a flag off.
--help OPTION prints the details of an option.
"""
# Three letters depend on their value (`argv`).
_BY_VALUE = {"processes": {"p": "with a number", "w": "with a number"},
             "module": {"w": "with a name"}, "pidfile": {"p": "with a path"},
             "bind": {"b": "with an address"}, "buffer-size": {"b": "with a number"}}


def usage() -> str:
    """Return the text of `--help`: the options by section, in 80 columns."""
    lines = [_USAGE]
    for section, options in sections():
        if section == "INI logic":
            continue
        lines.append(f"{section}:")
        for option in options:
            lines += _help_lines(option)
        lines.append("")
    return "\n".join(lines) + "\n" + _CLOSING


def about(name: str) -> str:
    """Return the details of one option.

    Args:
        name: any of its names, with or without leading dashes; a letter that depends on its value
            has several options.
    Raises:
        UsageError: there is no such option.
    """
    bare = name.lstrip("-")
    several = [row(other) for other, letters in _BY_VALUE.items() if bare in letters]
    return "".join(map(_about, filter(None, several))) or _about(_named(bare))


def _named(bare: str) -> Option:
    option = row(bare) or BY_LETTER.get(bare)
    if option is None:
        close = nearest(bare)
        hint = f"; did you mean --{close}?" if close else ""
        raise UsageError(f"{NO_SUCH_OPTION}{hint}", option=bare)
    return option


def _about(option: Option) -> str:
    lines = [_heading(option)]
    if option.status in ("ignored", "refused"):
        lines.append(_filled(f"{option.status.capitalize()}: {option.reason}.", width=WIDTH))
    else:
        lines.append(_filled(sentence(plain(option.help, "{}")), width=WIDTH))
    facts = dict(facts_of(option, "{}"))
    servers = by_server(option)
    letters = facts.get("Also", "").rstrip(".").split(", ")[len(option.aliases):]
    also = [*servers.pop("Also", ()), *filter(None, letters)]
    rows = {"Default": facts.get("Default", ""), "Also": ", ".join(also) + "." if also else "",
            **{server: ", ".join(names) + "." for server, names in servers.items()},
            "Unlike uWSGI": facts.get("Unlike uWSGI", "")}
    lines += [_filled(f"{title}: {text}", width=WIDTH) for title, text in rows.items() if text]
    return "\n".join(lines) + "\n"


def names() -> str:
    """Return the names of all options, one per line."""
    return "".join(f"{name}\n" for option in OPTIONS if option.name != "application"
                   for name in option.names)


def reference() -> str:
    """Return the reference of all options, in reStructuredText."""
    lines = [_REFERENCE_HEAD]
    for section, options in sections():
        lines += [section, "-" * len(section), ""]
        for option in options:
            lines += _entry(option)
    for status, head in (("ignored", _IGNORED_HEAD), ("refused", _REFUSED_HEAD)):
        lines.append(head)
        lines += _reasons(status)
    return "\n".join(lines).rstrip() + "\n"


_REFERENCE_HEAD = """\
Options
=======

.. This file is generated: python -m geventuwsgi.config.commands.help

Each option may be set in a file (``name = value`` under ``[uwsgi]`` or
``[geventuwsgi]``), on the command line (``--name value`` or ``--name=value``) and in the
environment (``GEVENTUWSGI_NAME``, and uWSGI's ``UWSGI_NAME``). ``--no-name`` switches a flag
off. The names of gunicorn, uvicorn, granian and hypercorn are valid everywhere except in
``[uwsgi]`` sections, where they are placeholders.

Times are in seconds, or written as ``90s``, ``5m`` or ``1h``; sizes are in bytes, or written as
``64k``, ``10M`` or ``1G``. A flag without a value is true.
"""
_IGNORED_HEAD = """\
Options without effect
----------------------

These options of uWSGI and other servers are accepted and have no effect.
"""
_REFUSED_HEAD = """\
Options that are refused
------------------------

With one of these options the server does not start.
"""


def sections() -> Iterator[tuple[str, list[Option]]]:
    """Yield each section with its options, in the order of the table."""
    found: dict[str, list[Option]] = {}
    for option in OPTIONS:
        if option.section:
            found.setdefault(option.section, []).append(option)
    yield from found.items()


def letters_of(option: Option) -> str:
    return "".join(_BY_VALUE.get(option.name, option.letters))


def _heading(option: Option) -> str:
    """Return the option as on the command line: `-s, --socket ADDRESS`."""
    letters = "".join(f"-{letter}, " for letter in letters_of(option))
    metavar = option.value_type.metavar
    if option.name == "application":
        return "APPLICATION"
    return f"{letters}--{option.name}" + (f" {metavar}" if metavar else "")


def _help_lines(option: Option) -> list[str]:
    text = plain(option.help, "{}")
    default = _default(option, "{}")
    if default and default != "off":
        text += f" [{default}]"
    head = "  " + _heading(option)
    body = textwrap.wrap(text, WIDTH - 28, break_long_words=False, break_on_hyphens=False)
    if len(head) > 26:
        return [head, *(" " * 28 + line for line in body)]
    return [head.ljust(28) + body[0], *(" " * 28 + line for line in body[1:])]


def _entry(option: Option) -> list[str]:
    """Return the lines of one option for the reference, an item of a definition list."""
    metavar = option.value_type.metavar
    lines = [f"``{option.name}``" + (f" *{metavar}*" if metavar else "")]
    lines.append(_filled(sentence(option.help), "    "))
    for title, text in facts_of(option, "``{}``"):
        lines += ["", _filled(f"{title}: {text}", "    ")]
    return [*lines, ""]


def facts_of(option: Option, quoted: str) -> Iterator[tuple[str, str]]:
    """Yield the facts about an option besides its text: default, names, differences."""
    default = _default(option, quoted)
    if default:
        yield "Default", plain(default, quoted) + "."
    names = [quoted.format(name) for name in option.aliases]
    notes = _BY_VALUE.get(option.name, {})
    names += [quoted.format(f"-{letter}") + (f" ({notes[letter]})" if notes else "")
              for letter in letters_of(option)]
    if names:
        yield "Also", ", ".join(names) + "."
    others = frozenset().union(*NAMES_OF.values())
    for server, known in (("gunicorn", frozenset(option.gunicorn) - others), *NAMES_OF.items()):
        names = [quoted.format(name) for name in option.gunicorn if name in known]
        if names:
            yield server, ", ".join(names) + "."
    if option.difference:
        yield "Unlike uWSGI", plain(option.difference, quoted) + "."


def _default(option: Option, quoted: str) -> str:
    """Describe the default; "" if there is none."""
    if option.derived:
        return plain(option.derived, quoted)
    if option.status != "taken" or option.default in (None, (), ""):
        return ""
    text = _constant(option, option.default, quoted)
    if option.uwsgi_default is not ...:
        text += f"; {_constant(option, option.uwsgi_default, quoted)} with a [uwsgi] section"
    return text


def _constant(option: Option, value: object, quoted: str) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    items = value if isinstance(value, tuple) else (value,)
    return ", ".join(quoted.format(as_written(option, item)) for item in items)


def as_written(option: Option, item: object) -> str:
    """Return a value as it is written in a file."""
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int) and option.value_type.octal:
        return f"{item:03o}"
    return str(item)


def _reasons(status: str) -> Iterable[str]:
    """Yield the lines on the options of a status, grouped by reason."""
    found: dict[str, list[str]] = {}
    for option in OPTIONS:
        if option.status == status:
            found.setdefault(option.reason, []).append(f"``{option.name}``")
    for reason, names in found.items():
        yield ", ".join(names)
        yield _filled(sentence(reason.replace(SHARED, "")), "    ")
        yield ""


def plain(text: str, quoted: str) -> str:
    """Remove reStructuredText quotes if the text is for a terminal."""
    return text if "``" in quoted else text.replace("``", "")


def sentence(text: str) -> str:
    # These names keep their lower case.
    names = ("uWSGI", "gunicorn", *NAMES_OF)
    return (text if text.startswith(names) else text[0].upper() + text[1:]) + "."


def _filled(text: str, indent: str = "    ", width: int = 90) -> str:
    return textwrap.fill(text, width if indent else WIDTH, initial_indent=indent,
                         subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    print(reference(), end="")
