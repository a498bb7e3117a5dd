"""Server runner of PasteDeploy: `[server:main] use = egg:geventuwsgi#main` under `pserve`.

`become` is what the other frameworks' commands (`django`, `flask`) end in as well.

A runner is handed an application and not told its name, and the server builds it anew by
its name. So the name is taken from the command that calls the runner, and where that is an
unknown one that was asked for a name, nothing is served.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .app import paste
from .config.load import paste as deploy
from .errors import ConfigError
from .system import kernel

_START = "import sys; from geventuwsgi.cli import main; sys.exit(main())"


def main(app: Any, global_conf: Mapping[str, str] | None = None, **local_conf: str) -> NoReturn:
    """Replace this process by a server of the same file (entry point `paste.server_runner`).

    The application that was built here is left behind: the server's processes build it
    anew, which is what lets them reload it. Under `pserve --reload` they do, and the server
    ends with the process that watches.

    Args:
        app: the application, not used.
        global_conf: `__file__` names the INI file; variables of the command line count in
            the server too.
        local_conf: options of the server by their names, or waitress's, in the section's
            words; `host` and `port` or `listen` say where to listen, `app_name` which
            application of the file to serve unless the command line does (default `main`).

    Raises:
        ConfigError: the file is not known, or which application; a key is wrong.
    """
    arguments, warnings = arguments_of(global_conf or {}, local_conf, asked(), sys.argv[1:])
    for warning in warnings:
        print(f"geventuwsgi: warning: {warning}", file=sys.stderr)
    hupper = sys.modules.get("hupper")
    if hupper is not None and hupper.is_active():
        # Its watcher of modules is a thread, which ends here; its watch of files goes on.
        if "reload" not in local_conf:
            arguments.append("--reload")
        try:
            kernel.die_with_parent(signal.SIGTERM)  # exec keeps it
        except OSError:
            pass  # a sandbox that forbids prctl
        hupper.get_reloader().watch_files([])       # fails if it was killed just before
    become(arguments)


def become(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a server with this command line."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-c", _START, *arguments])


def asked() -> Mapping[str, Any]:
    """Return the local variables of the command that calls the runner.

    `pserve`, `paster serve` and `gearbox serve` all have `app_name` among them, and nowhere
    else say which application it is. {} is another caller.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if "app_name" in frame.f_locals:
            return frame.f_locals
        frame = frame.f_back  # type: ignore[assignment]
    return {}


def arguments_of(global_conf: Mapping[str, str], local_conf: Mapping[str, str],
                 caller: Mapping[str, Any], argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Make a command line of a section of PasteDeploy, and warnings of what is left out.

    Args:
        global_conf, local_conf: of the runner.
        caller: what `asked` returns.
        argv: the command line that the caller was started with.

    Raises:
        ConfigError: the file is not known, or which application; a key is wrong.
    """
    options = dict(local_conf)
    file = global_conf.get("__file__")
    if not file:
        raise ConfigError("the configuration has no __file__: it has to come from an INI file")
    fragment = getattr(getattr(caller.get("loader"), "uri", None), "fragment", None)
    server = caller.get("server_name") or fragment or "main"
    name = options.pop("app_name", "")
    if not caller and not name and any(
            word == "-n" or word.startswith("--app-name") for word in argv):
        raise ConfigError("which application the command line asks for is not known here: say it "
                          "by app_name", file=f"{file}: [server:{server}]")
    name = caller.get("app_name") or fragment or name or "main"
    section = deploy.read(file, server, options)
    variables = [f"--paste-global={key}={value}"
                 for key, value in paste.given(file, global_conf).items()]
    return ([f"--paste=config:{file}#{name}", "--paste-logger", *variables, *section.arguments],
            section.warnings)
