"""The logs of a process: opened at its start, and anew after a rotation.

A role opens its files before it drops root. The user that it then is may not be able to
open them a second time; there the master, which keeps root, does so and hands the
descriptors over.
"""

import logging
import os
import stat
from typing import TYPE_CHECKING

from ..config.settings import Settings
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..log.sinks import Sink

logger = logging.getLogger("geventuwsgi.error")


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
            if settings.logto:
                self._logto = open_sink(settings.logto, also=(1, 2), warn=logger.warning)
            option = "error-logfile"
            self._errors = log.setup(settings.log_level, settings.error_logfile)
            if requests and not settings.disable_logging:
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


def opened(settings: Settings) -> list[tuple[str, int]]:
    """Open every log file of the settings for roles that cannot, by name and descriptor.

    What does not open is told; the roles stay with the old file.
    """
    from ..log.sinks import STANDARD, open_file

    found = []
    for name in ("logto", "error_logfile", "access_logfile"):
        path = getattr(settings, name)
        if not path or path in STANDARD or _is_stream(path):
            continue
        try:
            found.append((name, open_file(path)))
        except OSError as error:
            logger.warning("%s cannot be reopened, the old file stays: %s", path, error.strerror)
    return found


def check(settings: Settings) -> None:
    """Refuse log files that cannot be opened.

    Raises:
        ConfigError: naming file, line and option.
    """
    from ..log.sinks import STANDARD, open_file

    for name in ("logto", "error_logfile"):
        path = getattr(settings, name)
        if path and path not in STANDARD:
            try:
                os.close(open_file(path))
            except OSError as error:
                raise settings.origin(name).error(
                    f"cannot open {path}: {error.strerror}") from None


def _is_stream(path: str) -> bool:
    """Whether a path is no regular file, and so nothing that a rotation replaces."""
    return os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode)
