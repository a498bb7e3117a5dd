"""uWSGI's facilities beside serving, which this server does not have, and what to use instead.

The rule of this room: a line whose work would silently not be done (a job that never runs, a
limit or a right that nobody sets) is `refused`, with the way to have it today. What only tunes
such a facility, or asks for what is so anyway, is `ignored`.
"""

from geventuwsgi.config.values.types import Kind
from geventuwsgi.config.options.option import Option, ignored, refused

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
            "systemctl enable geventuwsgi@NAME with init/geventuwsgi@.service")
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
    *ignored("cron-harakiri", _NO.format("cron"), Kind()),
    *refused("timer signal-timer rbtimer signal-rbtimer fs-signal signal", _SIGNAL),
    *ignored("signal-bufsize signals-bufsize", "there are no uWSGI signals here", Kind()),
    *refused("mule mules farm", _MULE),
    *ignored("mule-harakiri mule-msg-size mule-reload-mercy touch-mules-reload mule-msg-recv-size",
             "there are no mules", Kind()),
    *refused("spooler spooler-external spooler-import spooler-py-import spooler-python-import "
             "spooler-pyimport", _SPOOLER),
    *ignored(f"{_SPOOLERS} touch-spoolers-reload", _NO.format("spooler"), Kind()),
    *refused("cache cache2 cache-store cache-udp-server cache-udp-node cache-sync add-cache-item "
             "check-cache", _CACHE),
    *ignored("cache-blocksize cache-store-sync cache-no-expire cache-expire-freq "
             "cache-report-freed-items cache-use-last-modified", _NO.format("cache"), Kind()),
    *refused("queue queue-store", _QUEUE),
    *ignored("queue-blocksize queue-store-sync", _NO.format("queue"), Kind()),
    *refused("sharedarea", _AREA),
    *refused("locks", "there are no locks that workers share: use a file and fcntl.flock, or a "
             "lock of redis or of the database"),
    *ignored("rpc-max", _NO.format("RPC"), Kind()),
    *refused("udp multicast snmp snmp-community", "only HTTP and the uwsgi protocol are served, "
             "over TCP and unix sockets"),
    *ignored("multicast-ttl multicast-loop", "nothing is sent by multicast", Kind()),
    *refused("alarm alarm-fd alarm-segfault segfault-alarm alarm-backlog backlog-alarm lq-alarm "
             "alarm-lq alarm-listen-queue listen-queue-alarm", _ALARM),
    *ignored("alarm-cheap alarm-freq alarm-msg-size", "there are no alarms", Kind()),
    *refused("metric metric-threshold metric-alarm alarm-metric", _METRIC),
    *refused("metrics-dir metric-dir", "metrics are not written to files: http-stats-server "
             "answers in Prometheus's form for the router"),
    *ignored("enable-metrics metrics-no-cores metrics-dir-restore metric-dir-restore",
             "there are no metrics to switch on; each worker always counts"),
)

HOUSING: tuple[Option, ...] = (
    *refused(_EMPERORS, _EMPEROR),
    *ignored("vassal-sos vassal-sos-backlog heartbeat",
             "it speaks to an emperor, and there is none above this server", Kind()),
    *refused(_LEGIONS, _LEGION),
    *refused("zerg zerg-server zerg-pool zergpool", _ZERG),
    *ignored("zerg-fallback no-fd-passing", "there is no zerg"),
    *refused(_JAILS, _JAIL),
    *refused("cgroup cgroup-opt", _CGROUP),
    *ignored("cgroup-dir-mode", "there are no cgroups of this server's own", Kind()),
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
             "has loaded", Kind()),
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
             "after twice as long each time, up to 30, or to 1 if it had served", Kind()),
    *ignored("check-interval", "the master wakes up when there is something to do; files are "
             "looked at once a second", Kind()),
    *ignored("skip-zero", "descriptor 0 is /dev/null in workers unless honour-stdin is set"),
    *ignored("notify-socket", "nothing is sent to it here, and what "
             "others would send was only logged", Kind()),
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
ROWS: tuple[Option, ...] = (*FACILITIES, *HOUSING, *WAYS)
