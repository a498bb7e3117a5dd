"""Conditions and loops of INI files: what `if-*` and `for*` make of the lines behind them.

A block reaches to the next `end*` line, of whatever name. Blocks do not nest. Each line
inside is taken as often as the block says, on its own: a loop over `a b` gives line one
twice, then line two twice. `%(_)` in a line is the value of the condition or the loop.
"""

import glob
import os
import re
import socket
from collections.abc import Callable, Iterable, Mapping

from geventuwsgi.config.ini import content
from geventuwsgi.config.kinds import Plugins

END = ("endif", "end-if", "endfor", "end-for", "end")
# Spellings that uWSGI has without a dash.
_ALIASES = {"ifenv": "if-env", "ifexists": "if-exists", "ifplugin": "if-plugin", "ifdir": "if-dir",
            "if-directory": "if-dir"}

# What a condition needs to know: the environment, and the first text of each option.
Facts = tuple[Mapping[str, str], Mapping[str, str]]
# A condition gives the text for `%(_)`, or None if it does not hold.
Condition = Callable[[str, Facts], str | None]


def _env(text: str, facts: Facts) -> str | None:
    return _compared(text, facts[0])


def _opt(text: str, facts: Facts) -> str | None:
    return _compared(text, facts[1])


def _compared(text: str, values: Mapping[str, str]) -> str | None:
    """Compare `NAME=VALUE`, or ask whether NAME is there at all, however empty."""
    name, equals, wanted = text.partition("=")
    value = values.get(name.strip())
    if equals and value != wanted.strip():
        return None
    return value


def _file(text: str, facts: Facts) -> str | None:
    return text if os.path.isfile(text) else None


def _dir(text: str, facts: Facts) -> str | None:
    return text if os.path.isdir(text) else None


def _exists(text: str, facts: Facts) -> str | None:
    return text if os.path.exists(text) else None


def _hostname(text: str, facts: Facts) -> str | None:
    return text if socket.gethostname() == text else None


def _hostname_match(text: str, facts: Facts) -> str | None:
    return text if re.search(text, socket.gethostname()) else None


def _plugin(text: str, facts: Facts) -> str | None:
    return text if Plugins.built_in.fullmatch(text) else None


def _reload(text: str, facts: Facts) -> str | None:
    # uWSGI's variable; the master reads its files again with it when it reloads.
    return text if "UWSGI_RELOADS" in facts[0] else None


CONDITIONS: Mapping[str, Condition] = {
    "env": _env, "opt": _opt, "file": _file, "dir": _dir, "exists": _exists,
    "hostname": _hostname, "hostname-match": _hostname_match, "plugin": _plugin,
    "reload": _reload,
}


def _for(text: str) -> Iterable[str]:
    return text.split()


def _for_glob(text: str) -> Iterable[str]:
    return sorted(glob.glob(text))


def _for_times(text: str) -> Iterable[str]:
    if not text.isdigit():
        raise ValueError(f"{text!r} is not a number")
    return [str(number) for number in range(1, int(text) + 1)]


def _for_readline(text: str) -> Iterable[str]:
    return content(text).decode("utf-8", "surrogateescape").splitlines()


LOOPS: Mapping[str, Callable[[str], Iterable[str]]] = {
    "for": _for, "for-glob": _for_glob, "for-times": _for_times, "for-readline": _for_readline,
}


def opens(key: str) -> bool:
    """Return whether the key opens a block."""
    key = _ALIASES.get(key, key)
    return key in LOOPS or (key.startswith("if-")
                            and key.removeprefix("if-").removeprefix("not-") in CONDITIONS)


def values(key: str, text: str, facts: Facts) -> list[str]:
    """Return the values of `%(_)` for which a line of this block is taken; none skips it.

    Raises:
        ValueError: for a loop or an expression that cannot be read.
    """
    key = _ALIASES.get(key, key)
    if key in LOOPS:
        return list(LOOPS[key](text))
    name = key.removeprefix("if-")
    condition = CONDITIONS[name.removeprefix("not-")]
    try:
        value = condition(text, facts)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None
    if name.startswith("not-"):
        return [text] if value is None else []
    return [] if value is None else [value]
