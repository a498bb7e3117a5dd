"""The options on processes: workers, their number and replacement, reloads, and operation.

Limits, units and defaults are uWSGI's; each option's `difference` says where it departs.
"""

from geventuwsgi.config.options.application import GUNICORN_WORKERS, UVICORN_WORKERS
from geventuwsgi.config.options.option import ON_BY_DEFAULT, Option, ignored
from geventuwsgi.config.values.numbers import Megabytes, Number, Seconds, Size
from geventuwsgi.config.values.types import (
    Account, Address, Boolean, Choice, Many, Name, Path, ValueType,
)

_GEVENT = "write worker-class = gevent"
_ASGI = "write interface = asgi and asgi-loop = "
# Worker classes of gunicorn and hypercorn -> what to use instead.
_OTHER_CLASSES = {
    "eventlet": _GEVENT, "tornado": _GEVENT,
    "geventwebsocket.gunicorn.workers.geventwebsocketworker":
        f"{_GEVENT}: WebSockets are those of simple-websocket (Flask-SocketIO, flask-sock)",
    "asyncio": f"{_ASGI}asyncio", "uvloop": f"{_ASGI}uvloop",
    "trio": "event loops are asyncio's and uvloop"}
_PROCESSES = "Processes"
PROCESSES: tuple[Option, ...] = (
    Option("processes", Number(minimum=1, auto=True, on=1), "number of worker processes; auto "
           "is the number of processors, or the quota of the container", _PROCESSES, default=1,
           aliases=("workers",), derived="1; WEB_CONCURRENCY outside [uwsgi] sections"),
    Option("gevent", Number(on=1), "run requests in greenlets, at most N at once in each worker, "
           "with the standard library patched", _PROCESSES, aliases=("async",),
           derived="1000; off with ``threads``, worker-class sync or gthread, or a [uwsgi] "
                   "section; 0 turns it off",
           difference="``gevent = 1`` is allowed; a worker at its maximum stops accepting "
                      "instead of busy-waiting"),
    Option("threads", Number(on=1), "run requests in N native threads of each worker, with "
           "nothing patched; 1: one at a time, in its main thread; no effect with gevent",
           _PROCESSES, derived="1 with a [uwsgi] section; otherwise see gevent",
           gunicorn=("blocking-threads",)),
    Option("worker-class", Choice("gevent", "sync", "gthread", "asgi", *UVICORN_WORKERS,
                                  also=GUNICORN_WORKERS, **_OTHER_CLASSES),
           "gunicorn's worker class: gevent for WSGI in greenlets, sync in the main thread, "
           "gthread in native threads (see threads), asgi for ASGI", _PROCESSES, letters="k",
           derived="what gevent and threads say",
           difference="uvicorn's worker classes mean asgi; uvicorn does not run"),
    Option("worker-connections", Number(minimum=1), "maximum number of connections a worker keeps "
           "open", _PROCESSES, default=1000),
    Option("worker-timeout", Seconds(), "seconds without a heartbeat of its hub after which a "
           "worker is killed and replaced; a request in a native thread does not stop the "
           "heartbeat, harakiri limits it; 0: never", _PROCESSES, letters="t",
           gunicorn=("timeout", "timeout-worker-healthcheck"),
           derived="30, or harakiri if that is less; in a [uwsgi] section harakiri if it is "
                   "set, otherwise a worker stuck for 30 seconds is only logged"),
    Option("worker-reload-mercy", Seconds(), "seconds that requests in progress have to finish "
           "when a worker is stopped or reloaded", _PROCESSES, default=30, uwsgi_default=60,
           gunicorn=("graceful-timeout", "timeout-graceful-shutdown", "workers-kill-timeout"),
           difference="it also applies to a stop by signal, where uWSGI aborts the requests"),
    Option("uid", Account(), "the user to change to before the application is loaded", _PROCESSES,
           gunicorn=("user",), letters="u",
           difference="the master keeps the rights it was started with, so that it can reload"),
    Option("gid", Account(group=True), "the group to change to", _PROCESSES, gunicorn=("group",),
           letters="g"),
    Option("pidfile", Path(), "write the master's process id to this file", _PROCESSES,
           gunicorn=("pid", "pid-file")),
    Option("pidfile2", Path(), "as pidfile, written as the user of uid", _PROCESSES),
    Option("safe-pidfile", Path(), "as pidfile, once the workers are started", _PROCESSES),
    Option("safe-pidfile2", Path(), "as pidfile2, once the workers are started",
           _PROCESSES),
    Option("auto-procname", Boolean(), "give the processes descriptive names in ps", _PROCESSES,
           default=True, difference=ON_BY_DEFAULT),
    Option("procname-prefix", ValueType(), "a text before the process names", _PROCESSES,
           default=""),
    Option("procname-prefix-spaced", ValueType(), "a text and a blank before the process names",
           _PROCESSES, default="", gunicorn=("name", "proc-name", "process-name"), letters="n"),
    Option("procname-append", ValueType(), "a text after the process names", _PROCESSES,
           default=""),
    Option("procname", ValueType(), "the name of all processes", _PROCESSES, default=""),
    Option("procname-master", ValueType(), "the name of the master", _PROCESSES, default=""),
    Option("gevent-wait-for-hub", Boolean(), "with gevent, end a worker only when all greenlets "
           "spawned by the application have finished", _PROCESSES, default=False,
           difference="it does not wait for timers and watchers without a greenlet"),
    Option("add-gid", Many(Account(group=True)), "add a supplementary group for the user of uid; "
           "may be repeated", _PROCESSES, default=(), merge=True),
    Option("no-initgroups", Boolean(), "do not use the supplementary groups of the user of uid",
           _PROCESSES, default=False),
    Option("immediate-uid", Account(), "the user to change to before anything else, the master too",
           _PROCESSES,
           difference="sockets, logs and pid files are opened as that user, also at a reload"),
    Option("immediate-gid", Account(group=True), "the group to change to before anything else",
           _PROCESSES),
    Option("drop-after-apps", Boolean(), "change to the user of uid only after the application is "
           "loaded", _PROCESSES, default=False,
           difference="with lazy-apps, workers load it as that user"),
)

_RELOAD = "Reload and stop"
_FILES = ("the file may be a pattern; the new generation is started beside the old one, and if "
          "it fails the old one keeps serving")
RELOAD: tuple[Option, ...] = (
    Option("touch-reload", Many(Path()), "reload when this file is created, changed or removed; "
           "may be repeated", _RELOAD, default=(), merge=True,
           aliases=("fs-reload", "fs-brutal-reload", "touch-workers-reload"),
           difference=_FILES + ". The names with fs- are the same, checked once a second, and "
           "touch-workers-reload reads the configuration too"),
    Option("touch-chain-reload", Many(Path()), "as touch-reload, one worker at a time; may be "
           "repeated", _RELOAD, default=(), merge=True,
           difference=_FILES + ". New code is loaded without lazy-apps too, and a worker's "
           "replacement is ready before the worker ends"),
    Option("chain-reload", Boolean(), "do every reload one worker at a time: there is never more "
           "than one additional worker", _RELOAD, default=False),
    Option("py-autoreload", Seconds(), "for development: check at this interval whether the "
           "file of an imported module has changed, and reload; 0: off", _RELOAD, default=0,
           aliases=("python-autoreload", "py-auto-reload", "python-auto-reload"),
           derived="0; 1 with reload, 0.5 in a development run",
           difference="the standard library and this server are not watched"),
    Option("py-autoreload-ignore", Many(Name()), "a module that py-autoreload does not watch; "
           "may be repeated", _RELOAD, default=(), merge=True,
           aliases=("py-auto-reload-ignore",)),
    Option("reload", Boolean(), "for development: py-autoreload = 1, and if the new code fails "
           "to load, its traceback is served as a page. With a pid file as argument: reload the "
           "server of that file, wait for the result, then exit", _RELOAD, default=False,
           everywhere=False,
           difference="it waits until the new workers are ready, and prints on standard error "
                      "why they are not"),
    Option("stop", Path(), "stop the server with this pid file gracefully, wait for its end, then "
           "exit", _RELOAD, status="command",
           difference="it waits, and prints on standard error what went wrong"),
    Option("shutdown-delay", Seconds(), "keep serving for this many seconds after a request to "
           "stop, while readiness checks get 503; 0: off", _RELOAD, default=0),
    Option("readiness-path", Many(Path(), split=","), "a path that a load balancer polls for "
           "readiness; with shutdown-delay the server itself responds to it with 503 once it is to "
           "stop; may be repeated", _RELOAD, default=("/readyz", "/healthz"), merge=False),
    Option("mount-check", Many(Path()), "exit with status 1 when this is no longer a mountpoint; "
           "may be repeated", _RELOAD, default=(), merge=True,
           aliases=("check-mount", "check-mountpoint", "mountpoint-check"),
           difference="requests in progress may finish"),
    Option("exit-on-reload", Boolean(), "stop instead of reloading, for a supervisor that "
           "restarts the server", _RELOAD, default=False),
)

_DEVELOPMENT = "Development"
DEVELOPMENT: tuple[Option, ...] = (
    Option("dev", Boolean(), "a development run: one worker, HTTP on 127.0.0.1:8000 if no other "
           "HTTP socket is set, reload on change, tracebacks in the browser, one short line per "
           "request, no time limits", _DEVELOPMENT, default=False, everywhere=False,
           derived="off; on under ``python -m geventuwsgi``"),
    Option("reload-extra-file", Many(Path()), "a file or pattern that py-autoreload watches in "
           "addition to the modules; may be repeated",
           _DEVELOPMENT, default=(), merge=True,
           gunicorn=("reload-extra-files",)),
)

_SOON = ("the replacement accepts connections before the worker stops; the master checks twice "
         "a second")
_RECYCLING = "Recycling of workers"
RECYCLING: tuple[Option, ...] = (
    Option("max-requests", Number(), "number of requests after which a worker is replaced; "
           "0: no limit", _RECYCLING, default=0, letters="R", difference=_SOON,
           gunicorn=("limit-max-requests",)),
    Option("max-requests-delta", Number(), "additional requests that each worker serves compared "
           "with the previous one", _RECYCLING, default=0),
    Option("max-requests-jitter", Number(), "a random number up to this is added to the "
           "max-requests of each worker", _RECYCLING, default=0,
           gunicorn=("limit-max-requests-jitter",)),
    Option("min-worker-lifetime", Seconds(), "minimum age at which a worker is replaced because "
           "of its requests or its memory", _RECYCLING, default=10),
    Option("max-worker-lifetime", Seconds(), "the age at which a worker is replaced; 0: no "
           "limit", _RECYCLING, default=0,
           difference=_SOON + ", and an idle worker is replaced as well",
           gunicorn=("workers-lifetime",)),
    Option("max-worker-lifetime-delta", Seconds(), "additional lifetime of each worker compared "
           "with the previous one", _RECYCLING, default=0),
    Option("reload-on-rss", Megabytes(), "the resident memory at which a worker is replaced; 0: "
           "no limit", _RECYCLING, default=0,
           difference=_SOON + ". A worker that exceeds it from the start is replaced only after "
           "it has grown, with a warning",
           gunicorn=("workers-max-rss",)),
    Option("reload-on-as", Megabytes(), "as reload-on-rss, for its address space", _RECYCLING,
           default=0,
           difference="as reload-on-rss"),
    Option("evil-reload-on-rss", Megabytes(), "the resident memory at which the master kills a "
           "worker, whatever it is doing; 0: no limit", _RECYCLING, default=0),
    Option("evil-reload-on-as", Megabytes(), "as evil-reload-on-rss, for its address space",
           _RECYCLING, default=0),
    Option("mem-collector-freq", Seconds(minimum=1), "interval at which the master measures for "
           "the evil-reload limits", _RECYCLING, default=3),
)

_CHEAPER = "Number of workers"
CHEAPER: tuple[Option, ...] = (
    Option("cheaper", Number(), "minimum number of workers: more are started, up to processes, "
           "while there is work for them; 0: off", _CHEAPER, default=0,
           difference="it counts application slots in use instead of busy workers, so that the "
                      "number also falls with gevent; a worker that is stopped drains"),
    Option("cheaper-initial", Number(), "number of workers at startup", _CHEAPER,
           default=0, derived="cheaper; without it processes"),
    Option("cheaper-step", Number(minimum=1), "number of workers started at a time", _CHEAPER,
           default=1),
    Option("cheaper-algo", Choice("spare", "spare2", "backlog", "busyness", "manual",
                                  backlog2="the limit is set by cheaper-overload: use backlog"),
           "what starts workers: no free slot (spare), too few idle workers (spare2), waiting "
           "connections (backlog), the share of slots in use (busyness), only signals (manual)",
           _CHEAPER, default="spare"),
    Option("cheaper-overload", Number(), "seconds of full load before workers are started, "
           "and of low load before one is stopped; with busyness the length of a cycle; with "
           "backlog the number of connections that may wait", _CHEAPER, default=3),
    Option("cheaper-idle", Seconds(), "seconds that spare2 keeps a surplus worker",
           _CHEAPER, default=10),
    Option("cheaper-rss-limit-soft", Size(), "total memory of all workers, in bytes, above which "
           "no worker is started; 0: no limit", _CHEAPER, default=0,
           difference="memory-report is not needed"),
    Option("cheaper-rss-limit-hard", Size(), "total memory of all workers, in bytes, above which "
           "workers are stopped, down to cheaper; 0: no limit", _CHEAPER, default=0),
    Option("cheaper-busyness-max", Number(minimum=1, maximum=100), "percentage of slots in use "
           "above which workers are started", _CHEAPER, default=50),
    Option("cheaper-busyness-min", Number(maximum=100), "percentage of slots in use "
           "below which a worker is stopped",
           _CHEAPER, default=25),
    Option("cheaper-busyness-multiplier", Number(minimum=1), "cycles of low load before a worker "
           "is stopped", _CHEAPER, default=10),
    Option("cheaper-busyness-penalty", Number(), "additional cycles of low load if a "
           "stopped worker was needed soon after", _CHEAPER, default=2),
    Option("cheaper-busyness-verbose", Boolean(), "log the figures of each cycle", _CHEAPER,
           default=False),
    Option("cheaper-busyness-backlog-alert", Number(), "number of waiting connections above "
           "which workers are started at once", _CHEAPER, default=33),
    Option("cheaper-busyness-backlog-step", Number(minimum=1), "number of workers started "
           "at cheaper-busyness-backlog-alert",
           _CHEAPER, default=1),
    Option("cheaper-busyness-backlog-multiplier", Number(minimum=1), "cycles of low load before "
           "a worker started for the backlog is stopped", _CHEAPER, default=3),
    Option("cheaper-busyness-backlog-nonzero", Number(minimum=1), "seconds that any number of "
           "connections may wait before a worker is started at once", _CHEAPER, default=60),
    Option("cheap", Boolean(), "start without workers; the first connection starts them",
           _CHEAPER, default=False,
           difference="the application is loaded at startup, so that starting a worker is only a "
                      "fork"),
    Option("idle", Seconds(), "seconds without a request after which all workers are stopped "
           "until the next connection; 0: never", _CHEAPER, default=0),
    Option("die-on-idle", Boolean(), "with idle, stop the server instead of its workers",
           _CHEAPER, default=False),
)

_OPERATION = "Operation"
OPERATION: tuple[Option, ...] = (
    Option("master-fifo", Many(Path()), "read one-character commands from a named pipe; may be "
           "repeated, for up to ten slots", _OPERATION, default=(), merge=True,
           difference="``R``, ``w`` and ``W`` reload everything gracefully, and an unknown "
                      "character is logged"),
    Option("pause", Path(), "let the workers of the server with this pid file accept no "
           "connections, then exit", _OPERATION, aliases=("suspend",), status="command",
           difference="repeating it changes nothing; in uWSGI it resumes"),
    Option("resume", Path(), "let paused workers accept connections again, then exit", _OPERATION,
           status="command", difference="it has no effect on workers that are not paused"),
    Option("ping", Address(), "check over the uwsgi protocol whether a server responds, then exit "
           "with status 0 or 1", _OPERATION, status="command"),
    Option("ping-timeout", Seconds(minimum=0.1, maximum=86400), "seconds that ping waits; 3 by "
           "default", _OPERATION, status="command"),
    Option("connect-and-read", Address(), "connect to a socket, such as that of py-tracebacker, "
           "and print what it sends, then exit", _OPERATION, status="command"),
    Option("flock", Many(Path()), "lock a file, and do not start if another process holds the "
           "lock; may be repeated", _OPERATION, default=(), merge=True, aliases=("flock2",),
           difference="the file is created if it does not exist"),
    Option("flock-wait", Many(Path()), "as flock, but wait for the lock", _OPERATION,
           default=(), merge=True, aliases=("flock-wait2",),
           difference="the file is created if it does not exist"),
    Option("wait-for-interface", Many(Name()), "before anything else wait until a network "
           "interface of this name exists; may be repeated", _OPERATION, default=(), merge=True,
           aliases=("wait-interface", "wait-for-iface", "wait-iface")),
    Option("wait-for-interface-timeout", Seconds(), "seconds after which wait-for-interface "
           "fails", _OPERATION, default=60,
           aliases=("wait-interface-timeout", "wait-for-iface-timeout", "wait-iface-timeout")),
    Option("wait-for-fs", Many(Path()), "before anything else wait until this path exists; "
           "may be repeated", _OPERATION, default=(), merge=True),
    Option("wait-for-file", Many(Path()), "as wait-for-fs, for a file", _OPERATION, default=(),
           merge=True),
    Option("wait-for-dir", Many(Path()), "as wait-for-fs, for a directory", _OPERATION, default=(),
           merge=True),
    Option("wait-for-mountpoint", Many(Path()), "as wait-for-fs, for a mounted file system",
           _OPERATION, default=(), merge=True),
    Option("wait-for-fs-timeout", Seconds(), "seconds after which wait-for-fs and the like fail",
           _OPERATION, default=60),
    Option("wait-for-socket", Many(Address()), "before the application is loaded wait until "
           "this address accepts connections; may be repeated", _OPERATION, default=(), merge=True,
           difference="a reload waits too, while the old code keeps serving"),
    Option("wait-for-socket-timeout", Seconds(), "seconds after which wait-for-socket fails",
           _OPERATION, default=60),
    Option("honour-stdin", Boolean(), "give the application the server's standard input instead "
           "of /dev/null", _OPERATION, default=False),
    Option("mode", Name(), "a text for the application, available as uwsgi.mode", _OPERATION),
    Option("reaper", Boolean(), "reap processes that the application started and does not wait "
           "for; code that waits for one by its pid may find it already reaped", _OPERATION,
           default=False, letters="r",
           difference="not only after a request: with gevent as soon as they end, otherwise in an "
                      "idle worker too"),
    Option("skip-atexit", Boolean(), "do not run the functions that the application registered "
           "with atexit or as uwsgi.atexit when a worker exits", _OPERATION, default=False),
)

_STATISTICS = "Statistics"
STATISTICS: tuple[Option, ...] = (
    Option("stats", Many(Address()), "serve statistics in uWSGI's JSON, which uwsgitop reads; "
           "may be repeated", _STATISTICS, default=(), aliases=("stats-server",),
           difference="a client that sends an HTTP request gets an HTTP response without "
                      "stats-http too, and under /metrics the text format of Prometheus"),
    Option("stats-http", Boolean(), "send every client of stats an HTTP response", _STATISTICS,
           default=False),
    Option("stats-minified", Boolean(), "leave blanks and line breaks out of the JSON",
           _STATISTICS, default=False, aliases=("stats-min",)),
    Option("stats-no-cores", Boolean(), "leave the cores of workers out of the JSON", _STATISTICS,
           default=False),
    Option("status", ValueType(), "print how the server with this pid file or stats address is, "
           "then exit with 0: fine, 1: degraded or 2: down; with --format json for scripts",
           _STATISTICS, status="command", everywhere=False),
    Option("metrics", Many(Address()), "serve metrics for Prometheus under /metrics, and the "
           "statistics under /; may be repeated", _STATISTICS, default=()),
)

UNSUPPORTED: tuple[Option, ...] = (
    *ignored("safe-fd fd-safe", "descriptors that the server was started with stay open, across "
             "reloads too", Number()),
    # uWSGI logs it as the current directory, and changes to it at a reload only.
    *ignored("force-cwd", "a reload keeps the directory of the start; chdir sets the application's",
             Path()),
)
