"""uWSGI's options that have no effect here: each a row with the reason.

`ignored` rows are harmless, because what they ask for is always so or has no meaning in
this server. `refused` rows would change behaviour or safety if they were passed over.
"""

from geventuwsgi.config.options.option import SHARED, Option, ignored, refused
from geventuwsgi.config.values.numbers import Number
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import Choice, ValueType, Plugins

_NO_LOOP = "the loop of this server is gevent's; of ASGI workers asgi-loop chooses it"
_LOOPS = Choice("gevent", "simple", "async", asyncio=_NO_LOOP, uv=_NO_LOOP, greenlet=_NO_LOOP,
                auto="write asgi-loop = auto", uvloop="write asgi-loop = uvloop")
_NO_LOCK = "each worker accepts through its own event loop; there is no lock to choose"
_NO_STATISTICS = "statistics of workers are not served: http-stats-server answers with those of " \
    "the router, also for Prometheus; what a request took is in the request log"
_NO_PLUGIN = "there are no plugins to load"
_GONE = "a client that goes away is no error in the log"
_NO_LOGGER = "workers write whole lines themselves; no line passes through the master"


class _Statistics(ValueType):
    """Where uWSGI answers with its statistics; whoever asks there is to find the reason."""

    metavar = "ADDRESS"

    def value(self, text: str, case: CastContext) -> object:
        case.warn(f"nothing listens at {text}: statistics of workers are not served")
        return text


UWSGI_ROWS: tuple[Option, ...] = (
    *ignored("master", "there is always a master", letters="M"),
    *ignored("die-on-term", "SIGTERM always stops the server, gracefully"),
    *ignored("no-orphans", "workers always end with their master"),
    *ignored("thunder-lock persistent-ipcsem", _NO_LOCK),
    *ignored("lock-engine ftok", _NO_LOCK, ValueType()),
    *ignored("enable-threads", "threads of the application always run", letters="T"),
    *ignored("single-interpreter", "there is always a single interpreter", letters="i"),
    *ignored("plugin plugins need-plugin need-plugins",
             "Python, gevent and HTTP are built in; other languages are warned of", Plugins()),
    *ignored("plugin-dir plugins-dir dlopen", _NO_PLUGIN, ValueType()),
    *ignored("plugin-list plugins-list autoload", _NO_PLUGIN),
    *ignored("loop", "the loop is always gevent's", _LOOPS),
    *ignored("gevent-monkey-patch gevent-early-monkey-patch",
             "the standard library is patched before the application is imported, unless "
             "monkey-patch is false"),
    *ignored("ignore-sigpipe ignore-write-errors write-errors-exception-only "
             "disable-write-exception", _GONE),
    *ignored("write-errors-tolerance", _GONE, ValueType()),
    *ignored("no-defer-accept", "TCP_DEFER_ACCEPT is never set"),
    *ignored("tcp-nodelay", "TCP_NODELAY is always set"),
    *ignored("close-on-exec close-on-exec2",
             "Python's sockets are never inherited by programs that the application runs"),
    *ignored("max-vars max-apps", "there is no such limit; buffer-size bounds a request",
             ValueType()),
    *ignored("log-master log-master-stream log-master-req-stream threaded-logger", _NO_LOGGER),
    *ignored("log-master-bufsize", _NO_LOGGER, ValueType()),
    *ignored("post-buffering-bufsize", "a body is stored as it arrives, in pieces of up to 64 KiB",
             ValueType()),
    *ignored("py-call-uwsgi-fork-hooks py-call-osafterfork",
             "workers are forked by Python itself, whose hooks always run"),
    *ignored("wsgi-env-behaviour wsgi-env-behavior", "each request has an environ of its own",
             ValueType()),
    *ignored("wsgi-manage-chunked-input http-chunked-input",
             "chunked request bodies are always decoded"),
    *ignored("http-auto-chunked",
             "a response without a length is always sent in chunks over HTTP/1.1"),
    *ignored("binary-path py-sys-executable py-executable",
             "sys.executable is the interpreter that runs the server", ValueType()),
    *ignored("pcre-jit", "regular expressions are Python's"),
    *ignored("preload preload-app",
             "the application is always loaded before the workers fork, unless lazy-apps is set"),
    *ignored("worker-tmp-dir", "workers give their signs of life in shared memory", ValueType()),
    *ignored("stats stats-server", _NO_STATISTICS, _Statistics()),
    *ignored("stats-http stats-minified stats-min stats-no-cores stats-no-metrics",
             _NO_STATISTICS),
    *ignored("stats-push stats-pusher-default-freq stats-pushers-default-freq", _NO_STATISTICS,
             ValueType()),
    *ignored("harakiri-graceful-signal",
             "a request is told of its harakiri by an exception, not by a signal", ValueType()),

    *refused("chroot pivot-root pivot_root",
             "the server starts fresh interpreters, which are not inside: use a container, or "
             "RootDirectory of systemd"),
    *refused("fastcgi-socket fastcgi-nph-socket scgi-socket scgi-nph-socket",
             "this server speaks HTTP and the uwsgi protocol: use socket with nginx's uwsgi_pass"),
    *refused("raw-socket", "the application is WSGI: use http-socket"),
    *refused("puwsgi-socket", "persistent uwsgi lets an unread body be taken for the next "
             "request: use http-socket with keepalive"),
    *refused("suwsgi-socket ssl-socket", "the uwsgi protocol has no TLS here: use a unix socket, "
             "or HTTPS in front"),
    *refused("xml xmlconfig yaml yml json js",
             "configuration is read from INI: write its options as NAME = VALUE under [uwsgi]"),
    *refused("web3 pump wsgi-lite", "no application of this interface is served: use module"),
    *refused("cgi-mode", "there is no CGI here: use module"),
)


# uWSGI's facilities beside serving, which this server does not have, and what to use instead.
#
# The rule of this room: a line whose work would silently not be done (a job that never runs, a
# limit or a right that nobody sets) is `refused`, with the way to have it today. What only tunes
# such a facility, or asks for what is so anyway, is `ignored`.

_TIMER = ("nothing is run by the clock here: write a systemd timer or a line of crontab, or run a "
          "scheduler such as APScheduler with attach-daemon")
_MULE = ("there are no mules: run the program with attach-daemon; messages go over redis or a "
         "socket")
_SPOOLER = ("there is no spooler: use a task queue such as Celery, RQ or Huey, whose worker "
            "attach-daemon runs")
_CACHE = "there is no cache that workers share: use memcached, redis or the framework's cache"
_QUEUE = "there is no queue that workers share: use redis or a message broker"
_AREA = "there is no memory that workers share: use redis, or a file that the application maps"
_SIGNAL = ("there are no uWSGI signals here: for the clock use a systemd timer, for a touched file "
           "touch-exec or hook-touch, between processes redis")
_EMPEROR = ("there is no emperor: run each configuration as a service of its own, "
            f"systemctl enable geventuwsgi@NAME with {SHARED}init/geventuwsgi@.service")
_LEGION = ("there is no legion: which machine is the master is for keepalived, Pacemaker or the "
           "orchestrator")
_ZERG = ("there is no zerg: use reuse-port, by which several instances share a port, or raise "
         "processes by SIGTTIN")
_JAIL = ("jails and namespaces are for the service manager (PrivateNetwork=, PrivateMounts=, "
         "PrivatePIDs=, RootDirectory= of systemd) or a container")
_CGROUP = "limits by cgroup are the service manager's: MemoryMax=, CPUQuota=, TasksMax= of systemd"
_CAP = ("capabilities are given by the service manager: User= and AmbientCapabilities= of systemd, "
        "in the place of uid and cap")
_ALARM = ("there are no alarms: watch the log, or the service with OnFailure= of systemd")
_METRIC = ("there are no metrics of the application's here: use a client library such as "
           "prometheus_client")
_PATCH = "no other program takes the place of this one: start that by the service manager"
_OWN_SERVICE = "run it with attach-daemon, or as a service of its own"
_BUILD = "nothing is compiled here, plugins neither"
_LIST = "--help NAME lists the words of an option"
_NO = "there is no {} here"

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
_SPOOLERS = (
    "spooler-ordered spooler-chdir spooler-processes spooler-quiet spooler-max-tasks "
    "spooler-harakiri spooler-frequency spooler-freq spooler-reload-mercy spooler-cheap")

FACILITIES: tuple[Option, ...] = (
    *refused("cron cron2 unique-cron", _TIMER),
    *ignored("cron-harakiri", _NO.format("cron"), ValueType()),
    *refused("timer signal-timer rbtimer signal-rbtimer fs-signal signal", _SIGNAL),
    *ignored("signal-bufsize signals-bufsize", "there are no uWSGI signals here", ValueType()),
    *refused("mule mules farm", _MULE),
    *ignored("mule-harakiri mule-msg-size mule-reload-mercy touch-mules-reload mule-msg-recv-size",
             "there are no mules", ValueType()),
    *refused("spooler spooler-external spooler-import spooler-py-import spooler-python-import "
             "spooler-pyimport", _SPOOLER),
    *ignored(f"{_SPOOLERS} touch-spoolers-reload", _NO.format("spooler"), ValueType()),
    *refused("cache cache2 cache-store cache-udp-server cache-udp-node cache-sync add-cache-item "
             "check-cache", _CACHE),
    *ignored("cache-blocksize cache-store-sync cache-no-expire cache-expire-freq "
             "cache-report-freed-items cache-use-last-modified", _NO.format("cache"), ValueType()),
    *refused("queue queue-store", _QUEUE),
    *ignored("queue-blocksize queue-store-sync", _NO.format("queue"), ValueType()),
    *refused("sharedarea", _AREA),
    *refused("locks", "there are no locks that workers share: use a file and fcntl.flock, or a "
             "lock of redis or of the database"),
    *ignored("rpc-max", _NO.format("RPC"), ValueType()),
    *refused("udp multicast snmp snmp-community", "only HTTP and the uwsgi protocol are served, "
             "over TCP and unix sockets"),
    *ignored("multicast-ttl multicast-loop", "nothing is sent by multicast", ValueType()),
    *refused("alarm alarm-fd alarm-segfault segfault-alarm alarm-backlog backlog-alarm lq-alarm "
             "alarm-lq alarm-listen-queue listen-queue-alarm", _ALARM),
    *ignored("alarm-cheap alarm-freq alarm-msg-size", "there are no alarms", ValueType()),
    *refused("metric metric-threshold metric-alarm alarm-metric", _METRIC),
    *refused("metrics-dir metric-dir", "metrics are not written to files: http-stats-server "
             "answers in Prometheus's form for the router"),
    *ignored("enable-metrics metrics-no-cores metrics-dir-restore metric-dir-restore",
             "there are no metrics to switch on; each worker always counts"),
)

HOUSING: tuple[Option, ...] = (
    *refused(_EMPERORS, _EMPEROR),
    *ignored("vassal-sos vassal-sos-backlog heartbeat",
             "it speaks to an emperor, and there is none above this server", ValueType()),
    *refused(_LEGIONS, _LEGION),
    *refused("zerg zerg-server zerg-pool zergpool", _ZERG),
    *ignored("zerg-fallback no-fd-passing", "there is no zerg"),
    *refused(_JAILS, _JAIL),
    *refused("cgroup cgroup-opt", _CGROUP),
    *ignored("cgroup-dir-mode", "there are no cgroups of this server's own", ValueType()),
    *refused("cap", _CAP),
    *ignored("refork re-fork refork-as-root re-fork-as-root refork-post-jail re-fork-post-jail",
             "it is for jails; each role is an interpreter of its own here"),
    *refused("privileged-binary-patch unprivileged-binary-patch privileged-binary-patch-arg "
             "unprivileged-binary-patch-arg", _PATCH),
    *refused("worker-exec worker-exec2 forkpty-router forkptyrouter forkpty-urouter "
             "forkptyurouter", "workers run the application alone: " + _OWN_SERVICE),
    *refused("tuntap-router tuntap-device tuntap-use-credentials tuntap-router-firewall-in "
             "tuntap-router-firewall-out tuntap-router-route tuntap-router-stats "
             "tuntap-device-rule", "there is no virtual network here: use WireGuard or the "
             "container's network"),
    *ignored("ksm", "the kernel merges no pages for this server; workers share what the template "
             "has loaded", ValueType()),
    *ignored("never-swap", "memory is locked in uWSGI's master alone: MemorySwapMax=0 of systemd "
             "holds for workers too"),
)

# uWSGI's own life, which goes otherwise here.
WAYS: tuple[Option, ...] = (
    *ignored("master-as-root", "the master always keeps the rights it was started with; "
             "immediate-uid gives them up"),
    *ignored("drop-after-init", "Python is always set up before the rights are given up"),
    *ignored("force-gateway", "there is always a master for the router"),
    *ignored("propagate-touch", "a touched file is the whole instance's"),
    *ignored("shutdown-sockets", "what waits in a socket's queue is served before it is closed"),
    *ignored("forkbomb-delay", "whoever dies at once is started again after 0.1 seconds, then "
             "after twice as long each time, up to 30, or to 1 if it had served", ValueType()),
    *ignored("check-interval", "the master wakes up when there is something to do; files are "
             "looked at once a second", ValueType()),
    *ignored("skip-zero", "descriptor 0 is /dev/null in workers unless honour-stdin is set"),
    *ignored("notify-socket", "nothing is sent to it here, and what "
             "others would send was only logged", ValueType()),
    *refused("reload-on-fd brutal-reload-on-fd", "no descriptor is listened to: for the memory "
             "of a cgroup use reload-on-rss, for a file touch-reload"),
    *refused("binsh", "hooks and daemons run by /bin/sh: name another shell in the command, "
             "exec:/bin/bash -c '...'"),
    *refused("file-write", "use hook-as-root = write:FILE TEXT"),
    *refused("no-server", "to look at a configuration without serving it use --check-config or "
             "--show-config"),
    *refused("print-sym print-symbol binary-append-data", "there is no binary with symbols in it"),
    *refused("build-plugin", _BUILD),
    *ignored("cheaper-algo-list cheaper-algos-list cheaper-list alarm-list alarms-list "
             "imperial-monitor-list imperial-monitors-list", _LIST),
)
FACILITY_ROWS: tuple[Option, ...] = (*FACILITIES, *HOUSING, *WAYS)


# The rows of uWSGI's other routers, of nodes found another way, and of signed subscriptions.
#
# This server has one router, for HTTP: `rows_router` has its rows.

_ANY = ValueType()


def _family(prefix: str, names: str, instead: str) -> tuple[Option, ...]:
    """Make the refused rows of one router, the bare name first."""
    return refused(" ".join((prefix, *(f"{prefix}-{name}" for name in names.split()))), instead)


_COMMON = ("buffer-size cheap events fallback gid gracetime harakiri processes quiet resubscribe "
           "resubscribe-bind ss stats stats-server subscription-server subscription-slot timeout "
           "to uid use-base use-cache use-code-string use-pattern use-socket workers zerg")

ROUTERS_ROWS: tuple[Option, ...] = (
    *_family("fastrouter", f"{_COMMON} fallback-on-no-key post-buffering post-buffering-dir "
             "subscription-fallback-key",
             "the router takes HTTP, not the uwsgi protocol: write http = ADDRESS with http-to or "
             "http-subscription-server, and proxy_pass in nginx"),
    *_family("rawrouter", f"{_COMMON} max-retries xclient",
             "connections that are not HTTP are not passed on: use nginx's stream module or "
             "HAProxy"),
    *_family("sslrouter", f"{_COMMON} max-retries session-context sni",
             "connections that are not HTTP are not passed on: write https = ADDRESS,CERT,KEY for "
             "HTTPS, or use nginx's stream module"),
    *_family("sslrouter2", "", "connections that are not HTTP are not passed on: write https = "
             "ADDRESS,CERT,KEY for HTTPS, or use nginx's stream module"),

    *refused("http-use-base http-use-cache http-use-code-string http-use-pattern",
             "the node of a host is not made of its name: use http-route = HOST=NODE, or "
             "http-subscription-server"),
    *refused("http-zerg", "a router is no pool of sockets: use http-to, or "
             "http-subscription-server"),
    *refused("http-resubscribe", "announcements are not passed on: write the other server in the "
             "nodes' subscribe-to too"),
    *refused("http-stud-prefix", "the address in front of a connection is read as the PROXY "
             "protocol: use enable-proxy-protocol"),
    *refused("http-manage-rtsp", "RTSP is no HTTP: use http-raw-body for upgrades, or nginx's "
             "stream module"),
    *ignored("http-use-socket", "the workers of this instance are always among the nodes, unless "
             "http-to names others", _ANY),
    *ignored("http-manage-source", "a request may have any method, SOURCE too, and a body without "
             "an end if it is chunked"),
    *ignored("http-harakiri", "a router that gives no sign of life is replaced by the master",
             Number()),
    *ignored("http-quiet", "a node that fails is told once, not with each request", _ANY),
    *ignored("http-cheap", "a router without nodes answers 503 instead of letting clients wait"),
    *refused("http-uid http-gid", "the router runs as uid and gid: set these, or start the router "
             "as an instance of its own"),

    *refused("subscriptions-sign-check subscriptions-credentials-check",
             "announcements are not signed: they are taken from this machine alone, over loopback "
             "or a unix socket whose directory says who may"),
    *ignored("subscriptions-sign-check-tolerance subscriptions-sign-skip-uid",
             "announcements are not signed", _ANY),
    *ignored("subscriptions-use-credentials", "over a unix socket the kernel tells the receiver "
             "who sends, if that asks"),
    *ignored("subscription-notify-socket", "a node is not told that its announcement came: it is "
             "repeated every subscribe-freq seconds", _ANY),
    *refused("start-unsubscribed", "use subscribe2 with check=FILE: nothing is announced until "
             "the file is there"),
)
