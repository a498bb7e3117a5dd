"""Moments as text: strftime in local time, made once a second, for lines share their second."""

import time
from functools import lru_cache


@lru_cache(maxsize=16)
def _text_of(form: str, second: int) -> str:
    return time.strftime(form, time.localtime(second))


def text_of(form: str, moment: float) -> str:
    """Return a moment in the form of strftime(3).

    Args:
        form: the form; what strftime does not know stays or vanishes, as the C library has it.
        moment: seconds since the epoch.
    """
    return _text_of(form, int(moment))
