"""The command `flask geventuwsgi [OPTIONS]`: serve the application that Flask finds.

Flask and click are imported here and nowhere else. Flask finds the command by the entry point
group `flask.commands`. It also finds the application (`--app`, FLASK_APP, app.py, factories),
a second time in the server's processes.
"""

import os
from collections.abc import Sequence
from typing import Any

import click
from flask.cli import NoAppException, ScriptInfo, pass_script_info
from flask.helpers import get_debug_flag

from .app import loader
from .config.options.option import Entry
from .config.options.table import row
from .config.resolve.sockets import SOCKETS
from .config.sources import argv
from .errors import AppLoadError, UsageError
from .paste import exec_server

_ENVIRONMENT = click.core.ParameterSource.ENVIRONMENT
_ANY: dict[str, Any] = {"ignore_unknown_options": True, "allow_interspersed_args": True}


@click.command("geventuwsgi", context_settings=_ANY,
               short_help="Run the application with geventuwsgi.")
@click.option("--host", "-h", envvar="FLASK_RUN_HOST", help="The address to listen on.")
@click.option("--port", "-p", type=int, envvar="FLASK_RUN_PORT",
              help="The port to listen on, 8000 unless set.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF GEVENTUWSGI]")
@click.pass_context
@pass_script_info
def command(info: ScriptInfo, context: click.Context, host: str | None, port: int | None,
            options: tuple[str, ...]) -> None:
    """Serve the application with geventuwsgi, which replaces this process.

    Every option of `geventuwsgi --help` may follow. With --debug (or FLASK_DEBUG) it is a
    development run, which reloads when files change.
    """
    if info.create_app is not None:
        raise click.UsageError("this command line creates its application itself (create_app): "
                               "start geventuwsgi with package.module:factory()")
    if info.app_import_path:
        os.environ["FLASK_APP"] = info.app_import_path
    if names_sockets(options):  # which override the environment
        host = None if context.get_parameter_source("host") is _ENVIRONMENT else host
        port = None if context.get_parameter_source("port") is _ENVIRONMENT else port
    exec_server(arguments(host, port, options, debug=get_debug_flag()))


def arguments(host: str | None, port: int | None, options: tuple[str, ...], *,
              debug: bool) -> list[str]:
    """Return the server's command line.

    Args:
        host, port: as of `flask run`; None if not given.
        options: the server's options.
        debug: whether it is a development run.
    """
    found = ["--module=geventuwsgi.flask:application()"]
    if debug:
        found.append("--dev")
    if host is not None or port is not None:
        name = f"[{host}]" if ":" in (host or "") else host or "127.0.0.1"
        found.append(f"--bind={name}:{8000 if port is None else port}")
    return [*found, *options]


def names_sockets(options: Sequence[str]) -> bool:
    """Whether the server's options name a socket, or a file that may name one."""
    try:
        found = [row(item.key) for item in argv.parse(options) if isinstance(item, Entry)]
    except UsageError:
        return False    # the server reports it
    return any(one is not None and (one.attribute in SOCKETS or one.name == "ini")
               for one in found)


def application() -> Any:
    """Load the application of Flask's command line; called in the server's processes.

    Raises:
        AppLoadError: with Flask's message, or the exception of the import.
    """
    name = os.environ.get("FLASK_APP")
    try:
        return ScriptInfo(name).load_app()
    except NoAppException as error:
        # Flask puts the traceback of a failed import into its message.
        cause = error.__cause__ or error.__context__
        if not isinstance(cause, ImportError) or "Traceback" not in str(error):
            raise AppLoadError(f"Flask: {error}") from error
        raise loader.not_imported(name or "the application of Flask", cause) from cause
    except (ImportError, SyntaxError) as error:
        raise loader.not_imported(name or "the application of Flask", error) from error
    except Exception as error:
        raise AppLoadError(f"{name or 'the application of Flask'} failed: "
                           f"{type(error).__name__}: {error}",
                           loader.own_traceback(error)) from error
