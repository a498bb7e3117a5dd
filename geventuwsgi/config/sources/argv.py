"""The command line, parsed with the same table as the files.

`--name=value`, `--name value` and letters as in uWSGI; a flag never uses the next argument, and
`--no-name` switches it off. Three letters mean different things in uWSGI and gunicorn, and depend
on their value: `-w` is the number of workers or a module, `-b` an address or a buffer size, `-p` a
number of processes or a pid file.

An argument without a dash is an INI file or the application.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.table import BY_LETTER, NO_SUCH_OPTION, nearest, row
from geventuwsgi.config.sources.ini import FOREIGN
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.config.values.types import Boolean
from geventuwsgi.errors import UsageError

_COUNT = re.compile(r"\d+|auto")
# A letter -> the option for a number, and the option for any other value.
_BY_VALUE = {"w": ("processes", "module"), "b": ("buffer-size", "bind"),
             "p": ("processes", "pidfile")}
# Beside an application, as users of gunicorn, uvicorn and Flask write it, `-b 8080` and `-p 5000`
# mean a port: fewer processes than 1024 are a number of processes.
_PORTS = {"b": 0, "p": 1024}
# uvicorn's options for addresses -> the option, and the form of its text.
_ADDRESSES = {"host": ("host", "{}"), "port": ("port", "{}"), "uds": ("bind", "unix:{}"),
              "fd": ("bind", "fd://{}")}
_INI = re.compile(r".*\.ini(:[^/]+)?", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A command instead of serving: 'help', 'version', 'show-config', 'stop', ...

    `about` is its argument, checked: the option of --help, the pid file of a running server.
    """

    name: str
    about: str | None = None


def parse(arguments: Sequence[str]) -> Iterator[Entry | Command]:
    """Yield the options of a command line from left to right.

    Raises:
        UsageError: for an option that is unknown, lacks its value or may mean two things.
    """
    application = False
    numbers = []
    address: dict[str, Entry] = {}
    for item in _items(list(arguments)):
        if isinstance(item, Entry):
            if item.key in ("host", "port"):
                if item.key in address:
                    raise item.origin.error(f"is already {address[item.key].text}; use bind for "
                                            "several addresses")
                address[item.key] = item
                continue
            application = application or item.key == "application"
            if _maybe_port(item):
                numbers.append(item)
        yield item
    if address:
        yield _bind(address)
    if application and numbers:
        number = numbers[0]
        raise number.origin.error(
            f"{number.text} beside an application: write -b :{number.text} for an address, or "
            f"--{number.key} {number.text}")


def _bind(address: Mapping[str, Entry]) -> Entry:
    """Make one address of uvicorn's --host and --port, with its defaults."""
    parts = {name: item.text or "" for name, item in address.items()}
    host, port = parts.get("host", "127.0.0.1"), parts.get("port", "8000")
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return Entry("bind", f"{host}:{port}", next(iter(address.values())).origin)


def _maybe_port(item: Entry) -> bool:
    least = _PORTS.get(item.origin.option or "")
    text = item.text or ""
    return least is not None and text.isdigit() and least <= int(text) < 65536


def _items(rest: list[str]) -> Iterator[Entry | Command]:
    only_positional = False
    while rest:
        argument = rest.pop(0)
        if only_positional or argument == "-" or not argument.startswith("-"):
            yield _positional(argument)
        elif argument == "--":
            only_positional = True
        elif argument.startswith("--"):
            yield _long(argument[2:], rest)
        else:
            yield from _letters(argument[1:], rest)


def _positional(argument: str) -> Entry:
    origin = Origin("argv", option="application")
    if _INI.fullmatch(argument) or argument == "-":
        return Entry("ini", argument, replace(origin, option="ini"))
    ending = argument.rpartition(".")[2]
    if ending in FOREIGN and ending != "py":
        raise UsageError(f"{argument}: {FOREIGN[ending]}")
    if argument.lower() in ("true", "false", "on", "off", "yes", "no", "0", "1"):
        raise UsageError(f"{argument!r} is an argument of its own: write a flag's value as "
                         f"--name={argument}")
    return Entry("application", argument, origin)


def _long(argument: str, rest: list[str]) -> Entry | Command:
    name, equals, text = argument.partition("=")
    origin = Origin("argv", option=name)
    if name == "reload" and _pid_file(text if equals else rest[0] if rest else ""):
        return Command("reload", text if equals else rest.pop(0))
    option = row(name)
    if option is not None and name in _ADDRESSES:
        value = text if equals else _argument(option, rest, origin)
        key, form = _ADDRESSES[name]
        return Entry(key, form.format(value), origin)
    if option is None and name.startswith("no-") and not equals:
        flag = row(name[3:])
        if flag is not None and flag.status == "taken" and isinstance(flag.value_type, Boolean):
            return Entry(flag.name, "false", origin)
    if option is None:
        raise origin.error(_unknown(name))
    return _valued(option, name, text if equals else None, rest, origin)


def _letters(letters: str, rest: list[str]) -> Iterator[Entry | Command]:
    """Parse `-ML`, `-p 4`, `-p4`: flags first, then one letter with its value."""
    while letters:
        letter, letters = letters[0], letters[1:]
        origin = Origin("argv", option=letter)
        if letter in _BY_VALUE:
            text = letters or (rest.pop(0) if rest else None)
            if not text:
                raise origin.error("needs a value")
            number, other = _BY_VALUE[letter]
            yield Entry(number if _COUNT.fullmatch(text) else other, text, origin)
            return
        option = BY_LETTER.get(letter)
        if option is None:
            raise origin.error(NO_SUCH_OPTION)
        if option.value_type.flag:
            yield _valued(option, letter, None, rest, origin)
            continue
        yield _valued(option, letter, letters or None, rest, origin)
        return


def _valued(option: Option, name: str, text: str | None, rest: list[str],
            origin: Origin) -> Entry | Command:
    """Give the option its value, which may be the next argument."""
    if option.status == "command":
        if option.name == "help" and rest and (not rest[0].startswith("-") or _known(rest[0])):
            return Command("help", rest.pop(0))
        if option.value_type.flag and text is not None:
            raise origin.error(f"takes no value: write --{option.name} {text}")
        if option.value_type.flag:
            return Command(option.name)
        text = text or _argument(option, rest, origin)
        return Command(option.name, str(option.value_type.cast(text, CastContext(origin))))
    if option.status == "refused":
        raise origin.error(option.reason)
    if text is None and option.value_type.optional:
        if rest and re.fullmatch(option.value_type.optional, rest[0]):
            text = rest.pop(0)
    elif text is None and not option.value_type.flag:
        text = _argument(option, rest, origin)
    # The key of a letter is the name of its option.
    return Entry(name if len(name) > 1 else option.name, text, origin)


def _pid_file(text: str) -> bool:
    """Whether the argument after --reload is a pid file, so that a running server reloads."""
    if text.endswith(".pid"):
        return True
    try:
        with open(text, "rb") as file:
            return file.read(64).strip().isdigit()
    except (OSError, ValueError):
        return False


def _known(argument: str) -> bool:
    """Whether an argument names an option, `--name` or `-n`."""
    bare = argument.lstrip("-")
    return row(bare) is not None or bare in BY_LETTER or bare in _BY_VALUE


def _argument(option: Option, rest: list[str], origin: Origin) -> str:
    """Remove and return the next argument as the option's value."""
    following = rest[0] if rest else None
    if following is None or (following.startswith("--") and row(following[2:])):
        raise origin.error(f"needs a value ({option.value_type.metavar})")
    return rest.pop(0)


def _unknown(name: str) -> str:
    close = nearest(name)
    return NO_SUCH_OPTION + (f"; did you mean --{close}?" if close else "")
