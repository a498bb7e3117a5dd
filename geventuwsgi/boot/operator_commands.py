"""What orders mean: each character of the master FIFO, and signals that are bound otherwise.

The characters are uWSGI's. What has no counterpart here is answered in the log, with the reason.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping

from ..config.settings import Settings
from ..errors import ConfigError
from ..ipc import scoreboard
from ..ipc.scoreboard import Scoreboard
from ..system.pidfile import PidFile

logger = logging.getLogger("geventuwsgi.error")

STATES = {scoreboard.STATE_BOOTING: "starting", scoreboard.STATE_READY: "ready",
          scoreboard.STATE_DRAINING: "draining"}


def commands_of(orders: Mapping[str, Callable[[], None]], *, rotate: Callable[[], None],
                subscriptions: Callable[[], None], board: Scoreboard,
                pid_files: Iterable[PidFile]) -> dict[str, Callable[[], None]]:
    """Return what to call for each character.

    Args:
        orders: the master's, by name.
        rotate: renames the log files and opens new ones.
        subscriptions: blocks and unblocks them.
        board: what the processes tell of themselves.
        pid_files: all of them.
    """
    no_emperor = _told("there is no emperor above this server")
    return {
        "+": orders["more"], "-": orders["fewer"], "C": orders["sleep"],
        "p": orders["pause"], "q": orders["stop"], "Q": orders["quit"],
        # Brutal ones are graceful too: nothing is gained by cutting requests off.
        "r": orders["reload"], "R": orders["reload"], "w": orders["reload"],
        "W": orders["reload"], "c": orders["chain"],
        "l": orders["reopen"], "L": rotate,
        "P": lambda: write_again(pid_files), "s": lambda: tell_statistics(board),
        "S": subscriptions, "B": no_emperor, "E": no_emperor,
        "f": _told("the master is not forked anew: it holds nothing of the application; SIGUSR2 "
                   "upgrades it")}


def _told(reason: str) -> Callable[[], None]:
    return lambda: logger.warning("master-fifo: %s", reason)


def write_again(pid_files: Iterable[PidFile]) -> None:
    """Write the pid files again: somebody lost or replaced them."""
    for file in pid_files:
        try:
            file.write()
        except ConfigError as error:
            logger.error("%s", error)


def tell_statistics(board: Scoreboard) -> None:
    """Log what each process has done so far."""
    now = time.time()
    logger.info("%d requests served, %d in progress, %d exceptions, %d ended by harakiri",
                *(board.total(field) for field in (
                    scoreboard.REQUESTS, scoreboard.IN_PROGRESS, scoreboard.EXCEPTIONS,
                    scoreboard.HARAKIRIS)))
    for row in board.rows():
        cells = row.cells
        logger.info(
            "%s %d (pid: %d, generation %d): %s, %d requests, %d in progress, %d connections, "
            "%d MB, up for %d seconds", "router" if cells[scoreboard.ROUTER] else "worker",
            cells[scoreboard.WORKER], cells[scoreboard.PID], cells[scoreboard.GENERATION],
            _state(cells), cells[scoreboard.REQUESTS],
            cells[scoreboard.IN_PROGRESS], cells[scoreboard.CONNECTIONS],
            cells[scoreboard.RSS] >> 20, now - cells[scoreboard.STARTED])


def _state(cells: memoryview) -> str:
    state = STATES.get(cells[scoreboard.STATE], "gone")
    takes = cells[scoreboard.ACCEPTING] or cells[scoreboard.ROUTER]
    return state if takes or state != "ready" else "paused"


def bindings_of(settings: Settings) -> dict[int, str]:
    """Return what signals do instead of what they do by themselves.

    At a terminal Ctrl-Z is to stop us, and not to pause the workers. The end of the terminal
    is a SIGHUP: it ends a development run, unless nohup(1) is in front of it.
    """
    own: dict[int, str] = {}
    if not terminal():
        own[signal.SIGTSTP] = "pause"
    elif settings.dev and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        own[signal.SIGHUP] = "stop"
    return {**own, **dict(settings.bindings)}


def terminal() -> bool:
    """Whether we run at a terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True
