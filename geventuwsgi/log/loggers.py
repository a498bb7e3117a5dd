r"""uWSGI's loggers and encoders as an operator writes them: `[name] type[:arguments]`.

    logger = file:/var/log/app.log
    logger = errors file:logfile=/var/log/errors.log,maxsize=1000000,backupname=/var/log/old.log
    log-route = errors \bERROR\b
    log-encoder = json:errors {"at": ${unix}, "text": "${msg}"}

These functions parse text and open nothing. A ValueError says what is wrong with the text; the
caller adds the file and the line.
"""

import re
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from geventuwsgi.log import escape
from geventuwsgi.log.timestamps import text_of

# syslog's facilities (RFC 5424 section 6.2.1); the names of 9 to 11 differ between systems.
FACILITIES = {name: number for number, name in enumerate(
    ("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
     "authpriv", "ftp"))} | {f"local{number}": 16 + number for number in range(8)}
DAEMON_INFO = 30    # what uWSGI's syslog logger sends: facility daemon, severity info
DAEMON_NOTICE = 29  # what its rsyslog logger sends
INFO = 6

NAMES = ("file", "fd", "stdio", "socket", "syslog", "rsyslog", "systemd")
_REFUSED = {
    "python": "use Python's logging in the application, with a handler of your own",
    "redislog": "use logger = socket:HOST:PORT or syslog, and a log shipper",
    "pipe": "pipe the server's output: geventuwsgi ... 2>&1 | PROGRAM",
    "graylog": "use logger = rsyslog:HOST:PORT,NAME and a syslog input of Graylog",
    "crypto": "send to a local syslog, which can forward over TLS (RFC 5425)",
}
_REFUSED["mongodblog"] = _REFUSED["zeromq"] = _REFUSED["redislog"]
_REFUSED["graylog2"] = _REFUSED["graylog"]
_LOGGER = re.compile(r"(?:([A-Za-z0-9]+)\s+)?([A-Za-z0-9]+)(?::(.*))?", re.DOTALL)
_ENCODER = re.compile(r"([A-Za-z0-9]+)(?::(\S*))?(?:\s(.*))?", re.DOTALL)


class Logger(NamedTuple):
    """One logger.

    Attributes:
        name: its name in log-route; loggers without a name get the lines that match no route.
        kind: one of `NAMES`.
        target: a path, the number of a descriptor, or host:port.
        maxsize: bytes at which a file is rotated; 0 = never.
        backup: the name of the rotated file; "" = the path with the time appended.
        prefix: of each datagram (`socket`), or the name in syslog's lines.
        priority: syslog's: 8 times the facility plus the severity.
    """

    name: str
    kind: str
    target: str = ""
    maxsize: int = 0
    backup: str = ""
    prefix: str = ""
    priority: int = DAEMON_INFO


def logger(text: str) -> Logger:
    """Parse the value of `logger` or `req-logger`.

    Raises:
        ValueError: the value is malformed, or this server does not have that kind.
    """
    match = _LOGGER.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not of the form [name] type[:arguments]")
    name, kind, arguments = match[1] or "", match[2], (match[3] or "").strip()
    if kind in _REFUSED:
        raise ValueError(f"the logger {kind} is not supported: {_REFUSED[kind]}")
    if kind not in _KINDS:
        raise ValueError(f"there is no logger {kind!r}; there are {', '.join(NAMES)}")
    return _KINDS[kind](name, arguments)


def _file(name: str, arguments: str) -> Logger:
    fields = {"logfile": "", "maxsize": "0", "backupname": ""}
    first, *rest = arguments.split(",")
    if "=" in first and first.partition("=")[0].strip() in fields:
        rest.insert(0, first)
    else:
        fields["logfile"] = first.strip()
    for text in rest:
        key, equals, value = (part.strip() for part in text.partition("="))
        if key not in fields or not equals:
            raise ValueError(f"{text!r}: the arguments of file are {', '.join(fields)}")
        fields[key] = value
    if not fields["logfile"] or "\0" in arguments:
        raise ValueError("file needs a path, as in file:/var/log/app.log")
    if not _is_number(fields["maxsize"]):
        raise ValueError(f"maxsize={fields['maxsize']} is not a number of bytes")
    return Logger(name, "file", fields["logfile"], int(fields["maxsize"]), fields["backupname"])


def _fd(name: str, arguments: str) -> Logger:
    if not _is_number(arguments):
        raise ValueError("fd needs the number of a descriptor, as in fd:3")
    return Logger(name, "fd", arguments)


def _plain(kind: str) -> Callable[[str, str], Logger]:
    return lambda name, arguments: Logger(name, kind, prefix=arguments)


def _socket(name: str, arguments: str) -> Logger:
    address, _, prefix = arguments.partition(",")
    _check_address(address)
    return Logger(name, "socket", address, prefix=prefix)


def _syslog(name: str, arguments: str) -> Logger:
    """Parse `IDENT[,FACILITY]`; the name of a facility alone is a facility."""
    ident, _, facility = (part.strip() for part in arguments.partition(","))
    if not facility and ident in FACILITIES:
        ident, facility = "", ident
    if facility and facility not in FACILITIES:
        raise ValueError(f"there is no syslog facility {facility!r}")
    priority = FACILITIES[facility] * 8 + INFO if facility else DAEMON_INFO
    return Logger(name, "syslog", prefix=ident, priority=priority)


def _rsyslog(name: str, arguments: str) -> Logger:
    """Parse `HOST[:PORT][,NAME[,PRIORITY]]`."""
    address, ident, priority, *more = (
        part.strip() for part in (*arguments.split(","), "", ""))
    if any(more):
        raise ValueError(f"{arguments!r} is not of the form HOST[:PORT],NAME,PRIORITY")
    if priority in FACILITIES:
        priority = str(FACILITIES[priority] * 8 + INFO)
    if priority and not (_is_number(priority) and int(priority) < 192):
        raise ValueError(f"{priority!r} is not a syslog priority (0 to 191, or a facility)")
    if ":" not in address:
        address += ":514"
    _check_address(address)
    return Logger(name, "rsyslog", address, prefix=ident,
                  priority=int(priority or DAEMON_NOTICE))


_KINDS: Mapping[str, Callable[[str, str], Logger]] = {
    "file": _file, "fd": _fd, "stdio": _plain("stdio"), "socket": _socket, "syslog": _syslog,
    "rsyslog": _rsyslog, "systemd": _plain("systemd")}


def _is_number(text: str) -> bool:
    """Whether a text is a number of at most 18 digits, the most of a 64-bit integer."""
    return text.isascii() and text.isdigit() and len(text) <= 18


def _check_address(text: str) -> None:
    host, colon, port = text.rpartition(":")
    if not text or (colon and not (host and _is_number(port) and 0 < int(port) < 65536)):
        raise ValueError(f"{text!r} is neither HOST:PORT nor the path of a socket")


def routed(text: str) -> tuple[str, str]:
    """Split the value of `log-route` into a logger's name and an expression.

    Raises:
        ValueError: one is missing, or the expression does not compile.
    """
    name, _, expression = text.strip().partition(" ")
    if not expression.strip():
        raise ValueError(f"{text!r} is not of the form NAME REGEX")
    return name, compiled(expression.strip())


NOT_A_PATTERN = "{!r} is not a regular expression: {}"


def compiled(expression: str) -> str:
    """Return an expression after checking that it compiles.

    Raises:
        ValueError: it does not compile.
    """
    try:
        re.compile(expression.encode())
    except re.error as error:
        raise ValueError(NOT_A_PATTERN.format(expression, error)) from None
    return expression


# Encoders

Encoder = Callable[[bytes, float], bytes]   # called with a message and the current time

_PIECE = re.compile(r"\$\{(msgnl|msg|unix|micros|strftime:[^}]*)\}")
_UNKNOWN = re.compile(r"\$\{[^}]*\}")


def encoder(text: str) -> tuple[str, Encoder]:
    """Parse `type[:logger] arguments`.

    Returns:
        The name of its logger ("" = all loggers), and the function.

    Raises:
        ValueError: there is no such encoder.
    """
    match = _ENCODER.fullmatch(text.strip(" \t"))
    kind = match[1] if match else text
    if match is None or kind not in _ENCODERS:
        raise ValueError(f"there is no encoder {kind!r}; there are {', '.join(_ENCODERS)}")
    return match[2] or "", _ENCODERS[kind](match[3] or "")


def _prefix(arguments: str) -> Encoder:
    octets = arguments.encode()
    return lambda message, now: octets + message


def _suffix(arguments: str) -> Encoder:
    octets = arguments.encode()

    def suffixed(message: bytes, now: float) -> bytes:
        if message.endswith(b"\n"):
            return message[:-1] + octets + b"\n"
        return message + octets

    return suffixed


def _format(arguments: str, quote: Callable[[str], str] = str) -> Encoder:
    left = _UNKNOWN.search(_PIECE.sub("", arguments))
    if left:
        raise ValueError(f"{left[0]} is none of ${{msg}}, ${{msgnl}}, ${{unix}}, ${{micros}}, "
                         f"${{strftime:FORMAT}}")
    pieces = _PIECE.split(arguments)

    def formatted(message: bytes, now: float) -> bytes:
        text = message.decode("utf-8", "backslashreplace")
        parts = []
        for index, piece in enumerate(pieces):
            if index % 2 == 0:
                parts.append(piece)
            elif piece == "msg":
                parts.append(quote(text.removesuffix("\n")))
            elif piece == "msgnl":
                parts.append(quote(text))
            elif piece == "unix":
                parts.append(str(int(now)))
            elif piece == "micros":
                parts.append(str(int(now * 1_000_000)))
            else:
                parts.append(text_of(piece[len("strftime:"):], now))
        return "".join(parts).encode("utf-8", "backslashreplace")

    return formatted


def _gzip(arguments: str) -> Encoder:
    def packed(message: bytes, now: float) -> bytes:
        pack = zlib.compressobj(wbits=31)  # a gzip member; concatenated members are a file
        return pack.compress(message) + pack.flush()
    return packed


_ENCODERS: Mapping[str, Callable[[str], Encoder]] = {
    "prefix": _prefix, "suffix": _suffix,
    "nl": lambda arguments: lambda message, now: message + b"\n",
    "format": _format, "json": lambda arguments: _format(arguments, escape.json_text),
    "gzip": _gzip, "compress": lambda arguments: lambda message, now: zlib.compress(message)}
