"""The syntax of scheduled commands, in uWSGI's three forms.

    cron = MINUTE HOUR DAY MONTH WEEKDAY COMMAND
    unique-cron = the same, not while the last one runs
    cron2 = minute=M,hour=H,day=D,month=M,week=W,unique=1,harakiri=S COMMAND

-1 stands for any value, and -N for each that N divides.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import ValueType, check_command

# The fields of a time, with the least and the greatest value of each; weekday 7 is Sunday too.
TIMES: Mapping[str, tuple[int, int]] = {
    "minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "week": (0, 7)}

Fields = dict[str, Any]


def listed(text: str, context: CastContext) -> Fields:
    """Parse `MINUTE HOUR DAY MONTH WEEKDAY COMMAND`."""
    words = text.split(None, len(TIMES))
    if len(words) <= len(TIMES):
        context.fail(f"{text!r} is not of the form MINUTE HOUR DAY MONTH WEEKDAY COMMAND")
    return {**{name: _time(name, word, context) for name, word in zip(TIMES, words)},
            "command": words[-1]}


def unique(text: str, context: CastContext) -> Fields:
    """Parse the same for a command that does not run twice at a time."""
    return {**listed(text, context), "unique": True}


def keyed(text: str, context: CastContext) -> Fields:
    """Parse `key=value,... COMMAND`; without a key the whole text is the command, as in uWSGI."""
    keys, _, command = text.strip().partition(" ")
    if "=" not in keys:
        keys, command = "", text.strip()
    elif not command.strip():
        context.fail(f"{text!r} has no command behind its keys")
    fields: Fields = dict.fromkeys(TIMES, -1)
    for item in filter(None, keys.split(",")):
        key, _, value = item.partition("=")
        if key in TIMES:
            fields[key] = _time(key, value, context)
        elif key == "unique":
            fields[key] = _number(key, value, context) > 0
        elif key == "harakiri":
            fields[key] = max(_number(key, value, context), 0)
        else:
            context.fail(f"there is no key {key!r}, only {', '.join(TIMES)}, unique and harakiri"
                         + "; there is no legion" * (key == "legion"))
    return {**fields, "command": command.strip()}


def _time(name: str, text: str, context: CastContext) -> int:
    least, greatest = TIMES[name]
    value = _number(name, text, context)
    if value > greatest or 0 <= value < least:
        context.warn(f"{name} {value}: the command never runs, as there are only {least} to "
                     f"{greatest}")
    return value


def _number(name: str, text: str, context: CastContext) -> int:
    if not re.fullmatch("-?[0-9]{1,9}", text):
        context.fail(f"{name}: {text!r} is not a number (-1 means any, and -N each that N "
                     "divides: -5 is each fifth)")
    return int(text)


class Cron(ValueType):
    """A scheduled command in one of the forms above."""

    def __init__(self, parse: Callable[[str, CastContext], Fields], metavar: str) -> None:
        self.parse = parse
        self.metavar = metavar

    def value(self, text: str, context: CastContext) -> object:
        check_command(self.parse(text, context)["command"], context)
        return text
