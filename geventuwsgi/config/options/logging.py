"""The options on logging: which lines are logged, their format, loggers and files."""

from collections.abc import Callable

from geventuwsgi.config.options.option import Option, refused
from geventuwsgi.config.values.numbers import Milliseconds, Number, Size
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Boolean, Choice, Many, Octal, Path, ValueType
from geventuwsgi.log import loggers


class LogDate(ValueType):
    """A strftime format, or a flag: a flag means the format of ctime."""

    metavar = "FORMAT"
    flag = True
    plain = "%a %b %d %H:%M:%S %Y"  # ctime's

    def value(self, text: str, context: CastContext) -> object:
        word = text.lower()
        if word in ("false", "off", "no", "0"):
            context.warn(f"{text!r} means off; in uWSGI it is a text before each line")
            return ""
        if "\0" in text:
            context.fail("a format cannot contain NUL")
        return self.plain if word in ("", "true", "on", "yes", "1") else text


class Parsed(ValueType):
    """Text that `log.loggers` can parse.

    Args:
        parse: raises ValueError.
        metavar: its form, for the reference.
        prefix: the logger type that is put before the text, with a colon.
    """

    def __init__(self, parse: Callable[[str], object], metavar: str, prefix: str = "") -> None:
        self._parse = parse
        self._prefix = prefix
        self.metavar = metavar
        if prefix == "syslog":
            self.flag = True    # also valid without a value

    def value(self, text: str, context: CastContext) -> object:
        if self._prefix:
            text = f"{self._prefix}:{'' if text.lower() in ('true', '1') else text}"
        if not text.strip():
            context.fail(f"needs a value ({self.metavar})")
        try:
            self._parse(text)
        except ValueError as error:
            context.fail(str(error))
        return text


_LOGGER = Parsed(loggers.logger, "[NAME] TYPE[:ARGUMENTS]")
_ENCODER = Parsed(loggers.encoder, "TYPE[:NAME] ARGUMENTS")
_ROUTE = Parsed(loggers.routed, "NAME REGEX")
_REGEX = Parsed(loggers.compiled, "REGEX")

_CONDITIONAL = "; with disable-logging only these are logged"
_ALL = "; may be repeated"

_LOGGING = "Logging"
LOGGING: tuple[Option, ...] = (
    Option("disable-logging", Boolean(), "do not log requests", _LOGGING, default=False,
           gunicorn=("no-access-log",), letters="L"),
    Option("logto", Path(), "write all logs, and the application's output, to this file, or "
           "to a UDP socket (host:port)", _LOGGING),
    Option("log-format", ValueType(), "the format of request lines, with uWSGI's %(names)",
           _LOGGING, aliases=("logformat",), gunicorn=("access-logformat",),
           derived="uWSGI's line"),
    Option("log-x-forwarded-for", Boolean(), "log the address of X-Forwarded-For", _LOGGING,
           default=False),
    Option("log-micros", Boolean(), "log microseconds instead of milliseconds", _LOGGING,
           default=False),
    Option("memory-report", Boolean(), "log the worker's memory at the start of each request "
           "line", _LOGGING, default=False,
           difference="it is measured once a second; for log-format there are %(vsz) and %(rss)"),
    Option("access-logfile", Path(), "the file for request lines; - is standard output",
           _LOGGING, derived="standard output"),
    Option("error-logfile", Path(), "the file for all other lines; - is standard error",
           _LOGGING, gunicorn=("log-file", "error-log"), derived="standard error"),
    Option("capture-output", Boolean(), "write the application's standard output and error to the "
           "file of error-logfile, too", _LOGGING, default=False, everywhere=False),
    Option("log-level", Choice("debug", "info", "warning", "error", "critical",
                               also={"trace": "debug", "notset": "debug", "warn": "warning",
                                     "fatal": "critical"}),
           "the minimum level that is logged", _LOGGING, default="info"),
    Option("log-dialect", Choice("geventuwsgi", "uwsgi"), "what the log and the process titles "
           "call this server: geventuwsgi, or uWSGI, for scripts that match uWSGI's log lines",
           _LOGGING, default="geventuwsgi"),
    Option("log-4xx", Boolean(), "log requests with a 4xx response" + _CONDITIONAL, _LOGGING,
           default=False,
           difference="a client that disconnects before the response counts, as 499"),
    Option("log-5xx", Boolean(), "log requests with a 5xx response" + _CONDITIONAL, _LOGGING,
           default=False),
    Option("log-slow", Milliseconds(), "log requests that take at least this many milliseconds; "
           "0: off" + _CONDITIONAL, _LOGGING, default=0),
    Option("log-big", Size(), "log responses whose body has at least this many bytes; 0: off"
           + _CONDITIONAL, _LOGGING, default=0),
    Option("log-zero", Boolean(), "log responses without a body" + _CONDITIONAL, _LOGGING,
           default=False),
    Option("log-sendfile", Boolean(), "log responses sent with sendfile" + _CONDITIONAL, _LOGGING,
           default=False),
    Option("log-ioerror", Boolean(), "log requests whose client disconnected early" + _CONDITIONAL,
           _LOGGING, default=False, difference="uWSGI requires both a read and a write to fail"),
    Option("log-date", LogDate(), "begin each of the server's own lines with the date, in "
           "strftime format: log-date = %Y-%m-%d %H:%M:%S", _LOGGING, default="",
           aliases=("logdate", "log-prefix"),
           difference="pid and level follow; false means off. In request lines it is %(ftime), "
                      "if log-format-strftime is set, as in uWSGI"),
    Option("log-format-strftime", Boolean(), "expand strftime codes in the literal text of "
           "log-format", _LOGGING, default=False, aliases=("logformat-strftime",),
           difference="values from the request are not expanded"),
)

_FILES = "Loggers and log files"
LOG_FILES: tuple[Option, ...] = (
    Option("logto2", Path(), "logto, opened with the rights of uid and gid", _FILES),
    Option("log-maxsize", Size(), "rotate the file of logto or daemonize at this size in bytes; 0: "
           "never", _FILES, default=0),
    Option("log-backupname", Path(), "the name of the rotated file; by default the log's name "
           "with the time appended", _FILES),
    Option("log-truncate", Boolean(), "truncate the log files at startup", _FILES, default=False),
    Option("log-reopen", Boolean(), "reopen the log files after a reload", _FILES,
           default=False),
    Option("logfile-chown", Boolean(), "change the owner of the log files to uid and gid", _FILES,
           default=False),
    Option("logfile-chmod", Octal(), "the permissions of the log files, such as 644", _FILES,
           derived="640"),
    Option("logger", Many(_LOGGER), "send log lines, and the application's output, "
           "to file:PATH, fd:N, stdio, socket:ADDRESS[,PREFIX], syslog[:NAME[,FACILITY]], "
           "rsyslog:HOST[:PORT][,NAME] or systemd; a named logger gets the lines that log-route "
           "sends to it" + _ALL, _FILES, default=(), merge=True),
    Option("log-syslog", Many(Parsed(loggers.logger, "NAME[,FACILITY]", "syslog")),
           "logger = syslog:NAME[,FACILITY]", _FILES, default=(), to="logger", merge=True),
    Option("log-socket", Many(Parsed(loggers.logger, "ADDRESS", "socket")),
           "logger = socket:ADDRESS", _FILES, default=(), to="logger", merge=True),
    Option("req-logger", Many(_LOGGER), "as logger, for request lines only" + _ALL, _FILES,
           default=(), aliases=("logger-req",), merge=True),
    Option("log-route", Many(_ROUTE), "NAME REGEX: send lines that match only to this logger"
           + _ALL, _FILES, default=(), merge=True),
    Option("log-req-route", Many(_ROUTE), "as log-route, for request lines", _FILES, default=(),
           merge=True,
           difference="lines without a match go to req-logger, or if there is none to the log"),
    Option("log-encoder", Many(_ENCODER), "TYPE[:NAME] ARGUMENTS: change each line of the logger "
           "NAME, or of all loggers: prefix, suffix, nl, format, json, gzip, compress"
           + _ALL, _FILES, default=(), merge=True,
           difference="a suffix comes before the end of the line"),
    Option("log-req-encoder", Many(_ENCODER), "as log-encoder, for request lines", _FILES,
           default=(), merge=True, difference="a suffix comes before the end of the line"),
    Option("log-filter", Many(_REGEX), "log only lines that match one of these" + _ALL, _FILES,
           default=(), merge=True),
    Option("log-drain", Many(_REGEX), "do not log lines that match" + _ALL, _FILES, default=(),
           merge=True),
    Option("rsyslog-packet-size", Number(minimum=64, maximum=65000), "maximum size of a datagram "
           "of an rsyslog logger, in bytes", _FILES, default=1024),
    Option("rsyslog-split-messages", Boolean(), "split longer lines instead of cutting them",
           _FILES, default=False),
    Option("logger-list", Boolean(), "log the available logger types at startup", _FILES,
           default=False, aliases=("loggers-list",)),
)

_ALARMS = ("there are no alarms: watch the log where it is collected, or send matching lines "
           "elsewhere with logger and log-route")
UNSUPPORTED: tuple[Option, ...] = refused(
    "alarm-log log-alarm not-alarm-log not-log-alarm", _ALARMS)
