"""Request lines: uWSGI's default line, `log-format`, gunicorn's atoms, and a short line.

A format is compiled once into a function from a finished request to its line, newline
included. The function reads only what the format names; no dictionary of headers or atoms is
built per request.

As formatting costs CPU on every request, uWSGI's default line is one f-string, and a single
check of all text from outside decides whether to escape it.
"""

import ast
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from geventuwsgi.log import atoms, escape, timestamps
from geventuwsgi.log.record import RequestRecord
from geventuwsgi.log.sinks import STANDARD

Formatter = Callable[[Any], str]


def uwsgi_line(*, micros: bool = False, x_forwarded_for: bool = False) -> Formatter:
    """Make the formatter of uWSGI's default request line (uWSGI's `uwsgi_logit_simple`).

    Args:
        micros: the time taken is in microseconds (`log-micros`), not milliseconds.
        x_forwarded_for: the address is that of `X-Forwarded-For`, if there is one
            (`log-x-forwarded-for`).

    The end of the line is cached, as many requests share it. CPython 3.11: 1.2 us a line; one
    f-string of all fields takes 1.6, `%` with a tuple 1.4.
    """
    factor, unit = (1_000_000, "micros") if micros else (1000, "msecs")
    second, date = -1, ""
    ends: dict[tuple[Any, ...], str] = {}

    def end_of(key: tuple[Any, ...]) -> str:
        if len(ends) >= 256:
            ends.clear()
        via, protocol, status, count, size, core = key
        ends[key] = end = (
            f"{f' via {via}' if via else ''} ({escape.plain(protocol)} {status}) {count} headers "
            f"in {size} bytes (1 switches on core {core})\n")
        return end

    def line(record: RequestRecord) -> str:
        nonlocal second, date
        started = record.started
        if not second <= started < second + 1:
            second = int(started)
            date = time.ctime(second)
        get = record.environ.get
        address = get("REMOTE_ADDR", "")
        if x_forwarded_for:
            address = get("HTTP_X_FORWARDED_FOR") or address
        user = get("REMOTE_USER") or ""
        method = record.method
        uri = record.uri
        outside = f"{address}{user}{method}{uri}"
        if not (outside.isascii() and outside.isprintable()):
            address, user, method, uri = (
                escape.plain(str(text)) for text in (address, user, method, uri))
        key = (record.via, record.protocol, record.status, record.header_count,
               record.header_size, record.core)
        end = ends.get(key) or end_of(key)
        app = record.app
        return (
            f"[pid: {record.pid}|app: {app}|req: {record.app_requests if app >= 0 else -1}/"
            f"{record.total_requests}] {address} ({user}) {{{record.vars} vars in "
            f"{record.vars_size} bytes}} [{date}] {method} {uri} => generated "
            f"{record.body_size} bytes in {int(record.duration * factor)} {unit}{end}")

    return line


def with_memory(line: Formatter, memory: Callable[[], tuple[int, int]]) -> Formatter:
    """Put uWSGI's `memory-report` in front of each line.

    Args:
        line: makes the line.
        memory: returns virtual and resident bytes.
    """
    last, report = (-1, -1), ""

    def reported(record: Any) -> str:
        nonlocal last, report
        found = memory()
        if found != last:
            last = found
            virtual, resident = found
            report = (f"{{address space usage: {virtual} bytes/{virtual >> 20}MB}} "
                      f"{{rss usage: {resident} bytes/{resident >> 20}MB}} ")
        return report + line(record)

    return reported


def compile_format(text: str | None = None, *, style: str | None = None, micros: bool = False,
                   x_forwarded_for: bool = False,
                   memory: Callable[[], tuple[int, int]] | None = None,
                   strftime: bool = False, date: str = "") -> Formatter:
    """Compile a format into a function from a finished request to its line.

    Args:
        text: the format; None = uWSGI's default request line.
        style: "uwsgi" for `%(uri)` (`log-format`), "gunicorn" for `%(U)s`
            (`access-logformat`). None chooses by the text: gunicorn's if every variable is
            one of its atoms and is followed by `s`.
        micros, x_forwarded_for: see `uwsgi_line`; only for the default line.
        memory: see `with_memory`; only for the default line.
        strftime: the literal text may contain strftime's conversions (`log-format-strftime`).
        date: the format of `%(ftime)` (`log-date`); "" or without `strftime` that of
            `%(ltime)`, as in uWSGI.

    Between double quotes, quotes and backslashes of a value are escaped. A format that starts
    with `{"` is JSON, and its values are escaped for that. A missing or empty value is `-`.

    Raises:
        ValueError: there is no such gunicorn atom. In uWSGI's style an unknown name is a log
            variable, which the application may set.
    """
    if text is None:
        line = uwsgi_line(micros=micros, x_forwarded_for=x_forwarded_for)
        return line if memory is None else with_memory(line, memory)
    pieces = atoms.split(text, style)
    is_json = text.lstrip().startswith('{"')
    namespace = dict(atoms.NAMESPACE)
    if date and strftime:
        namespace["f_time"] = lambda timestamp: timestamps.text_of(date, timestamp)
    parts: list[ast.expr] = []
    in_quotes = False
    for piece in pieces:
        if isinstance(piece, str):
            if strftime and "%" in piece:
                parts.append(_expression(f"dated({piece!r}, now())"))
            else:
                parts.append(ast.Constant(piece))
            in_quotes ^= piece.replace('\\"', "").count('"') % 2 == 1
            continue
        source = piece.source
        if piece.foreign:
            escaper = "plain" if not in_quotes else "in_json" if is_json else "quoted"
            source = f"{escaper}({source} or '-')"
        parts.append(_expression(source))
    parts.append(ast.Constant("\n"))
    # One f-string for the whole format, built as a syntax tree: the text of the format is
    # never parsed as Python.
    tree = ast.Expression(ast.Lambda(
        ast.arguments([], [ast.arg("record")], None, [], [], None, []), ast.JoinedStr(parts)))
    formatter: Formatter = eval(compile(ast.fix_missing_locations(tree), "<log-format>", "eval"),
                                namespace)
    return formatter


def _expression(source: str) -> ast.expr:
    return ast.FormattedValue(ast.parse(source, mode="eval").body, -1)


# ANSI colours of a status by its first digit: green, cyan, yellow, red.
_COLOURS = {2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[31m"}
_PLAIN = "\x1b[0m"


def colours(target: str | None, environ: Mapping[str, str]) -> bool:
    """Whether to colour lines: on a terminal, unless the environment says otherwise.

    Args:
        target: where lines go, as for `sinks.open_sink`; None = standard output.
        environ: the environment. `NO_COLOR` turns colours off (no-color.org), `FORCE_COLOR`
            on without a terminal; an empty variable counts as not set.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return environ.get("TERM") != "dumb" and os.isatty(STANDARD.get(target or "-", -1))


def short_line(coloured: bool) -> Formatter:
    """Make the formatter of the line of development runs, `GET /a?b=c 200 1234 B 3.1 ms`.

    Args:
        coloured: colour the status.
    """
    def line(record: RequestRecord) -> str:
        request = f"{record.method} {record.uri}"
        if not (request.isascii() and request.isprintable()):
            request = escape.plain(request)
        status = str(record.status)
        if coloured:
            status = f"{_COLOURS.get(record.status // 100, '')}{status}{_PLAIN}"
        milliseconds = record.duration * 1000
        return (f"{request} {status} {record.body_size} B "
                f"{milliseconds:.{0 if milliseconds >= 10 else 1}f} ms\n")

    return line
