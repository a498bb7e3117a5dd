"""Relative paths with `chdir`.

uWSGI changes the directory before it binds its sockets, opens most of its files and watches any;
gunicorn does before all of that. Our master never changes it, so that it can start a role and read
its files at any time. Paths that are relative to `chdir` in those servers are therefore made
absolute here, so that master, roles, reloads and upgrades agree on them.

Paths that uWSGI opens before (`pidfile`, `logto`, `daemonize`, `shared-socket`, `flock`, `home`,
certificates, included files) stay relative to the directory in which the server is started. Those
that a role uses after its own chdir (`wsgi-file`, `pythonpath`, `static-map`) need nothing.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from geventuwsgi.config.values.origin import Origin
from geventuwsgi.errors import BindError
from geventuwsgi.net.address import parse

SOCKETS = ("http_socket", "http", "https_socket", "https", "http_to_https", "http_stats_server",
           "stats", "metrics", "uwsgi_socket", "socket", "bind", "http_subscription_server",
           "http_to")
FILES = ("pidfile2", "safe_pidfile", "safe_pidfile2", "daemonize2", "master_fifo", "touch_reload",
         "touch_chain_reload", "touch_logreopen", "touch_logrotate", "mount_check",
         "py_tracebacker", "access_logfile", "error_logfile", "reload_extra_file")
# gunicorn opens these after its chdir too.
GUNICORN = ("pidfile", "certfile", "keyfile", "ca_certs")
PASSPHRASES = ("ssl_keyfile_password",)
TOUCHED = ("hook_touch", "touch_exec")      # FILE ACTION
LOGGERS = ("logger", "req_logger")
_LOGGER = re.compile(r"((?:[A-Za-z0-9]+\s+)?(?:file|(socket)):)(.*)", re.DOTALL)
_ADDRESS = re.compile(r"(addr=|http://|uwsgi://|unix:)?([^,]*)(.*)", re.DOTALL)


def normalize(values: dict[str, Any], origins: Mapping[str, Origin],
              items: Mapping[str, Sequence[Origin]], uwsgi: bool) -> None:
    """Make the paths absolute that are relative to `chdir`.

    Args:
        values: the settings by attribute; changed.
        origins: where they were set.
        items: for repeatable options, where each item was set.
        uwsgi: whether uWSGI's rules apply, not gunicorn's.

    Raises:
        ConfigError: the path of a unix socket becomes too long.
    """
    if not values["chdir"]:
        return
    directory, start = os.path.abspath(values["chdir"]), os.path.abspath(".")
    changes: dict[str, Callable[[str, str], str]] = {
        **dict.fromkeys(FILES, joined),
        **dict.fromkeys(GUNICORN, (lambda path, _: joined(path, start)) if uwsgi else joined),
        **dict.fromkeys(() if uwsgi else PASSPHRASES, _passphrase),
        **dict.fromkeys(TOUCHED, _file_and_action), **dict.fromkeys(LOGGERS, _logger)}
    if not values["abstract_socket"]:
        changes |= dict.fromkeys(SOCKETS, address)
        # uWSGI binds these first.
        values["shared_socket"] = _each(values["shared_socket"], start, address, [])
    for name, change in changes.items():
        value = values[name]
        places = items.get(name) or [origins.get(name, Origin())]
        if isinstance(value, tuple):
            values[name] = _each(value, directory, change, places)
        elif value:
            values[name] = change(value, directory)


def _each(texts: Sequence[str], directory: str, change: Callable[[str, str], str],
          places: Sequence[Origin]) -> tuple[str, ...]:
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(change(text, directory))
        except BindError as error:
            place = places[min(index, len(places) - 1)] if places else Origin()
            raise place.error(str(error)) from None
    return tuple(found)


def joined(path: str, directory: str) -> str:
    """Join a path to a directory, unless the path is absolute, `-` or starts with `~`."""
    return path if path == "-" or path.startswith(("/", "~")) else os.path.join(directory, path)


def address(text: str, directory: str) -> str:
    """Return an address; a relative path in it is made absolute from a directory.

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
    path = joined(place, directory)
    parse(path)
    return f"{scheme}{path}{rest}"


def _passphrase(text: str, directory: str) -> str:
    kind, _, name = text.partition(":")
    return f"file:{joined(name, directory)}" if kind == "file" else text


def _file_and_action(text: str, directory: str) -> str:
    path, blank, action = text.partition(" ")
    return joined(path, directory) + blank + action


def _logger(text: str, directory: str) -> str:
    match = _LOGGER.fullmatch(text.strip())
    if match is None:
        return text
    head, is_socket, rest = match.groups()
    first, *others = rest.split(",")
    if is_socket:
        path = first if ":" in first else joined(first.strip(), directory)
        if path.startswith("/") and ":" in path:
            raise BindError(f"{path}: with a colon it would be HOST:PORT, not the path of a socket")
        parts = [path, *others]
    else:
        named = re.match(r"\s*(logfile|maxsize|backupname)\s*=", first)
        parts = [_field(first, directory) if named else joined(first.strip(), directory),
                 *(_field(other, directory) for other in others)]
    return head + ",".join(parts)


def _field(text: str, directory: str) -> str:
    name, equals, value = text.partition("=")
    if name.strip() not in ("logfile", "backupname") or not value.strip():
        return text
    return name + equals + joined(value.strip(), directory)
