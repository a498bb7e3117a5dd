"""The rows of workers that are replaced while they serve, and of their changing number.

Limits, units and defaults are uWSGI's; what differs stands in the rows.
"""

import re

from geventuwsgi.config.options.application import UVICORN_WORKERS
from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values.numbers import Megabytes, Number, Seconds, Size
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import (
    Account, Address, Boolean, Choice, ValueType, Many, Name, Path,
)

_PROCESSES = "Processes"
PROCESSES = (
    Option("processes", Number(minimum=1, auto=True, on=1), "the number of worker processes; auto "
           "is the number of processors, or the quota of the container", _PROCESSES, default=1,
           aliases=("workers",), derived="1; WEB_CONCURRENCY outside [uwsgi] sections"),
    Option("gevent", Number(on=1), "how many requests a worker has inside the application at a "
           "time", _PROCESSES, aliases=("async",),
           derived="``threads``; else 1 with a [uwsgi] section, and 1000 without",
           difference="``gevent = 1`` is allowed; when all are taken the worker stops accepting "
                      "instead of spinning"),
    Option("threads", Number(on=1), "the same as gevent, where gevent is not given", _PROCESSES,
           difference="requests run in greenlets, not in native threads: a driver that blocks "
                      "in C blocks the worker's other requests"),
    Option("worker-class", Choice("gevent", "sync", "gthread", "asgi", *UVICORN_WORKERS,
                                  eventlet="workers are gevent's here",
                                  tornado="workers are gevent's here"),
           "gunicorn's kind of worker: gevent for WSGI, asgi for ASGI, sync means one request "
           "at a time, gthread means threads", _PROCESSES, default="gevent", letters="k",
           difference="uvicorn's worker classes mean asgi; uvicorn does not run"),
    Option("worker-connections", Number(minimum=1), "how many connections a worker keeps open",
           _PROCESSES, default=1000),
    Option("worker-timeout", Seconds(), "after how many seconds without a sign of life a worker "
           "is killed and replaced; 0 is never", _PROCESSES, letters="t",
           gunicorn=("timeout", "timeout-worker-healthcheck"),
           derived="30, or harakiri if that is less; in a [uwsgi] section harakiri if it is "
                   "set, else a worker stuck for 30 seconds is logged and left alone"),
    Option("worker-reload-mercy", Seconds(), "how many seconds requests in progress have to "
           "finish when a worker stops or is reloaded", _PROCESSES, default=30, uwsgi_default=60,
           gunicorn=("graceful-timeout", "timeout-graceful-shutdown"),
           difference="it holds for a stop by signal too; uWSGI cuts the requests there"),
    Option("uid", Account(), "the user to become before the application is loaded", _PROCESSES,
           gunicorn=("user",), letters="u",
           difference="the master keeps the rights it was started with, so that it can reload"),
    Option("gid", Account(group=True), "the group to become", _PROCESSES, gunicorn=("group",),
           letters="g"),
    Option("pidfile", Path(), "write the master's process id to this file", _PROCESSES,
           gunicorn=("pid",)),
    Option("pidfile2", Path(), "the same, as the user of uid", _PROCESSES),
    Option("safe-pidfile", Path(), "the same, once the workers are started", _PROCESSES),
    Option("safe-pidfile2", Path(), "the same, once the workers are started, as the user of uid",
           _PROCESSES),
    Option("auto-procname", Boolean(), "give the processes speaking names in ps", _PROCESSES,
           default=True, difference="on unless switched off"),
    Option("procname-prefix", ValueType(), "a text in front of the names", _PROCESSES, default=""),
    Option("procname-prefix-spaced", ValueType(), "a text and a blank in front of the names",
           _PROCESSES, default="", gunicorn=("name", "proc-name"), letters="n"),
    Option("procname-append", ValueType(), "a text behind the names", _PROCESSES, default=""),
    Option("procname", ValueType(), "the name of all processes", _PROCESSES, default=""),
    Option("procname-master", ValueType(), "the name of the master", _PROCESSES, default=""),
)

_SOON = ("the replacement accepts connections before the worker stops; the master looks twice "
         "a second")
_RECYCLING = "Recycling of workers"
RECYCLING = (
    Option("max-requests", Number(), "how many requests a worker serves before it is replaced; "
           "0 is no limit", _RECYCLING, default=0, letters="R", difference=_SOON,
           gunicorn=("limit-max-requests",)),
    Option("max-requests-delta", Number(), "how many more each worker serves than the one before "
           "it", _RECYCLING, default=0),
    Option("max-requests-jitter", Number(), "a random number up to this is added to the "
           "max-requests of each worker", _RECYCLING, default=0,
           gunicorn=("limit-max-requests-jitter",)),
    Option("min-worker-lifetime", Seconds(), "no worker is replaced for its requests or its "
           "memory before this age", _RECYCLING, default=10),
    Option("max-worker-lifetime", Seconds(), "the age at which a worker is replaced; 0 is no "
           "limit", _RECYCLING, default=0,
           difference=_SOON + ", and an idle worker is replaced as well"),
    Option("max-worker-lifetime-delta", Seconds(), "how much older each worker grows than the one "
           "before it", _RECYCLING, default=0),
    Option("reload-on-rss", Megabytes(), "the resident memory at which a worker is replaced; 0 is "
           "no limit", _RECYCLING, default=0,
           difference=_SOON + ". A worker that takes more from its start is replaced only once it "
           "has grown, with a warning"),
    Option("reload-on-as", Megabytes(), "the same for its address space", _RECYCLING, default=0,
           difference="as reload-on-rss"),
    Option("evil-reload-on-rss", Megabytes(), "the resident memory at which the master kills a "
           "worker, whatever it is doing; 0 is no limit", _RECYCLING, default=0),
    Option("evil-reload-on-as", Megabytes(), "the same for its address space", _RECYCLING,
           default=0),
    Option("mem-collector-freq", Seconds(minimum=1), "how often the master measures for the evil "
           "limits", _RECYCLING, default=3),
)

_CHEAPER = "Number of workers"
CHEAPER = (
    Option("cheaper", Number(), "the least number of workers: there are more, up to processes, "
           "while there is work for them; 0 is off", _CHEAPER, default=0,
           difference="application slots in use are counted instead of busy workers, so that the "
                      "number falls with gevent too; a worker that is stopped drains"),
    Option("cheaper-initial", Number(), "how many workers there are at the start", _CHEAPER,
           default=0, derived="cheaper; without it processes"),
    Option("cheaper-step", Number(minimum=1), "how many workers are started at a time", _CHEAPER,
           default=1),
    Option("cheaper-algo", Choice("spare", "spare2", "backlog", "busyness", "manual",
                                  backlog2="the limit stands in cheaper-overload: use backlog"),
           "what decides: no free slot (spare), too few idle workers (spare2), waiting "
           "connections (backlog), the share of slots in use (busyness), signals alone (manual)",
           _CHEAPER, default="spare"),
    Option("cheaper-overload", Number(), "seconds of all slots in use before workers are started, "
           "and of calm before one is stopped; the length of a cycle of busyness; to backlog the "
           "number of connections that may wait", _CHEAPER, default=3),
    Option("cheaper-idle", Seconds(), "seconds that spare2 keeps a worker beyond the spare ones",
           _CHEAPER, default=10),
    Option("cheaper-rss-limit-soft", Size(), "bytes of memory of all workers from which on none "
           "is started; 0 is no limit", _CHEAPER, default=0,
           difference="memory-report is not needed for it"),
    Option("cheaper-rss-limit-hard", Size(), "bytes of memory of all workers from which on they "
           "become fewer, down to cheaper; 0 is no limit", _CHEAPER, default=0),
    Option("cheaper-busyness-max", Number(minimum=1, maximum=100), "percent of slots in use above "
           "which workers are started", _CHEAPER, default=50),
    Option("cheaper-busyness-min", Number(maximum=100), "percent below which one is stopped",
           _CHEAPER, default=25),
    Option("cheaper-busyness-multiplier", Number(minimum=1), "cycles of calm before one is "
           "stopped", _CHEAPER, default=10),
    Option("cheaper-busyness-penalty", Number(), "cycles more if a stopped worker was needed soon "
           "after", _CHEAPER, default=2),
    Option("cheaper-busyness-verbose", Boolean(), "log the figures of each cycle", _CHEAPER,
           default=False),
    Option("cheaper-busyness-backlog-alert", Number(), "the number of waiting connections above "
           "which workers are started at once", _CHEAPER, default=33),
    Option("cheaper-busyness-backlog-step", Number(minimum=1), "how many are started then",
           _CHEAPER, default=1),
    Option("cheaper-busyness-backlog-multiplier", Number(minimum=1), "cycles of calm before one "
           "of those is stopped", _CHEAPER, default=3),
    Option("cheaper-busyness-backlog-nonzero", Number(minimum=1), "seconds of connections "
           "waiting, however few, before one is started at once", _CHEAPER, default=60),
    Option("cheap", Boolean(), "start without workers; the first connection starts them",
           _CHEAPER, default=False,
           difference="the application is loaded at the start, so that a worker is a fork away"),
    Option("idle", Seconds(), "seconds without a request before all workers are stopped until a "
           "connection comes; 0 is never", _CHEAPER, default=0),
    Option("die-on-idle", Boolean(), "end the server instead", _CHEAPER, default=False),
)


# The rows of reloading and stopping: what triggers it, and how it goes.

_RELOAD = "Reload and stop"
_FILES = ("the file may be a pattern, the new generation is started beside the old one, and if "
          "it fails the old one serves on")

RELOAD = (
    Option("touch-reload", Many(Path()), "reload when this file appears, changes or goes; may be "
           "repeated", _RELOAD, default=(), merge=True,
           aliases=("fs-reload", "fs-brutal-reload", "touch-workers-reload"),
           difference=_FILES + ". The fs- names are the same, looked at once a second, and "
           "touch-workers-reload reads the configuration too"),
    Option("touch-chain-reload", Many(Path()), "the same, one worker after the other; may be "
           "repeated", _RELOAD, default=(), merge=True,
           difference=_FILES + ". New code is picked up without lazy-apps too, and a worker's "
           "successor serves before it ends"),
    Option("chain-reload", Boolean(), "make each reload one worker after the other: there is never "
           "more than one worker above the number", _RELOAD, default=False),
    Option("py-autoreload", Seconds(), "for development: look every so many seconds whether the "
           "file of an imported module has changed, and reload; 0 is off", _RELOAD, default=0,
           aliases=("python-autoreload", "py-auto-reload", "python-auto-reload"),
           derived="0; 1 with reload, 0.5 in a development run",
           difference="the interpreter's own library and this server are not looked at"),
    Option("py-autoreload-ignore", Many(Name()), "a module that py-autoreload does not look at; "
           "may be repeated", _RELOAD, default=(), merge=True,
           aliases=("py-auto-reload-ignore",)),
    Option("reload", Boolean(), "for development: py-autoreload = 1, and where the new code does "
           "not load its traceback is served as a page. Before a pid file: reload the server of "
           "that file, wait for the outcome, then end", _RELOAD, default=False, everywhere=False,
           difference="it waits until the new workers serve, and tells on the standard error why "
                      "they do not"),
    Option("stop", Path(), "stop the server of this pid file gracefully, wait for its end, then "
           "end", _RELOAD, status="command",
           difference="it waits, and tells on the standard error what went wrong"),
    Option("shutdown-delay", Seconds(), "serve on for so many seconds after the order to stop, "
           "while readiness checks are answered 503; 0 is off", _RELOAD, default=0),
    Option("readiness-path", Many(Path(), split=","), "what a load balancer asks to know whether "
           "to send requests here: with shutdown-delay answered by the server itself once it is "
           "to stop; may be repeated", _RELOAD, default=("/readyz", "/healthz"), merge=False),
    Option("mount-check", Many(Path()), "end with status 1 when this is no mountpoint any more; "
           "may be repeated", _RELOAD, default=(), merge=True,
           aliases=("check-mount", "check-mountpoint", "mountpoint-check"),
           difference="requests in progress may finish"),
    Option("exit-on-reload", Boolean(), "stop instead of reloading, for a supervisor that starts "
           "the server anew", _RELOAD, default=False),
)


# The rows of development runs; what such a run changes in others stands in `development`.

_DEVELOPMENT = "Development"
DEVELOPMENT = (
    Option("dev", Boolean(), "a development run: one worker, HTTP on 127.0.0.1:8000 where no "
           "socket speaks it, reload on change, tracebacks in the browser, one short line per "
           "request, no time limits", _DEVELOPMENT, default=False, everywhere=False,
           derived="off; on under ``python -m geventuwsgi``"),
    Option("reload-extra-file", Many(Path()), "a file, or a pattern, whose change reloads the "
           "application too where py-autoreload looks at the modules; may be repeated",
           _DEVELOPMENT, default=(), merge=True,
           gunicorn=("reload-extra-files",)),
)


# The rows of operating an instance: what it waits for at a start, and who may order it about.

class SocketMap(ValueType):
    """`SOCKET:WORKER[,WORKER...]`: which workers accept from a socket."""

    metavar = "SOCKET:WORKER[,...]"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        plain = re.sub(r"\s+", "", text)
        if not re.fullmatch(r"\d+:[1-9]\d*(,[1-9]\d*)*", plain):
            context.fail(f"{text!r} is not of the form SOCKET:WORKER[,WORKER...]: sockets count from "
                         "0, workers from 1")
        return plain


_OPERATION = "Operation"

OPERATION: tuple[Option, ...] = (
    Option("master-fifo", Many(Path()), "take orders of one character from a named pipe; may be "
           "repeated, for up to ten slots", _OPERATION, default=(), merge=True,
           difference="``R``, ``w`` and ``W`` are graceful reloads of the whole, and what is no "
                      "order is told in the log"),
    Option("pause", Path(), "have the workers of this pid file's server take no connections, "
           "then end", _OPERATION, aliases=("suspend",), status="command",
           difference="a second order changes nothing; there it is what resumes"),
    Option("resume", Path(), "have them take connections again, then end", _OPERATION,
           status="command", difference="of workers that do not pause it changes nothing"),
    Option("ping", Address(), "ask over the uwsgi protocol whether a server answers, then end "
           "with status 0 or 1", _OPERATION, status="command"),
    Option("ping-timeout", Seconds(), "how many seconds ping waits, if not 3", _OPERATION,
           status="command"),
    Option("connect-and-read", Address(), "print what a socket sends to whoever connects, such "
           "as that of py-tracebacker, then end", _OPERATION, status="command"),
    Option("flock", Many(Path()), "lock a file, and do not start if another process has locked "
           "it; may be repeated", _OPERATION, default=(), merge=True, aliases=("flock2",),
           difference="the file is made if it is not there"),
    Option("flock-wait", Many(Path()), "the same, but wait until it is free", _OPERATION,
           default=(), merge=True, aliases=("flock-wait2",),
           difference="the file is made if it is not there"),
    Option("wait-for-interface", Many(Name()), "before anything else wait until there is a "
           "network interface of this name; may be repeated", _OPERATION, default=(), merge=True,
           aliases=("wait-interface", "wait-for-iface", "wait-iface")),
    Option("wait-for-interface-timeout", Seconds(), "give up after so many seconds", _OPERATION,
           default=60, aliases=("wait-interface-timeout", "wait-for-iface-timeout",
                                "wait-iface-timeout")),
    Option("wait-for-fs", Many(Path()), "before anything else wait until this path is there; "
           "may be repeated", _OPERATION, default=(), merge=True),
    Option("wait-for-file", Many(Path()), "the same for a file", _OPERATION, default=(),
           merge=True),
    Option("wait-for-dir", Many(Path()), "the same for a directory", _OPERATION, default=(),
           merge=True),
    Option("wait-for-mountpoint", Many(Path()), "the same for a mounted file system", _OPERATION,
           default=(), merge=True),
    Option("wait-for-fs-timeout", Seconds(), "give up after so many seconds", _OPERATION,
           default=60),
    Option("wait-for-socket", Many(Address()), "before the application is loaded wait until "
           "this address takes connections; may be repeated", _OPERATION, default=(), merge=True,
           difference="a reload waits too, while the old code serves on"),
    Option("wait-for-socket-timeout", Seconds(), "give up after so many seconds", _OPERATION,
           default=60),
    Option("honour-stdin", Boolean(), "give the application the server's standard input instead "
           "of /dev/null", _OPERATION, default=False),
    Option("mode", Name(), "a text for the application, which finds it as uwsgi.mode", _OPERATION),
    Option("reaper", Boolean(), "reap the processes that the application started and does not wait "
           "for; whoever waits for one by its number may come too late", _OPERATION,
           default=False, letters="r",
           difference="as soon as they end, not after the next request"),
    Option("skip-atexit", Boolean(), "run nothing at the end of a worker of what the application "
           "registered with atexit or as uwsgi.atexit", _OPERATION, default=False),
)

_SOCKETS = "Sockets"
# More about sockets than most need; they stand with the others under `Sockets`.
MORE_SOCKETS: tuple[Option, ...] = (
    Option("shared-socket", Many(Address()), "bind an address that other options name by its "
           "number, counted from 0, as =0; may be repeated", _SOCKETS, default=(), merge=True,
           aliases=("undeferred-shared-socket",),
           difference="one that no option names is not bound"),
    Option("map-socket", Many(SocketMap()), "let only these workers accept from a socket; "
           "sockets count from 0 in the order written, those of http not; may be repeated",
           _SOCKETS, default=(), merge=True),
    Option("abstract-socket", Boolean(), "make all unix sockets abstract: no file, as with @name",
           _SOCKETS, default=False),
    Option("freebind", Boolean(), "bind addresses that the machine does not have yet "
           "(IP_FREEBIND)", _SOCKETS, default=False),
)

_RIGHTS = "Processes"
RIGHTS: tuple[Option, ...] = (
    Option("add-gid", Many(Account(group=True)), "a further group of whom uid names; may be "
           "repeated", _RIGHTS, default=(), merge=True),
    Option("no-initgroups", Boolean(), "do without the groups that the user of uid is a member of",
           _RIGHTS, default=False),
    Option("immediate-uid", Account(), "the user to become before anything else: the master too, "
           "for good", _RIGHTS,
           difference="sockets, logs and pid files are opened as that user, also at a reload"),
    Option("immediate-gid", Account(group=True), "the group to become before anything else",
           _RIGHTS),
    Option("drop-after-apps", Boolean(), "become the user of uid only when the application is "
           "loaded", _RIGHTS, default=False,
           difference="with lazy-apps workers load as that user"),
)

OPERATION_ROWS: tuple[Option, ...] = (
    *ignored("safe-fd fd-safe", "descriptors that the server was started with stay open, over "
             "reloads too", Number()),
    *refused("force-cwd", "start the server in that directory, WorkingDirectory= of systemd; "
             "chdir is the application's"),
)
