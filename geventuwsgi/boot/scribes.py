"""The process that all lines go through where the settings want loggers (`log.scribe`)."""

import os
from collections.abc import Sequence

from ..config.request_log import plan_of, scribed
from ..config.settings import Settings
from ..errors import ConfigError
from ..log.error import setup
from ..log.loggers import logger
from ..master.attached.log_collector import Scribe
from ..master.spawn import interpreter
from .logs import owner_of, user_of
from .worker_process import titles_of

# See `roles.PROLOGUE`.
PROLOGUE = """\
import sys
if sys.path[:1] == ['']: del sys.path[0]
if {house!r} not in sys.path: sys.path.append({house!r})
from geventuwsgi.master.attached.log_collector import play
play(int(sys.argv[1]))
"""


def scribe_of() -> Scribe:
    """Return a scribe that is not engaged yet."""
    house = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return Scribe(interpreter(PROLOGUE.format(house=house)), setup)


def engage(scribe: Scribe, settings: Settings, handed_over: Sequence[int] = ()) -> None:
    """Have a scribe do what the settings want, which may be nothing.

    Raises:
        ConfigError: it cannot be started.
    """
    if not (scribed(settings) or handed_over or scribe.engaged):
        return
    titles = titles_of(settings)
    plan = plan_of(settings, owner_of(settings), user_of(settings),
                   titles.of("log") if titles.on else "")
    kept = [int(one.target) for name in ("logger", "req_logger")
            for one in map(logger, getattr(settings, name)) if one.kind == "fd"]
    try:
        for fd in kept:
            os.fstat(fd)
        scribe.engage(plan, [fd for fd in kept if fd > 2], handed_over)
    except OSError as error:
        raise ConfigError(f"the process of the log cannot be started: {error.strerror}",
                          option="logger") from None
