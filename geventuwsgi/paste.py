"""Server runner of PasteDeploy: `[server:main] use = egg:geventuwsgi#main` with `pserve`.

A runner gets an application object but not its name, which the server needs to build it again in
its own processes. So the name is read from the local variables of the command that calls the
runner. An unknown command that was given a name is refused, as it might serve another application.

`exec_server` also ends the commands of other frameworks (`django`, `flask`).
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .app import paste
from .config.load.paste import read as read_section
from .errors import ConfigError, print_warnings
from .system import kernel

_START = "import sys; from geventuwsgi.cli import main; sys.exit(main())"


def main(app: Any, global_conf: Mapping[str, str] | None = None, **local_conf: str) -> NoReturn:
    """Replace this process by a server for the same file (entry point `paste.server_runner`).

    The server's processes build the application again, so that they can reload it. With
    `pserve --reload` they do, and the server ends with the process that watches the files.

    Args:
        app: the application, which is not used.
        global_conf: `__file__` is the INI file; variables of the command line are passed on.
        local_conf: keys of the section: options of this server or of waitress; `host` and
            `port`, or `listen`, are the address; `app_name` is the application of the file
            unless the command line names one (default `main`).

    Raises:
        ConfigError: the file or the name of the application is unknown; a key is wrong.
    """
    arguments, warnings = arguments_of(global_conf or {}, local_conf, caller_variables(),
                                       sys.argv[1:])
    print_warnings(warnings)
    hupper = sys.modules.get("hupper")
    if hupper is not None and hupper.is_active():
        # Its thread that watches modules ends here; its process that watches files goes on.
        if "reload" not in local_conf:
            arguments.append("--reload")
        try:
            kernel.die_with_parent(signal.SIGTERM)  # exec keeps it
        except OSError:
            pass  # a sandbox that forbids prctl
        hupper.get_reloader().watch_files([])       # fails if that process has just died
    exec_server(arguments)


def exec_server(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a server with this command line (execv)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-c", _START, *arguments])


def caller_variables() -> Mapping[str, Any]:
    """Return the local variables of the command that calls the runner, {} if it is unknown.

    `pserve`, `paster serve` and `gearbox serve` have `app_name` among them, the only place where
    they keep the name of the application.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if "app_name" in frame.f_locals:
            return frame.f_locals
        frame = frame.f_back  # type: ignore[assignment]
    return {}


def arguments_of(global_conf: Mapping[str, str], local_conf: Mapping[str, str],
                 caller: Mapping[str, Any], argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a section of PasteDeploy as a command line, and warnings about ignored keys.

    Args:
        global_conf, local_conf: as of `main`.
        caller: the result of `caller_variables`.
        argv: the command line of the caller.

    Raises:
        ConfigError: the file or the name of the application is unknown; a key is wrong.
    """
    options = dict(local_conf)
    file = global_conf.get("__file__")
    if not file:
        raise ConfigError("the configuration has no __file__: it must come from an INI file")
    fragment = getattr(getattr(caller.get("loader"), "uri", None), "fragment", None)
    server = caller.get("server_name") or fragment or "main"
    name = options.pop("app_name", "")
    if not caller and not name and any(
            word == "-n" or word.startswith("--app-name") for word in argv):
        raise ConfigError("the application that the command line names is unknown here: set "
                          "app_name in the section", file=f"{file}: [server:{server}]")
    name = caller.get("app_name") or fragment or name or "main"
    section = read_section(file, server, options)
    variables = [f"--paste-global={key}={value}"
                 for key, value in paste.given(file, global_conf).items()]
    return ([f"--paste=config:{file}#{name}", "--paste-logger", *variables, *section.arguments],
            section.warnings)
