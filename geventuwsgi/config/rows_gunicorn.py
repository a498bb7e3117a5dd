"""The rows of gunicorn's settings that have no effect here, each with its reason.

Those that have one are aliases of other rows. In a [uwsgi] section these names are what
they are under uWSGI, placeholders.
"""

from dataclasses import replace

from geventuwsgi.config.kinds import Kind
from geventuwsgi.config.option import Option, ignored, refused

_ANY = Kind()
_LOGGING = "logging is set up by log-format, access-logfile, error-logfile and log-level, or by " \
    "the application"
ROWS: tuple[Option, ...] = tuple(replace(row, everywhere=False) for row in (
    *ignored("initgroups", "the supplementary groups of the user are always taken"),
    *ignored("sendfile no-sendfile", "files go by sendfile where that is possible"),
    *ignored("reload-engine", "files are looked at, which works everywhere", _ANY),
    *ignored("tmp-upload-dir", "bodies are stored where TMPDIR says", _ANY),
    *ignored("enable-stdio-inheritance", "the standard output is inherited"),
    *ignored("disable-redirect-access-to-syslog", "nothing is redirected to syslog"),
    *ignored("enable-backlog-metric", "the length of the queue is always known"),
    *ignored("default-proc-name", "name says it", _ANY),
    *ignored("http-parser", "there is one parser", _ANY),
    *ignored("asgi-disconnect-grace-period", "an application is told of a client that is gone at "
             "once", _ANY),
    *ignored("control-socket control-socket-mode", "--reload, --stop and --stacks find the server "
             "by its pid file", _ANY),
    *ignored("no-control-socket", "the console takes orders of root and of its own user alone"),
    *ignored("strip-header-spaces permit-obsolete-folding", "such a head is an error (RFC 9112)"),
    *ignored("permit-unconventional-http-method", "methods are what RFC 9110 calls a token"),
    *ignored("forwarder-headers header-map", "headers with an underscore are dropped", _ANY),
    *ignored("http-protocols", "HTTP/1.1 is spoken", _ANY),
    *ignored("http2-max-concurrent-streams http2-initial-window-size http2-max-frame-size "
             "http2-max-header-list-size", "HTTP/2 is left to the web server in front", _ANY),
    *refused("http2-cleartext", "HTTP/2 is left to the web server in front"),
    *refused("permit-unconventional-http-version casefold-http-method",
             "it would let in requests that RFC 9112 calls errors"),
    *refused("spew", "use --stacks PIDFILE, slow-request or py-spy"),
    *refused("secure-scheme-headers", "X-Forwarded-Proto and X-Forwarded-Ssl are what is believed "
             "from forwarded-allow-ips"),
    *refused("capture-output", "use logto: it takes what the application prints too"),
    *refused("logger-class log-config log-config-json logconfig logconfig-dict logconfig-json",
             _LOGGING),
    *refused("log-syslog-to log-syslog-prefix log-syslog-facility syslog syslog-addr "
             "syslog-prefix syslog-facility", "use logger = syslog:NAME,FACILITY, or logger = "
             "rsyslog:HOST:PORT,NAME,FACILITY"),
    *refused("statsd-host statsd-prefix dogstatsd-tags", "statistics are not sent to statsd"),
    *refused("paste-global raw-paste-global-conf", "write them under [DEFAULT] of the INI file"),
    *refused("ssl-context", "use certfile, keyfile, ciphers and ssl-version"),
    *refused("dirty-app dirty-apps dirty-workers dirty-timeout dirty-threads "
             "dirty-graceful-timeout", "long tasks are left to a task queue"),
))
# What a settings file may define besides: they are Python, and run in processes that are
# another's here.
HOOKS = frozenset("""
on_starting on_reload when_ready pre_fork post_fork post_worker_init worker_int worker_abort
pre_exec pre_request post_request child_exit worker_exit nworkers_changed on_exit ssl_context
on_dirty_starting dirty_post_fork dirty_worker_init dirty_worker_exit logconfig_dict
""".split())
# The name of a setting -> its option, where they differ.
SETTINGS = {
    "accesslog": "access-logfile", "errorlog": "error-logfile", "loglevel": "log-level",
    "access_log_format": "access-logformat", "preload_app": "preload-app",
    "uwsgi_allow_ips": "uwsgi-allow-from", "asgi_lifespan": "lifespan",
    "websocket_max_message_size": "ws-max-size", "daemon": "daemon",
    "control_socket_disable": "no-control-socket"}
