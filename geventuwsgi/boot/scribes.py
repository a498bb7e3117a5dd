"""The process that all lines go through where the settings want loggers (`log.scribe`)."""

import json
import os
import signal
from collections.abc import Sequence
from typing import Any

from ..config.logs import plan_of, scribed
from ..config.settings import Settings
from ..errors import ConfigError
from ..log.error import setup
from ..log.loggers import logger
from ..process.scribe import Scribe
from ..process.spawn import interpreter
from ..process.title import Titles
from .logs import owner_of, user_of
from .playing import titles_of

# See `roles.PROLOGUE`.
PROLOGUE = """\
import sys
if sys.path[:1] == ['']: del sys.path[0]
if {house!r} not in sys.path: sys.path.append({house!r})
from geventuwsgi.boot.scribes import play
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


def play(memory: int) -> None:
    """Be the scribe.

    It ends when nobody can write any more, whatever is sent to the whole group before.

    Args:
        memory: the memfd that holds the plan; fd 0 is what it reads, 1 and 2 are what the
            server's were.
    """
    from ..log.scribe import Copier

    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1,
                   signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def plan() -> dict[str, Any]:
        size = os.fstat(memory).st_size
        found: dict[str, Any] = json.loads(os.pread(memory, size, 0))
        return found

    title = plan()["title"]
    Titles("", on=bool(title), name=title).set("log")
    Copier(0, plan).run()
    os._exit(0)
