"""The error log: lines like gunicorn's, on stderr or in a file, one write per record.

All modules log with `logging.getLogger("geventuwsgi.error")`. A record becomes a line

    [2026-11-21 09:32:55 +0000] [16312] [INFO] Listening at: http://127.0.0.1:8000

that is written to a sink, so that neither a full disk nor a reader that stopped reading
blocks the process. Lines are never coloured.
"""

import _thread
import logging
import os
from typing import Any

from geventuwsgi.log import escape
from geventuwsgi.log.sinks import Sink, open_sink
from geventuwsgi.log.timestamps import text_of
from geventuwsgi.rights import User

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING,
          "error": logging.ERROR, "critical": logging.CRITICAL}

logger = logging.getLogger("geventuwsgi.error")


class ServerLogger(logging.Logger):
    """The logger of this server, which an application's configuration of `logging` does not switch
    off: `disable_existing_loggers`, the default, `logging.disable` or a record factory that raises.
    """

    @property
    def disabled(self) -> bool:     # type: ignore[override]
        return False

    @disabled.setter
    def disabled(self, disabled: bool) -> None:
        """Stay enabled."""

    def isEnabledFor(self, level: int) -> bool:
        return level >= self.getEffectiveLevel()

    def makeRecord(self, name: str, level: int, fn: str, lno: int, msg: object, args: Any,
                   exc_info: Any, func: str | None = None, extra: Any = None,
                   sinfo: str | None = None) -> logging.LogRecord:
        return logging.LogRecord(name, level, fn, lno, msg, args, exc_info, func, sinfo)


logger.__class__ = ServerLogger


class ErrorFormatter(logging.Formatter):
    """`[date time zone] [pid] [LEVEL] message`, followed by the traceback if there is one.

    Args:
        date: a format of strftime (`log-date`): lines begin with this date as uWSGI's do,
            `date - [pid] [LEVEL] message`.
    """

    def __init__(self, date: str = "") -> None:
        super().__init__()
        self._date = date

    def format(self, record: logging.LogRecord) -> str:
        """Format one record; control characters in its message are escaped."""
        moment = (text_of(self._date, record.created) + " -" if self._date
                  else "[" + text_of("%Y-%m-%d %H:%M:%S %z", record.created) + "]")
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            text += "\n" + record.stack_info
        # Not the record's pid: logging caches it across a fork.
        return f"{moment} [{os.getpid()}] [{record.levelname}] {escape.message(text)}\n"


class ErrorHandler(logging.Handler):
    """Write each record to a sink at once."""

    def __init__(self, sink: Sink, date: str = "") -> None:
        super().__init__()
        self.sink = sink
        # Not logging's lock, which gevent patches: `log_unlocked` is for native threads.
        self._native = _thread.allocate_lock()
        self.setFormatter(ErrorFormatter(date))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; `logging` reports one that cannot be formatted."""
        try:
            line = self.format(record)
        except (TypeError, ValueError, KeyError):  # arguments that do not fit the message
            self.handleError(record)
            return
        # A path or a variable that is not UTF-8 contains surrogates.
        data = line.encode("utf-8", "backslashreplace")
        # A signal handler may have interrupted its own thread here, so the wait is short.
        held = self._native.acquire(timeout=0.1)
        try:
            self.sink.write(data)
        finally:
            if held:
                self._native.release()

    def flush(self) -> None:
        """Write as much as possible of what waits for a slow reader."""
        self.sink.flush()


def setup(level: str = "info", error_logfile: str | None = None,
          date: str = "", user: User | None = None) -> ErrorHandler:
    """Set up the error log of this process, replacing an earlier one.

    Args:
        level: one of `LEVELS`, in any case.
        error_logfile: a path, or None or "-" for stderr.
        date: see `ErrorFormatter`.
        user: the one of `uid`, see `rights`.

    Returns:
        The handler; call its `sink.reopen()` after a log rotation.

    Raises:
        ValueError: there is no such level.
        OSError: the file cannot be opened.
    """
    number = LEVELS.get(level.lower())
    if number is None:
        raise ValueError(f"no log level {level!r}; there are {', '.join(LEVELS)}")
    target = 2 if error_logfile in (None, "-") else error_logfile
    # A warning about standard error would go to standard error and be lost as well.
    handler = ErrorHandler(open_sink(target, user=user,
                                     warn=None if target == 2 else logger.warning), date)
    for old in list(logger.handlers):
        logger.removeHandler(old)
        if isinstance(old, ErrorHandler):
            old.sink.close()
    logger.addHandler(handler)
    logger.setLevel(number)
    logger.propagate = False
    return handler


def log_unlocked(level: int, text: str) -> None:
    """Log from a native thread while the process is stuck, without the locks of `logging`.

    Once gevent has patched those, the greenlet that blocks the process may hold one. Handlers
    other than `ErrorHandler` still use theirs.

    Args:
        level: one of logging's numbers.
        text: the message; it is not formatted.
    """
    if logger.isEnabledFor(level):
        record = logger.makeRecord(logger.name, level, "", 0, text, (), None)
        for handler in list(logger.handlers):
            if isinstance(handler, ErrorHandler):
                handler.emit(record)
            else:
                handler.handle(record)


def reopen() -> None:
    """Open the file of the error log again, after a rotation."""
    for handler in logger.handlers:
        if isinstance(handler, ErrorHandler):
            handler.sink.reopen()
