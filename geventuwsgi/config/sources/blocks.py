"""Conditions and loops of INI files: what `if-*` and `for*` make of the lines behind them.

A block reaches to the next `end*` line, of whatever name. Blocks do not nest. Each line
inside is taken as often as the block says, on its own: a loop over `a b` gives line one
twice, then line two twice. `%(_)` in a line is the value of the condition or the loop.

Departures: a file that cannot be read is told; a pattern that no file matches gives nothing,
where uWSGI gives the pattern itself; words are split at tabs too; blanks around the `=` of a
comparison are cut.
"""

import glob
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping

from geventuwsgi.config.sources.ini import content
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Plugins
from geventuwsgi.errors import ConfigError

END = ("endif", "end-if", "endfor", "end-for", "end")
# Spellings that uWSGI has without a dash.
_ALIASES = {"ifenv": "if-env", "ifexists": "if-exists", "ifplugin": "if-plugin", "ifdir": "if-dir",
            "if-directory": "if-dir", "if-not-directory": "if-not-dir"}
_MOST_TIMES = 100_000  # a typing error would fill the memory

# What a condition needs to know: the environment, and the first text of each option.
Facts = tuple[Mapping[str, str], Mapping[str, str]]
# A condition says whether it holds, and what `%(_)` is; None leaves that as it stands.
Condition = Callable[[str, Facts], tuple[bool, str | None]]


def _env(text: str, facts: Facts) -> tuple[bool, str | None]:
    return _compared(text, facts[0])


def _opt(text: str, facts: Facts) -> tuple[bool, str | None]:
    return _compared(text, facts[1])


def _compared(text: str, values: Mapping[str, str]) -> tuple[bool, str | None]:
    """Compare `NAME=VALUE`, or ask whether NAME is there at all, however empty."""
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
    # uWSGI's variable; the master reads its files again with it when it reloads.
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
        context.warn(f"no file matches {text}: its lines are skipped; uWSGI takes them once, with the "
                     f"pattern itself")
    return found


def _for_times(text: str, context: CastContext) -> Iterable[str]:
    digits = re.match("[0-9]*", text)
    assert digits is not None
    if not digits[0] or len(digits[0]) > 6 or int(digits[0]) > _MOST_TIMES:
        raise ValueError(f"{text!r} is not a number from 0 to {_MOST_TIMES}")
    if digits[0] != text:
        context.warn(f"only the {digits[0]} of {text!r} is read, as in uWSGI")
    return [str(number) for number in range(1, int(digits[0]) + 1)]


def _for_readline(text: str, context: CastContext) -> Iterable[str]:
    try:
        octets = content(text, context.warn)
    except ConfigError as error:
        if not context.origin.uwsgi:
            raise
        context.warn(f"{error.message}: its lines are skipped, as in uWSGI")
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
        case: its place.

    Raises:
        ConfigError: for a loop or an expression that cannot be read.
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
            if plain.endswith("hostname-match"):
                re.compile(text)
        except re.error as error:
            context.fail(f"{text!r} is not a regular expression: {error}")
        except (ConfigError, ValueError) as error:
            context.fail(getattr(error, "message", str(error)))
        if text.partition("=")[0].endswith(" ") and plain.endswith(("-env", "-opt")):
            context.warn(f"the blanks around '=' in {text!r} are cut; uWSGI makes them part of name "
                         f"and value, and compares in vain")
        name = plain.removeprefix("if-").removeprefix("not-")
        self._condition, self._negated = CONDITIONS[name], plain.startswith("if-not-")

    @property
    def why_not(self) -> str:
        """Say why its lines are skipped, where they are."""
        said = f"{self.key} = {self._text}" if self._text else self.key
        return f"{said} gives nothing" if self._words is not None else f"{said} does not hold"

    def values(self, facts: Facts) -> list[str | None]:
        """Return what `%(_)` is each time a line is taken now; none skips it.

        A condition is asked for each line, as in uWSGI: `if-not-opt = x` ends behind `x`.
        """
        if self._words is not None:
            return list(self._words)
        holds, value = self._condition(self._text, facts)
        return [value] if holds is not self._negated else []
