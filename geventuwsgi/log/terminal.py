"""The request line of development runs: short, and coloured where a person reads it.

    GET /path?a=b 200 1234 B 3.1 ms

Colours follow the environment: `NO_COLOR` turns them off (no-color.org), `FORCE_COLOR` on
where there is no terminal; without either a terminal has them, unless it is a dumb one.
"""

import os
from collections.abc import Mapping
from typing import Any

from geventuwsgi.log import escape
from geventuwsgi.log.format import Formatter
from geventuwsgi.log.sinks import STANDARD

# ANSI colours of a status by its first digit: green, cyan, yellow, red.
_COLOURS = {2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[31m"}
_PLAIN = "\x1b[0m"


def colours(target: str | None, environ: Mapping[str, str]) -> bool:
    """Whether lines are coloured.

    Args:
        target: where they go, as `sinks.open_sink` takes it; None is the standard output.
        environ: the environment; a variable that is empty counts as not set.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return environ.get("TERM") != "dumb" and os.isatty(STANDARD.get(target or "-", -1))


def short_line(coloured: bool) -> Formatter:
    """Make the formatter of the short line.

    Args:
        coloured: the status has its colour.
    """
    def line(record: Any) -> str:
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
