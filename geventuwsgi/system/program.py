"""Run a program of the operator's: the command of a hook, or a daemon.

Rules:

- The program inherits none of our descriptors and has default signal actions: fork, a few
  system calls, exec.
- Its user, limits, directory and environment are those of its `ProgramContext`.
- Unless `outlives` is set, the kernel kills it when the process that started it dies.
- This works in the master and in processes that gevent has patched: fork, close and waitpid
  are the original ones.
"""

import os
import re
import shlex
import signal
import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple, NoReturn

from ..errors import GeventuwsgiError
from ..privileges import Identity
from . import kernel
from .limits import Limits

SHELL = "/bin/sh"
# Characters that have a meaning for a shell, except within single quotes.
_SYNTAX = re.compile(r"[;|&<>(){}$`*?~#!\\\[\]\n]")


class ProgramContext(NamedTuple):
    """The surroundings of a program.

    Attributes:
        environ: its environment.
        directory: its current directory; None = ours.
        identity: the user that root changes to for it; None = no change.
        limits: its resource limits.
    """

    environ: Mapping[str, str]
    directory: str | None = None
    identity: Identity | None = None
    limits: Limits = Limits()


def argv_of(text: str, path: str | None) -> list[str]:
    """Return the arguments to execute for a command line.

    A plain command is executed directly, so that signals and the death of its parent reach
    it. One with shell syntax or a shell builtin is run by `/bin/sh -c`.

    Args:
        text: the command line.
        path: the PATH to search.
    """
    shell = [SHELL, "-c", text]
    if _SYNTAX.search(re.sub(r"'[^']*'", "", text)):
        return shell
    try:
        words = shlex.split(text)
    except ValueError:  # an unclosed quote: the shell reports it
        return shell
    if not words or "=" in words[0]:
        return shell
    program = words[0] if "/" in words[0] else _found(words[0], path or os.defpath)
    return [program, *words[1:]] if program else shell


def _found(name: str, path: str) -> str | None:
    # shutil.which would load compression libraries into every process.
    for directory in path.split(os.pathsep):
        program = os.path.join(directory, name)
        if os.path.isfile(program) and os.access(program, os.X_OK):
            return program
    return None


def start(argv: list[str], context: ProgramContext, *, session: bool = False,
          outlives: bool = False, stdin: bool = False, pidfile: str | None = None) -> int:
    """Start a program and return its pid.

    Args:
        argv: the program and its arguments.
        context: its user, limits, directory and environment.
        session: run it in a session and process group of its own.
        outlives: let it live on when its parent dies.
        stdin: give it our standard input instead of /dev/null.
        pidfile: a file for its pid, written as the user that it runs as.

    Raises:
        OSError: it cannot be started.
    """
    def prepare() -> None:
        if session:
            os.setsid()
        if not stdin:
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
        if context.directory:
            os.chdir(context.directory)
        assume(context, outlives)
        if pidfile:
            fd = os.open(pidfile, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            os.write(fd, b"%d\n" % os.getpid())
        os.execve(argv[0], argv, context.environ)

    return fork(prepare)


def assume(context: ProgramContext, outlives: bool = False) -> None:
    """Apply limits and user to this process, and have it die with its parent."""
    parent = os.getppid()
    context.limits.apply()
    if context.identity is not None and os.geteuid() == 0:
        context.identity.assume(python=False)
    if not outlives:
        try:
            kernel.die_with_parent()  # after the change of user, which clears it
        except OSError:
            pass  # a sandbox that forbids prctl
        if os.getppid() != parent:
            os._exit(0)


def fork(task: Callable[[], None], *, waits: bool = True) -> int:
    """Run a task in a child with default signal actions, and return the child's pid.

    Args:
        task: called in the child, which then exits with status 0 unless the task called exec.
        waits: wait for the exec, and raise the error of a child that did not get so far.

    Raises:
        OSError: the fork failed, or the task raised this error before an exec.
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():
            # An exec follows, so that threads do not matter.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid: int = kernel.original("os", "fork")()
        if pid == 0:
            _run_child(task, theirs)
    finally:
        kernel.original("os", "close")(theirs)  # gevent's waits for the hub
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    with os.fdopen(ours, "rb", 0) as report:
        data = report.read(4096) if waits else b""
    if data:
        kernel.original("os", "waitpid")(pid, 0)
        number, _, text = data.decode("utf-8", "replace").partition(" ")
        raise OSError(int(number), text)
    return pid


def _run_child(task: Callable[[], None], report: int) -> NoReturn:
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


def run(argv: list[str], context: ProgramContext) -> int:
    """Run a program and wait for it; return its exit status, or minus the signal that killed it.

    An exception in this process, such as `SystemExit` of a signal handler, kills the program.

    Raises:
        OSError: it cannot be started.
    """
    waitpid = kernel.original("os", "waitpid")
    pid = start(argv, context)
    try:
        return os.waitstatus_to_exitcode(waitpid(pid, 0)[1])
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        waitpid(pid, 0)
        raise


def kill_group(pid: int) -> None:
    """Kill a program that was started in a session of its own and not reaped yet; 0 is none."""
    if pid:
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            os.kill(pid, signal.SIGKILL)  # it has no group of its own yet


def describe_status(status: int) -> str:
    """Describe how a process ended; `status` is that of `os.waitstatus_to_exitcode`."""
    if status == 127:
        return "exit status 127: command not found"
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"
