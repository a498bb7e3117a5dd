"""The variables of a log format, each with the Python expression of its value.

There are two tables: uWSGI's `%(name)` (`log-format`) and gunicorn's `%(x)s`
(`access-logformat`). `log.format` compiles the expressions, which read the finished request
`record` and the functions of `NAMESPACE`.
"""

import os
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from geventuwsgi.log import escape, timestamps

_VARIABLE = re.compile(r"%\(([^()]*)\)")
_ATOM = re.compile(r"(%%)|%\(([^()]*)\)s")
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class Variable(NamedTuple):
    """One variable: the expression of its value, and whether a client may have chosen it."""

    source: str
    foreign: bool


def _number(source: str) -> Variable:
    return Variable(source, False)


def _text(source: str) -> Variable:
    return Variable(source, True)


def _environ(name: str) -> Variable:
    # str(): an application may store anything in its environ.
    return Variable(f"str(record.environ.get({name!r}) or '')", True)


# uWSGI's logchunks (core/logging.c). There are no counters of failed reads and writes, so
# `werr`, `rerr` and `ioerr` are `-`, like a log variable that is not set.
UWSGI = {
    "uri": _text("record.uri"),
    "method": _text("record.method"),
    "user": _environ("REMOTE_USER"),
    "addr": _environ("REMOTE_ADDR"),
    "host": _environ("HTTP_HOST"),
    "proto": _text("record.protocol"),
    "uagent": _environ("HTTP_USER_AGENT"),
    "referer": _environ("HTTP_REFERER"),
    "status": _number("record.status"),
    "rsize": _number("record.body_size"),
    "hsize": _number("record.header_size"),
    "size": _number("record.header_size + record.body_size"),
    "cl": _number("record.request_length"),
    "micros": _number("int(record.duration * 1000000)"),
    "msecs": _number("int(record.duration * 1000)"),
    "secs": _number("'%.6f' % record.duration"),
    "time": _number("int(record.started)"),
    "tmsecs": _number("int(record.started * 1000)"),
    "tmicros": _number("int(record.started * 1000000)"),
    "ltime": _number("local_time(record.started)"),
    "ctime": _number("c_time(record.started)"),
    "ftime": _number("f_time(record.started)"),
    "epoch": _number("int(now())"),
    "pid": _number("record.pid"),
    "wid": _number("record.worker"),
    "switches": _number("1"),
    "vars": _number("record.vars"),
    "core": _number("record.core"),
    "vsz": _number("memory(0)"),
    "rss": _number("memory(1)"),
    "vszM": _number("memory(0) // 1048576"),
    "rssM": _number("memory(1) // 1048576"),
    "pktsize": _number("record.vars_size"),
    "modifier1": _number("0"),
    "modifier2": _number("0"),
    "headers": _number("record.header_count"),
}

GUNICORN = {
    "h": _environ("REMOTE_ADDR"),
    "l": _number("'-'"),
    "u": _environ("REMOTE_USER"),
    "t": _number("'[' + local_time(now()) + ']'"),
    "r": _text("record.method + ' ' + record.uri + ' ' + record.protocol"),
    "m": _text("record.method"),
    "U": _text("record.uri.partition('?')[0]"),
    "q": _text("record.uri.partition('?')[2]"),
    "H": _text("record.protocol"),
    "s": _number("record.status"),
    "B": _number("record.body_size"),
    "b": _number("record.body_size or '-'"),
    "f": _environ("HTTP_REFERER"),
    "a": _environ("HTTP_USER_AGENT"),
    "T": _number("int(record.duration)"),
    "M": _number("int(record.duration * 1000)"),
    "D": _number("int(record.duration * 1000000)"),
    "L": _number("'%.6f' % record.duration"),
    "p": _number("'<' + str(record.pid) + '>'"),
}


def uwsgi(name: str) -> Variable:
    """Return one of uWSGI's variables: of the table, `var.NAME` of the request, or a log
    variable."""
    if name in UWSGI:
        return UWSGI[name]
    if name.startswith("var."):
        return _environ(name[4:])
    return Variable(f"str((record.logvars or empty).get({name!r}) or '')", True)


def gunicorn(name: str) -> Variable:
    """Return one of gunicorn's atoms.

    Raises:
        ValueError: there is no such atom.
    """
    if name in GUNICORN:
        return GUNICORN[name]
    if name.startswith("{") and name[-2:-1] == "}":
        inner, kind = name[1:-2], name[-1]
        if kind == "i":
            key = inner.upper().replace("-", "_")
            return _environ(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key)
        if kind == "o":
            return Variable(f"response_header(record, {inner.lower()!r})", True)
        if kind == "e":
            return _environ(inner)
    raise ValueError(f"no atom %({name})s in an access log format")


def split(text: str, style: str | None) -> list[str | Variable]:
    """Split a format into literal texts and variables.

    Args:
        style: "uwsgi", "gunicorn" or None; see `log.format.compile_format`.
    """
    if style is None:
        style = "gunicorn" if _is_gunicorn(text) else "uwsgi"
    pattern, find = (_ATOM, gunicorn) if style == "gunicorn" else (_VARIABLE, uwsgi)
    pieces: list[str | Variable] = []
    position = 0
    for match in pattern.finditer(text):
        pieces.append(text[position:match.start()])
        pieces.append("%" if match.group() == "%%" else find(match.group(match.lastindex or 1)))
        position = match.end()
    pieces.append(text[position:])
    return [piece for piece in pieces if piece != ""]


def _is_gunicorn(text: str) -> bool:
    names = [(name, text[match.end():match.end() + 1]) for match in _VARIABLE.finditer(text)
             for name in match.groups()]
    return bool(names) and all(
        (name in GUNICORN or name.startswith("{")) and after == "s" for name, after in names)


def _once_a_second(make: Callable[[int], str]) -> Callable[[float], str]:
    """Cache the text of the last second, which most requests share."""
    last, text = -1, ""

    def text_of(timestamp: float) -> str:
        nonlocal last, text
        second = int(timestamp)
        if second != last:
            last, text = second, make(second)
        return text

    return text_of


def _local_time(second: int) -> str:
    fields = time.localtime(second)
    return time.strftime(f"%d/{timestamps.month(fields)}/%Y:%H:%M:%S %z", fields)


def memory(field: int) -> int:
    """Return the memory of this process in bytes: field 0 virtual, 1 resident (proc(5), statm)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[field]) * _PAGE_SIZE


def response_header(record: Any, name: str) -> str:
    """Return the values of a response header, joined by commas; "" if there are none."""
    pairs = getattr(record, "response_headers", None) or ()
    return ", ".join(value for key, value in pairs if key.lower() == name)


NAMESPACE: dict[str, Any] = {
    "plain": escape.plain, "quoted": escape.quoted, "in_json": escape.in_json,
    "local_time": _once_a_second(_local_time), "c_time": _once_a_second(time.ctime),
    "f_time": _once_a_second(_local_time), "dated": timestamps.text_of,
    "now": time.time, "memory": memory, "response_header": response_header,
    "empty": {},
}
