"""What would stop a start that every line by itself allows: looked at for --check-config.

The rules of this room: it looks at the directories and files of this machine that a start
needs, opens nothing for writing, makes nothing and imports no application. What a hook may
yet make, and what another user may read, is left alone.
"""

import os
from collections.abc import Iterator

from ..config.settings import Settings
from ..errors import AppLoadError, ConfigError
from ..log import loggers
from . import tls
from .process_setup import packages_of

_LOGS = ("daemonize", "daemonize2", "logto", "logto2", "access_logfile", "error_logfile")
_WAITING = ("wait_for_fs", "wait_for_file", "wait_for_dir", "wait_for_mountpoint")
_NAMING = ("application", "asgi", "module", "wsgi_file")


def failures(settings: Settings) -> Iterator[ConfigError]:
    """Yield what would stop the start, each with its place."""
    for name, message in (*_applications(settings), *_paths(settings)):
        yield settings.origin(name).failure(message)


def _paths(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) of the paths that are to be there."""
    if settings.hooks or any(getattr(settings, name) for name in _WAITING):
        return  # these may well make what is not there now
    if settings.home:
        try:
            packages_of(settings)
        except ConfigError as error:
            yield "home", error.message
    try:
        tls.check(settings)
    except ConfigError as error:
        if "Permission denied" not in error.message:  # root may read it
            yield error.option or "certfile", error.message
    place = settings.chdir or "."
    if not os.path.isdir(place):
        yield "chdir", f"cannot change to {place}: it is no directory"
    else:
        yield from _files(settings, place)
        if settings.chdir2 and not os.path.isdir(os.path.join(place, settings.chdir2)):
            yield "chdir2", f"cannot change to {settings.chdir2}: it is no directory"
    for name, path in _logs(settings):
        directory = os.path.dirname(os.path.abspath(path))
        if "%" not in directory and not os.path.isdir(directory):
            yield name, f"{path} cannot be opened: there is no directory {directory}"


def _files(settings: Settings, place: str) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the files of applications."""
    named = [(name, getattr(settings, name), name == "wsgi_file") for name in _NAMING]
    named += [("mount", mount.partition("=")[2], False) for mount in settings.mount]
    for name, spelling, is_file in named:
        if not spelling or os.path.exists(os.path.join(place, spelling)):
            continue
        path = spelling.partition(":")[0]
        if (is_file or path.endswith(".py")) and not os.path.isfile(os.path.join(place, path)):
            yield name, f"{path}: no such file (looked in {os.path.abspath(place)})"


def _logs(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (option, path) of the files that logs go to."""
    for name in _LOGS:
        path = getattr(settings, name)
        if path and "/" in path and "://" not in path and settings.origin(name).kind != "default":
            yield name, path
    for name in ("logger", "req_logger"):
        for text in getattr(settings, name):
            logger = loggers.logger(text)
            if logger.kind == "file":
                yield name, logger.target


def _applications(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what no module and no callable can be named."""
    from ..app.loader import looks_like_file

    for name in ("application", "asgi", "module"):
        spelling = getattr(settings, name) or ""
        source, _, attribute = (part.strip() for part in spelling.partition(":"))
        if source and not looks_like_file(source) and (
                len(source.split()) > 1 or not all(source.split("."))):
            yield name, f"{source!r} is no name of a module"
        elif attribute:
            yield from _attribute(name, source, attribute)
    if settings.callable:
        yield from _attribute("callable", "", settings.callable)


def _attribute(name: str, source: str, attribute: str) -> Iterator[tuple[str, str]]:
    from ..app.loader import parse_attribute

    try:
        parse_attribute(source, attribute)
    except AppLoadError as error:
        yield name, str(error)
