"""Commands of the operator: the characters of the master FIFO, and signals bound by options.

The characters are uWSGI's. One without a counterpart here is answered by a line in the log that
gives the reason.
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
ROLES = {scoreboard.ROLE_WORKER: "worker", scoreboard.ROLE_ROUTER: "router",
         scoreboard.ROLE_MONITOR: "monitor"}


def commands_of(commands: Mapping[str, Callable[[], None]], *, rotate: Callable[[], None],
                subscriptions: Callable[[], None], board: Scoreboard,
                pid_files: Iterable[PidFile]) -> dict[str, Callable[[], None]]:
    """Return the function of each character.

    Args:
        commands: the commands of the master by name.
        rotate: renames the log files and opens new ones.
        subscriptions: blocks or unblocks subscriptions.
        board: the scoreboard.
        pid_files: all pid files of the instance.
    """
    no_emperor = _unavailable("there is no emperor above this server")
    return {
        "+": commands["more"], "-": commands["fewer"], "C": commands["sleep"],
        "p": commands["pause"], "q": commands["stop"], "Q": commands["quit"],
        # Brutal reloads are graceful too: there is no benefit in aborting requests.
        "r": commands["reload"], "R": commands["reload"], "w": commands["reload"],
        "W": commands["reload"], "c": commands["chain"],
        "l": commands["reopen"], "L": rotate,
        "P": lambda: rewrite_pid_files(pid_files), "s": lambda: log_statistics(board),
        "S": subscriptions, "B": no_emperor, "E": no_emperor,
        "f": _unavailable("the master does not fork, because it does not hold the application; "
                          "SIGUSR2 upgrades it")}


def _unavailable(reason: str) -> Callable[[], None]:
    """Return a function that logs why a command does nothing."""
    return lambda: logger.warning("master-fifo: %s", reason)


def rewrite_pid_files(pid_files: Iterable[PidFile]) -> None:
    """Write the pid files again, after they were removed or replaced."""
    for file in pid_files:
        try:
            file.write()
        except ConfigError as error:
            logger.error("%s", error)


def log_statistics(board: Scoreboard) -> None:
    """Log the counters of each process."""
    now = time.time()
    logger.info("%d requests served, %d in progress, %d exceptions, %d ended by harakiri",
                *(board.total(field) for field in (
                    scoreboard.REQUESTS, scoreboard.IN_PROGRESS, scoreboard.EXCEPTIONS,
                    scoreboard.HARAKIRIS)))
    for row in board.rows():
        cells = row.cells
        logger.info(
            "%s %d (pid: %d, generation %d): %s, %d requests, %d in progress, %d connections, "
            "%d MB, up for %d seconds", ROLES.get(cells[scoreboard.ROLE], "process"),
            cells[scoreboard.WORKER], cells[scoreboard.PID], cells[scoreboard.GENERATION],
            _state(cells), cells[scoreboard.REQUESTS],
            cells[scoreboard.IN_PROGRESS], cells[scoreboard.CONNECTIONS],
            cells[scoreboard.RSS] >> 20, now - cells[scoreboard.STARTED])


def _state(cells: memoryview) -> str:
    state = STATES.get(cells[scoreboard.STATE], "gone")
    accepts = cells[scoreboard.ACCEPTING] or cells[scoreboard.ROLE] != scoreboard.ROLE_WORKER
    return state if accepts or state != "ready" else "paused"


def bindings_of(settings: Settings) -> dict[int, str]:
    """Return the signals whose action differs from the default, with the action.

    At a terminal Ctrl-Z suspends the server; without one SIGTSTP pauses the workers. A terminal
    that closes sends SIGHUP, which ends a development run unless nohup(1) ignores it.
    """
    own: dict[int, str] = {}
    if not has_terminal():
        own[signal.SIGTSTP] = "pause"
    elif settings.dev and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        own[signal.SIGHUP] = "stop"
    return {**own, **dict(settings.bindings)}


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True
