"""The settings of a development run, which override those of a file written for production.

`python -m geventuwsgi` and `dev` are for a developer at a terminal: one worker, all output on the
terminal, and no limit that ends a request stopped in a debugger. The command line wins over all
of this.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from geventuwsgi.config.options import hooks, logging, processes, requests, router, sockets
from geventuwsgi.config.options.option import Entry, Option
from geventuwsgi.config.options.table import row
from geventuwsgi.config.resolve.sockets import SOCKETS
from geventuwsgi.config.sources import ini
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Account, Address, Owner, Path, ValueType
from geventuwsgi.errors import ConfigError
from geventuwsgi.net.address import beyond_loopback, parse

_AUTORELOAD_INTERVAL = 0.5  # seconds between two checks of the files
_GRACE = 2                  # seconds: Ctrl-C closes connections that a browser keeps open
_BLOCK_WARNING = 500        # milliseconds: a shorter block is not noticed in a browser
_ASGI_LOOP_TIMEOUT = 1      # seconds: the same for an event loop, which is checked 4 times in it

HTTP = ("http", "https")    # protocols of sockets that a browser can use
# The files to serve when none is named: the first that exists.
USUAL = ("app.ini", "uwsgi.ini", "wsgi.py", "app.py", "asgi.py", "main.py")


def _sections(*options: tuple[Option, ...]) -> frozenset[str]:
    return frozenset(one[0].section for one in options)


# Sections about the machine that the file was written for, or about a server without a terminal.
_OF_PRODUCTION = _sections(
    sockets.TLS, router.ROUTER, router.SUBSCRIPTION, processes.CHEAPER, processes.RECYCLING,
    hooks.HOOKS, hooks.DAEMONS, hooks.LIMITS, logging.LOG_FILES)
# Types of values that name something on that machine, and sections whose files are there.
_NAMES = (Account, Address, Owner, sockets.SocketMap)
_FILES = _sections(processes.PROCESSES, processes.OPERATION, logging.LOGGING, requests.STUCK)
# Used if they exist here; otherwise the application is in the current directory.
_DIRECTORIES = ("chdir", "chdir2", "home", "envdir")
_ROUTER = _sections(sockets.SOCKETS, router.ROUTER, router.SUBSCRIPTION)
_UNPRIVILEGED = 1024    # the first port that needs no right (ip(7))
_EVERYWHERE = ("", "0.0.0.0", "::")
# Attributes of the settings -> their values in a development run.
OVERRIDES: Mapping[str, object] = {
    "processes": 1, "disable_logging": False, "mount_check": (), "wait_for_interface": (),
    # A browser sends no line of the PROXY protocol.
    "enable_proxy_protocol": False,
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


def is_on(entries: Iterable[Entry], dev: bool) -> bool:
    """Whether these lines make a development run; `dev` if none of them says so.

    Raises:
        ConfigError: a line is wrong.
    """
    for entry in entries:
        option = row(entry.key, entry.origin.uwsgi)
        if option is not None and option.attribute == "dev":
            dev = bool(option.value_type.cast(entry.text, CastContext(entry.origin)))
    return dev


class Omissions:
    """The lines that a development run leaves out: all of production, except on the command line.

    Args:
        entries: all lines.

    Attributes:
        lines: `name (place)` of each that is left out and would have made a difference.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.lines: list[str] = []
        texts = {option.attribute: entry.text or "" for entry in entries
                 if (option := row(entry.key, entry.origin.uwsgi)) is not None}
        protocol = texts.get("protocol")
        self._http = {name for name, (fixed, default) in SOCKETS.items()
                      if (fixed or protocol or default) == "http"}
        self._only_router = not any(texts.get(name) for name in (
            "application", "asgi", "module", "wsgi_file", "paste", "mount"))

    def include(self, option: Option, entry: Entry) -> bool:
        """Whether a line is left out."""
        if entry.origin.kind == "argv":
            return False
        attribute, kind = option.attribute, getattr(option.value_type, "of", option.value_type)
        try:
            value = option.value_type.cast(entry.text, CastContext(entry.origin))
        except ConfigError:
            if not isinstance(kind, (Account, Owner)):
                return False    # an error here too
            value = entry.text  # this machine does not have the account
        items = value if isinstance(value, tuple) else (value,)
        if attribute in self._http and not self._only_router:
            out = not all(map(_is_for_a_browser, items))
        elif attribute in _DIRECTORIES:
            out = not all(map(os.path.isdir, items))
        else:
            out = attribute in OVERRIDES or self._is_of_production(option, kind)
        if out and value != OVERRIDES.get(attribute, option.default):
            self.lines.append(f"{entry.origin.option} ({entry.origin.place})")
        return out

    def _is_of_production(self, option: Option, kind: ValueType) -> bool:
        if self._only_router and option.section in _ROUTER:
            return False
        return (option.section in _OF_PRODUCTION or isinstance(kind, _NAMES)
                or isinstance(kind, Path) and option.section in _FILES)


def _is_for_a_browser(text: str) -> bool:
    """Whether a developer may listen on an address, and a browser can connect to it."""
    address = parse(text)
    if address.is_unix or address.inherited:
        return bool(address.inherited)
    return (not 0 < address.port < _UNPRIVILEGED
            and (address.host in _EVERYWHERE or not beyond_loopback(address)))


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
        removed: `Omissions.lines`.
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
