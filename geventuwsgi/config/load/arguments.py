"""Arguments and environment become settings, or a command to run instead.

`UWSGI_*` variables are read first, then the command line with the files it names, then our own
variables; then references are replaced, and the lines are resolved.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from geventuwsgi.config.commands import check as check_command
from geventuwsgi.config.commands import from_gunicorn
from geventuwsgi.config.commands.check import ConfigReport, Preflight, tolerant
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
        dev: whether this is a development run, unless the configuration says so.
    Returns:
        The settings, and the command to run with them; (None, command) for help, version and
        commands to a running server, which read no configuration.
    Raises:
        ConfigError: an error in a file or the environment.
        UsageError: an error on the command line.
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
    """Return the first text of an option or placeholder, with a newline, and the exit status.

    Raises:
        ConfigError, UsageError: the configuration cannot be read.
    """
    reading = Reading(environ)
    _gather(reading, list(argv.parse(arguments)), environ)
    reading.finish()
    text = reading.firsts().get(name)
    return ("", 1) if text is None else (f"{text}\n", 0)


def check(arguments: Sequence[str], environ: Mapping[str, str],
          preflight: Preflight | None = None) -> tuple[ConfigReport, bool]:
    """Report on each line of a configuration, without starting the server.

    Args:
        arguments: a command line with --check-config: options, an INI file, or a settings
            file of gunicorn (a Python file).
        environ: the environment.
        preflight: yields what this machine lacks.
    Returns:
        The report, and whether it is to be printed as JSON.
    Raises:
        UsageError: an error on the command line.
    """
    items = list(argv.parse(arguments))
    form = next((item.about for item in items
                 if isinstance(item, Command) and item.name == "format"), "text")
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
            reading.entries += converted.entries  # in Python `$(X)` is not a reference
        else:
            _gather(reading, items, environ)
            reading.finish()
    except UsageError:
        raise
    except ConfigError as error:
        failure = error
    return check_command.check(reading, failure, converted, preflight), form == "json"


def _developing(items: Sequence[Entry | Command], environ: Mapping[str, str], dev: bool) -> bool:
    """Whether the arguments or the environment ask for a development run, before files are read."""
    for item in (*_late(environ), *items):
        option = row(item.key) if isinstance(item, Entry) else None
        if isinstance(item, Entry) and option is not None and option.name == "dev":
            dev = bool(option.value_type.cast(item.text, CastContext(item.origin, [])))
    return dev


def _gather(reading: Reading, items: Sequence[Entry | Command],
            environ: Mapping[str, str]) -> None:
    """Read all sources in order: `UWSGI_*`, arguments with their files, our variables."""
    for entry in (*environment.uwsgi(environ), *_early(environ)):
        reading.add(entry.key, entry.text, entry.origin)
    applications = [item for item in items if isinstance(item, Entry) and item.key == "application"]
    if len(applications) > 1:
        raise UsageError(f"{applications[1].text!r}: the application is already "
                         f"{applications[0].text!r}; use --mount to serve several")
    for item in items:
        if isinstance(item, Entry):
            reading.add(item.key, item.text, item.origin)
    for entry in _late(environ):
        reading.add(entry.key, entry.text, entry.origin)


def _early(environ: Mapping[str, str]) -> list[Entry]:
    """Return our own variables that name files, which are read at the place of files."""
    return [entry for entry in environment.own(environ) if entry.key == "ini"]


def _late(environ: Mapping[str, str]) -> list[Entry]:
    """Return the options of `GEVENTUWSGI_CMD_ARGS`, and of our own variables, which win."""
    origin = Origin("environment", option=environment.ARGUMENTS)
    try:
        items = list(argv.parse(shlex.split(environ.get(environment.ARGUMENTS, ""))))
    except (ValueError, UsageError) as error:
        raise origin.error(str(error)) from None
    for item in items:
        if isinstance(item, Command):
            raise origin.error(f"--{item.name} is only valid on the command line")
    arguments = [replace(item, origin=origin) for item in items if isinstance(item, Entry)]
    return arguments + [entry for entry in environment.own(environ) if entry.key != "ini"]
