"""Options as keyword arguments of `geventuwsgi.serve`, for a server in another's process.

The rules of this room: a keyword is an option's name with underscores, by any name that the
command line or a `gunicorn.conf.py` has for it. Served is what a lone worker can do by
itself; whatever needs a master, a fresh process or one that is ours is refused with what to
do instead, and that is decided in this room alone (`SERVED`, `REASONS`). An option that
another room adds is refused unless its section is one of the served.
"""

import os
import re
from collections.abc import Iterator, Mapping

from geventuwsgi.config.options.aliases import GUNICORN_SETTINGS
from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.table import nearest, row
from geventuwsgi.config.resolve.resolve import resolve
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources import environment
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.origin import Origin
from geventuwsgi.config.values.types import FALSE, Address, Many, Name, Path

PLACE = "serve()"   # where an option stands that is a keyword argument
# Variables that size a server of its own; an embedded one has the one process it is given.
_NOT_OURS = ("WEB_CONCURRENCY",)

# Sections whose options a lone worker carries out.
SERVED = frozenset((
    "ASGI", "Sockets", "HTTPS", "Requests: limits and times", "Requests: stuck, slow, too many",
    "Trust", "Responses", "Static files", "Internal routing", "Logging"))
# Options of other sections that it carries out too.
ALSO_SERVED = frozenset((
    "monkey-patch", "processes", "gevent", "threads", "worker-class", "worker-connections",
    "worker-reload-mercy"))
_GIVEN = "the application is the object that serve() is given"
_OURS = "the process is the caller's: do this before serve()"
_ONE = "serve() is one worker in the caller's process, and nobody starts another"
_OTHERWISE = "it needs a master: start geventuwsgi as a program"
# By option or section: why it is refused and what to do instead.
REASONS = {
    "processes": "serve() is one worker in the caller's process; for more start geventuwsgi as "
                 "a program, or call serve() in several processes with reuse_port=True",
    **dict.fromkeys(("asgi", "factory"), _GIVEN),
    "Application": _GIVEN,
    **dict.fromkeys(("lazy-apps", "need-app"), _GIVEN),
    **dict.fromkeys(("import", "shared-import", "pymodule-alias", "post-pymodule-alias", "pyargv",
                     "pythonpath", "home", "optimize", "threads-stack-size", "chdir", "chdir2",
                     "env", "unenv", "umask", "uid", "gid", "add-gid", "no-initgroups",
                     "immediate-uid", "immediate-gid", "drop-after-apps", "Operation",
                     "Limits of processes"), _OURS),
    "map-socket": _ONE,
    **dict.fromkeys(("master-fifo", "pause", "resume"), _OTHERWISE),
    "Development": "a development run is one of geventuwsgi as a program: --dev",
    **dict.fromkeys(("mount", "worker-mount", "vhost"),
                    "serve() takes one application: mount others in it"),
    "worker-timeout": f"{_ONE}: harakiri ends requests, block-warning tells who blocks",
    **dict.fromkeys(("Recycling of workers", "Number of workers", "reload-on-exception",
                     "reload-on-exception-type", "reload-on-exception-value",
                     "reload-on-exception-repr"), _ONE),
    **dict.fromkeys(("pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2"),
                    "there is no master to be spoken to: write os.getpid() to a file"),
    "logto": "it would take the caller's standard output: use access-logfile and error-logfile",
    "Loggers and log files": "a process of its own does it, which a server has that is started as "
                             "a program: use access-logfile, error-logfile and Python's logging",
    "Hooks": "call it before or after serve()",
    "Reload and stop": f"{_ONE}: for a reload start geventuwsgi as a program",
    "Configuration": "serve() reads no files: for these start geventuwsgi as a program",
}


def served(option: Option) -> bool:
    """Whether a lone worker in the caller's process carries this option out."""
    if option.status != "taken" or option.name in ALSO_SERVED:
        return option.name in ALSO_SERVED
    return option.section in SERVED and option.name not in REASONS


def reason(option: Option) -> str:
    """Say why an option is refused here, and what to do instead."""
    if option.name.startswith("procname") or option.name == "auto-procname":
        return "the process is the caller's, and so is its name"
    return REASONS.get(option.name) or REASONS.get(option.section) or _OTHERWISE


def read(given: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Resolve the keyword arguments of `serve`.

    Args:
        given: by name; text, numbers, booleans, paths, and lists of these for what repeats.
            None is an option that is not given.
        environ: the environment, whose `GEVENTUWSGI_*` are weaker than keywords.

    Raises:
        ConfigError: an option is unknown (with the nearest name), cannot be carried out
            without a master, or has a value that is none.
    """
    reading = Reading({name: text for name, text in environ.items() if name not in _NOT_OURS})
    for entry in (*environment.own(environ), *entries(given)):
        if carried_out(entry):
            reading.add(entry.key, entry.text, entry.origin)
    # `http` with one slot would have one in front of several workers.
    reading.add("http-router", "false", Origin(PLACE, option="http"))
    return resolve(reading)


def entries(given: Mapping[str, object]) -> Iterator[Entry]:
    """Yield the lines that keyword arguments stand for.

    Raises:
        ConfigError: a value is of a type that no option has, or a list for one that does
            not repeat.
    """
    for name, value in given.items():
        key = GUNICORN_SETTINGS.get(name) or name.rstrip("_").replace("_", "-")
        origin = Origin(PLACE, option=name)
        option = row(key)
        if isinstance(value, (list, tuple)):
            if option is not None and not option.value_type.repeats:
                raise origin.error("takes one value, not a list")
            values = list(value)
        else:
            values = [] if value is None else [value]
        for one in values:
            if isinstance(one, bool) and option is not None and served(option) and names(option):
                raise origin.error(f"takes {option.value_type.metavar}, not {one}; None leaves it out")
            yield Entry(key, text_of(one, origin), origin)


def names(option: Option) -> bool:
    """Whether a value is a name of any letters, which no boolean is meant to be."""
    kind = option.value_type.of if isinstance(option.value_type, Many) else option.value_type
    return isinstance(kind, (Address, Path, Name)) and not kind.flag


def as_keywords(text: str) -> str:
    """Write the options of an advice, `name = value`, as keyword arguments."""
    def written(match: re.Match[str]) -> str:
        value = {"true": "True", "false": "False"}.get(match[2], f'"{match[2]}"')
        return f"{match[1].replace('-', '_')}={value}"
    return re.sub(r"([a-z][a-z-]*) = ([^\s,;)]+)", written, text)


def text_of(value: object, origin: Origin) -> str:
    """Write a value as an operator would.

    Raises:
        ConfigError: it is of a type that no option has.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise origin.error(f"takes text, a number, a boolean or a list of these, not "
                       f"{type(value).__name__}")


def carried_out(entry: Entry) -> bool:
    """Whether a line is to be read; one that switches off what is not here anyway is not.

    Raises:
        ConfigError: it asks for what is not here.
    """
    option = row(entry.key)
    if option is None and entry.origin.kind == PLACE:
        close = (nearest(entry.key) or "").replace("-", "_")
        raise entry.origin.error("there is no such option"
                                 + (f"; did you mean {close}?" if close else ""))
    if option is not None and option.status == "refused" and entry.origin.kind == PLACE:
        raise entry.origin.error(as_keywords(option.reason))
    if option is None or option.status in ("ignored", "refused"):
        return True     # `resolve` tells
    text = (entry.text or "").strip().lower()
    if option.name == "processes":
        alone = text in ("1", "true")
        if text in (*FALSE, "0"):
            raise entry.origin.error("must be at least 1")
    else:
        alone = served(option)
    if not alone and text not in (*FALSE, "", "0"):
        raise entry.origin.error(reason(option))
    return alone
