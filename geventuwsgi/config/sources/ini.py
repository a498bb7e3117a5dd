"""uWSGI's INI dialect: the bytes of a file become keys and texts with their line numbers.

The rules of uWSGI's `core/ini.c`:

- Magic variables (`%d`, `%n`, ...) are replaced in the raw text before a line is parsed.
- Blanks and CR around a line are cut; `;` and `#` start a comment only as the first character.
  There are no quotes, no escapes and no continuation lines.
- `[name]` opens a section; a section that occurs twice is read twice. A key is the text
  before the first `=`; a line without `=` is a key with an empty value.

Departures, all where uWSGI loses lines: a `%` at the end of a line stays, while uWSGI joins the
line with the next one; a byte order mark is not part of the first header, nor is text after its
bracket; a line without a name is an error.
"""

import grp
import os
import pwd
import re
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass

from geventuwsgi import __version__
from geventuwsgi.errors import ConfigError

# Schemes that uWSGI reads and this server does not: what to do instead.
SCHEMES_REFUSED = {
    "data": "no data is appended to a binary",
    "sym": "there is no binary with symbols",
    "section": "there is no binary with sections",
    "call": "write the function's result to a file",
    "callint": "write the function's result to a file",
    "dlopen": "write the text to a file",
    "emperor": "there is no emperor: name the file itself",
}
_REWRITE = "only INI files are read: write its options as NAME = VALUE under [uwsgi]"
# The extensions of files that are not INI files: what to do instead.
FOREIGN = {"xml": _REWRITE, "yaml": _REWRITE, "yml": _REWRITE, "json": _REWRITE, "js": _REWRITE,
           "py": "it is Python: geventuwsgi --from FILE prints a gunicorn.conf.py as an INI file"}
# The types of PasteDeploy sections that define an application.
PASTE = ("app", "application", "composite", "composit", "pipeline", "filter-app")
_TIMEOUT = 10  # seconds for http://
_SCHEME = re.compile(r"(\w+)://(.*)", re.DOTALL)
_MAGIC = re.compile(r"%([^\n(])")


@dataclass(frozen=True)
class Line:
    """A key of an INI file, its text, and its line number, from 1."""

    number: int
    key: str
    text: str


@dataclass(frozen=True)
class Source:
    """A configuration file that was read.

    Args:
        name: as given, without the section.
        text: its text, with magic variables not yet replaced.
    """

    name: str
    text: str

    @property
    def sections(self) -> tuple[str, ...]:
        """The names of its sections, in order, each once."""
        found = (_section(line.strip()) for line in self.text.split("\n"))
        return tuple(dict.fromkeys(name for name in found if name is not None))

    @property
    def is_ours(self) -> bool:
        """Whether it has a section that this server reads."""
        return not {"uwsgi", "geventuwsgi"}.isdisjoint(self.sections)

    @property
    def is_paste(self) -> bool:
        """Whether it is a PasteDeploy file, with an application and no section of ours."""
        return not self.is_ours and any(
            name.partition(":")[0].strip() in PASTE for name in self.sections)


def content(name: str, warn: Callable[[str], None] | None = None) -> bytes:
    """Read a file, standard input (`-`), `fd://N`, `exec://command` or `http://host/path`.

    Schemes come only from the configuration, never from a request.

    Args:
        name: the name.
        warn: called when a command fails; its output is used all the same, as in uWSGI.
            Without it a failure is an error.

    Raises:
        ConfigError: without a place, if it cannot be read.
    """
    try:
        if name == "-":
            return sys.stdin.buffer.read()
        scheme = _SCHEME.fullmatch(name)
        if scheme is None:
            with open(name, "rb") as file:
                return file.read()
        if scheme[1] == "fd":
            with open(int(scheme[2]), "rb", closefd=False) as file:
                return file.read()
        if scheme[1] == "exec":
            return _output(scheme[2], warn)
        if scheme[1] == "http":
            return _fetched(scheme[2])
        reason = SCHEMES_REFUSED.get(scheme[1], "there is no such scheme")
        raise ConfigError(f"{scheme[1]}:// is not supported: {reason}")
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(f"cannot read {name}: {error}") from None


def _output(command: str, warn: Callable[[str], None] | None) -> bytes:
    """Return what a shell command writes to its standard output."""
    import subprocess  # it would stay in the master, with 0.4 MB

    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE)
    if done.returncode:
        message = f"exec://{command} ended with status {done.returncode}"
        if warn is None:
            raise ValueError(message)
        warn(f"{message}; its output is used, as in uWSGI")
    return done.stdout


def _fetched(rest: str) -> bytes:
    """Return the body of a response over HTTP; a status other than 200 is an error."""
    import http.client  # as above

    host, _, path = rest.partition("/")
    try:
        with closing(http.client.HTTPConnection(host, timeout=_TIMEOUT)) as connection:
            connection.request("GET", "/" + path, headers={"User-Agent": "geventuwsgi"})
            response = connection.getresponse()
            if response.status != 200:
                raise ValueError(f"the response is {response.status} {response.reason}")
            return response.read()
    except http.client.HTTPException as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def split_section(spec: str) -> tuple[str, str | None]:
    """Split `file.ini:section`; the section is None if there is none."""
    scheme, separator, rest = spec.rpartition("://")
    name, colon, section = rest.rpartition(":")
    if not colon or (separator and "/" in section):  # a port, not a section
        return spec, None
    return scheme + separator + name, section


def read(name: str) -> Source:
    """Read an INI file; bytes that are not UTF-8 are kept, as in file names.

    Raises:
        ConfigError: without a place, if it cannot be read or is UTF-16.
    """
    octets = content(name)
    if octets.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{name} is UTF-16: save it as UTF-8")
    return Source(name, octets.decode("utf-8-sig", "surrogateescape"))


def lines(text: str, section: str) -> list[Line]:
    """Return the lines of a section; magic variables are already replaced.

    Raises:
        ConfigError: with the line number, for a line without a key or with a NUL.
    """
    found = []
    current = None
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        name = _section(line)
        if name is not None:
            current = name
        elif line and line[0] not in ";#" and current == section:
            key, _, value = line.partition("=")
            if not key.strip(" \t"):
                raise ConfigError(f"{line!r} has no name before '='", line=number)
            if "\0" in line:
                raise ConfigError(f"{line!r} contains NUL: uWSGI stops reading there", line=number)
            found.append(Line(number, key.strip(" \t"), value.strip(" \t")))
    return found


def _section(line: str) -> str | None:
    """Return the name if the stripped line opens a section."""
    if not line.startswith("["):
        return None
    return line[1:].partition("]")[0]


def magic(name: str, section: str | None) -> dict[str, str]:
    """Return the magic variables of a file, lower case letters (uWSGI's `core/config.c`).

    Args:
        name: the file as given.
        section: the section of FILE:SECTION.
    """
    now = time.time()
    table = {
        "v": os.getcwd(), "h": socket.gethostname(), "V": __version__, "k": str(os.cpu_count()),
        "u": str(os.getuid()), "g": str(os.getgid()), "t": str(int(now)),
        "T": str(int(now * 1_000_000)), "b": sys.executable, "[": "\033", "%": "%",
        "U": _user(), "G": _group(),
        "x": section or "", "o": name,
    }
    if name == "-" or "://" in name:
        return table
    # A symbolic link as last component is kept: %n is the name of the link.
    directory = os.path.realpath(os.path.dirname(name) or ".")
    base = os.path.basename(name)
    stem, dot, extension = base.rpartition(".")
    path = os.path.join(directory, base)
    table |= {
        "p": path, "s": base, "n": stem if dot else base, "e": extension if dot else "",
        "d": directory.rstrip("/") + "/", "c": os.path.basename(directory),
        "i": str(os.stat(name).st_ino), "j": _djb33x(path),
    }
    table |= {str(index): part for index, part in enumerate(directory.split("/")[1:10])}
    return table


def with_first(table: Mapping[str, str], first: Mapping[str, str]) -> dict[str, str]:
    """Add the upper case letters, which refer to the file that was loaded first."""
    return {**table, **{letter.upper(): first.get(letter, "") for letter in "opsnedcxij"}}


def substitute(text: str, table: Mapping[str, str]) -> str:
    """Replace the magic variables; an unknown letter is removed, `%(` stays."""
    return _MAGIC.sub(lambda match: table.get(match[1], ""), text)


def _user() -> str:
    """Return the user's name, or the uid if it has none, as in containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _group() -> str:
    try:
        return grp.getgrgid(os.getgid()).gr_name
    except KeyError:
        return str(os.getgid())


def _djb33x(text: str) -> str:
    """Bernstein's times-33 hash with XOR; uWSGI prints its four bytes in little-endian order."""
    value = 5381
    for byte in os.fsencode(text):
        value = ((value << 5) + value & 0xFFFFFFFF) ^ byte
    return value.to_bytes(4, "little").hex().upper()
