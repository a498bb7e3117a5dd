"""The syntax of attached daemons, in uWSGI's three forms.

    attach-daemon = COMMAND
    smart-attach-daemon = PIDFILE[,CHECKS] COMMAND
    attach-daemon2 = cmd=COMMAND,pidfile=PATH,control=1,...

In the third form a comma within a value is written `\\,`, as in uWSGI.
"""

import re
import signal
from collections.abc import Callable, Mapping
from typing import Any

from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Account, ValueType, check_command

# The keys of attach-daemon2, with uWSGI's names, and the field each sets.
KEYS: Mapping[str, str] = {
    "command": "command", "cmd": "command", "exec": "command", "freq": "freq",
    "pidfile": "pidfile", "control": "control", "daemonize": "daemonize", "daemon": "daemonize",
    "touch": "touch", "stopsignal": "stop_signal", "stop_signal": "stop_signal",
    "reloadsignal": "reload_signal", "reload_signal": "reload_signal", "stdin": "stdin",
    "uid": "uid", "gid": "gid", "chdir": "directory", "max_throttle": "max_throttle",
    "notifypid": "notify",
}
REFUSED: Mapping[str, str] = {
    "ns_pid": "namespaces are not supported: use the service manager or a container",
    "legion": "there is no legion: run the daemon as a service of its own",
}

Fields = dict[str, Any]


def simple(text: str, context: CastContext) -> Fields:
    """Parse `COMMAND`."""
    return {"command": text}


def control(text: str, context: CastContext) -> Fields:
    """Parse `COMMAND` of a daemon whose end stops the server."""
    return {"command": text, "control": True}


def smart(text: str, context: CastContext) -> Fields:
    """Parse `PIDFILE[,CHECKS] COMMAND` of a daemon that daemonizes itself."""
    pidfile, _, command = text.strip().partition(" ")
    pidfile, comma, freq = pidfile.partition(",")
    if not pidfile or not command.strip():
        context.fail(f"{text!r} is not of the form PIDFILE COMMAND")
    fields: Fields = {"command": command, "pidfile": pidfile}
    if comma:
        fields["freq"] = _number("the number of checks", freq, context, 1)
    return fields


def smart2(text: str, context: CastContext) -> Fields:
    """Parse the same for a daemon that stays in the foreground."""
    return {**smart(text, context), "daemonize": True}


def keyed(text: str, context: CastContext) -> Fields:
    """Parse `key=value,...`."""
    fields: Fields = {}
    for item in re.split(r"(?<!\\),", text):
        key, equals, value = item.partition("=")
        key, value = key.strip(), re.sub(r"\\(.)", r"\1", value)
        if key in REFUSED:
            context.fail(f"{key}: {REFUSED[key]}")
        if key not in KEYS:
            context.fail(f"there is no key {key!r}, only {', '.join(KEYS)} (a comma in a value is "
                         "written \\,)")
        if not equals or not value:
            context.fail(f"{key} needs a value")
        fields[KEYS[key]] = _VALUES[KEYS[key]](key, value, context)
    if "command" not in fields:
        context.fail("needs a command: cmd=COMMAND")
    for field, name in (("daemonize", "daemonize"), ("notify", "notifypid"), ("freq", "freq")):
        if fields.get(field) and "pidfile" not in fields:
            context.fail(f"{name} needs a pidfile")
    if fields.get("control") and "pidfile" in fields:
        context.fail("control is only for a daemon without a pidfile, whose end the server notices")
    return fields


def _text(key: str, value: str, context: CastContext) -> str:
    return value


def _flag(key: str, value: str, context: CastContext) -> bool:
    if value.lower() in ("0", "false", "no", "off"):
        context.fail(f"{key}={value}: in uWSGI any value means yes; leave the key out")
    return True


def _number(key: str, value: str, context: CastContext, minimum: int = 0) -> int:
    if not value.isascii() or not value.isdigit() or int(value) < minimum:
        context.fail(f"{key}: {value!r} is not a number of at least {minimum}")
    return int(value)


def _signal(key: str, value: str, context: CastContext) -> int:
    name = "SIG" + value.upper().removeprefix("SIG")
    if name in signal.Signals.__members__:
        return int(signal.Signals[name])
    if not (value.isascii() and value.isdigit()) or int(value) not in signal.valid_signals():
        context.fail(f"{key}: {value!r} is not a signal")
    return int(value)


def _account(key: str, value: str, context: CastContext) -> str:
    Account(group=key == "gid").value(value, context)
    return value


def _files(key: str, value: str, context: CastContext) -> tuple[str, ...]:
    return tuple(path for path in value.split(";") if path)


_VALUES: Mapping[str, Callable[[str, str, CastContext], object]] = {
    "command": _text, "pidfile": _text, "directory": _text, "touch": _files,
    "control": _flag, "daemonize": _flag, "stdin": _flag, "notify": _flag,
    "uid": _account, "gid": _account, "stop_signal": _signal, "reload_signal": _signal,
    "freq": lambda key, value, context: _number(key, value, context, 1),
    "max_throttle": lambda key, value, context: _number(key, value, context, 1),
}


class Daemon(ValueType):
    """A daemon in one of the forms above."""

    def __init__(self, parse: Callable[[str, CastContext], Fields], metavar: str) -> None:
        self.parse = parse
        self.metavar = metavar

    def value(self, text: str, context: CastContext) -> object:
        command = self.parse(text, context)["command"]
        check_command(text if command.strip() else "", context)
        return text
