"""Starts processes with posix_spawn: templates in a fresh interpreter, and other programs.

Unlike `subprocess`, posix_spawn lets us choose the child's signal mask: a template unblocks
signals when it has installed its handlers. All descriptors that Python opens are
close-on-exec, so a new process inherits only those that are listed here.
"""

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

from ..ipc import channel, credentials, scoreboard
from ..ipc.scoreboard import Row
from .role import Role


def interpreter(code: str, optimize: int | None = None) -> tuple[str, ...]:
    """Return the command that runs `code` in an interpreter with the flags of this one.

    These are the flags that change what a program means (-O, -W, -X dev, ...), as
    `multiprocessing` passes them on.

    Args:
        code: the program.
        optimize: 1 for -O, 2 for -OO, 0 for neither; None = as this interpreter.
    """
    flags = []
    for name, letter in (("dont_write_bytecode", "B"), ("ignore_environment", "E"),
                         ("no_user_site", "s"), ("no_site", "S"), ("safe_path", "P"),
                         ("bytes_warning", "b"), ("optimize", "O")):
        count = int(getattr(sys.flags, name, 0))
        flags += ["-" + letter] * (optimize if name == "optimize" and optimize is not None
                                   else count)
    for option in sys.warnoptions:
        flags.append("-W" + option)
    for name, value in getattr(sys, "_xoptions", {}).items():
        flags.append(f"-X{name}" if value is True else f"-X{name}={value}")
    return (sys.executable, *flags, "-c", code)


def spawn(role: Role, generation: int) -> tuple[socket.socket, int]:
    """Start a template of a role; return our end of its control socket, and its pid.

    Raises:
        OSError: the system refuses another process or descriptor.
    """
    ours, theirs = channel.pair()
    credentials.require(ours)
    try:
        with theirs:
            return ours, _exec(role, generation, theirs.fileno())
    except OSError:
        ours.close()
        raise


def _exec(role: Role, generation: int, fd: int) -> int:
    environ = os.environ if role.environ is None else role.environ
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        # dup2 onto itself clears close-on-exec in posix_spawn (glibc 2.29, musl 1.1.21)
        (os.POSIX_SPAWN_DUP2, one, one) for one in (*role.fds, fd)]
    if not role.stdin:
        actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))  # as uWSGI has it
    argv = [*role.argv, str(generation), str(fd)]
    # Signals stay blocked, and pending, until the template has installed its handlers.
    return os.posix_spawn(role.argv[0], argv, environ, file_actions=actions,
                          setsigmask=signal.valid_signals())


def request_fork(template: socket.socket, number: int,
                 row: Row) -> tuple[socket.socket, Row] | None:
    """Have a template fork a worker; return our end of its control socket, and its own row.

    Args:
        template: the template's control socket.
        number: the worker's.
        row: its row of the scoreboard's table.

    Returns:
        None if the template does not read its messages now.
    Raises:
        OSError: the system refuses another descriptor.
    """
    memory = scoreboard.create_row()
    try:
        owned = row.owned(memory)
        ours, theirs = channel.pair()
        credentials.require(ours)   # before the first message is sent
        with theirs:
            if channel.send_with_descriptors(template, channel.FORK + b"%d %d" % (
                    number, row.index), (theirs.fileno(), memory)):
                return ours, owned
        ours.close()
        return None
    finally:
        os.close(memory)


def spawn_plain(argv: Sequence[str], environ: Mapping[str, str], errors: int) -> int:
    """Start a program that inherits no descriptor; return its pid.

    Args:
        argv: its command.
        environ: its environment.
        errors: descriptor of its standard error; its standard output is /dev/null.

    Raises:
        OSError: the system refuses another process.
    """
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, errors, 2)]
    return os.posix_spawn(argv[0], list(argv), environ, file_actions=actions, setsigmask=())
