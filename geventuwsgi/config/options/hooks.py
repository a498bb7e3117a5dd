"""The rows of hooks, daemons, watched files and limits of processes.

Who runs a phase, and when, stands in docs/hooks.rst.
"""

import re

from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values import daemons
from geventuwsgi.config.values.daemons import Daemon
from geventuwsgi.config.values.hooks import (
    CommandLine, Hook, MasterHook, OwnHook, TouchCommand, TouchHook,
)
from geventuwsgi.config.values.numbers import Megabytes, Number, Seconds
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Boolean, ValueType, Many, Path


class Nice(ValueType):
    """A nice value, setpriority(2)."""

    metavar = "N"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        if not re.fullmatch(r"-?\d+", text) or not -20 <= int(text) <= 19:
            context.fail(f"{text!r} is not a number from -20 to 19")
        return int(text)


# Phase, what it is, and whether uWSGI has an exec- option for it too. In the order of life.
PHASES: tuple[tuple[str, str, bool], ...] = (
    ("asap", "as soon as the configuration is read, as root", True),
    ("pre-jail", "before anything is bound, as root", True),
    ("in-jail", "before anything is bound, as root", True),
    ("as-root", "before sockets are bound and root is dropped", True),
    ("as-user", "after root was dropped", True),
    ("pre-app", "before the application is loaded", True),
    ("post-app", "after the application was loaded", True),
    ("master-start", "when the master starts to look after its workers", False),
    ("post-fork", "in each new worker", False),
    ("accepting", "in each worker before it accepts connections", False),
    ("accepting-once", "in each worker before it accepts connections, but not in one that "
     "replaces another", False),
    ("accepting1", "in the first worker before it accepts connections", False),
    ("accepting1-once", "in the first worker before it accepts connections, but not in one that "
     "replaces it", False),
    ("as-user-atexit", "when the server ends", True),
)
_ONLY_AT_THE_END = "it runs when the server ends; uWSGI runs it at each reload too"
_DIFFERENCES = {"as-user-atexit": _ONLY_AT_THE_END,
                "master-start": "it runs as the application's user; unix_signal binds a signal "
                                "to a function of uWSGI's that is known here"}
# Phases of the processes that have the application, or will have it.
_OWN = ("pre-app", "post-app", "post-fork", "accepting", "accepting-once", "accepting1",
        "accepting1-once")
_HOOKS = "Hooks"


def _phase(phase: str, when: str, has_exec: bool) -> tuple[Option, ...]:
    kind: ValueType = (MasterHook() if phase == "master-start" else
                       OwnHook() if phase in _OWN else Hook())
    difference = _DIFFERENCES.get(phase, "")
    rows = [Option(f"hook-{phase}", Many(kind), f"run an action {when}; may be repeated", _HOOKS,
                   default=(), merge=True, difference=difference)]
    if has_exec:
        rows.append(Option(f"exec-{phase}", Many(CommandLine()), f"run a command {when}; may be "
                           "repeated", _HOOKS, default=(), merge=True, difference=difference))
    return tuple(rows)


_NO_EMPEROR = "there is no emperor here: start each configuration as a service of its own"
_NO_C = "there are no C functions to call in this server: use hook-{} = exec:COMMAND"
_NO_MOUNT = "mounts are for the service manager or the container"
HOOKS: tuple[Option, ...] = (
    *(row for phase in PHASES for row in _phase(*phase)),
    Option("hook-touch", Many(TouchHook()), "run an action when a file is touched: FILE "
           "ACTION:ARGUMENT; may be repeated", _HOOKS, default=(), merge=True),
    Option("touch-exec", Many(TouchCommand()), "run a command when a file is touched: FILE "
           "COMMAND; may be repeated", _HOOKS, default=(), merge=True),
    Option("touch-logreopen", Many(Path()), "open the logs anew when a file is touched; may be "
           "repeated", _HOOKS, default=(), merge=True),
    Option("touch-logrotate", Many(Path()), "rename the log files and open new ones when a file "
           "is touched; may be repeated", _HOOKS, default=(), merge=True),
)

_DAEMONS = "Daemons"
DAEMONS: tuple[Option, ...] = (
    Option("attach-daemon", Many(Daemon(daemons.simple, "COMMAND")), "run a program beside the "
           "workers, and again when it ends; may be repeated", _DAEMONS, default=(), merge=True,
           difference="it is started once the application is loaded, and ends after the last "
                      "worker"),
    Option("attach-control-daemon", Many(Daemon(daemons.control, "COMMAND")), "the same, and the "
           "server ends when it ends", _DAEMONS, default=(), merge=True),
    Option("attach-daemon2", Many(Daemon(daemons.keyed, "KEY=VALUE,...")), "the same in key-value "
           "form: cmd, pidfile, freq, control, daemonize, touch, stopsignal, reloadsignal, stdin, "
           "uid, gid, chdir, max_throttle, notifypid", _DAEMONS, default=(), merge=True,
           difference="signals may be names; a daemon with a reloadsignal that lives on after it "
                      "is not killed"),
    Option("smart-attach-daemon", Many(Daemon(daemons.smart, "PIDFILE[,CHECKS] COMMAND")),
           "keep a program alive that daemonizes and writes a pid file; may be repeated",
           _DAEMONS, default=(), merge=True),
    Option("smart-attach-daemon2", Many(Daemon(daemons.smart2, "PIDFILE[,CHECKS] COMMAND")),
           "the same for a program that does not daemonize; may be repeated", _DAEMONS,
           default=(), merge=True),
    Option("daemons-honour-stdin", Boolean(), "give daemons the master's standard input",
           _DAEMONS, default=False),
    Option("reload-mercy", Seconds(minimum=1), "how many seconds daemons have to end", _DAEMONS,
           default=3),
    Option("daemonize", Path(), "go to the background and write all logs to this file", _DAEMONS,
           letters="d",
           difference="the starting command returns when the server is ready, with the exit "
                      "status of a start that failed; the umask stays, but for the mode of unix "
                      "sockets"),
    Option("daemon", Boolean(), "gunicorn's form of daemonize: nothing is logged but to logto, "
           "access-logfile and error-logfile", _DAEMONS, default=False, letters="D",
           everywhere=False),
    Option("daemonize2", Path(), "the same, and show the log of the start on the terminal",
           _DAEMONS,
           difference="the log of the start is in the file too; the starting command returns "
                      "when the server is ready, with the exit status of a start that failed"),
)

_LIMITS = "Limits of processes"
LIMITS: tuple[Option, ...] = (
    Option("limit-as", Megabytes(off=True), "the address space of each process", _LIMITS,
           derived="as inherited", difference="the master itself is not limited"),
    Option("limit-nproc", Number(off=True), "how many processes and threads the user may have",
           _LIMITS, derived="as inherited", difference="the master itself is not limited"),
    Option("max-fd", Number(off=True, minimum=64),
           "how many files each process may open, at least 64", _LIMITS,
           derived="as inherited",
           difference="more than the hard limit takes root and is else cut with a warning"),
    Option("prio", Nice(), "the nice value of workers and daemons",
           _LIMITS, derived="as inherited", difference="the master keeps its own"),
    Option("cpu-affinity", Number(off=True), "how many processors each worker is bound to, in "
           "turn", _LIMITS, derived="all",
           difference="only processors that the server may use count"),
)

_EMPEROR_PHASES = ("emperor-start", "emperor-stop", "emperor-reload", "emperor-lost", "as-emperor",
                   "as-vassal")
_CALLED = "asap pre-jail post-jail in-jail as-root as-user as-user-atexit pre-app post-app".split()
_MOUNTED = "asap pre-jail post-jail in-jail as-root as-vassal as-emperor".split()
WITHOUT: tuple[Option, ...] = (
    *ignored("hook-post-jail exec-post-jail", "there is no jail, and uWSGI runs it only with one",
             ValueType()),
    *ignored("hook-as-mule", "there are no mules for it to run in", ValueType()),
    *ignored("hook-as-gateway", "there is no router process for it to run in", ValueType()),
    *refused(" ".join(f"hook-{phase}" for phase in _EMPEROR_PHASES), _NO_EMPEROR),
    *refused("exec-as-emperor exec-as-vassal vassals-start-hook vassals-stop-hook call-as-emperor "
             "call-as-emperor1 call-as-emperor2 call-as-emperor4 call-as-vassal call-as-vassal1 "
             "call-as-vassal3", _NO_EMPEROR),
    *(row for phase in _CALLED for row in refused(f"call-{phase}", _NO_C.format(phase))),
    *refused("after-request-hook after-request-call", "nothing runs between requests here: use "
             "middleware of the application"),
    *refused(" ".join(f"{what}-{phase}" for what in ("mount", "umount") for phase in _MOUNTED),
             _NO_MOUNT),
    *refused("legion-attach-daemon legion-smart-attach-daemon legion-smart-attach-daemon2",
             "there is no legion here: use attach-daemon, or run it as a service of its own"),
    *refused("touch-signal", "there are no uWSGI signals here: use touch-exec or hook-touch"),
)
ROWS: tuple[Option, ...] = (*HOOKS, *DAEMONS, *LIMITS)
