"""`declare-option`, `blacklist`, `whitelist`, `envdir`, `env-file` and `resolve`.

- `declare-option = name=template`: a template is one or more `option=value`, separated by `;`, in
  which `$1`, `$2`, ... are the words of the line that uses the name. References in these words are
  already replaced.
- `blacklist` and `whitelist`: a list applies up to the next one of its kind, or to its end.
- `envdir`: a daemontools directory of variables, one per file. An empty file removes the variable;
  newlines at the end of a value are cut, and it ends at a NUL, as in uWSGI. Hidden files and
  subdirectories are skipped.
- `env-file`: the file of variables that Docker Compose, uvicorn and others call `.env`.
- `resolve = placeholder=name`: the IPv4 address of a host.

Nothing here knows the place of a line: errors are `ValueError`.
"""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace

from geventuwsgi.config.options.option import Entry
from geventuwsgi.rights import User, read_file

# A line of a `.env` file; a value in quotes may continue on the next lines.
_VARIABLE = re.compile(r"""
    \s* (?: \#[^\n]* | (?:export[ \t]+)? (?P<name>[^\s=#'"]+) [ \t]*=[ \t]* (?:
        '(?P<single>(?:[^'\\]|\\.)*)' | "(?P<double>(?:[^"\\]|\\.)*)"
        | (?P<plain>(?!['"])[^\n]*?)
    ) )? [ \t]* (?:(?<=[ \t])\#[^\n]*)? (?:\r?\n|\Z)""", re.VERBOSE | re.DOTALL)
_NAMED = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_LISTS = ("blacklist", "whitelist")


@dataclass(frozen=True)
class Declared:
    """An option that is replaced by others.

    Args:
        name: its name.
        parts: these options, each with its text; None = no value.
    """

    name: str
    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> "Declared":
        """Parse `name=option=value;option=value`.

        Raises:
            ValueError: it has another form.
        """
        name, equals, template = text.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{text!r} is not of the form NAME=OPTION=VALUE;OPTION=VALUE")
        parts = []
        for part in template.split(";"):
            key, equals, value = part.partition("=")
            if key.strip():
                parts.append((key.strip(), value.strip() if equals else None))
        return cls(name.strip(), tuple(parts))

    def entries(self, used: Entry) -> list[Entry]:
        """Return the lines that replace a line of this name."""
        words = [word for word in (used.text or "").split(" ") if word] or [""]
        name = (used.origin.option or "").partition(" (")[0]
        return [Entry(key, text and _filled(text, words),
                      replace(used.origin, option=f"{name} ({key})"))
                for key, text in self.parts]


def _filled(text: str, words: list[str]) -> str:
    # As simple as in uWSGI: `$10` is the first word and a 0; a number without a word stays.
    for number, word in enumerate(words, 1):
        text = text.replace(f"${number}", word)
    return text


class Permission:
    """The blacklist and the whitelist that apply to a line."""

    def __init__(self) -> None:
        self._lists: dict[str, frozenset[str]] = {}

    def set(self, name: str, text: str) -> None:
        """Begin a list of names, or end it: `name` is blacklist, end-whitelist, ..."""
        if name in _LISTS:
            self._lists[name] = frozenset(text.split())
        else:
            self._lists.pop(name.removeprefix("end-"), None)

    def check(self, key: str) -> None:
        """Refuse a name that a list forbids.

        Raises:
            ValueError: saying which list.
        """
        if not self._lists or key.removeprefix("end-") in _LISTS:
            return
        if key in self._lists.get("blacklist", ()):
            raise ValueError("the blacklist forbids it here")
        allowed = self._lists.get("whitelist")
        if allowed is not None and key not in allowed:
            raise ValueError("the whitelist only allows "
                             f"{', '.join(sorted(allowed)) or 'nothing'} here")


def variables(directory: str, user: User | None = None) -> dict[str, str | None]:
    """Return the variables of a directory; None removes one.

    Args:
        directory: where each file is a variable.
        user: the one of `uid`, who will see them: see `rights`.

    Raises:
        ValueError: the directory or a file cannot be read, or a file name has a `=`.
    """
    found: dict[str, str | None] = {}
    try:
        for name in sorted(os.listdir(directory)):
            path = os.path.join(directory, name)
            if name.startswith(".") or not os.path.isfile(path):
                continue
            if "=" in name:
                raise ValueError(f"{path}: the name of a variable cannot contain '='")
            octets = read_file(path, user)
            value = os.fsdecode(octets.partition(b"\0")[0].rstrip(b"\n"))
            found[name] = value if octets else None
    except OSError as error:
        raise ValueError(f"cannot read {error.filename}: {error.strerror}") from None
    return found


def variables_of_file(path: str, environ: Mapping[str, str],
                      user: User | None = None) -> dict[str, str]:
    """Return the variables of a `.env` file.

    `NAME=VALUE`, maybe after `export`; `#` starts a comment. A value in single quotes is literal,
    one in double quotes has escapes as in C. `${NAME}` and `${NAME:-DEFAULT}` are replaced, except
    in single quotes, by the environment or by an earlier line.

    Args:
        path: the file.
        environ: the environment.
        user: the one of `uid`, who will see them: see `rights`.

    Raises:
        ValueError: it cannot be read, or has a line of another form.
    """
    try:
        text = read_file(path, user).decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    text = text.replace("\r\n", "\n")
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _VARIABLE.match(text, position)
        if match is None or "\0" in match[0]:
            line = text[position:].lstrip()
            number = text.count("\n", 0, len(text) - len(line)) + 1
            raise ValueError(f"{path}:{number}: not of the form NAME=VALUE, or a quote is not "
                             "closed")
        position = match.end()
        name, single, double, plain = match.group("name", "single", "double", "plain")
        if name is None:
            continue
        if single is not None:
            found[name] = re.sub(r"\\(['\\])", r"\1", single)
            continue
        known = {**found, **environ}
        value = _NAMED.sub(lambda one: known.get(one[1]) or one[2] or "",
                           plain if double is None else double)
        found[name] = value if double is None else _ESCAPED.sub(
            lambda one: _CONTROLS.get(one[1], one[1]), value)
    return found


def address_of(name: str) -> str:
    """Return the IPv4 address of a host, as uWSGI's `gethostbyname` does.

    Raises:
        ValueError: the name has no address.
    """
    try:
        return socket.gethostbyname(name)
    except UnicodeError:
        raise ValueError(f"{name!r} is not a host name") from None
    except OSError as error:
        raise ValueError(f"{name!r} has no address: {error.strerror}") from None
