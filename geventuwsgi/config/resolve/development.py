"""The settings of a development run, which override those of a file written for production.

`python -m geventuwsgi` and `dev` are for a developer at a terminal: one worker, all output on the
terminal, and no limit that ends a request stopped in a debugger. The command line wins over all
of this.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from geventuwsgi.config.options.logging import LOG_FILES
from geventuwsgi.config.options.processes import CHEAPER
from geventuwsgi.config.options.router import SUBSCRIPTION
from geventuwsgi.config.sources import ini
from geventuwsgi.config.values.origin import Origin
from geventuwsgi.errors import ConfigError
from geventuwsgi.net.address import beyond_loopback, parse

_AUTORELOAD_INTERVAL = 0.5  # seconds between two checks of the files
_GRACE = 2                  # seconds: Ctrl-C closes connections that a browser keeps open
_BLOCK_WARNING = 500        # milliseconds: a shorter block is not noticed in a browser
_ASGI_LOOP_TIMEOUT = 1      # seconds: the same for an event loop, which is checked 4 times in it

HTTP = ("http", "https")    # protocols of sockets that a browser can use
_ANNOUNCING = {"subscribe-to", "subscribe2"}    # a development run is not announced to a router
# The files to serve when none is named: the first that exists.
USUAL = ("app.ini", "uwsgi.ini", "wsgi.py", "app.py", "asgi.py", "main.py")
# Attributes of the settings -> their values in a development run.
OVERRIDES: Mapping[str, object] = {
    "processes": 1, "map_socket": (),
    **{option.attribute: option.default for option in CHEAPER},
    **{option.attribute: option.default for option in SUBSCRIPTION
       if option.name in _ANNOUNCING},
    # It runs in the terminal and logs there.
    "daemonize": None, "daemonize2": None, "daemon": False, "logto": None,
    **{option.attribute: option.default for option in LOG_FILES if not option.to},
    "error_logfile": None, "access_logfile": None, "disable_logging": False,
    "touch_logreopen": (), "touch_logrotate": (),
    # It runs as the developer, who may not write to /run.
    "uid": None, "gid": None, "add_gid": (), "immediate_uid": None, "immediate_gid": None,
    "chown_socket": None, "master_fifo": (), "flock": (), "flock_wait": (),
    "pidfile": None, "pidfile2": None, "safe_pidfile": None, "safe_pidfile2": None,
    # A debugger may stop a request for any time.
    "harakiri": 0, "harakiri_path": (), "worker_timeout": 0, "http_timeout": 0,
    # Reloads are frequent, and Ctrl-C stops at once.
    "worker_reload_mercy": _GRACE, "shutdown_delay": 0, "exit_on_reload": False,
    "chain_reload": False,
}
# Defaults that differ in a development run.
DEFAULTS: Mapping[str, object] = {
    "reload": True, "block_warning": _BLOCK_WARNING, "asgi_loop_timeout": _ASGI_LOOP_TIMEOUT}


def present() -> list[str]:
    """Return the argument that serves the application in the current directory, if there is one."""
    return [name for name in USUAL if os.path.isfile(name) and _is_ours(name)][:1]


def _is_ours(name: str) -> bool:
    """Whether a file is not another program's INI file; read errors are reported later."""
    if not name.endswith(".ini"):
        return True
    try:
        source = ini.read(name)
    except ConfigError:
        return True
    return source.is_ours or source.is_paste


def set_aside(written: dict[str, Any], origins: dict[str, Origin]) -> list[str]:
    """Remove the values that a development run overrides, except those of the command line.

    Args:
        written: the values that were set, by attribute; changed.
        origins: where they were set; changed too.

    Returns:
        `name (place)` of each removed value that would have made a difference.
    """
    removed = []
    for name, value in OVERRIDES.items():
        origin = origins.get(name)
        if name not in written or (origin is not None and origin.kind == "argv"):
            continue
        if written.pop(name) != value and origin is not None:
            removed.append(f"{origin.option} ({origin.place})")
        origins.pop(name, None)
    return removed


def fill_in(written: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Give everything that was not set its value in a development run.

    Args:
        written: the values that were set, by attribute.
        values: all values; changed.
    """
    for name, value in (*OVERRIDES.items(), *DEFAULTS.items()):
        if name not in written:
            values[name] = value
    if values["reload"] and not written.get("py_autoreload"):
        values["py_autoreload"] = _AUTORELOAD_INTERVAL


def notes(removed: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Return the lines of the startup log about a development run.

    Args:
        removed: the result of `set_aside`.
        values: all values, with the sockets.
    """
    watched = bool(values["py_autoreload"])
    lines = ["this is a development run, not for production: tracebacks are shown in the browser"
             + (", a changed file reloads the application" if watched else "")]
    names = ", ".join(removed)
    if names:
        lines.append(f"not used in a development run: {names}; set them on the command line to "
                     "use them")
    for address in (address for address, protocol in values["listeners"]
                    if protocol in HTTP and beyond_loopback(parse(address))):
        lines.append(f"{address}: clients that can connect there see the source code around an "
                     "error")
    return lines
