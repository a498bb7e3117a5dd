"""The whole way from arguments and environment to settings, or to another command.

    UWSGI_* variables, then the command line with the files it names, then our own
    variables are read; the late passes are made; the lines are resolved.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from geventuwsgi.config.commands import check as checking
from geventuwsgi.config.commands import from_gunicorn
from geventuwsgi.config.commands.check import ConfigReport, tolerant
from geventuwsgi.config.commands.from_gunicorn import Conversion
from geventuwsgi.config.options.option import Entry
from geventuwsgi.config.options.table import row
from geventuwsgi.config.resolve.resolve import resolve
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources import argv, environment
from geventuwsgi.config.sources.argv import Command
from geventuwsgi.config.sources.lines import Reading
from geventuwsgi.config.values.origin import CastContext, Origin
from geventuwsgi.errors import ConfigError, UsageError


def read(arguments: Sequence[str], environ: Mapping[str, str], *,
         dev: bool = False) -> tuple[Settings | None, Command | None]:
    """Read the configuration.

    Args:
        arguments: the command line, without the program's name.
        environ: the environment.
        dev: whether this is a development run where the configuration does not say so or not.
    Returns:
        The settings, and what to do with them; (None, command) for help, version and
        orders to a running server, which read nothing.
    Raises:
        ConfigError: for what is wrong in a file or the environment.
        UsageError: for what is wrong on the command line.
    """
    items = list(argv.parse(arguments))
    commands = [item for item in items if isinstance(item, Command)]
    for command in commands:
        if command.name != "show-config":
            return None, command
    reading = Reading(environ, _developing(items, environ, dev))
    try:
        _gather(reading, items, environ)
        reading.finish()
        settings = (tolerant if commands else resolve)(reading, dev=dev)
    except ConfigError as error:
        if not commands:
            error.fallback = next((entry.text for entry in reversed(reading.entries)
                                   if entry.key == "fallback-config"), None)
        raise
    return settings, commands[0] if commands else None


def value_of(arguments: Sequence[str], environ: Mapping[str, str], name: str) -> tuple[str, int]:
    """Return the first text of an option or placeholder, a line, and the exit status.

    Raises:
        ConfigError, UsageError: the configuration cannot be read.
    """
    reading = Reading(environ)
    _gather(reading, list(argv.parse(arguments)), environ)
    reading.finish()
    text = reading.firsts().get(name)
    return ("", 1) if text is None else (f"{text}\n", 0)


def check(arguments: Sequence[str], environ: Mapping[str, str],
          prove: checking.Prove | None = None) -> tuple[ConfigReport, bool]:
    """Give a verdict on each line of a configuration, without serving anything.

    Args:
        arguments: a command line with --check-config: options, an INI file, or a settings
            file of gunicorn (a Python file).
        environ: the environment.
        prove: finds what would stop a start with the settings on this machine.
    Returns:
        The verdicts, and whether they are wanted in JSON.
    Raises:
        UsageError: for what is wrong on the command line.
    """
    items = list(argv.parse(arguments))
    form = next((item.about for item in items
                 if isinstance(item, Command) and item.name == "format"), "text")
    if form not in ("text", "json"):
        raise UsageError(f"{form!r} is none of text, json", option="format")
    reading = Reading(environ)
    foreign = [item for item in items if isinstance(item, Entry)
               and row(item.key) in (row("application"), row("ini"))
               and (item.text or "").endswith(".py")]
    converted = None
    failure = None
    try:
        if foreign and not any(isinstance(item, Entry) and row(item.key) is row("ini")
                               for item in items if item not in foreign):
            path = foreign[0].text or ""
            reading.files.append(path)
            converted = Conversion(*from_gunicorn.read(path))
            reading.entries += converted.entries  # where `$(X)` is no reference
        else:
            _gather(reading, items, environ)
            reading.finish()
    except UsageError:
        raise
    except ConfigError as error:
        failure = error
    return checking.check(reading, failure, converted, prove), form == "json"


def _developing(items: Sequence[Entry | Command], environ: Mapping[str, str], dev: bool) -> bool:
    """Whether a development run is asked for outside of files, which are not read yet."""
    for item in (*_late(environ), *items):
        option = row(item.key) if isinstance(item, Entry) else None
        if isinstance(item, Entry) and option is not None and option.name == "dev":
            dev = bool(option.value_type.cast(item.text, CastContext(item.origin, [])))
    return dev


def _gather(reading: Reading, items: Sequence[Entry | Command],
            environ: Mapping[str, str]) -> None:
    """Read everything in its order: variables of uWSGI, arguments with files, our variables."""
    for entry in (*environment.uwsgi(environ), *_early(environ)):
        reading.add(entry.key, entry.text, entry.origin)
    applications = [item for item in items if isinstance(item, Entry) and item.key == "application"]
    if len(applications) > 1:
        raise UsageError(f"{applications[1].text!r}: the application is {applications[0].text!r} "
                         f"already; several are served with --mount")
    for item in items:
        if isinstance(item, Entry):
            reading.add(item.key, item.text, item.origin)
    for entry in _late(environ):
        reading.add(entry.key, entry.text, entry.origin)


def _early(environ: Mapping[str, str]) -> list[Entry]:
    """Our own variables that name files: these are read where files are."""
    return [entry for entry in environment.own(environ) if entry.key == "ini"]


def _late(environ: Mapping[str, str]) -> list[Entry]:
    """Our own variables, and those of the piece of command line, which is weaker than they."""
    origin = Origin("environment", option=environment.ARGUMENTS)
    try:
        items = list(argv.parse(shlex.split(environ.get(environment.ARGUMENTS, ""))))
    except (ValueError, UsageError) as error:
        raise origin.error(str(error)) from None
    for item in items:
        if isinstance(item, Command):
            raise origin.error(f"--{item.name} has a place on the command line alone")
    arguments = [replace(item, origin=origin) for item in items if isinstance(item, Entry)]
    return arguments + [entry for entry in environment.own(environ) if entry.key != "ini"]
