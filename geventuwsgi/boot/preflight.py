"""Checks of --check-config that need this machine: directories, files, certificates.

Rules: nothing is opened for writing, nothing is created, and no application is imported. Files
that a hook may create or that only another user can read are not reported.
"""

import os
from collections.abc import Iterator

from ..config.commands.check import Finding
from ..config.resolve import paths
from ..config.settings import Settings
from ..config.values.tls import endpoint
from ..errors import AppLoadError, BindError, ConfigError
from ..log import loggers
from ..net import address as addresses
from . import monitor_process, tls
from .process_setup import packages_of

_LOG_OPTIONS = ("daemonize", "daemonize2", "logto", "logto2", "access_logfile", "error_logfile")
_WAIT_OPTIONS = ("wait_for_fs", "wait_for_file", "wait_for_dir", "wait_for_mountpoint")
# Files that the server creates, apart from logs and sockets.
_CREATED = ("pidfile", "pidfile2", "safe_pidfile", "safe_pidfile2", "master_fifo", "flock",
            "flock_wait", "py_tracebacker")
_VOLATILE = ("/run/", "/var/run/")     # empty after each boot
_APPLICATION_OPTIONS = ("application", "asgi", "module", "wsgi_file")


def failures(settings: Settings) -> Iterator[Finding]:
    """Yield what would stop a start."""
    for name, message in (*_applications(settings), *_paths(settings)):
        yield Finding(settings.origin(name).failure(message))
    if not _may_be_created(settings):
        yield from _directories(settings)


def _paths(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield (option, message) for paths that do not exist."""
    if _may_be_created(settings):
        return
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


def _may_be_created(settings: Settings) -> bool:
    """Whether hooks may create what does not exist now."""
    return bool(settings.hooks or any(getattr(settings, name) for name in _WAIT_OPTIONS))


def _directories(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each file that would be created in a directory which does not exist."""
    for name, value, path in (*_logs(settings), *_files_created(settings), *_sockets(settings)):
        parent = os.path.dirname(os.path.abspath(path))
        if "%" in parent or os.path.isdir(parent):
            continue
        volatile = parent.startswith(_VOLATILE)
        yield Finding(settings.origin(name).failure(
            f"{path} cannot be created: there is no directory {parent}"
            + " now (systemd: RuntimeDirectory)" * volatile), value, not volatile)


def _files_created(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield (option, value, path) for each pid file, FIFO and lock."""
    for name in _CREATED:
        found = getattr(settings, name)
        for path in (found,) if isinstance(found, str) else found or ():
            yield name, path, path


def _sockets(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield (option, value, path) for each unix socket."""
    for name in paths.SOCKETS:
        found = getattr(settings, name)
        if name == "http_to":   # it connects to these
            continue
        for value in (found,) if isinstance(found, str) else found or ():
            text = endpoint(value).address if name.startswith("https") else value.split(",")[0]
            try:
                address = addresses.parse(text)
            except BindError:   # the number of a shared-socket
                continue
            if address.is_unix and not address.path.startswith("\0"):
                yield name, text, address.path


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


def _logs(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield (option, value, path) for each log file."""
    for name in _LOG_OPTIONS:
        path = getattr(settings, name)
        if path and "/" in path and "://" not in path and settings.origin(name).kind != "default":
            yield name, path, path
    for name in ("logger", "req_logger"):
        for text in getattr(settings, name):
            logger = loggers.logger(text)
            if logger.kind == "file":
                yield name, logger.target, logger.target


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
