"""Options as keyword arguments of `geventuwsgi.serve`, for a server in another program's process.

A keyword is any name of an option, with underscores. Options that a single worker can carry out are
served; those that need a master, a new process or a process of ours are refused with what to do
instead. `SERVED` and `REASONS` decide: an option of a section that is not in `SERVED` is refused.
"""

import os
import re
from collections.abc import Iterator, Mapping

from geventuwsgi.config.options import (
    application, configuration, hooks, logging, processes, requests, rules, sockets, static,
)
from geventuwsgi.config.options.aliases import GUNICORN_SETTINGS
from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.table import NO_SUCH_OPTION, nearest, row
from geventuwsgi.config.resolve.resolve import resolve
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources import environment
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.origin import Origin
from geventuwsgi.config.values.types import FALSE, Address, Many, Name, Path

PLACE = "serve()"   # the place of an option that is a keyword argument
# Variables about the number of processes; an embedded server has one.
_IGNORED_VARIABLES = ("WEB_CONCURRENCY",)


def _section(options: tuple[Option, ...]) -> str:
    return options[0].section


# Sections whose options a single worker can carry out.
SERVED = frozenset(map(_section, (
    application.ASGI, sockets.SOCKETS, sockets.TLS, requests.REQUESTS, requests.STUCK,
    requests.TRUST, requests.RESPONSES, static.STATIC, rules.RULES, logging.LOGGING)))
# Options of other sections that it can carry out too.
ALSO_SERVED = frozenset((
    "monkey-patch", "processes", "gevent", "threads", "worker-class", "worker-connections",
    "worker-reload-mercy"))
_GIVEN = "the application is the object passed to serve()"
_PROCESS = "the process belongs to the caller: do this before serve()"
_ONE = "serve() is one worker in the caller's process, without a master to start another"
_NO_MASTER = "it needs a master: start geventuwsgi as a program"
# By option or section: why it is refused and what to do instead.
REASONS = {
    "processes": "serve() is one worker in the caller's process; for more start geventuwsgi as "
                 "a program, or call serve() in several processes with reuse_port=True",
    **dict.fromkeys(("asgi", "factory"), _GIVEN),
    **dict.fromkeys((_section(application.APPLICATION), "lazy-apps", "need-app"), _GIVEN),
    **dict.fromkeys(("import", "shared-import", "pymodule-alias", "post-pymodule-alias", "pyargv",
                     "pythonpath", "home", "optimize", "threads-stack-size", "chdir", "chdir2",
                     "env", "env-file", "unenv", "umask", "uid", "gid", "add-gid", "no-initgroups",
                     "immediate-uid", "immediate-gid", "drop-after-apps",
                     _section(processes.OPERATION), _section(hooks.LIMITS)), _PROCESS),
    "map-socket": _ONE,
    **dict.fromkeys(("master-fifo", "pause", "resume"), _NO_MASTER),
    _section(processes.DEVELOPMENT): "for a development run start geventuwsgi as a program: --dev",
    **dict.fromkeys(("mount", "worker-mount", "vhost"),
                    "serve() has one application: mount others in it"),
    "worker-timeout": f"{_ONE}: harakiri ends requests, block-warning logs what blocks",
    **dict.fromkeys((_section(processes.RECYCLING), _section(processes.CHEAPER),
                     "reload-on-exception", "reload-on-exception-type",
                     "reload-on-exception-value", "reload-on-exception-repr"), _ONE),
    **dict.fromkeys(("pidfile", "pidfile2", "safe-pidfile", "safe-pidfile2"),
                    "there is no master to send signals to: write os.getpid() to a file"),
    **dict.fromkeys(("logto", "capture-output"), "it would redirect the caller's standard output: "
                    "use access-logfile and error-logfile"),
    _section(logging.LOG_FILES): "they need a process of their own: start geventuwsgi as a "
                                 "program, or use access-logfile, error-logfile and Python's "
                                 "logging",
    _section(hooks.HOOKS): "call it before or after serve()",
    _section(processes.RELOAD): f"{_ONE}: for a reload start geventuwsgi as a program",
    _section(configuration.CONFIGURATION): "serve() reads no files: for these start "
                                           "geventuwsgi as a program",
}


def served(option: Option) -> bool:
    """Whether a single worker in the caller's process can carry out this option."""
    if option.status != "taken" or option.name in ALSO_SERVED:
        return option.name in ALSO_SERVED
    return option.section in SERVED and option.name not in REASONS


def reason(option: Option) -> str:
    """Return why an option is refused here, and what to do instead."""
    if option.name.startswith("procname") or option.name == "auto-procname":
        return "the process, and its name, belong to the caller"
    return REASONS.get(option.name) or REASONS.get(option.section) or _NO_MASTER


def read(given: Mapping[str, object], environ: Mapping[str, str]) -> Settings:
    """Resolve the keyword arguments of `serve`.

    Args:
        given: text, numbers, booleans, paths, and lists of these for repeatable options; None
            for an option that is not set.
        environ: the environment, whose `GEVENTUWSGI_*` are weaker than keywords.

    Raises:
        ConfigError: an option is unknown (with the nearest name), needs a master, or has a
            wrong value.
    """
    reading = Reading({name: text for name, text in environ.items()
                       if name not in _IGNORED_VARIABLES})
    for entry in (*environment.own(environ), *entries(given)):
        if carried_out(entry):
            reading.add(entry.key, entry.text, entry.origin)
    # With one slot `http` would have a router.
    reading.add("http-router", "false", Origin(PLACE, option="http"))
    return resolve(reading)


def entries(given: Mapping[str, object]) -> Iterator[Entry]:
    """Yield the lines of keyword arguments.

    Raises:
        ConfigError: a value has a wrong type, or is a list for an option that is not repeatable.
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
            if (isinstance(one, bool) and option is not None and served(option)
                    and is_free_text(option)):
                raise origin.error(f"takes {option.value_type.metavar}, not {one}; None leaves it "
                                   "out")
            yield Entry(key, text_of(one, origin), origin)


def is_free_text(option: Option) -> bool:
    """Whether any text is a value, so that a boolean is a mistake."""
    value_type = option.value_type
    if isinstance(value_type, Many):
        value_type = value_type.of
    return isinstance(value_type, (Address, Path, Name)) and not value_type.flag


def as_keywords(text: str) -> str:
    """Rewrite `name = value` in a message as keyword arguments."""
    def written(match: re.Match[str]) -> str:
        value = {"true": "True", "false": "False"}.get(match[2], f'"{match[2]}"')
        return f"{match[1].replace('-', '_')}={value}"
    return re.sub(r"([a-z][a-z-]*) = ([^\s,;)]+)", written, text)


def text_of(value: object, origin: Origin) -> str:
    """Return a value as it is written in a file.

    Raises:
        ConfigError: it has a type that no option has.
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
    """Whether a line is to be read; one that switches off an unsupported option is skipped.

    Raises:
        ConfigError: it sets an option that is not supported.
    """
    option = row(entry.key)
    if option is None and entry.origin.kind == PLACE:
        close = (nearest(entry.key) or "").replace("-", "_")
        raise entry.origin.error(NO_SUCH_OPTION
                                 + (f"; did you mean {close}?" if close else ""))
    if option is not None and option.status == "refused" and entry.origin.kind == PLACE:
        raise entry.origin.error(as_keywords(option.reason))
    if option is None or option.status in ("ignored", "refused"):
        return True     # reported by `resolve`
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
