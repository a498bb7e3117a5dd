"""The command `geventuwsgi`: arguments in, exit status out.

Reads the configuration and starts an instance (`boot`), or carries out a command such as --help
or --stop. An error is one line on the standard error and an exit status (`errors`): 0 clean,
1 configuration or bind, 2 usage, 3 workers could not start, 4 the application could not be loaded.
"""

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from geventuwsgi import __version__
from geventuwsgi.boot import instance, preflight
from geventuwsgi.boot.status import show_status
from geventuwsgi.config.commands import completion, from_gunicorn, help, show
from geventuwsgi.config.commands.from_gunicorn import Conversion
from geventuwsgi.config.load.arguments import check, read, value_of
from geventuwsgi.config.resolve import development
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources.argv import Command, parse
from geventuwsgi.errors import (
    ConfigError, ConfigurationEnd, GeventuwsgiError, UsageError, print_warnings,
)
from geventuwsgi.master import console_client
from geventuwsgi.system import probe

PING_TIMEOUT = "3"      # seconds, uWSGI's
READ_TIMEOUT = 30.0     # seconds for --connect-and-read


class ConsoleCommand(NamedTuple):
    """A command for the console of the master in a pid file, as of `--stop FILE`."""

    words: tuple[str, ...]
    until_gone: bool = False


CONSOLE_COMMANDS = {
    "reload": ConsoleCommand(("reload",)), "stop": ConsoleCommand(("stop",), until_gone=True),
    "stacks": ConsoleCommand(("stacks",)), "pause": ConsoleCommand(("pause",)),
    "resume": ConsoleCommand(("resume",))}
Run = Callable[[Settings, Callable[[], Settings], Mapping[str, str]], int]


def main(argv: Sequence[str] | None = None, *, dev: bool = False, run: Run = instance.run) -> int:
    """Run the server or carry out a command, and return the exit status.

    Args:
        argv: the command line without the program's name; None is that of the process.
        dev: a development run unless the configuration says otherwise.
        run: serves with the settings and returns the exit status. The second argument reads
            the same command line, environment and files again, the third is the environment
            at the start.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    status, fallback = _attempt(arguments, dev, run)
    if fallback is None or status != 1:
        return status
    # Only once: two files may name each other.
    print(f"geventuwsgi: fallback-config: {fallback} is read instead", file=sys.stderr)
    return _attempt(["-c", fallback], dev, run)[0]


def _attempt(arguments: Sequence[str], dev: bool, run: Run) -> tuple[int, str | None]:
    """Run the server; return the exit status, and after an error the fallback configuration."""
    settings = None
    environ = dict(os.environ)  # os.environ loses LISTEN_FDS later
    try:
        settings, status = _settings(arguments, environ, dev)
        if settings is None:
            return status, None
        return run(settings, lambda: _reread(arguments, environ, dev), environ), None
    except GeventuwsgiError as error:
        noun = "" if isinstance(error, ConfigurationEnd) else "error: "
        for one in (error, *getattr(error, "others", ())):
            print(f"geventuwsgi: {noun}{one}", file=sys.stderr)
        if isinstance(error, UsageError):
            print("geventuwsgi: --help lists the options", file=sys.stderr)
        return error.exit_status, error.fallback or (settings.fallback_config if settings else None)
    except BrokenPipeError:
        # As of `geventuwsgi --help | head`; without this the interpreter reports it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0, None


def _settings(arguments: Sequence[str], environ: Mapping[str, str],
              dev: bool) -> tuple[Settings | None, int]:
    """Return the settings to serve with, or None and an exit status after a command."""
    if not arguments and not dev and not any(
            name.startswith(("UWSGI_", "GEVENTUWSGI_")) for name in environ):
        raise UsageError("nothing to serve: give an INI file (-c FILE) or package.module:name")
    settings, command = read(arguments, environ, dev=dev)
    if settings is not None and settings.dev and settings.lacks_application \
            and not settings.files:
        present = development.present()
        if not present and command is None:
            raise UsageError(f"nothing to serve: {os.getcwd()} has none of "
                             f"{', '.join(development.USUAL)}; name package.module:name or an "
                             "INI file")
        settings, command = read([*arguments, *present], environ, dev=dev)
    if settings is None or command is not None:
        assert command is not None
        return None, _execute(command, settings, arguments, environ)
    try:
        settings.require_application()
        settings.require_sockets()
    except ConfigError as error:
        error.fallback = settings.fallback_config
        # The missing option may be in a line that was not understood.
        print_warnings(settings.warnings)
        raise
    return settings, 0


def _execute(command: Command, settings: Settings | None, arguments: Sequence[str],
             environ: Mapping[str, str]) -> int:
    """Carry out a command of the command line; return the exit status."""
    console_command = CONSOLE_COMMANDS.get(command.name)
    if console_command is not None:
        return console_client.call(command.about or "", console_command.words, _write,
                                   until_gone=console_command.until_gone)
    if command.name == "get":
        text, status = value_of(arguments, environ, command.about or "")
        _write(text)
        return status
    if command.name in ("status", "format") and "status" in (given := _given(arguments)):
        return show_status(given["status"], given.get("format") == "json", _write)
    if command.name in ("check-config", "format"):
        report, in_json = check(arguments, environ, preflight.failures)
        _write(report.json() if in_json else report.text())
        return 0 if report.fine else 1
    if command.name in ("ping", "ping-timeout", "connect-and-read"):
        return _probe(arguments)
    if command.name == "from":
        conversion = Conversion(*from_gunicorn.read(command.about or ""))
        _write(conversion.ini())
        refusals = conversion.refusals
    else:
        _write(_text_of(command, settings))
        refusals = list(settings.refusals) if settings is not None else []
    for text in refusals:
        print(f"geventuwsgi: error: {text}", file=sys.stderr)
    return 1 if refusals else 0


def _reread(arguments: Sequence[str], environ: Mapping[str, str], dev: bool) -> Settings:
    """Return the settings of a command line that serves, read again for a reload.

    Raises:
        ConfigError: they are wrong now.
    """
    try:
        settings, _ = _settings(arguments, {**environ, "UWSGI_RELOADS": "1"}, dev)
    except ConfigError as error:
        # The log and the caller of --reload get one line.
        error.message += "".join(f"; {one}" for one in error.others)
        raise
    assert settings is not None
    return settings


def _given(arguments: Sequence[str]) -> dict[str, str]:
    """Return the commands of a command line, each with its argument."""
    return {item.name: item.about or "" for item in parse(arguments) if isinstance(item, Command)}


def _probe(arguments: Sequence[str]) -> int:
    """Carry out --ping or --connect-and-read; return 0.

    Raises:
        GeventuwsgiError: there is no response.
    """
    given = _given(arguments)
    if "ping" in given:
        probe.ping(given["ping"], float(given.get("ping-timeout", PING_TIMEOUT)), _write)
    elif "connect-and-read" in given:
        probe.read_all(given["connect-and-read"], READ_TIMEOUT, _write)
    else:
        raise UsageError("is for --ping ADDRESS", option="ping-timeout")
    return 0


def _write(text: str) -> None:
    """Print text that may hold undecodable bytes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    print(text, end="", flush=True)


def _text_of(command: Command, settings: Settings | None) -> str:
    """Return the output of --help, --version, --completion or --show-config."""
    if command.name == "completion":
        return completion.script(command.about or "")
    if command.name == "dump-options":
        return help.names()
    if command.name == "help":
        return help.about(command.about) if command.about else help.usage()
    if settings is None:
        return f"geventuwsgi (version {__version__})\n"
    print_warnings(settings.warnings)
    return show.shown(settings)
