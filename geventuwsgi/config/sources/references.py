"""The replacement of references in values, once all lines are read.

Three passes over the values, in this order: `$(NAME)` the environment, `@(path)` the content of a
file, `%(name)` another option. After a replacement the value is searched again from its beginning,
so that the new text may contain references too (uWSGI starts at the second character and misses a
reference at the beginning). A reference without a value stays as it is: an unset `$(NAME)`, an
unknown `%(name)`.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from geventuwsgi.config.sources.ini import content
from geventuwsgi.errors import ConfigError

# A value that refers to itself would be replaced for ever, or double in size each time.
_MAX_REPLACEMENTS = 1000
_MAX_LENGTH = 1 << 20
Warn = Callable[[str], None]
# The beginnings of references in an INI file, and the placeholders that replace them. `%(` has
# none, as it begins a placeholder itself.
_ESCAPES = {"$(": ("dollar", "$"), "@(": ("at", "@")}
_BLANK = "nothing"  # an empty placeholder, where a blank would be stripped
_OPERATORS = ("+", "-", "*", "/")
_NUMBER = re.compile(r"\s*([+-]?[0-9]+)")
_DIGITS = re.compile(r"[0-9]+")  # `-2` would be the name of an option


def environment(text: str, variables: Mapping[str, str], warn: Warn | None = None) -> str:
    """Replace `$(NAME)` by the environment variable.

    Args:
        text: the value.
        variables: the environment.
        warn: called for a reference that uWSGI misses; also below.
    """
    return _replace(text, "$(", variables.get, warn)


def files(text: str, warn: Warn | None = None) -> str:
    """Replace `@(path)` by the content of a file, without one newline at its end.

    Args:
        text: the value.
        warn: also called for a command that fails; without it that is an error.

    Raises:
        ConfigError: without a place, if the file cannot be read.
    """
    def read(name: str) -> str | None:
        if not name:
            return None
        return content(name, warn).decode("utf-8", "surrogateescape").removesuffix("\n")
    return _replace(text, "@(", read, warn)


def options(text: str, values: Mapping[str, str], warn: Warn | None = None) -> str:
    """Replace `%(name)` by the first value of an option, `%(a + 2)` by the result.

    Args:
        values: the first text of each key.
    """
    def look_up(name: str) -> str | None:
        return _expression(name.split(), values) if " " in name else values.get(name)
    return _replace(text, "%(", look_up, warn)


def escaped(text: str) -> str:
    """Escape a text so that no reference in it is replaced and no blank around it is lost."""
    # A `%` is a magic variable of an INI file unless a parenthesis follows.
    text = re.sub(r"%(?!\()", "%%", text)
    for opening, (name, _) in _ESCAPES.items():
        text = text.replace(opening, f"%({name})(")
    if text != text.lstrip():
        text = f"%({_BLANK})" + text
    if text != text.rstrip():
        text += f"%({_BLANK})"
    return text


def placeholders(lines: Iterable[str]) -> list[str]:
    """Return the lines that define what `escaped` has put into these ones."""
    text = "\n".join(lines)
    return [f"set-ph = {name}={value}" for name, value in (*_ESCAPES.values(), (_BLANK, ""))
            if f"%({name})" in text]


def _replace(text: str, opening: str, look_up: Callable[[str], str | None],
             warn: Warn | None) -> str:
    """Replace each reference that `look_up` has a value for, each time from the beginning."""
    written = text
    start = 0
    replaced = 0
    missed = False
    while (begin := text.find(opening, start)) >= 0:
        end = _closing(text, begin + len(opening))
        if end is None:
            break
        value = look_up(text[begin + len(opening):end])
        if value is None:
            start = begin + len(opening)
            continue
        if missed and begin == 0 and warn is not None:
            warn(f"uWSGI leaves {text} unchanged here, as it misses a reference at the beginning")
        text = text[:begin] + value + text[end + 1:]
        missed = begin == 0
        start = 0
        replaced += 1
        if replaced > _MAX_REPLACEMENTS or len(text) > _MAX_LENGTH:
            raise ConfigError(f"{written} refers to itself")
    return text


def _closing(text: str, position: int) -> int | None:
    """Find the parenthesis that closes the one before `position`."""
    depth = 1
    for index in range(position, len(text)):
        if text[index] == "(":
            depth += 1
        elif text[index] == ")":
            depth -= 1
            if not depth:
                return index
    return None


def _expression(words: list[str], values: Mapping[str, str]) -> str:
    """Evaluate from left to right; words without an operator between them are concatenated."""
    result = ""
    operator = ""
    for word in words:
        if word in ("++", "--"):
            result = _apply(word[0], result, "1")
        elif word in _OPERATORS:
            operator = word
        else:
            value = word if _DIGITS.fullmatch(word) else values.get(word, "")
            result = _apply(operator, result, value)
            operator = ""
    return result


def _apply(operator: str, left: str, right: str) -> str:
    a, b = _number(left), _number(right)
    if operator == "+":
        return _as_int64(a + b)
    if operator == "-":
        return _as_int64(a - b)
    if operator == "*":
        return _as_int64(a * b)
    if operator == "/":
        quotient = abs(a) // abs(b) if b else 0
        return _as_int64(quotient if (a < 0) == (b < 0) else -quotient)
    return left + right


def _number(text: str) -> int:
    """Parse as `atoi` does, with at most the 19 digits of a C integer."""
    match = _NUMBER.match(text)
    return int(match[1][:20]) if match else 0


def _as_int64(number: int) -> str:
    """Wrap around at 64 bits, as in C."""
    return str((number + (1 << 63)) % (1 << 64) - (1 << 63))
