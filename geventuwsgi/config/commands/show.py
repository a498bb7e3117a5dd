"""`--show-config`: every value and where it was set, as an INI file that sets the same values.

The section is [geventuwsgi], where every option is valid. Defaults are comments, and so is what
an INI file cannot contain.
"""

from collections.abc import Iterator

from geventuwsgi.config.commands.help import as_written
from geventuwsgi.config.options.option import Option
from geventuwsgi.config.options.rules import Rule
from geventuwsgi.config.options.table import OPTIONS, row
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources.references import escaped, placeholders
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.errors import ConfigError

_WIDTH = 44     # of a line before its place
_READER = Origin("file", section="geventuwsgi")
# Options that `resolve.concurrency` derives from the others if they are not set.
_FOLLOW = ("worker-class", "monkey-patch")


def shown(settings: Settings) -> str:
    """Return the output of --show-config."""
    lines = [line for option in OPTIONS if option.status == "taken" and not option.to
             for line in _lines(option, settings)]
    listening = (f"; listens: {address} ({protocol})" for address, protocol in settings.listeners)
    return "\n".join(["[geventuwsgi]", *listening, *placeholders(lines), *lines]) + "\n"


def _lines(option: Option, settings: Settings) -> Iterator[str]:
    """Yield the lines of one option."""
    value = getattr(settings, option.attribute)
    origin = settings.origin(option.attribute)
    place = origin.place
    if origin.option and origin.option != option.name:
        place += f" ({origin.option})"
    items = [item for item in (value if isinstance(value, tuple) else (value,))
             if item is not None and item != ""]
    unset = origin.kind == "default" and (
        value == option.default or option.name in _FOLLOW
        or settings.interface == "asgi" and option.name in ("gevent", "threads"))
    if option.name == "worker-timeout" and settings.worker_timeout_action == "log":
        yield f"; a worker that is stuck for {value} seconds is only logged"
        items = [0]
    elif not items:
        text = None if unset else _unset(option, value)
        yield from (_behind(f"; {option.name} =", place) if text is None else
                    _above(f"{option.name} = {text}", place))
    for item in items:
        name, text = option.name, as_written(option, item)
        if isinstance(_kind(option), Rule):
            name, _, text = text.partition(" ")
        if unset:
            yield from _behind(f"; {name} = {text}", place)
        else:
            yield from _line(name, text, item, place)


def _kind(option: Option) -> object:
    return getattr(option.value_type, "of", option.value_type)


def _line(name: str, text: str, item: object, place: str) -> Iterator[str]:
    """Yield a value with its place: behind it, or above it if comments are not cut from it."""
    option = row(name)
    assert option is not None
    comments = getattr(_kind(option), "comments", False)
    if comments and len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = f"'{text}'" if text[0] == '"' else f'"{text}"'
    try:
        read = option.value_type.cast(text, CastContext(_READER))
    except ConfigError:
        read = None
    if set("\n\r\0") & set(text) or item not in (read if isinstance(read, tuple) else (read,)):
        yield from _behind(f"; {name}: an INI file cannot contain {text!r}", place)
    elif comments:
        yield from _behind(f"{name} = {escaped(text)}", place)
    else:
        yield from _above(f"{name} = {escaped(text)}", place)


def _behind(line: str, place: str) -> tuple[str, ...]:
    return (f"{line:{_WIDTH}} ; {place}",)


def _above(line: str, place: str) -> tuple[str, ...]:
    return f"; {place}", line


def _unset(option: Option, value: object) -> str | None:
    """Return the text that sets an option to no value, None if there is none."""
    for text in ("", "0", "false"):
        try:
            if option.value_type.cast(text, CastContext(_READER)) == value:
                return text
        except ConfigError:
            continue
    return None
