"""Server runner of PasteDeploy: `[server:main] use = egg:geventuwsgi#main` under `pserve`.

`become` is what the other frameworks' commands (`django`, `flask`) end in as well.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from .errors import ConfigError

_START = "import sys; from geventuwsgi.cli import main; sys.exit(main())"


def main(app: Any, global_conf: Mapping[str, str] | None = None, **local_conf: str) -> NoReturn:
    """Replace this process by a server of the same file (entry point `paste.server_runner`).

    The application that was built here is left behind: the server's processes build it
    anew, which is what lets them reload it.

    Args:
        app: the application, not used.
        global_conf: `__file__` names the INI file.
        local_conf: options of the server by their names, in the section's own words; `host`
            and `port` or `listen` say where to listen, `app_name` which application of the
            file to serve (default `main`).

    Raises:
        ConfigError: the file is not known.
    """
    become(arguments_of(global_conf or {}, local_conf))


def become(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by a server with this command line."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-c", _START, *arguments])


def arguments_of(global_conf: Mapping[str, str], local_conf: Mapping[str, str]) -> list[str]:
    """Make a command line of a section of PasteDeploy.

    Raises:
        ConfigError: the file is not known.
    """
    options = dict(local_conf)
    file = global_conf.get("__file__")
    if not file:
        raise ConfigError("the configuration has no __file__: it has to come from an INI file")
    arguments = [f"--paste=config:{file}#{options.pop('app_name', 'main')}", "--paste-logger"]
    host, port = options.pop("host", "127.0.0.1"), options.pop("port", "")
    listen = options.pop("listen", "")
    if ":" in listen:  # waitress's: addresses and not the length of a queue
        arguments += [f"--bind={one.replace('*:', '0.0.0.0:')}" for one in listen.split()]
    elif listen:
        arguments.append(f"--listen={listen}")
    if port or ":" not in listen and "bind" not in options:
        arguments.append(f"--bind={f'[{host}]' if ':' in host else host}:{port or '8080'}")
    return arguments + [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
