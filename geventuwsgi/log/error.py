"""The error log: gunicorn's line shape, on stderr or in a file, one write per record.

Everyone logs with `logging.getLogger("geventuwsgi.error")`. Here its records become

    [2026-11-21 09:32:55 +0000] [16312] [INFO] Listening at: http://127.0.0.1:8000

and leave through a sink, so that neither a full disk nor a reader that stopped reading
holds up the process that logs. Never ANSI: colours in a file serve nobody.
"""

import _thread
import logging
import os

from geventuwsgi.log import escape
from geventuwsgi.log.sinks import Sink, open_sink
from geventuwsgi.log.timestamps import text_of

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING,
          "error": logging.ERROR, "critical": logging.CRITICAL}

logger = logging.getLogger("geventuwsgi.error")


class ErrorFormatter(logging.Formatter):
    """`[date time zone] [pid] [LEVEL] message`, the traceback behind it if there is one.

    Args:
        date: instead of gunicorn's date uWSGI's, `date - [pid] [LEVEL] message`, in this form
            of strftime (`log-date`).
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
        # The pid of now, not the record's: logging keeps it over a fork.
        return f"{moment} [{os.getpid()}] [{record.levelname}] {escape.message(text)}\n"


class ErrorHandler(logging.Handler):
    """Write each record to a sink at once."""

    def __init__(self, sink: Sink, date: str = "") -> None:
        super().__init__()
        self.sink = sink
        # Not logging's own, which gevent patches: `say` writes from native threads.
        self._native = _thread.allocate_lock()
        self.setFormatter(ErrorFormatter(date))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record. A record that cannot be formatted is told by `logging` itself."""
        try:
            line = self.format(record)
        except (TypeError, ValueError, KeyError):  # arguments that do not fit the message
            self.handleError(record)
            return
        # Surrogates stand for bytes of a path or a variable that are no UTF-8.
        data = line.encode("utf-8", "backslashreplace")
        # A signal handler may find its own thread in here: it waits a moment, and writes.
        held = self._native.acquire(timeout=0.1)
        try:
            self.sink.write(data)
        finally:
            if held:
                self._native.release()

    def flush(self) -> None:
        """Write what waits for a slow reader, as far as it goes."""
        self.sink.flush()


def setup(level: str = "info", error_logfile: str | None = None,
          date: str = "") -> ErrorHandler:
    """Set up the error log of this process, instead of an earlier one.

    Args:
        level: one of `LEVELS`, in any case.
        error_logfile: a path, or None or "-" for stderr.
        date: see `ErrorFormatter`.

    Returns:
        The handler; its `sink.reopen()` serves a log rotation.

    Raises:
        ValueError: no such level.
        OSError: the file cannot be opened.
    """
    number = LEVELS.get(level.lower())
    if number is None:
        raise ValueError(f"no log level {level!r}; there are {', '.join(LEVELS)}")
    target = 2 if error_logfile in (None, "-") else error_logfile
    # A warning of standard error would go to standard error, which loses it as well.
    handler = ErrorHandler(open_sink(target, warn=None if target == 2 else logger.warning), date)
    for old in list(logger.handlers):
        logger.removeHandler(old)
        if isinstance(old, ErrorHandler):
            old.sink.close()
    logger.addHandler(handler)
    logger.setLevel(number)
    logger.propagate = False
    return handler


def say(level: int, text: str) -> None:
    """Log from a native thread while the process is stuck: no lock of logging's is taken.

    Those are gevent's once it has patched them, and one may be held by the greenlet that
    is to be told of. Handlers that are not ours take theirs all the same.

    Args:
        level: one of logging's numbers.
        text: the message as it stands.
    """
    if logger.isEnabledFor(level):
        record = logger.makeRecord(logger.name, level, "", 0, text, (), None)
        for handler in list(logger.handlers):
            if isinstance(handler, ErrorHandler):
                handler.emit(record)
            else:
                handler.handle(record)


def reopen() -> None:
    """Open the error log's file anew, after a rotation."""
    for handler in logger.handlers:
        if isinstance(handler, ErrorHandler):
            handler.sink.reopen()
