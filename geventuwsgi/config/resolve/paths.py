"""Where relative paths lead when there is a `chdir`.

uWSGI changes the directory before it binds its sockets, opens most of its files and watches
any, and gunicorn before all of that; our master never does, so that it can start a role and
read its files at any time. So the paths that those servers take below `chdir` are made
absolute here, once, and master, roles, reloads and upgrades agree on them.

What uWSGI opens before (`pidfile`, `logto`, `daemonize`, `shared-socket`, `flock`, `home`,
certificates, included files) stays relative to where the server is started, and what a role
uses after its own chdir (`wsgi-file`, `pythonpath`, `static-map`) needs nothing.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from geventuwsgi.config.values.origin import Origin
from geventuwsgi.errors import BindError
from geventuwsgi.net.address import parse

SOCKETS = ("http_socket", "http", "https_socket", "https", "http_to_https", "http_stats_server",
           "uwsgi_socket", "socket", "bind", "http_subscription_server", "http_to")
FILES = ("pidfile2", "safe_pidfile", "safe_pidfile2", "daemonize2", "master_fifo", "touch_reload",
         "touch_chain_reload", "touch_logreopen", "touch_logrotate", "mount_check",
         "py_tracebacker", "access_logfile", "error_logfile", "reload_extra_file")
# gunicorn opens these behind its chdir too.
GUNICORN = ("pidfile", "certfile", "keyfile", "ca_certs")
TOUCHED = ("hook_touch", "touch_exec")      # FILE WHAT
LOGGERS = ("logger", "req_logger")
_LOGGER = re.compile(r"((?:[A-Za-z0-9]+\s+)?(?:file|(socket)):)(.*)", re.DOTALL)
_ADDRESS = re.compile(r"(addr=|http://|uwsgi://|unix:)?([^,]*)(.*)", re.DOTALL)


def normalize(values: dict[str, Any], origins: Mapping[str, Origin],
              items: Mapping[str, Sequence[Origin]], uwsgi: bool) -> None:
    """Make the paths absolute that lead below `chdir`.

    Args:
        values: the settings by attribute; changed.
        origins: where they stand.
        items: and each item of those that repeat.
        uwsgi: uWSGI's rules stand, not gunicorn's.

    Raises:
        ConfigError: the path of a unix socket gets too long.
    """
    if not values["chdir"]:
        return
    below = os.path.abspath(values["chdir"])
    kinds: dict[str, Callable[[str, str], str]] = {
        **dict.fromkeys(FILES + (() if uwsgi else GUNICORN), joined),
        **dict.fromkeys(TOUCHED, _touched), **dict.fromkeys(LOGGERS, _logger)}
    if not values["abstract_socket"]:
        kinds |= dict.fromkeys(SOCKETS, address)
        start = os.path.abspath(".")    # uWSGI binds these first
        values["shared_socket"] = _each(values["shared_socket"], start, address, [])
    for name, change in kinds.items():
        value = values[name]
        places = items.get(name) or [origins.get(name, Origin())]
        if isinstance(value, tuple):
            values[name] = _each(value, below, change, places)
        elif value:
            values[name] = change(value, below)


def _each(texts: Sequence[str], below: str, change: Callable[[str, str], str],
          places: Sequence[Origin]) -> tuple[str, ...]:
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(change(text, below))
        except BindError as error:
            place = places[min(index, len(places) - 1)] if places else Origin()
            raise place.error(str(error)) from None
    return tuple(found)


def joined(path: str, below: str) -> str:
    """Return a path below a directory, unless it is absolute or no path of a file."""
    return path if path == "-" or path.startswith(("/", "~")) else os.path.join(below, path)


def address(text: str, below: str) -> str:
    """Return an address, whose path is below a directory if it is a relative one.

    Raises:
        BindError: such a path is too long for a socket.
    """
    match = _ADDRESS.fullmatch(text)
    assert match is not None    # anything matches
    scheme, place, rest = match[1] or "", match[2].strip(), match[3]
    if not place or place.startswith(("=", "~")) or "=" in place:
        return text
    if scheme != "unix:" and not parse(place).is_unix:
        return text
    if place.startswith(("/", "@", "\0", "\\0")):
        return text
    path = joined(place, below)
    parse(path)
    return f"{scheme}{path}{rest}"


def _touched(text: str, below: str) -> str:
    path, blank, what = text.partition(" ")
    return joined(path, below) + blank + what


def _logger(text: str, below: str) -> str:
    match = _LOGGER.fullmatch(text.strip())
    if match is None:
        return text
    head, is_socket, rest = match.groups()
    first, *others = rest.split(",")
    if is_socket:
        parts = [first if ":" in first else joined(first.strip(), below), *others]
    else:
        named = re.match(r"\s*(logfile|maxsize|backupname)\s*=", first)
        parts = [_field(first, below) if named else joined(first.strip(), below),
                 *(_field(other, below) for other in others)]
    return head + ",".join(parts)


def _field(text: str, below: str) -> str:
    name, equals, value = text.partition("=")
    if name.strip() not in ("logfile", "backupname") or not value.strip():
        return text
    return name + equals + joined(value.strip(), below)
