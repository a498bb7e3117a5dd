"""The options on hooks, daemons, watched files and limits of processes.

docs/hooks.rst describes when each hook runs, and in which process.
"""

import re

from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values import cron, daemons
from geventuwsgi.config.values.cron import Cron
from geventuwsgi.config.values.daemons import Daemon
from geventuwsgi.config.values.hooks import (
    NO_MOUNTS, ApplicationHook, CommandLine, Hook, MasterHook, TouchCommand, TouchHook,
)
from geventuwsgi.config.values.numbers import Megabytes, Number, Seconds
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Boolean, Many, Path, ValueType


class Nice(ValueType):
    """A nice value (setpriority(2))."""

    metavar = "N"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        if not re.fullmatch(r"-?\d+", text) or not -20 <= int(text) <= 19:
            context.fail(f"{text!r} is not a number from -20 to 19")
        return int(text)


# Phase, when it is, and whether uWSGI has an exec- option for it too; in chronological order.
PHASES: tuple[tuple[str, str, bool], ...] = (
    ("asap", "as soon as the configuration is read, as root", True),
    ("pre-jail", "before any socket is bound, as root", True),
    ("in-jail", "before any socket is bound, as root", True),
    ("as-root", "before sockets are bound and root privileges are dropped", True),
    ("as-user", "after root privileges are dropped", True),
    ("pre-app", "before the application is loaded", True),
    ("post-app", "after the application is loaded", True),
    ("master-start", "when the master starts to supervise its workers", False),
    ("post-fork", "in each new worker", False),
    ("accepting", "in each worker before it accepts connections", False),
    ("accepting-once", "in each worker before it accepts connections, but not in one that "
     "replaces another", False),
    ("accepting1", "in the first worker before it accepts connections", False),
    ("accepting1-once", "in the first worker before it accepts connections, but not in one that "
     "replaces it", False),
    ("as-user-atexit", "when the server exits", True),
)
_ONLY_ON_EXIT = "it runs when the server exits; uWSGI also runs it at each reload"
_DIFFERENCES = {"as-user-atexit": _ONLY_ON_EXIT,
                "master-start": "it runs as the application's user; unix_signal supports only "
                                "some of uWSGI's functions"}
# Phases that run in a process that has loaded the application, or is about to.
_APPLICATION = ("pre-app", "post-app", "post-fork", "accepting", "accepting-once", "accepting1",
                "accepting1-once")
_HOOKS = "Hooks"


def _phase(phase: str, when: str, has_exec: bool) -> tuple[Option, ...]:
    value_type: ValueType = (MasterHook() if phase == "master-start" else
                             ApplicationHook() if phase in _APPLICATION else Hook())
    difference = _DIFFERENCES.get(phase, "")
    rows = [Option(f"hook-{phase}", Many(value_type), f"run an action {when}; may be repeated",
                   _HOOKS, default=(), merge=True, difference=difference)]
    if has_exec:
        rows.append(Option(f"exec-{phase}", Many(CommandLine()), f"run a command {when}; may be "
                           "repeated", _HOOKS, default=(), merge=True, difference=difference))
    return tuple(rows)


HOOKS: tuple[Option, ...] = (
    *(row for phase in PHASES for row in _phase(*phase)),
    Option("hook-touch", Many(TouchHook()), "run an action when a file is touched: FILE "
           "ACTION:ARGUMENT; may be repeated", _HOOKS, default=(), merge=True),
    Option("touch-exec", Many(TouchCommand()), "run a command when a file is touched: FILE "
           "COMMAND; may be repeated", _HOOKS, default=(), merge=True),
    Option("touch-logreopen", Many(Path()), "reopen the logs when a file is touched; may be "
           "repeated", _HOOKS, default=(), merge=True),
    Option("touch-logrotate", Many(Path()), "rename the log files and open new ones when a file "
           "is touched; may be repeated", _HOOKS, default=(), merge=True),
)

_DAEMONS = "Daemons"
_CRON = "it runs when the minute begins, and not at the start of the server"
DAEMONS: tuple[Option, ...] = (
    Option("attach-daemon", Many(Daemon(daemons.simple, "COMMAND")), "run a program beside the "
           "workers, and restart it when it ends; may be repeated", _DAEMONS, default=(),
           merge=True,
           difference="it is started once the application is loaded, and ends after the last "
                      "worker"),
    Option("attach-control-daemon", Many(Daemon(daemons.control, "COMMAND")), "as attach-daemon, "
           "and stop the server when it ends", _DAEMONS, default=(), merge=True),
    Option("attach-daemon2", Many(Daemon(daemons.keyed, "KEY=VALUE,...")), "as attach-daemon, in "
           "key-value form: cmd, pidfile, freq, control, daemonize, touch, stopsignal, "
           "reloadsignal, stdin, uid, gid, chdir, max_throttle, notifypid", _DAEMONS,
           default=(), merge=True,
           difference="signals may be given by name; a daemon that keeps running after its "
                      "reloadsignal is not killed"),
    Option("smart-attach-daemon", Many(Daemon(daemons.smart, "PIDFILE[,CHECKS] COMMAND")),
           "run a program that daemonizes and writes a pid file, and restart it when it ends; may "
           "be repeated",
           _DAEMONS, default=(), merge=True),
    Option("smart-attach-daemon2", Many(Daemon(daemons.smart2, "PIDFILE[,CHECKS] COMMAND")),
           "as smart-attach-daemon, for a program that does not daemonize; may be repeated",
           _DAEMONS, default=(), merge=True),
    Option("daemons-honour-stdin", Boolean(), "give daemons the master's standard input",
           _DAEMONS, default=False),
    Option("reload-mercy", Seconds(minimum=1), "seconds that daemons have to stop", _DAEMONS,
           default=3),
    Option("cron", Many(Cron(cron.listed, "MINUTE HOUR DAY MONTH WEEKDAY COMMAND")), "run a "
           "command at these times: -1 is any, -N each that N divides, weekday 0 and 7 are Sunday; "
           "may be repeated", _DAEMONS, default=(), merge=True, difference=_CRON),
    Option("unique-cron", Many(Cron(cron.unique, "MINUTE HOUR DAY MONTH WEEKDAY COMMAND")),
           "as cron, but not while the command still runs; may be repeated", _DAEMONS, default=(),
           merge=True, difference=_CRON),
    Option("cron2", Many(Cron(cron.keyed, "KEY=VALUE,... COMMAND")), "as cron, in key-value form: "
           "minute, hour, day, month, week, unique, harakiri; may be repeated", _DAEMONS,
           default=(), merge=True, difference=_CRON),
    Option("cron-harakiri", Seconds(), "seconds after which a scheduled command is killed; 0: "
           "never", _DAEMONS, default=0),
    Option("daemonize", Path(), "run in the background and write all logs to this file", _DAEMONS,
           letters="d",
           difference="the command returns when the server is ready, or with the exit status of "
                      "the failed startup; the umask is kept, except for the mode of unix sockets"),
    Option("daemon", Boolean(), "gunicorn's form of daemonize: logs are only written to logto, "
           "access-logfile and error-logfile", _DAEMONS, default=False, letters="D",
           everywhere=False),
    Option("daemonize2", Path(), "as daemonize, and show the log of the startup on the terminal",
           _DAEMONS,
           difference="the log of the startup is in the file too; the command returns when the "
                      "server is ready, or with the exit status of the failed startup"),
)

_LIMITS = "Limits of processes"
LIMITS: tuple[Option, ...] = (
    Option("limit-as", Megabytes(off=True), "maximum address space of each process", _LIMITS,
           derived="as inherited", difference="the master itself is not limited"),
    Option("limit-nproc", Number(off=True), "maximum number of processes and threads of the user",
           _LIMITS, derived="as inherited", difference="the master itself is not limited"),
    Option("max-fd", Number(off=True, minimum=64),
           "maximum number of open files per process, at least 64", _LIMITS,
           derived="as inherited",
           difference="a value above the hard limit needs root; otherwise it is lowered with a "
                      "warning"),
    Option("prio", Nice(), "the nice value of workers and daemons",
           _LIMITS, derived="as inherited", difference="the master keeps its own"),
    Option("cpu-affinity", Number(off=True), "number of processors that each worker is bound to, "
           "assigned in turn", _LIMITS, derived="all",
           difference="only processors that the server may use are counted"),
)

_NO_EMPEROR = "there is no emperor: start each configuration as a service of its own"
_NO_C = "this server cannot call C functions: use hook-{} = exec:COMMAND"
_EMPEROR_PHASES = ("emperor-start", "emperor-stop", "emperor-reload", "emperor-lost", "as-emperor",
                   "as-vassal")
_CALLED = "asap pre-jail post-jail in-jail as-root as-user as-user-atexit pre-app post-app".split()
_MOUNTED = "asap pre-jail post-jail in-jail as-root as-vassal as-emperor".split()
UNSUPPORTED: tuple[Option, ...] = (
    *ignored("hook-post-jail exec-post-jail", "there are no jails, and uWSGI runs it only in one",
             ValueType()),
    *ignored("hook-as-mule", "there are no mules", ValueType()),
    *ignored("hook-as-gateway", "no hook runs in the router process", ValueType()),
    *refused(" ".join(f"hook-{phase}" for phase in _EMPEROR_PHASES), _NO_EMPEROR),
    *refused("exec-as-emperor exec-as-vassal vassals-start-hook vassals-stop-hook call-as-emperor "
             "call-as-emperor1 call-as-emperor2 call-as-emperor4 call-as-vassal call-as-vassal1 "
             "call-as-vassal3", _NO_EMPEROR),
    *(row for phase in _CALLED for row in refused(f"call-{phase}", _NO_C.format(phase))),
    *refused("after-request-hook after-request-call", "there is no hook between requests: use "
             "middleware in the application"),
    *refused(" ".join(f"{what}-{phase}" for what in ("mount", "umount") for phase in _MOUNTED),
             NO_MOUNTS),
    *refused("legion-attach-daemon legion-smart-attach-daemon legion-smart-attach-daemon2",
             "there is no legion: use attach-daemon, or run it as a service of its own"),
    *refused("touch-signal", "there are no uWSGI signals: use touch-exec or hook-touch"),
)
