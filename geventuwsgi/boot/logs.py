"""The logs of a process: opened at its start, and anew after a rotation.

A role opens its files before it drops root. The user that it then is may not be able to
open them a second time; there the master, which keeps root, does so and hands the
descriptors over. Where the scribe has the lines, nobody else opens a file (`scribes`).
"""

import logging
import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config.request_log import is_address, plan_of, requests_logged, scribed
from ..config.settings import Settings
from ..errors import ConfigError
from ..log.error import setup
from ..log.loggers import logger as parsed

from ..master.attached.log_collector import LogCollectorProcess
from ..master.spawn import interpreter
from ..system.privileges import Identity
from .process_setup import titles_of

if TYPE_CHECKING:
    from ..log.sinks import Sink

logger = logging.getLogger("geventuwsgi.error")

FILES = ("logto", "error_logfile", "access_logfile")


class Logs:
    """The error log of this process and, with `logto`, its standard output and error.

    Args:
        settings: the resolved configuration.
        requests: also open the request log, as a role does before it drops root.

    Attributes:
        requests: the request log's sink; None if there is none.
        handed: the master opens the files of this process after a rotation.

    Raises:
        ConfigError: a file cannot be opened.
    """

    def __init__(self, settings: Settings, *, requests: bool = False) -> None:
        from .. import log
        from ..log.sinks import open_sink

        self._logto: Sink | None = None
        self.requests: Sink | None = None
        self.handed = False
        option = "logto" if settings.logto else "error-logfile"
        try:
            if settings.logto and not scribed(settings):
                self._logto = open_sink(settings.logto, also=(1, 2), warn=logger.warning)
            option = "error-logfile"
            self._errors = log.setup(settings.log_level, settings.error_logfile,
                                     settings.log_date)
            if requests and requests_logged(settings):
                option = "access-logfile"
                self.requests = open_sink(settings.access_logfile or "-", warn=logger.warning)
        except OSError as error:
            raise ConfigError(f"cannot open {error.filename}: {error.strerror}",
                              option=option) from None

    def _sinks(self) -> "dict[str, Sink | None]":
        return {"logto": self._logto, "error_logfile": self._errors.sink,
                "access_logfile": self.requests}

    def close(self) -> None:
        """Close the file of `logto`, after another object of this kind took its place."""
        if self._logto is not None:
            self._logto.close()

    def reopen(self) -> None:
        """Open the files anew after a rotation (SIGUSR1), unless the master does."""
        for sink in self._sinks().values():
            if sink is not None and not self.handed:
                sink.reopen()

    def take(self, name: str, fd: int) -> None:
        """Go on with a file that the master has opened.

        Args:
            name: one of what `opened` returns.
            fd: its descriptor, ours from now on.
        """
        sink = self._sinks().get(name)
        if sink is None:
            os.close(fd)
        else:
            sink.take(fd)


def signature(settings: Settings) -> tuple[object, ...]:
    """Return what `Logs` goes by: after a change of it the logs have to be set up anew."""
    return (settings.logto, settings.error_logfile, settings.log_level, settings.log_date,
            scribed(settings))


def files_of(settings: Settings) -> list[tuple[str, str]]:
    """Return the regular files that processes write themselves: attribute and path."""
    from ..log.sinks import STANDARD

    return [(name, path) for name in FILES if (path := getattr(settings, name))
            and path not in STANDARD and not _is_stream(path)
            and not (name == "logto" and scribed(settings))]


def opened(settings: Settings) -> list[tuple[str, int]]:
    """Open every log file of the settings for roles that cannot, by name and descriptor.

    What does not open is told; the roles stay with the old file.
    """
    from ..log.sinks import open_file

    found = []
    for name, path in files_of(settings):
        try:
            found.append((name, open_file(path)))
        except OSError as error:
            logger.warning("%s cannot be reopened, the old file stays: %s", path, error.strerror)
    return found


def owner_of(settings: Settings) -> tuple[int, int]:
    """Return the user and group that log files are given to, -1 = nobody."""
    if not settings.logfile_chown:
        return -1, -1
    identity = Identity(settings.uid, settings.gid)
    return (-1 if identity.uid is None else identity.uid,
            -1 if identity.gid is None else identity.gid)


def user_of(settings: Settings) -> tuple[int, int] | None:
    """Return the user and group with whose rights the file of `logto2` is opened."""
    identity = Identity(settings.uid, settings.gid)
    if not (settings.logto2 and identity.leaves_root):
        return None
    assert identity.uid is not None
    return identity.uid, os.getegid() if identity.gid is None else identity.gid


def normalize(settings: Settings, *, truncate: bool = False) -> None:
    """Make the log files, with the owner and the permissions that they are to have.

    Args:
        truncate: at the start: also empty them, if `log-truncate` says so.

    Called in the master, before anybody else opens them. What cannot be is told.
    """
    from ..log.sinks import acting_as, give, open_file

    truncate = truncate and settings.log_truncate
    if truncate and settings.logto and scribed(settings) and os.path.isfile(settings.logto):
        os.truncate(settings.logto, 0)
    if not (truncate or settings.logfile_chown or settings.logto2
            or settings.logfile_chmod is not None):
        return
    for name, path in files_of(settings):
        second = name == "logto" and settings.logto2
        try:
            with acting_as(user_of(settings) if second else None):
                fd = open_file(path)
        except OSError as error:
            option = "logto2" if second else name.replace("_", "-")
            raise ConfigError(f"cannot open {path}: {error.strerror}", option=option) from None
        if truncate:
            os.ftruncate(fd, 0)
        wrong = give(fd, settings.logfile_chmod, owner_of(settings))
        os.close(fd)
        if wrong:
            logger.warning("%s: owner or permissions cannot be set: %s", path, wrong)


def check(settings: Settings) -> None:
    """Refuse log files that cannot be opened.

    Raises:
        ConfigError: naming file, line and option.
    """
    from ..log.sinks import STANDARD, acting_as, open_file

    found = [("logto2" if name == "logto" and settings.logto2 else name, path)
             for name in ("logto", "error_logfile") if (path := getattr(settings, name))
             and not (name == "logto" and is_address(path))]
    found += [(name, one.target) for name in ("logger", "req_logger")
              for one in map(parsed, getattr(settings, name)) if one.kind == "file"]
    for name, path in found:
        if path in STANDARD:
            continue
        try:
            with acting_as(user_of(settings) if name == "logto2" else None):
                os.close(open_file(path))
        except OSError as error:
            origin = settings.origin(name)  # not a mistake of usage, also on a command line
            place = origin.file or (None if origin.kind == "argv" else origin.kind)
            raise ConfigError(f"cannot open {path}: {error.strerror}", file=place,
                              line=origin.line, option=origin.option) from None


def _is_stream(path: str) -> bool:
    """Whether a path is no regular file, and so nothing that a rotation replaces."""
    return os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode)


# The process that all lines go through where the settings want loggers (`log.scribe`).

# See `roles.PROLOGUE`.
PROLOGUE = """\
import sys
if sys.path[:1] == ['']: del sys.path[0]
if {house!r} not in sys.path: sys.path.append({house!r})
from geventuwsgi.master.attached.log_collector import run_collector
run_collector(int(sys.argv[1]))
"""


def collector_of() -> LogCollectorProcess:
    """Return a scribe that is not engaged yet."""
    house = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return LogCollectorProcess(interpreter(PROLOGUE.format(house=house)), setup)


def start_collector(scribe: LogCollectorProcess, settings: Settings,
                    handed_over: Sequence[int] = ()) -> None:
    """Have a scribe do what the settings want, which may be nothing.

    Raises:
        ConfigError: it cannot be started.
    """
    if not (scribed(settings) or handed_over or scribe.active):
        return
    titles = titles_of(settings)
    plan = plan_of(settings, owner_of(settings), user_of(settings),
                   titles.of("log") if titles.on else "")
    kept = [int(one.target) for name in ("logger", "req_logger")
            for one in map(parsed, getattr(settings, name)) if one.kind == "fd"]
    try:
        for fd in kept:
            os.fstat(fd)
        scribe.configure(plan, [fd for fd in kept if fd > 2], handed_over)
    except OSError as error:
        raise ConfigError(f"the process of the log cannot be started: {error.strerror}",
                          option="logger") from None
