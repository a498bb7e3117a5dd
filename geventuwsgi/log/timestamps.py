"""Times as text, in local time. The text of a second is cached, because many lines share it."""

import time
from functools import lru_cache


@lru_cache(maxsize=16)
def _text_of(form: str, second: int) -> str:
    return time.strftime(form, time.localtime(second))


def text_of(form: str, timestamp: float) -> str:
    """Format a time.

    Args:
        form: a format of strftime(3); unknown conversions are left to the C library.
        timestamp: seconds since the epoch.
    """
    return _text_of(form, int(timestamp))


def month(fields: time.struct_time) -> str:
    """Return the name of a month in English, whatever the locale; strftime's %b follows it."""
    return time.asctime(fields)[4:7]


def syslog_date(second: int) -> str:
    """Format a time as in RFC 3164 section 4.1.2, in English whatever the locale."""
    return time.ctime(second)[4:19]
