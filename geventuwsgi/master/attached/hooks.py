"""Hooks: actions that are configured for a phase of the server.

A hook is an action and its argument, as in uWSGI's `hook-PHASE = action:argument`;
`exec-PHASE = COMMAND` is the hook `exec:COMMAND`. The caller decides in which process a
phase runs.

Unlinking a file that does not exist and making a directory that does are not errors, since a
reload runs the hooks of the start again.
"""

import errno
import grp
import logging
import os
import pwd
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ...errors import HookError
from ...rights import User, open_file, pinned, reaching
from ...system import probe, program
from ...system.program import ProgramContext

logger = logging.getLogger("geventuwsgi.error")

Action = Callable[[str, User | None], None]

WAIT_TIMEOUT = 60.0     # seconds of wait_for_file and the like, as in uWSGI


class Hook(NamedTuple):
    """One hook.

    Attributes:
        phase: uWSGI's name of it, "as-root".
        place: file, line and option, "app.ini:7: hook-as-root".
        action: the name of the action.
        argument: the text after the colon.
        private: whether the argument is not logged (`!action:argument`).
    """

    phase: str
    place: str
    action: str
    argument: str
    private: bool = False

    def announce(self) -> None:
        """Log that it is about to run."""
        if self.private:
            logger.info("running --- PRIVATE HOOK --- (%s)...", self.phase)
        else:
            logger.info('running "%s:%s" (%s)...', self.action, self.argument, self.phase)

    def failed(self, why: str) -> HookError:
        """Return the error with the place and the reason."""
        what = "a private hook" if self.private else f'"{self.action}:{self.argument}"'
        return HookError(f"{self.place}: {what}: {why}")

    @property
    def is_program(self) -> bool:
        """Whether it runs a program."""
        return self.action in PROGRAMS

    @property
    def may_fail(self) -> bool:
        """Whether its failure is ignored."""
        return self.action == "safeexec"


def run(hooks: Iterable[Hook], phase: str, context: ProgramContext,
        user: User | None = None) -> None:
    """Run the hooks of a phase, one after another, in this process.

    Args:
        hooks: those of all phases.
        phase: which of them.
        context: environment, user and directory of programs.
        user: the one of `uid`, if this process is still root: see `rights`.

    Raises:
        HookError: one failed; the hooks after it do not run.
    """
    for hook in hooks:
        if hook.phase == phase:
            hook.announce()
            if hook.is_program:
                _run_program(hook, context)
            else:
                act(hook, user)


def _run_program(hook: Hook, context: ProgramContext) -> None:
    try:
        status = program.run(program.argv_of(hook.argument, context.environ.get("PATH")),
                             context)
    except OSError as error:
        raise hook.failed(error.strerror or str(error)) from None
    check(hook, status)


def check(hook: Hook, status: int) -> None:
    """Check the exit status of a hook's process.

    Raises:
        HookError: it failed.
    """
    if status == 0:
        return
    error = hook.failed(program.describe_status(status))
    if not hook.may_fail:
        raise error
    logger.warning("%s", error)


def act(hook: Hook, user: User | None = None) -> None:
    """Run a hook that is not a program.

    Args:
        hook: the hook.
        user: as of `run`.

    Raises:
        HookError: it failed.
    """
    try:
        ACTIONS[hook.action](hook.argument, user)
    except OSError as error:
        raise hook.failed(error.strerror or str(error)) from None
    except KeyError as error:  # of pwd and grp
        raise hook.failed(str(error).strip("'\"")) from None


def _print(argument: str, user: User | None) -> None:
    logger.info("%s", argument)


def _touch(argument: str, user: User | None) -> None:
    fd = open_file(argument, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, user=user).fd
    try:
        os.utime(fd)
    finally:
        os.close(fd)


def _create(argument: str, user: User | None) -> None:
    os.close(open_file(argument, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, user=user).fd)


def _put(flags: int, end: str = "") -> Action:
    """Return the action that writes the text after the file's name."""
    def put(argument: str, user: User | None) -> None:
        path, _, text = argument.partition(" ")
        with os.fdopen(open_file(path, os.O_WRONLY | flags, user=user).fd, "wb", 0) as file:
            file.write((text + end).encode("utf-8", "surrogateescape"))
    return put


def _write_fifo(argument: str, user: User | None) -> None:
    try:
        _put(os.O_NONBLOCK)(argument, user)
    except OSError as error:
        if error.errno != errno.ENXIO:  # it has no reader
            raise


def _unlink(argument: str, user: User | None) -> None:
    try:
        with reaching(argument, user) as name:
            os.unlink(name)
    except FileNotFoundError:
        pass


def _mkdir(argument: str, user: User | None) -> None:
    try:
        with reaching(argument, user) as name:
            os.mkdir(name)
    except FileExistsError:
        if not os.path.isdir(argument):
            raise


def _chmod(argument: str, user: User | None) -> None:
    path, _, mode = argument.rpartition(" ")
    with pinned(path, user) as name:
        os.chmod(name, int(mode, 8))


def _sticky(argument: str, user: User | None) -> None:
    with pinned(argument, user) as name:
        os.chmod(name, stat.S_IMODE(os.stat(name).st_mode) | stat.S_ISVTX)


def _chown(argument: str, user: User | None) -> None:
    path, name, group = argument.rsplit(" ", 2)
    uid = int(name) if name.isascii() and name.isdigit() else pwd.getpwnam(name).pw_uid
    gid = int(group) if group.isascii() and group.isdigit() else grp.getgrnam(group).gr_gid
    with pinned(path, user) as file:
        os.chown(file, uid, gid)


def _chdir(argument: str, user: User | None) -> None:
    """Change the directory, in sys.path too, as with uWSGI's `.`."""
    before = os.getcwd()
    os.chdir(argument)
    if before in sys.path:
        sys.path[sys.path.index(before)] = os.getcwd()


def _wait_for(kind: str) -> Action:
    return lambda argument, user: probe.wait_for(kind, argument, WAIT_TIMEOUT)


_NEW, _MORE = os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_APPEND
PROGRAMS = ("exec", "run", "safeexec")
ACTIONS: Mapping[str, Action] = {
    "print": _print, "log": _print, "touch": _touch,
    "create": _create, "creat": _create,
    "write": _put(_NEW), "writen": _put(_NEW, "\n"),
    "append": _put(_MORE), "appendn": _put(_MORE, "\n"),
    "writefifo": _write_fifo, "unlink": _unlink, "mkdir": _mkdir, "chmod": _chmod,
    "sticky": _sticky, "chown": _chown, "chown2": _chown, "cd": _chdir, "chdir": _chdir,
    **{f"wait_for_{kind}": _wait_for(kind) for kind in ("fs", "file", "dir", "socket")},
}
