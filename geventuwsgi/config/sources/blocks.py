"""Conditions and loops of INI files: `if-*` and `for*`.

A block extends to the next `end*` line of any name. Blocks do not nest. Each line in it is repeated
on its own: a loop over `a b` yields line one twice, then line two twice. `%(_)` in a line is the
value of the condition or the loop.

Departures: a file that cannot be read is reported; a pattern without a match yields nothing, while
uWSGI yields the pattern itself; words are also split at tabs; blanks around the `=` of a comparison
are cut.
"""

import glob
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping

from geventuwsgi.config.sources.ini import content
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Plugins, check_pattern
from geventuwsgi.errors import ConfigError

END = ("endif", "end-if", "endfor", "end-for", "end")
# uWSGI's other spellings.
_ALIASES = {"ifenv": "if-env", "ifexists": "if-exists", "ifplugin": "if-plugin", "ifdir": "if-dir",
            "if-directory": "if-dir", "if-not-directory": "if-not-dir"}
_MAX_TIMES = 100_000  # a typing error would fill the memory

# The environment, and the first text of each option.
Facts = tuple[Mapping[str, str], Mapping[str, str]]
# Returns whether the condition is true, and the value of `%(_)`; None leaves that unchanged.
Condition = Callable[[str, Facts], tuple[bool, str | None]]


def _env(text: str, facts: Facts) -> tuple[bool, str | None]:
    return _compared(text, facts[0])


def _opt(text: str, facts: Facts) -> tuple[bool, str | None]:
    return _compared(text, facts[1])


def _compared(text: str, values: Mapping[str, str]) -> tuple[bool, str | None]:
    """Compare `NAME=VALUE`, or check whether NAME exists, even if it is empty."""
    name, equals, wanted = text.partition("=")
    value = values.get(name.strip())
    return value is not None and (not equals or value == wanted.strip()), value


def _file(text: str, facts: Facts) -> tuple[bool, str | None]:
    return os.path.isfile(text), text


def _dir(text: str, facts: Facts) -> tuple[bool, str | None]:
    return os.path.isdir(text), text


def _exists(text: str, facts: Facts) -> tuple[bool, str | None]:
    return os.path.exists(text), text


def _hostname(text: str, facts: Facts) -> tuple[bool, str | None]:
    return socket.gethostname() == text, text


def _hostname_match(text: str, facts: Facts) -> tuple[bool, str | None]:
    return re.search(text, socket.gethostname()) is not None, text


def _plugin(text: str, facts: Facts) -> tuple[bool, str | None]:
    return Plugins.built_in.fullmatch(text) is not None, text


def _reload(text: str, facts: Facts) -> tuple[bool, str | None]:
    # uWSGI's variable, which the master sets when it reads the files again for a reload.
    return "UWSGI_RELOADS" in facts[0], None


CONDITIONS: Mapping[str, Condition] = {
    "env": _env, "opt": _opt, "file": _file, "dir": _dir, "exists": _exists,
    "hostname": _hostname, "hostname-match": _hostname_match, "plugin": _plugin,
    "reload": _reload,
}


def _for(text: str, context: CastContext) -> Iterable[str]:
    return text.split()


def _for_glob(text: str, context: CastContext) -> Iterable[str]:
    found = sorted(glob.glob(text))
    if not found:
        context.warn(f"no file matches {text}: the lines are skipped; uWSGI reads them once, with "
                     f"the pattern itself")
    return found


def _for_times(text: str, context: CastContext) -> Iterable[str]:
    digits = re.match("[0-9]*", text)
    assert digits is not None
    if not digits[0] or len(digits[0]) > 6 or int(digits[0]) > _MAX_TIMES:
        raise ValueError(f"{text!r} is not a number from 0 to {_MAX_TIMES}")
    if digits[0] != text:
        context.warn(f"{text!r} is read as {digits[0]}, as in uWSGI")
    return [str(number) for number in range(1, int(digits[0]) + 1)]


def _for_readline(text: str, context: CastContext) -> Iterable[str]:
    try:
        octets = content(text, context.warn)
    except ConfigError as error:
        if not context.origin.uwsgi:
            raise
        context.warn(f"{error.message}: the lines are skipped, as in uWSGI")
        return ()
    text = octets.decode("utf-8", "surrogateescape").removesuffix("\n")
    return [line.rstrip("\r") for line in text.split("\n")] if octets else ()


LOOPS: Mapping[str, Callable[[str, CastContext], Iterable[str]]] = {
    "for": _for, "for-glob": _for_glob, "for-times": _for_times, "for-readline": _for_readline,
}


def opens(key: str) -> bool:
    """Return whether the key opens a block."""
    key = _ALIASES.get(key, key)
    return key in LOOPS or (key.startswith("if-")
                            and key.removeprefix("if-").removeprefix("not-") in CONDITIONS)


class Block:
    """The lines between a condition or a loop and its end.

    Args:
        key, text: the line that opens it.
        context: its place.

    Raises:
        ConfigError: for a loop or an expression that cannot be parsed.
    """

    def __init__(self, key: str, text: str, context: CastContext) -> None:
        self.key = key
        self.context = context
        self._text = text
        self._words: list[str] | None = None
        plain = _ALIASES.get(key, key)
        try:
            if plain in LOOPS:
                self._words = list(LOOPS[plain](text, context))
                return
        except (ConfigError, ValueError) as error:
            context.fail(getattr(error, "message", str(error)))
        if plain.endswith("hostname-match"):
            check_pattern(text, context)
        if text.partition("=")[0].endswith(" ") and plain.endswith(("-env", "-opt")):
            context.warn(f"the blanks around '=' in {text!r} are cut; uWSGI makes them part of "
                         f"name and value, so that it never matches")
        name = plain.removeprefix("if-").removeprefix("not-")
        self._condition, self._negated = CONDITIONS[name], plain.startswith("if-not-")

    @property
    def why_not(self) -> str:
        """The reason for a message if its lines are skipped."""
        line = f"{self.key} = {self._text}" if self._text else self.key
        return f"{line} is empty" if self._words is not None else f"{line} is false"

    def values(self, facts: Facts) -> list[str | None]:
        """Return the value of `%(_)` for each repetition of a line; an empty list skips it.

        A condition is evaluated for each line, as in uWSGI: `if-not-opt = x` is false after `x`.
        """
        if self._words is not None:
            return list(self._words)
        is_true, value = self._condition(self._text, facts)
        return [value] if is_true is not self._negated else []
