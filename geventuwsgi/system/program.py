"""Running a program of the operator's: a hook's command, a daemon.

Rules of the room:

- The program gets none of our descriptors, the signals as they are by default, and
  nothing of our state: fork, a few system calls, exec.
- It runs as whom it is to, and what it inherits of limits, directory and environment is
  what its `ProgramContext` say.
- Unless it is to outlive us, the kernel ends it with the process that started it.
- Works in the master, and in templates and workers whose standard library is patched:
  fork, close and waitpid are the system's own.
"""

import os
import re
import shlex
import signal
import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn

from ..errors import GeventuwsgiError
from . import kernel
from .limits import Limits
from .privileges import Identity

SHELL = "/bin/sh"
# What a shell would do something about, outside of single quotes.
_SYNTAX = re.compile(r"[;|&<>(){}$`*?~#!\\\[\]\n]")


class ProgramContext(NamedTuple):
    """What a program runs under.

    Attributes:
        environ: its environment.
        directory: where it starts; None = where we are.
        identity: whom root becomes for it; None = nobody else.
        limits: its limits.
    """

    environ: Mapping[str, str]
    directory: str | None = None
    identity: Identity | None = None
    limits: Limits = Limits()


def argv_of(text: str, path: str | None) -> list[str]:
    """Return what to exec for a command line.

    A plain command is executed itself, so that signals and the death of its parent reach
    it; one with shell syntax, or a word that only a shell knows, goes through `/bin/sh -c`.

    Args:
        text: the command line.
        path: the PATH to look in.
    """
    shell = [SHELL, "-c", text]
    if _SYNTAX.search(re.sub(r"'[^']*'", "", text)):
        return shell
    try:
        words = shlex.split(text)
    except ValueError:  # a quote is open: the shell says so
        return shell
    if not words or "=" in words[0]:
        return shell
    program = words[0] if "/" in words[0] else _found(words[0], path or os.defpath)
    return [program, *words[1:]] if program else shell


def _found(name: str, path: str) -> str | None:
    # shutil.which would bring compression libraries into every process.
    for directory in path.split(os.pathsep):
        program = os.path.join(directory, name)
        if os.path.isfile(program) and os.access(program, os.X_OK):
            return program
    return None


def start(argv: list[str], conditions: ProgramContext, *, session: bool = False,
          outlives: bool = False, stdin: bool = False, pidfile: str | None = None) -> int:
    """Start a program and return its pid.

    Args:
        argv: the program and its arguments.
        conditions: what it runs under.
        session: whether it leads a session and a group of its own.
        outlives: whether it may live on when its parent dies.
        stdin: whether it gets our standard input instead of /dev/null.
        pidfile: a file for its pid, written as whom it runs as.

    Raises:
        OSError: it cannot be started.
    """
    def prepare() -> None:
        if session:
            os.setsid()
        if not stdin:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
        if conditions.directory:
            os.chdir(conditions.directory)
        assume(conditions, outlives)
        if pidfile:
            fd = os.open(pidfile, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            os.write(fd, b"%d\n" % os.getpid())
        os.execve(argv[0], argv, conditions.environ)

    return fork(prepare)


def assume(conditions: ProgramContext, outlives: bool = False) -> None:
    """Take on limits and identity, and bind our life to our parent's."""
    parent = os.getppid()
    conditions.limits.apply()
    if conditions.identity is not None and os.geteuid() == 0:
        conditions.identity.assume(python=False)
    if not outlives:
        try:
            kernel.die_with_parent()  # behind the change of the user, which clears it
        except OSError:
            pass  # a sandbox that forbids prctl
        if os.getppid() != parent:
            os._exit(0)


def fork(task: Callable[[], None], *, waits: bool = True) -> int:
    """Do something in a child with default signals, and return its pid.

    Args:
        task: what the child does before it ends with status 0, or execs.
        waits: whether to wait for the exec, to hear why there is none.

    Raises:
        OSError: there is no child, or its task raised this error before an exec.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it execs; threads are no matter
            pid: int = kernel.original("os", "fork")()
        if pid == 0:
            _be_child(task, theirs)
    finally:
        kernel.original("os", "close")(theirs)  # gevent's waits for the hub
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    with os.fdopen(ours, "rb", 0) as report:
        told = report.read(4096) if waits else b""
    if told:
        kernel.original("os", "waitpid")(pid, 0)
        number, _, text = told.decode("utf-8", "replace").partition(" ")
        raise OSError(int(number), text)
    return pid


def _be_child(task: Callable[[], None], report: int) -> NoReturn:
    try:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        task()
        os._exit(0)
    except OSError as error:
        text = (error.strerror or str(error)) + (f": {error.filename}" if error.filename else "")
        os.write(report, f"{error.errno or 0} {text}".encode("utf-8", "replace")[:4096])
    except GeventuwsgiError as error:
        os.write(report, f"0 {error}".encode("utf-8", "replace")[:4096])
    finally:
        os._exit(1)


def run(argv: list[str], conditions: ProgramContext) -> int:
    """Run a program to its end; return its exit status, or minus the signal that ended it.

    If we are interrupted it is killed.

    Raises:
        OSError: it cannot be started.
    """
    waitpid = kernel.original("os", "waitpid")
    pid = start(argv, conditions)
    try:
        return os.waitstatus_to_exitcode(waitpid(pid, 0)[1])
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        waitpid(pid, 0)
        raise


def how(status: int) -> str:
    """Say how a process ended; `status` as of os.waitstatus_to_exitcode."""
    if status == 127:
        return "exit status 127: command not found"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
