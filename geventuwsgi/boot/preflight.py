"""Checks of --check-config that need this machine: directories, files, certificates.

Rules: nothing is opened for writing, nothing is created, and no application is imported. Files
that a hook may create or that only another user can read are not reported.
"""

import os
from collections.abc import Iterator

from ..config.settings import Settings
from ..errors import AppLoadError, ConfigError
from ..log import loggers
from . import monitor_process, tls
from .process_setup import packages_of

_LOG_OPTIONS = ("daemonize", "daemonize2", "logto", "logto2", "access_logfile", "error_logfile")
_WAIT_OPTIONS = ("wait_for_fs", "wait_for_file", "wait_for_dir", "wait_for_mountpoint")
_APPLICATION_OPTIONS = ("application", "asgi", "module", "wsgi_file")


def failures(settings: Settings) -> Iterator[ConfigError]:
    """Yield an error for each thing that would stop a start."""
    for name, message in (*_applications(settings), *_paths(settings)):
        yield settings.origin(name).failure(message)


def _paths(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (option, message) for paths that do not exist."""
    if settings.hooks or any(getattr(settings, name) for name in _WAIT_OPTIONS):
        return  # these may create what does not exist now
    if settings.home:
        try:
            packages_of(settings)
        except ConfigError as error:
            yield "home", error.message
    try:
        monitor_process.check(settings)
        tls.check(settings)
    except ConfigError as error:
        if "Permission denied" not in error.message:  # root may read it
            yield error.option or "certfile", error.message
    directory = settings.chdir or "."
    if not os.path.isdir(directory):
        yield "chdir", f"cannot change to {directory}: it is not a directory"
    else:
        yield from _files(settings, directory)
        if settings.chdir2 and not os.path.isdir(os.path.join(directory, settings.chdir2)):
            yield "chdir2", f"cannot change to {settings.chdir2}: it is not a directory"
    for name, path in _logs(settings):
        parent = os.path.dirname(os.path.abspath(path))
        if "%" not in parent and not os.path.isdir(parent):
            yield name, f"{path} cannot be opened: there is no directory {parent}"


def _files(settings: Settings, directory: str) -> Iterator[tuple[str, str]]:
    """Yield (option, message) for files of applications that do not exist."""
    named = [(name, getattr(settings, name), name == "wsgi_file") for name in _APPLICATION_OPTIONS]
    named += [("mount", mount.partition("=")[2], False) for mount in settings.mount]
    for name, spelling, is_file in named:
        if not spelling or os.path.exists(os.path.join(directory, spelling)):
            continue
        path = spelling.partition(":")[0]
        if (is_file or path.endswith(".py")) and not os.path.isfile(os.path.join(directory, path)):
            yield name, f"{path}: no such file in {os.path.abspath(directory)}"


def _logs(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (option, path) for each log file."""
    for name in _LOG_OPTIONS:
        path = getattr(settings, name)
        if path and "/" in path and "://" not in path and settings.origin(name).kind != "default":
            yield name, path
    for name in ("logger", "req_logger"):
        for text in getattr(settings, name):
            logger = loggers.logger(text)
            if logger.kind == "file":
                yield name, logger.target


def _applications(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (option, message) for names that cannot be a module or a callable."""
    from ..app.loader import looks_like_file

    for name in ("application", "asgi", "module"):
        spelling = getattr(settings, name) or ""
        source, _, attribute = (part.strip() for part in spelling.partition(":"))
        if source and not looks_like_file(source) and (
                len(source.split()) > 1 or not all(source.split("."))):
            yield name, f"{source!r} is not the name of a module"
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
