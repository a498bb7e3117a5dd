"""The log files of a process, and the log collector.

A role opens its log files before it drops root. Its new user may not be able to open them again
after a rotation; then the master, which keeps root, opens them and passes the descriptors on.
With `logger` or `log-route` and the like, the log collector is the only process that writes files.
"""

import logging
import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import rights
from ..config.request_log import is_address, plan_of, requests_logged, uses_collector
from ..config.settings import Settings
from ..errors import ConfigError
from ..log.error import setup
from ..log.loggers import logger as parse_logger
from ..master.attached.log_collector import LogCollectorProcess
from ..privileges import Identity
from ..rights import User, acting_as
from .hooks import identity_of
from .process_setup import command_of, titles_of

if TYPE_CHECKING:
    from ..log.sinks import Sink

logger = logging.getLogger("geventuwsgi.error")

FILES = ("logto", "error_logfile", "access_logfile")


class Logs:
    """The error log of this process and, with `logto`, its standard output and error.

    Args:
        settings: the resolved configuration.
        requests: also open the request log, as a role does before it drops root.
        pipe: the log collector's for separate request lines; -1 = there is none.

    Attributes:
        requests: the sink of the request log, or None.
        reopened_by_master: the master opens the files of this process after a rotation.

    Raises:
        ConfigError: a file cannot be opened.
    """

    def __init__(self, settings: Settings, *, requests: bool = False, pipe: int = -1) -> None:
        from .. import log
        from ..log.sinks import open_sink

        user = user_of(settings)
        self._logto: Sink | None = None
        self.requests: Sink | None = None
        self.reopened_by_master = False
        option = "logto" if settings.logto else "error-logfile"
        try:
            if settings.logto and not uses_collector(settings):
                self._logto = open_sink(settings.logto, also=(1, 2), user=user, warn=logger.warning)
            option = "error-logfile"
            self._errors = log.setup(settings.log_level, settings.error_logfile,
                                     settings.log_date, user)
            if requests and requests_logged(settings):
                option = "access-logfile"
                self.requests = open_sink(
                    settings.access_logfile or "-" if pipe < 0 else pipe, user=user,
                    warn=logger.warning)
        except OSError as error:
            raise ConfigError(f"cannot open {error.filename}: {error.strerror}",
                              option=option) from None

    def _sinks(self) -> "dict[str, Sink | None]":
        return {"logto": self._logto, "error_logfile": self._errors.sink,
                "access_logfile": self.requests}

    def close(self) -> None:
        """Close the file of `logto`, after another object of this class has replaced this one."""
        if self._logto is not None:
            self._logto.close()

    def reopen(self) -> None:
        """Open the files again after a rotation (SIGUSR1), unless the master does."""
        for sink in self._sinks().values():
            if sink is not None and not self.reopened_by_master:
                sink.reopen()

    def replace(self, name: str, fd: int) -> None:
        """Use a file that the master has opened.

        Args:
            name: a name returned by `open_log_files`.
            fd: its descriptor, owned by this object from now on.
        """
        sink = self._sinks().get(name)
        if sink is None:
            os.close(fd)
        else:
            sink.take(fd)


def signature(settings: Settings) -> tuple[object, ...]:
    """Return the settings that `Logs` depends on; when they change it has to be created again."""
    return (settings.logto, settings.error_logfile, settings.log_level, settings.log_date,
            uses_collector(settings))


def files_of(settings: Settings) -> list[tuple[str, str]]:
    """Return (attribute, path) of the regular files that each process writes itself."""
    from ..log.sinks import STANDARD

    return [(name, path) for name in FILES if (path := getattr(settings, name))
            and path not in STANDARD and not _is_stream(path)
            and not (name == "logto" and uses_collector(settings))]


def open_log_files(settings: Settings) -> list[tuple[str, int]]:
    """Open the log files for roles that cannot; return (name, descriptor) of each.

    One that cannot be opened is logged, and the roles keep the old file.
    """
    from ..log.sinks import open_file

    found = []
    for name, path in files_of(settings):
        try:
            found.append((name, open_file(path, user_of(settings)).fd))
        except OSError as error:
            logger.warning("%s cannot be reopened, the old file is kept: %s", path, error.strerror)
    return found


def owner_of(settings: Settings) -> tuple[int, int]:
    """Return (uid, gid) of log files; -1 leaves either unchanged."""
    return _identity_of(settings).owner if settings.logfile_chown else (-1, -1)


def user_of(settings: Settings) -> User | None:
    """Return the user with whose rights root opens log files (`rights`)."""
    return _identity_of(settings).user


def _identity_of(settings: Settings) -> Identity:
    try:
        return identity_of(settings)
    except ConfigError:     # it is reported when the logs are open
        return Identity(None, None)


def create_files(settings: Settings, *, truncate: bool = False) -> None:
    """Create the log files with their owner and permissions; log what cannot be set.

    Called in the master before any other process opens them.

    Args:
        settings: the configuration.
        truncate: also empty the files if `log-truncate` is set; at the start only.

    Raises:
        ConfigError: a file cannot be opened.
    """
    from ..log.sinks import give, open_file

    truncate = truncate and settings.log_truncate
    user = user_of(settings)
    if truncate and settings.logto and uses_collector(settings) and os.path.isfile(settings.logto):
        os.close(rights.open_file(settings.logto, os.O_WRONLY | os.O_TRUNC, user=user).fd)
    if not (truncate or settings.logfile_chown or settings.logto2
            or settings.logfile_chmod is not None):
        return
    for name, path in files_of(settings):
        second = name == "logto" and settings.logto2
        try:
            with acting_as(user if second else None):
                file = open_file(path, user)
        except OSError as error:
            option = "logto2" if second else name.replace("_", "-")
            raise ConfigError(f"cannot open {path}: {error.strerror}", option=option) from None
        if truncate:
            os.ftruncate(file.fd, 0)
        failure = give(file, settings.logfile_chmod, owner_of(settings))
        os.close(file.fd)
        if failure:
            logger.warning("%s: cannot set owner or permissions: %s", path, failure)


def check(settings: Settings) -> None:
    """Check that the log files can be opened.

    Raises:
        ConfigError: one cannot; with file, line and option.
    """
    from ..log.sinks import STANDARD, open_file

    found = [("logto2" if name == "logto" and settings.logto2 else name, path)
             for name in ("logto", "error_logfile") if (path := getattr(settings, name))
             and not (name == "logto" and is_address(path))]
    found += [(name, one.target) for name in ("logger", "req_logger")
              for one in map(parse_logger, getattr(settings, name)) if one.kind == "file"]
    user = user_of(settings)
    for name, path in found:
        if path in STANDARD:
            continue
        try:
            with acting_as(user if name == "logto2" else None):
                os.close(open_file(path, user).fd)
        except OSError as error:
            origin = settings.origin(name)  # never a UsageError, even from the command line
            place = origin.file or (None if origin.kind == "argv" else origin.kind)
            raise ConfigError(f"cannot open {path}: {error.strerror}", file=place,
                              line=origin.line, option=origin.option) from None


def _is_stream(path: str) -> bool:
    """Whether a path is not a regular file, so that a rotation does not replace it."""
    return os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode)


def create_collector() -> LogCollectorProcess:
    """Return a log collector that is not started yet."""
    command = command_of("geventuwsgi.master.attached.log_collector", "run_collector")
    return LogCollectorProcess(command, setup)


def start_collector(collector: LogCollectorProcess, settings: Settings,
                    handed_over: Sequence[int] = ()) -> None:
    """Start the log collector or give it new settings; do nothing if there is no need for it.

    Args:
        collector: the process.
        settings: the configuration.
        handed_over: descriptors of the collector that runs already, after an upgrade in place.

    Raises:
        ConfigError: it cannot be started.
    """
    if not (uses_collector(settings) or handed_over or collector.active):
        return
    titles = titles_of(settings)
    plan = plan_of(settings, owner_of(settings), _identity_of(settings).owner,
                   user_of(settings), titles.of("log") if titles.on else "")
    kept = [int(one.target) for name in ("logger", "req_logger")
            for one in map(parse_logger, getattr(settings, name)) if one.kind == "fd"]
    try:
        for fd in kept:
            os.fstat(fd)
        collector.configure(plan, [fd for fd in kept if fd > 2], handed_over)
    except OSError as error:
        raise ConfigError(f"cannot start the log collector: {error.strerror}",
                          option="logger") from None
