"""A development run: what it does not take from a file that was written for production.

`python -m geventuwsgi` and `dev` mean a developer at a terminal: one worker, output that
stays where it can be seen, nobody who kills a request that stands in a debugger. The
command line is the developer's own word and wins over all of this.
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

INTERVAL = 0.5          # seconds between two looks at the files
MERCY = 2               # seconds: Ctrl-C is to end what a browser keeps open
BLOCK_WARNING = 500     # milliseconds; nobody notices less while clicking
LOOP_TIMEOUT = 1        # seconds: its counterpart for an event loop, which is looked at 4 times

HTTP = ("http", "https")    # protocols of sockets that a browser can be pointed at
_ANNOUNCING = {"subscribe-to", "subscribe2"}    # production's router is to know nothing of us
# What a project may keep its application in, where nobody says which: the first that is there.
USUAL = ("app.ini", "uwsgi.ini", "wsgi.py", "app.py", "asgi.py", "main.py")
# Attributes of the settings, and what they are in a development run.
ASIDE: Mapping[str, object] = {
    "processes": 1, "map_socket": (),
    **{option.attribute: option.default for option in CHEAPER},
    **{option.attribute: option.default for option in SUBSCRIPTION
       if option.name in _ANNOUNCING},
    # The terminal is where it runs, and where it writes.
    "daemonize": None, "daemonize2": None, "daemon": False, "logto": None,
    **{option.attribute: option.default for option in LOG_FILES if not option.to},
    "error_logfile": None, "access_logfile": None, "disable_logging": False,
    "touch_logreopen": (), "touch_logrotate": (),
    # Whoever runs it is who it is, and may not write to /run.
    "uid": None, "gid": None, "add_gid": (), "immediate_uid": None, "immediate_gid": None,
    "chown_socket": None, "master_fifo": (), "flock": (), "flock_wait": (),
    "pidfile": None, "pidfile2": None, "safe_pidfile": None, "safe_pidfile2": None,
    # A debugger takes its time.
    "harakiri": 0, "harakiri_path": (), "worker_timeout": 0, "http_timeout": 0,
    # Reloads come often, and Ctrl-C means now.
    "worker_reload_mercy": MERCY, "shutdown_delay": 0, "exit_on_reload": False,
    "chain_reload": False,
}
# What else nobody has to write.
DEFAULTS: Mapping[str, object] = {
    "reload": True, "block_warning": BLOCK_WARNING, "asgi_loop_timeout": LOOP_TIMEOUT}


def present() -> list[str]:
    """Return the argument that serves what lies in the present directory, if anything does."""
    return [name for name in USUAL if os.path.isfile(name) and _is_for_us(name)][:1]


def _is_for_us(name: str) -> bool:
    """Whether a file is no other program's INI file. What cannot be read is told when it is."""
    if not name.endswith(".ini"):
        return True
    try:
        source = ini.read(name)
    except ConfigError:
        return True
    return source.is_ours or source.is_pastes


def set_aside(written: dict[str, Any], origins: dict[str, Origin]) -> list[str]:
    """Take away what a development run does not do, unless the command line says it.

    Args:
        written: the values that were written, by attribute; changed.
        origins: where they were; changed too.

    Returns:
        What was taken away, `name (place)` of each that would have made a difference.
    """
    told = []
    for name, value in ASIDE.items():
        origin = origins.get(name)
        if name not in written or (origin is not None and origin.kind == "argv"):
            continue
        if written.pop(name) != value and origin is not None:
            told.append(f"{origin.option} ({origin.place})")
        origins.pop(name, None)
    return told


def fill_in(written: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Give everything that nobody wrote its value of a development run.

    Args:
        written: the values that were written, by attribute.
        values: all values; changed.
    """
    for name, value in (*ASIDE.items(), *DEFAULTS.items()):
        if name not in written:
            values[name] = value
    if values["reload"] and not written.get("py_autoreload"):
        values["py_autoreload"] = INTERVAL


def notes(told: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    """Return what the start-up log says of a development run.

    Args:
        told: what `set_aside` took away.
        values: all values, with the sockets.
    """
    watched = bool(values["py_autoreload"])
    lines = ["this is a development run, not for production: tracebacks are shown in the browser"
             + (", a changed file reloads the application" if watched else "")]
    aside = ", ".join(told)
    if aside:
        lines.append(f"set aside in a development run: {aside}; the command line brings each "
                     "back")
    for address in (address for address, spoken in values["listeners"]
                    if spoken in HTTP and beyond_loopback(parse(address))):
        lines.append(f"{address}: whoever can connect there is shown the source around an error")
    return lines
