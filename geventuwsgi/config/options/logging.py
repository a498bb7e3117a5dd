"""The rows of uWSGI's logging: which lines, their form, their loggers, and their files."""

from geventuwsgi.config.options.option import Option, refused
from geventuwsgi.config.values.numbers import Milliseconds, Number, Size
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Boolean, Choice, ValueType, Many, Octal, Path
from geventuwsgi.log import loggers

_LOGGING = "Logging"
LOGGING = (
    Option("disable-logging", Boolean(), "write no line per request", _LOGGING, default=False,
           gunicorn=("no-access-log",), letters="L"),
    Option("logto", Path(), "write all logs, and what the application prints, to this file, or "
           "to a UDP socket (host:port)", _LOGGING),
    Option("log-format", ValueType(), "the form of the line per request, with uWSGI's %(names)",
           _LOGGING, aliases=("logformat",), gunicorn=("access-logformat",),
           derived="uWSGI's line"),
    Option("log-x-forwarded-for", Boolean(), "log the address of X-Forwarded-For", _LOGGING,
           default=False),
    Option("log-micros", Boolean(), "log microseconds instead of milliseconds", _LOGGING,
           default=False),
    Option("memory-report", Boolean(), "tell the memory of the worker in front of each request "
           "line", _LOGGING, default=False,
           difference="it is measured once a second; a log-format has %(vsz) and %(rss)"),
    Option("access-logfile", Path(), "the file of the request lines; - is the standard output",
           _LOGGING, derived="the standard output"),
    Option("error-logfile", Path(), "the file of all other lines; - is the standard error",
           _LOGGING, gunicorn=("log-file",), derived="the standard error"),
    Option("log-level", Choice("debug", "info", "warning", "error", "critical"),
           "the least level that is logged", _LOGGING, default="info"),
    Option("log-dialect", Choice("geventuwsgi", "uwsgi"), "what the log and the process titles "
           "call this server: geventuwsgi, or uWSGI, for scripts that match uWSGI's log lines",
           _LOGGING, default="geventuwsgi"),
)

_CONDITIONAL = "; with disable-logging only these are logged"
_ALL = "; may be repeated"


class LogDate(ValueType):
    """A form of strftime, or a flag: a flag is the form of ctime."""

    metavar = "FORMAT"
    flag = True
    plain = "%a %b %d %H:%M:%S %Y"  # ctime's

    def value(self, text: str, case: CastContext) -> object:
        word = text.lower()
        if word in ("false", "off", "no", "0"):
            case.warn(f"{text!r} is off; to uWSGI it is the text in front of each line")
            return ""
        if "\0" in text:
            case.fail("a form holds no NUL")
        return self.plain if word in ("", "true", "on", "yes", "1") else text


class Parsed(ValueType):
    """Text that `log.loggers` can parse.

    Args:
        parse: raises ValueError.
        metavar: for the reference.
        kind: stands in front of the text, with a colon.
    """

    def __init__(self, parse: object, metavar: str, kind: str = "") -> None:
        self._parse = parse
        self._kind = kind
        self.metavar = metavar
        if kind == "syslog":
            self.flag = True    # stands alone, too

    def value(self, text: str, case: CastContext) -> object:
        if self._kind:
            text = f"{self._kind}:{'' if text.lower() in ('true', '1') else text}"
        if not text.strip():
            case.fail(f"needs a value ({self.metavar})")
        try:
            self._parse(text)  # type: ignore[operator]
        except ValueError as error:
            case.fail(str(error))
        return text


_LOGGER = Parsed(loggers.logger, "[NAME] TYPE[:ARGUMENTS]")
_ENCODER = Parsed(loggers.encoder, "TYPE[:NAME] ARGUMENTS")
_ROUTE = Parsed(loggers.routed, "NAME REGEX")
_REGEX = Parsed(loggers.compiled, "REGEX")

SELECTION: tuple[Option, ...] = (
    Option("log-4xx", Boolean(), "log requests that are answered 4xx" + _CONDITIONAL, _LOGGING,
           default=False, difference="a client that leaves before the answer counts, as 499"),
    Option("log-5xx", Boolean(), "log requests that are answered 5xx" + _CONDITIONAL, _LOGGING,
           default=False),
    Option("log-slow", Milliseconds(), "log requests that take so many milliseconds; 0 is off"
           + _CONDITIONAL, _LOGGING, default=0),
    Option("log-big", Size(), "log responses with so many bytes of body; 0 is off" + _CONDITIONAL,
           _LOGGING, default=0),
    Option("log-zero", Boolean(), "log responses without a body" + _CONDITIONAL, _LOGGING,
           default=False),
    Option("log-sendfile", Boolean(), "log responses sent with sendfile" + _CONDITIONAL, _LOGGING,
           default=False),
    Option("log-ioerror", Boolean(), "log requests whose client left too early" + _CONDITIONAL,
           _LOGGING, default=False, difference="uWSGI wants both a read and a write to fail"),
)

FORM: tuple[Option, ...] = (
    Option("log-date", LogDate(), "begin each line of the server itself with the date, in the "
           "form of strftime: log-date = %Y-%m-%d %H:%M:%S", _LOGGING, default="",
           aliases=("logdate", "log-prefix"),
           difference="pid and level follow; false is off. Request lines have it as %(ftime), as "
                      "in uWSGI"),
    Option("log-format-strftime", Boolean(), "the literal text of log-format is one of strftime",
           _LOGGING, default=False, aliases=("logformat-strftime",),
           difference="values of the request are left as they are"),
)

_FILES = "Loggers and log files"
FILES: tuple[Option, ...] = (
    Option("logto2", Path(), "logto, opened with the rights of uid and gid", _FILES),
    Option("log-maxsize", Size(), "rotate the file of logto or daemonize at so many bytes; 0 is "
           "never", _FILES, default=0),
    Option("log-backupname", Path(), "the name of the rotated file, instead of its own with the "
           "time behind it", _FILES),
    Option("log-truncate", Boolean(), "empty the log files at the start", _FILES, default=False),
    Option("log-reopen", Boolean(), "open the log files anew after a reload", _FILES,
           default=False),
    Option("logfile-chown", Boolean(), "give the log files to uid and gid", _FILES,
           default=False),
    Option("logfile-chmod", Octal(), "the permissions of the log files, such as 644", _FILES,
           derived="640"),
)

LOGGERS: tuple[Option, ...] = (
    Option("logger", Many(_LOGGER), "send the lines of the log, and what the application prints, "
           "to file:PATH, fd:N, stdio, socket:ADDRESS[,PREFIX], syslog[:NAME[,FACILITY]], "
           "rsyslog:HOST[:PORT][,NAME] or systemd; one with a name takes what log-route sends it"
           + _ALL, _FILES, default=(), merge=True),
    Option("log-syslog", Many(Parsed(loggers.logger, "NAME[,FACILITY]", "syslog")),
           "logger = syslog:NAME[,FACILITY]", _FILES, default=(), to="logger", merge=True),
    Option("log-socket", Many(Parsed(loggers.logger, "ADDRESS", "socket")),
           "logger = socket:ADDRESS", _FILES, default=(), to="logger", merge=True),
    Option("req-logger", Many(_LOGGER), "logger for request lines alone" + _ALL, _FILES,
           default=(), aliases=("logger-req",), merge=True),
    Option("log-route", Many(_ROUTE), "NAME REGEX: send lines that match to this logger and no "
           "other" + _ALL, _FILES, default=(), merge=True),
    Option("log-req-route", Many(_ROUTE), "the same for request lines", _FILES, default=(),
           merge=True,
           difference="lines that match none go to req-logger, or else where all others go"),
    Option("log-encoder", Many(_ENCODER), "TYPE[:NAME] ARGUMENTS: change each line of the logger "
           "NAME, or of those without one: prefix, suffix, nl, format, json, gzip, compress"
           + _ALL, _FILES, default=(), merge=True,
           difference="a suffix stands before the line's end"),
    Option("log-req-encoder", Many(_ENCODER), "the same for request lines", _FILES, default=(),
           merge=True, difference="a suffix stands before the line's end"),
    Option("log-filter", Many(_REGEX), "log only lines that match one of these" + _ALL, _FILES,
           default=(), merge=True),
    Option("log-drain", Many(_REGEX), "log no line that matches" + _ALL, _FILES, default=(),
           merge=True),
    Option("rsyslog-packet-size", Number(minimum=64, maximum=65000), "the greatest datagram of an "
           "rsyslog logger, in bytes", _FILES, default=1024),
    Option("rsyslog-split-messages", Boolean(), "split longer lines instead of cutting them",
           _FILES, default=False),
    Option("logger-list", Boolean(), "tell at the start which loggers there are", _FILES,
           default=False, aliases=("loggers-list",)),
)

_ALARMS = ("there are no alarms in this server: watch the log where it is gathered, or send what "
           "matches elsewhere with logger and log-route")
WITHOUT_ALARMS: tuple[Option, ...] = (
    *refused("alarm-log log-alarm not-alarm-log not-log-alarm", _ALARMS),
)

LOGGING_ROWS = (*SELECTION, *FORM, *FILES, *LOGGERS)
