"""Arguments in, exit status out.

Reads the configuration, hands the settings to `boot`, and turns what goes wrong into one
line on the standard error and an exit status (`errors`): 0 clean, 1 configuration or
bind, 2 usage, 3 workers could not boot, 4 the application could not be loaded.
"""

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from geventuwsgi import __version__
from geventuwsgi.boot import instance, preflight
from geventuwsgi.config.commands import completion, from_gunicorn, help
from geventuwsgi.config.commands.from_gunicorn import Conversion
from geventuwsgi.config.load.arguments import check, read, value_of
from geventuwsgi.config.resolve import development
from geventuwsgi.config.settings import Settings
from geventuwsgi.config.sources.argv import Command, parse
from geventuwsgi.errors import ConfigError, ConfigurationEnd, GeventuwsgiError, UsageError
from geventuwsgi.master import console_client
from geventuwsgi.system import probe

PING_TIME = "3"     # seconds, uWSGI's
READ_TIME = 30.0    # seconds that a server may take to say something


class ConsoleCommand(NamedTuple):
    """What `--stop FILE` and its like say to the console of the server in the pid file."""

    words: tuple[str, ...]
    until_gone: bool = False


ORDERS = {"reload": ConsoleCommand(("reload",)), "stop": ConsoleCommand(("stop",), until_gone=True),
          "stacks": ConsoleCommand(("stacks",)), "pause": ConsoleCommand(("pause",)),
          "resume": ConsoleCommand(("resume",))}


def main(argv: Sequence[str] | None = None, *, dev: bool = False,
         run: Callable[[Settings, Callable[[], Settings], Mapping[str, str]],
                       int] = instance.run) -> int:
    """Run the server, or print what was asked for.

    Args:
        argv: the command line without the program's name; None is the process's own.
        dev: a development run unless the configuration says otherwise.
        run: what serves with the settings and returns the exit status; its second argument
            reads the same command line, environment and files again; its third is the
            environment as it was.
    Returns:
        The exit status.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    status, fallback = _attempt(arguments, dev, run)
    if fallback is None or status != 1:
        return status
    # Once: two files may well name each other.
    print(f"geventuwsgi: fallback-config: {fallback} is read instead", file=sys.stderr)
    return _attempt(["-c", fallback], dev, run)[0]


def _attempt(arguments: Sequence[str], dev: bool,
             run: Callable[[Settings, Callable[[], Settings], Mapping[str, str]], int]
             ) -> tuple[int, str | None]:
    """Run the server; return the exit status, and after an error what else to read."""
    settings = None
    environ = dict(os.environ)  # the sockets of LISTEN_FDS are taken out of the other
    try:
        settings, status = _settings(arguments, environ, dev)
        if settings is None:
            return status, None
        return run(settings, lambda: _served(arguments, environ, dev), environ), None
    except GeventuwsgiError as error:
        noun = "" if isinstance(error, ConfigurationEnd) else "error: "
        for one in (error, *getattr(error, "others", ())):
            print(f"geventuwsgi: {noun}{one}", file=sys.stderr)
        if isinstance(error, UsageError):
            print("geventuwsgi: --help lists the options", file=sys.stderr)
        return error.exit_status, error.fallback or (settings.fallback_config if settings else None)
    except BrokenPipeError:
        # Of `geventuwsgi --help | head`: the interpreter would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0, None


def _settings(arguments: Sequence[str], environ: Mapping[str, str],
              dev: bool) -> tuple[Settings | None, int]:
    """Return the settings to serve with, or None and a status where it was a question."""
    if not arguments and not dev and not any(
            name.startswith(("UWSGI_", "GEVENTUWSGI_")) for name in environ):
        raise UsageError("nothing to serve: give an INI file (-c FILE) or package.module:name")
    settings, command = read(arguments, environ, dev=dev)
    if settings is not None and settings.dev and settings.lacks_application \
            and not settings.files:
        present = development.present()
        if not present and command is None:
            raise UsageError(f"nothing to serve: there is none of {', '.join(development.USUAL)} "
                             f"in {os.getcwd()}; name package.module:name or an INI file")
        settings, command = read([*arguments, *present], environ, dev=dev)
    if settings is None or command is not None:
        assert command is not None
        order = ORDERS.get(command.name)
        if order is not None:
            return None, console_client.call(command.about or "", order.words, _write,
                                             until_gone=order.until_gone)
        if command.name == "get":
            text, status = value_of(arguments, environ, command.about or "")
            _write(text)
            return None, status
        if command.name in ("check-config", "format"):
            report, in_json = check(arguments, environ, preflight.failures)
            _write(report.json() if in_json else report.text())
            return None, 0 if report.fine else 1
        if command.name in ("ping", "ping-timeout", "connect-and-read"):
            return None, _probe(arguments)
        _write(_answer(settings, command))
        refusals = settings.refusals if settings is not None else ()
        for text in refusals:
            print(f"geventuwsgi: error: {text}", file=sys.stderr)
        return None, 1 if refusals else 0
    try:
        settings.require_application()
        settings.require_sockets()
    except ConfigError as error:
        error.fallback = settings.fallback_config
        # What is missing may well stand in a line that could not be understood.
        for warning in settings.warnings:
            print(f"geventuwsgi: warning: {warning}", file=sys.stderr)
        raise
    return settings, 0


def _served(arguments: Sequence[str], environ: Mapping[str, str], dev: bool) -> Settings:
    """Return the settings of a command line that was to serve, read anew for a reload.

    Raises:
        ConfigError: they do not read any more.
    """
    try:
        settings, _ = _settings(arguments, {**environ, "UWSGI_RELOADS": "1"}, dev)
    except ConfigError as error:
        # The log and whoever ordered the reload are told in one line.
        error.message += "".join(f"; {one}" for one in error.others)
        raise
    assert settings is not None
    return settings


def _probe(arguments: Sequence[str]) -> int:
    """Ask what --ping or --connect-and-read is to ask; return 0.

    Raises:
        GeventuwsgiError: there is no answer.
    """
    said = {item.name: item.about or "" for item in parse(arguments) if isinstance(item, Command)}
    try:
        seconds = float(said.get("ping-timeout", PING_TIME))
    except ValueError:
        raise UsageError("is not a number of seconds", option="ping-timeout") from None
    if "ping" in said:
        probe.ping(said["ping"], seconds, _write)
    elif "connect-and-read" in said:
        probe.read_all(said["connect-and-read"], READ_TIME, _write)
    else:
        raise UsageError("is for --ping ADDRESS", option="ping-timeout")
    return 0


def _write(text: str) -> None:
    """Hand on what a server answers to an order, or what a file holds in whatever bytes."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")
    print(text, end="", flush=True)


def _answer(settings: Settings | None, command: Command) -> str:
    """Return the text of --help, --version, --completion, --from or --show-config."""
    if command.name == "from":
        return Conversion(*from_gunicorn.read(command.about or "")).ini()
    if command.name == "completion":
        return completion.script(command.about or "")
    if command.name == "dump-options":
        return help.names()
    if command.name == "help":
        return help.about(command.about) if command.about else help.usage()
    if settings is None:
        return f"geventuwsgi (version {__version__})\n"
    for warning in settings.warnings:
        print(f"geventuwsgi: warning: {warning}", file=sys.stderr)
    return help.shown(settings)
