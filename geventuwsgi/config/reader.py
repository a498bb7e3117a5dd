"""The whole way from arguments and environment to settings, or to another command.

    UWSGI_* variables, then the command line with the files it names, then our own
    variables are read; the late passes are made; the lines are resolved.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace

from geventuwsgi.config import argv, environment
from geventuwsgi.config.argv import Command
from geventuwsgi.config.option import Entry
from geventuwsgi.config.origin import Origin
from geventuwsgi.config.reading import Reading
from geventuwsgi.config.settings import Settings, resolve
from geventuwsgi.errors import UsageError


def read(arguments: Sequence[str], environ: Mapping[str, str], *,
         development: bool = False) -> tuple[Settings | None, Command | None]:
    """Read the configuration.

    Args:
        arguments: the command line, without the program's name.
        environ: the environment.
        development: whether this is a development run.
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
    reading = Reading(environ)
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
    reading.finish()
    return resolve(reading, development=development), commands[0] if commands else None


def _early(environ: Mapping[str, str]) -> list[Entry]:
    """Our own variables that name files: these are read where files are."""
    return [entry for entry in environment.own(environ) if entry.key == "ini"]


def _late(environ: Mapping[str, str]) -> list[Entry]:
    """Our own variables, and those of the piece of command line, which is weaker than they."""
    origin = Origin("environment", option=environment.ARGUMENTS)
    try:
        pieces = shlex.split(environ.get(environment.ARGUMENTS, ""))
        arguments = [replace(item, origin=origin) for item in argv.parse(pieces)
                     if isinstance(item, Entry)]
    except (ValueError, UsageError) as error:
        raise origin.error(str(error)) from None
    return arguments + [entry for entry in environment.own(environ) if entry.key != "ini"]
