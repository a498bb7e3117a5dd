"""uWSGI's options that have no effect here and belong to no other topic, each with its reason.

An `ignored` option is harmless: what it asks for is always the case, or it only tunes something
that this server does not have. A `refused` one would silently be left undone (a job that never
runs, a limit or a right that is not set), so the server does not start and says what to use.
"""

from geventuwsgi.config.options.option import SHARED, Option, ignored, refused
from geventuwsgi.config.values.types import Choice, Plugins, ValueType

_NO_LOOP = "the event loop is always gevent's; for ASGI workers use asgi-loop"
_LOOPS = Choice("gevent", "simple", "async", asyncio=_NO_LOOP, uv=_NO_LOOP, greenlet=_NO_LOOP,
                auto="write asgi-loop = auto", uvloop="write asgi-loop = uvloop")
_NO_LOCK = "each worker accepts through its own event loop; there is no lock to choose"
_NO_PLUGIN = "there are no plugins to load"
_NOT_AN_ERROR = "a client that disconnects is not logged as an error"
_NO_LOGGER = "workers write whole lines themselves; no line passes through the master"
_ANY = ValueType()


SERVER: tuple[Option, ...] = (
    *ignored("master", "there is always a master", letters="M"),
    *ignored("die-on-term", "SIGTERM always stops the server, gracefully"),
    *ignored("no-orphans", "workers always end with their master"),
    *ignored("thunder-lock persistent-ipcsem", _NO_LOCK),
    *ignored("lock-engine ftok", _NO_LOCK, _ANY),
    *ignored("enable-threads", "threads of the application always run", letters="T"),
    *ignored("single-interpreter", "there is always a single interpreter", letters="i"),
    *ignored("plugin plugins need-plugin need-plugins",
             "Python, gevent and HTTP are built in; a plugin for another language gives a warning",
             Plugins()),
    *ignored("plugin-dir plugins-dir dlopen", _NO_PLUGIN, _ANY),
    *ignored("plugin-list plugins-list autoload", _NO_PLUGIN),
    *ignored("loop", "the server's event loop is always gevent's; gevent, async and threads "
             "choose how requests run", _LOOPS),
    *ignored("gevent-monkey-patch gevent-early-monkey-patch",
             "with gevent the standard library is patched before the application is imported, "
             "unless monkey-patch is false; without gevent it is not patched"),
    *ignored("ignore-sigpipe ignore-write-errors write-errors-exception-only "
             "disable-write-exception", _NOT_AN_ERROR),
    *ignored("write-errors-tolerance", _NOT_AN_ERROR, _ANY),
    *ignored("no-defer-accept", "TCP_DEFER_ACCEPT is never set"),
    *ignored("tcp-nodelay", "TCP_NODELAY is always set"),
    *ignored("close-on-exec close-on-exec2",
             "Python's sockets are never inherited by programs that the application runs"),
    *ignored("max-vars max-apps", "there is no such limit; buffer-size limits a request", _ANY),
    *ignored("log-master log-master-stream log-master-req-stream threaded-logger", _NO_LOGGER),
    *ignored("log-master-bufsize", _NO_LOGGER, _ANY),
    *ignored("post-buffering-bufsize", "a body is stored as it arrives, in pieces of up to 64 KiB",
             _ANY),
    *ignored("py-call-uwsgi-fork-hooks py-call-osafterfork",
             "workers are forked by Python itself, whose hooks always run"),
    *ignored("wsgi-env-behaviour wsgi-env-behavior", "each request has its own environ", _ANY),
    *ignored("wsgi-manage-chunked-input http-chunked-input",
             "chunked request bodies are always decoded"),
    *ignored("http-auto-chunked",
             "a response without a length is always sent in chunks over HTTP/1.1"),
    *ignored("pcre-jit", "regular expressions are Python's"),
    *ignored("preload preload-app",
             "the application is always loaded before the workers fork, unless lazy-apps is set"),
    *ignored("worker-tmp-dir", "the heartbeats of workers are in shared memory", _ANY),
    *ignored("stats-no-metrics", "the statistics in uWSGI's JSON never contain its metrics"),
    *ignored("stats-push stats-pusher-default-freq stats-pushers-default-freq",
             "statistics are not sent: metrics serves them for Prometheus, stats in uWSGI's JSON",
             _ANY),
    *ignored("harakiri-graceful-signal",
             "at a harakiri an exception is raised in the request; no signal is sent", _ANY),

    *refused("chroot pivot-root pivot_root",
             "the server starts new interpreters, which are not in the new root: use a container, "
             "or RootDirectory of systemd"),
    *refused("fastcgi-socket fastcgi-nph-socket scgi-socket scgi-nph-socket",
             "only HTTP and the uwsgi protocol are supported: use socket with nginx's uwsgi_pass"),
    *refused("raw-socket", "the application is WSGI: use http-socket"),
    *refused("puwsgi-socket", "with persistent uwsgi an unread body could be mistaken for the "
             "next request: use http-socket with keepalive"),
    *refused("suwsgi-socket ssl-socket", "there is no TLS for the uwsgi protocol: use a unix "
             "socket, or HTTPS in front"),
    *refused("xml xmlconfig yaml yml json js",
             "configuration files are INI: write the options as NAME = VALUE under [uwsgi]"),
    *refused("web3 pump wsgi-lite", "applications with this interface are not supported: use "
             "module"),
    *refused("cgi-mode", "CGI is not supported: use module"),
)

_MULE = "there are no mules: run the program with attach-daemon; for messages use redis or a socket"
_SPOOLER = ("there is no spooler: use a task queue such as Celery, RQ or Huey, and run its worker "
            "with attach-daemon")
_CACHE = "there is no cache shared by workers: use memcached, redis or the framework's cache"
_QUEUE = "there is no queue shared by workers: use redis or a message broker"
_AREA = "there is no memory shared by workers: use redis, or a file that the application maps"
_SIGNAL = ("there are no uWSGI signals: for timers use a systemd timer, for touched files "
           "touch-exec or hook-touch, between processes redis")
_EMPEROR = ("there is no emperor: run each configuration as a service of its own, "
            f"systemctl enable geventuwsgi@NAME with {SHARED}init/geventuwsgi@.service")
_LEGION = ("there is no legion: use keepalived, Pacemaker or the orchestrator to choose the "
           "active machine")
_ZERG = ("there is no zerg mode: use reuse-port, by which several instances share a port, or add "
         "workers with SIGTTIN")
_JAIL = ("jails and namespaces are not supported: use the service manager (PrivateNetwork=, "
         "PrivateMounts=, PrivatePIDs=, RootDirectory= of systemd) or a container")
_CGROUP = ("cgroups are not set up here: use the service manager (MemoryMax=, CPUQuota=, "
           "TasksMax= of systemd)")
_CAP = ("capabilities are not set here: use User= and AmbientCapabilities= of systemd in place of "
        "uid and cap")
_ALARM = "there are no alarms: watch the log, or the service with OnFailure= of systemd"
_METRIC = "there are no metrics of the application: use a client library such as prometheus_client"
_PATCH = "the server is not replaced by another program: start that from the service manager"
_OWN_SERVICE = "run it with attach-daemon, or as a service of its own"
_BUILD = "there are no plugins to compile"
_LIST = "use --help NAME to list the values of an option"
_NO = "there is no {}"

_SPOOLERS = (
    "spooler-ordered spooler-chdir spooler-processes spooler-quiet spooler-max-tasks "
    "spooler-harakiri spooler-frequency spooler-freq spooler-reload-mercy spooler-cheap")
BACKGROUND: tuple[Option, ...] = (
    *refused("timer signal-timer rbtimer signal-rbtimer fs-signal signal", _SIGNAL),
    *ignored("signal-bufsize signals-bufsize", "there are no uWSGI signals", _ANY),
    *refused("mule mules farm", _MULE),
    *ignored("mule-harakiri mule-msg-size mule-reload-mercy touch-mules-reload mule-msg-recv-size",
             "there are no mules", _ANY),
    *refused("spooler spooler-external spooler-import spooler-py-import spooler-python-import "
             "spooler-pyimport", _SPOOLER),
    *ignored(f"{_SPOOLERS} touch-spoolers-reload", _NO.format("spooler"), _ANY),
    *refused("cache cache2 cache-store cache-udp-server cache-udp-node cache-sync add-cache-item "
             "check-cache", _CACHE),
    *ignored("cache-blocksize cache-store-sync cache-no-expire cache-expire-freq "
             "cache-report-freed-items cache-use-last-modified", _NO.format("cache"), _ANY),
    *refused("queue queue-store", _QUEUE),
    *ignored("queue-blocksize queue-store-sync", _NO.format("queue"), _ANY),
    *refused("sharedarea", _AREA),
    *refused("locks", "there are no locks shared by workers: use a file and fcntl.flock, or a "
             "lock of redis or of the database"),
    *ignored("rpc-max", _NO.format("RPC"), _ANY),
    *refused("udp multicast snmp snmp-community", "only HTTP and the uwsgi protocol are supported, "
             "over TCP and unix sockets"),
    *ignored("multicast-ttl multicast-loop", "nothing is sent by multicast", _ANY),
    *refused("alarm alarm-fd alarm-segfault segfault-alarm alarm-backlog backlog-alarm lq-alarm "
             "alarm-lq alarm-listen-queue listen-queue-alarm", _ALARM),
    *ignored("alarm-cheap alarm-freq alarm-msg-size", "there are no alarms", _ANY),
    *refused("metric metric-threshold metric-alarm alarm-metric", _METRIC),
    *refused("metrics-dir metric-dir", "metrics are not written to files: http-stats-server "
             "serves those of the router for Prometheus"),
    *ignored("enable-metrics metrics-no-cores metrics-dir-restore metric-dir-restore",
             "there are no metrics to enable; each worker always counts"),
)

_EMPERORS = (
    "emperor early-emperor emperor-proxy-socket emperor-wrapper emperor-wrapper-override "
    "emperor-wrapper-fallback emperor-nofollow emperor-procname emperor-freq "
    "emperor-required-heartbeat emperor-curse-tolerance emperor-pidfile emperor-tyrant "
    "emperor-tyrant-nofollow emperor-tyrant-initgroups emperor-stats emperor-stats-server "
    "emperor-broodlord emperor-broodlord-num emperor-throttle emperor-max-throttle "
    "emperor-magic-exec emperor-on-demand-extension emperor-on-demand-ext "
    "emperor-on-demand-directory emperor-on-demand-dir emperor-on-demand-exec "
    "emperor-extra-extension emperor-extra-ext emperor-no-blacklist emperor-use-clone "
    "emperor-use-fork-server emperor-graceful-shutdown emperor-cap vassals-cap vassal-cap "
    "vassals-inherit vassals-include vassals-inherit-before vassals-include-before vassals-set "
    "vassal-set")
_LEGIONS = (
    "legion legion-mcast legion-node legion-freq legion-tolerance "
    "legion-death-on-lord-error legion-skew-tolerance legion-lord legion-unlord legion-setup "
    "legion-death legion-join legion-node-joined legion-node-left legion-quorum legion-scroll "
    "legion-scroll-max-size legion-scroll-list-max-size legion-cron cron-legion cron2-legion "
    "unique-cron-legion unique-legion-cron subscriptions-legion legion-unique-cron")
_JAILS = (
    "unshare unshare2 setns setns-socket setns-socket-skip setns-skip setns-preopen namespace ns "
    "namespace-net ns-net namespace-keep-mount jail jailed jail-ip4 jail-ip6 jidfile jid jail2 "
    "libjail jail-attach")
DEPLOYMENT: tuple[Option, ...] = (
    *refused(_EMPERORS, _EMPEROR),
    *ignored("vassal-sos vassal-sos-backlog heartbeat", "it is for an emperor, and there is none",
             _ANY),
    *refused(_LEGIONS, _LEGION),
    *refused("zerg zerg-server zerg-pool zergpool", _ZERG),
    *ignored("zerg-fallback no-fd-passing", "there is no zerg mode"),
    *refused(_JAILS, _JAIL),
    *refused("cgroup cgroup-opt", _CGROUP),
    *ignored("cgroup-dir-mode", "the server creates no cgroups", _ANY),
    *refused("cap", _CAP),
    *ignored("refork re-fork refork-as-root re-fork-as-root refork-post-jail re-fork-post-jail",
             "it is for jails; here each role is an interpreter of its own"),
    *refused("privileged-binary-patch unprivileged-binary-patch privileged-binary-patch-arg "
             "unprivileged-binary-patch-arg", _PATCH),
    *refused("worker-exec worker-exec2 forkpty-router forkptyrouter forkpty-urouter "
             "forkptyurouter", "workers only run the application: " + _OWN_SERVICE),
    *refused("tuntap-router tuntap-device tuntap-use-credentials tuntap-router-firewall-in "
             "tuntap-router-firewall-out tuntap-router-route tuntap-router-stats "
             "tuntap-device-rule", "virtual networks are not supported: use WireGuard or the "
             "container's network"),
    *ignored("ksm", "memory pages are not merged by the kernel; workers share what is loaded "
             "before the fork", _ANY),
    *ignored("never-swap", "uWSGI locks only the master's memory; MemorySwapMax=0 of systemd "
             "applies to workers too"),
    *ignored("master-as-root", "the master always keeps the rights it was started with; "
             "immediate-uid drops them"),
    *ignored("drop-after-init", "Python is always initialized before privileges are dropped"),
    *ignored("force-gateway", "there is always a master for the router"),
    *ignored("propagate-touch", "a touched file always applies to the whole instance"),
    *ignored("shutdown-sockets", "connections waiting in the listen queue are served before a "
             "socket is closed"),
    *ignored("forkbomb-delay", "a worker that ends at once is restarted after 0.1 seconds, then "
             "after twice the time before, up to 30 seconds, or 1 second if it had served "
             "requests", _ANY),
    *ignored("check-interval", "the master wakes up when there is something to do; files are "
             "checked once a second", _ANY),
    *ignored("skip-zero", "descriptor 0 is /dev/null in workers unless honour-stdin is set"),
    *ignored("notify-socket", "nothing is sent to it here; uWSGI only logs what it receives",
             _ANY),
    *refused("reload-on-fd brutal-reload-on-fd", "file descriptors cannot trigger a reload: use "
             "reload-on-rss for the memory of a cgroup, touch-reload for a file"),
    *refused("binsh", "hooks and daemons run with /bin/sh: name another shell in the command, "
             "exec:/bin/bash -c '...'"),
    *refused("file-write", "use hook-as-root = write:FILE TEXT"),
    *refused("no-server", "use --check-config or --show-config to examine a configuration without "
             "starting the server"),
    *refused("print-sym print-symbol binary-append-data",
             "the server is not a binary with symbols or appended data"),
    *refused("build-plugin", _BUILD),
    *ignored("cheaper-algo-list cheaper-algos-list cheaper-list alarm-list alarms-list "
             "imperial-monitor-list imperial-monitors-list", _LIST),
)
