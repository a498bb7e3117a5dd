"""The three late passes over all values, once everything is read.

In this order, each over the values in the order they were read: `$(NAME)` the environment,
`@(path)` the content of a file, `%(name)` another option. After a replacement the value is
looked at from its beginning again, so replaced text may hold references itself. What has no
value stays as it stands: an unset `$(NAME)` and an unknown `%(name)` are literal text.
"""

import re
from collections.abc import Callable, Mapping

from geventuwsgi.config.ini import content
from geventuwsgi.errors import ConfigError

# A reference to itself would be replaced for ever.
_MOST_REPLACEMENTS = 1000
Change = Callable[[str], str]
_OPERATORS = ("+", "-", "*", "/")
_NUMBER = re.compile(r"\s*([+-]?\d+)")


def environment(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the environment variable."""
    return _replace(text, "$(", variables.get)


def files(text: str) -> str:
    """Replace `@(path)` by the content of a file, without one newline at its end.

    Raises:
        ConfigError: without a place, if it cannot be read.
    """
    def read(name: str) -> str:
        return content(name).decode("utf-8", "surrogateescape").removesuffix("\n")
    return _replace(text, "@(", read)


def options(text: str, values: Mapping[str, str]) -> str:
    """Replace `%(name)` by the first value of an option, `%(a + 2)` by the result.

    Args:
        values: the first text of each key.
    """
    def look_up(name: str) -> str | None:
        return _expression(name.split(), values) if " " in name else values.get(name)
    return _replace(text, "%(", look_up)


def _replace(text: str, opening: str, look_up: Callable[[str], str | None]) -> str:
    """Replace each reference whose name `look_up` knows, from the beginning after each."""
    start = 0
    replaced = 0
    while (begin := text.find(opening, start)) >= 0:
        end = _closing(text, begin + len(opening))
        if end is None:
            break
        value = look_up(text[begin + len(opening):end])
        if value is None:
            start = begin + len(opening)
            continue
        text = text[:begin] + value + text[end + 1:]
        start = 0
        replaced += 1
        if replaced > _MOST_REPLACEMENTS:
            raise ConfigError(f"{opening}...) refers to itself")
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
    """Evaluate from left to right; words without an operator between them are joined."""
    result = ""
    operator = ""
    for word in words:
        if word in ("++", "--"):
            result = str(_number(result) + (1 if word == "++" else -1))
        elif word in _OPERATORS:
            operator = word
        else:
            value = word if _NUMBER.fullmatch(word) else values.get(word, "")
            result = _apply(operator, result, value)
            operator = ""
    return result


def _apply(operator: str, left: str, right: str) -> str:
    a, b = _number(left), _number(right)
    if operator == "+":
        return str(a + b)
    if operator == "-":
        return str(a - b)
    if operator == "*":
        return str(a * b)
    if operator == "/":
        return str(int(a / b)) if b else "0"
    return left + right


def _number(text: str) -> int:
    """Read as `atoi` does."""
    match = _NUMBER.match(text)
    return int(match[1]) if match else 0
