"""Other servers' options: those without effect here, and the names in gunicorn's files.

Those with an effect are names of other options. In a [uwsgi] section all of these names are
placeholders, as under uWSGI.
"""

from collections.abc import Mapping
from dataclasses import replace

from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values.types import Choice, ValueType

_ANY = ValueType()
_LOGGING = "set up logging with log-format, access-logfile, error-logfile and log-level, or in " \
    "the application"
_SSL = "use certfile, keyfile, ciphers and ssl-version"
_DIRTY = "use a task queue for long tasks"
_HTTP2 = "HTTP/2 is for the web server in front"
GUNICORN: tuple[Option, ...] = tuple(replace(option, everywhere=False) for option in (
    *ignored("initgroups", "the supplementary groups of the user are always used"),
    *ignored("sendfile no-sendfile", "files are sent with sendfile if possible"),
    *ignored("reload-engine", "files are polled, which works everywhere", _ANY),
    *ignored("tmp-upload-dir", "bodies are stored in the directory of TMPDIR", _ANY),
    *ignored("enable-stdio-inheritance", "standard output is always inherited"),
    *ignored("disable-redirect-access-to-syslog", "nothing is redirected to syslog"),
    *ignored("enable-backlog-metric", "the length of the queue is always known"),
    *ignored("default-proc-name", "use name", _ANY),
    *ignored("http-parser", "there is only one parser", _ANY),
    *ignored("asgi-disconnect-grace-period", "an application is notified of a disconnected client "
             "at once", _ANY),
    *ignored("control-socket control-socket-mode", "--reload, --stop and --stacks find the server "
             "by its pid file", _ANY),
    *ignored("no-control-socket", "the console only accepts commands from root and from its own "
             "user"),
    *ignored("strip-header-spaces permit-obsolete-folding", "such a request is an error (RFC "
             "9112)"),
    *ignored("permit-unconventional-http-method", "any token of RFC 9110 is a valid method"),
    *ignored("forwarder-headers header-map", "headers with an underscore are dropped", _ANY),
    *ignored("http-protocols", "HTTP/1.1 is used", _ANY),
    *ignored("http2-max-concurrent-streams http2-initial-window-size http2-max-frame-size "
             "http2-max-header-list-size", _HTTP2, _ANY),
    *refused("http2-cleartext", _HTTP2),
    *refused("permit-unconventional-http-version casefold-http-method",
             "it would accept requests that are errors in RFC 9112"),
    *refused("spew", "use --stacks PIDFILE, slow-request or py-spy"),
    *refused("secure-scheme-headers", "X-Forwarded-Proto and X-Forwarded-Ssl are used, if they "
             "come from forwarded-allow-ips"),
    *refused("logger-class log-config log-config-json logconfig logconfig-dict logconfig-json",
             _LOGGING),
    *refused("log-syslog-to log-syslog-prefix log-syslog-facility syslog syslog-addr "
             "syslog-prefix syslog-facility", "use logger = syslog:NAME,FACILITY, or logger = "
             "rsyslog:HOST:PORT,NAME,FACILITY"),
    *ignored("statsd-host statsd-prefix dogstatsd-tags", "statistics are not sent: metrics serves "
             "them for Prometheus, stats in uWSGI's JSON", _ANY),
    *refused("ssl-context", _SSL),
    *refused("dirty-app dirty-apps dirty-workers dirty-timeout dirty-threads "
             "dirty-graceful-timeout", _DIRTY),
))
UVICORN: tuple[Option, ...] = tuple(replace(option, everywhere=False) for option in (
    *ignored("access-log", "requests are logged, unless disable-logging is set"),
    *ignored("use-colors no-use-colors", "only a development run has colours, on a terminal; "
             "NO_COLOR and FORCE_COLOR in the environment override this"),
    *ignored("proxy-headers", "X-Forwarded-For and X-Forwarded-Proto are trusted if they come "
             "from forwarded-allow-ips"),
    *ignored("reset-contextvars", "each request has its own context"),
    *ignored("h11-max-incomplete-event-size", "a request head is limited by limit-request-line, "
             "limit-request-fields and limit-request-field-size", _ANY),
    *ignored("ws", "WebSockets are served if the websockets library is installed",
             Choice("auto", "websockets", "websockets-sansio", "wsproto",
                    none="WebSockets are served if the websockets library is installed")),
    *ignored("reload-dir reload-dirs", "the files of all imported modules are watched", _ANY),
    *refused("host port", "host and port are one option: write bind = HOST:PORT (on the "
             "command line --host and --port do the same)"),
    *refused("uds", "write bind = unix:PATH (on the command line --uds does the same)"),
    *refused("fd", "write bind = fd://NUMBER (on the command line --fd does the same)"),
    *refused("no-proxy-headers", "write an empty forwarded-allow-ips"),
    *refused("no-server-header", "write server-header = false"),
    *refused("no-date-header", "write date-header = false"),
    *refused("limit-concurrency", "use worker-connections: further clients wait in the listen "
             "queue"),
    *refused("reload-include", "use touch-reload"),
    *refused("reload-exclude", "use py-autoreload-ignore"),
    *refused("reload-delay", "use py-autoreload = SECONDS"),
))
GRANIAN: tuple[Option, ...] = tuple(replace(option, everywhere=False) for option in (
    *ignored("blocking-threads-idle-timeout runtime-threads runtime-blocking-threads runtime-mode "
             "task-impl http1-pipeline-flush", "there is no such runtime", _ANY),
    *ignored("http2-adaptive-window http2-initial-connection-window-size http2-keep-alive-interval "
             "http2-initial-stream-window-size http2-keep-alive-timeout http2-max-headers-size "
             "http2-max-send-buffer-size", _HTTP2, _ANY),
    *ignored("respawn-failed-workers reload-ignore-worker-failure", "a worker that ends is always "
             "replaced"),
    *ignored("respawn-interval", "a worker that ends is replaced at once", _ANY),
    *ignored("rss-sample-interval rss-samples", "memory is measured twice a second", _ANY),
    *ignored("log", "the log is always written; see log-level"),
    *ignored("reload-paths", "the files of all imported modules are watched, and those of "
             "reload-extra-file", _ANY),
    *refused("backpressure", "use gevent = N or threads = N for WSGI, worker-connections for ASGI"),
    *refused("http1-header-read-timeout", "use http-headers-timeout, in seconds"),
    *refused("http1-keep-alive no-http1-keep-alive", "use keepalive = SECONDS; 0 is off"),
    *refused("access-log-fmt", "use log-format or access-logformat, whose variables differ"),
    *refused("ssl-client-verify", "use cert-reqs = required"),
    *refused("ssl-crl", "certificates that were revoked cannot be listed: use nginx in front"),
    *refused("url-path-prefix", "use mount = /PREFIX=MODULE"),
    *refused("static-path-route static-path-mount", "use static-map = /ROUTE=DIRECTORY"),
    *refused("static-path-dir-to-file", "use static-index"),
    *refused("static-path-expires", "use static-expires"),
    *refused("metrics-address metrics-port metrics-scrape-interval", "use metrics = HOST:PORT"),
    *refused("reload-ignore-dirs reload-ignore-patterns reload-ignore-paths",
             "use py-autoreload-ignore"),
    *refused("reload-tick", "use py-autoreload = SECONDS"),
))
HYPERCORN: tuple[Option, ...] = tuple(replace(option, everywhere=False) for option in (
    *refused("debug", "use dev, or log-level = debug"),
    *refused("insecure-bind", "use http-socket for HTTP beside bind with certfile"),
    *refused("quic-bind", "HTTP/3 is for the web server in front"),
    *refused("server-name", "check the Host header in the web server in front, or in the "
             "application"),
))
# Names of rows above and in other modules that no other server has before it, for the reference.
NAMES_OF: Mapping[str, frozenset[str]] = {
    "uvicorn": frozenset("""
app-dir header limit-max-requests limit-max-requests-jitter no-access-log
timeout-graceful-shutdown timeout-keep-alive timeout-worker-healthcheck
""".split()),
    "granian": frozenset("""
blocking-threads env-files http1-buffer-size pid-file process-name ssl-ca ssl-protocol-min
uds-permissions workers-kill-timeout workers-lifetime workers-max-rss working-dir
""".split()),
    "hypercorn": frozenset("error-log read-timeout verify-mode websocket-ping-interval".split())}
_MIDDLEWARE = "wrap the application in a middleware"
_EXIT = "register the function with atexit in the application"
# gunicorn's server hooks, which a settings file may define too -> what to use instead. They are
# Python functions that have no process here to run in: the master loads no code of the application.
GUNICORN_HOOKS: Mapping[str, str] = {
    "on_starting": "use hook-asap = exec:COMMAND, which runs before anything else",
    "on_reload": "use hook-as-user = exec:COMMAND, which runs at the start and at each reload",
    "when_ready": "use hook-accepting1-once = exec:COMMAND, which runs before the first worker "
                  "accepts connections, or Type=notify in the systemd unit",
    "pre_fork": "call os.register_at_fork(before=FUNCTION) in the application, without lazy-apps",
    "post_fork": "call os.register_at_fork(after_in_child=FUNCTION) in the application, without "
                 "lazy-apps; with lazy-apps its module runs in each worker",
    "post_worker_init": "do it at the end of the application's module, with lazy-apps = true",
    "worker_int": _EXIT,
    "worker_abort": "the stack of a worker that is stuck is logged before it is killed",
    "pre_exec": "use hook-asap = exec:COMMAND, which a new version runs too",
    "pre_request": f"{_MIDDLEWARE}, or use route-run",
    "post_request": f"{_MIDDLEWARE} whose result has close(), or use log-format for the log",
    "child_exit": f"{_EXIT}; the log has a line for each worker that ends",
    "worker_exit": _EXIT,
    "nworkers_changed": "the log has a line for each change",
    "on_exit": "use hook-as-user-atexit = exec:COMMAND",
    "ssl_context": _SSL,
    "logconfig_dict": _LOGGING,
    **dict.fromkeys(("on_dirty_starting", "dirty_post_fork", "dirty_worker_init",
                     "dirty_worker_exit"), _DIRTY),
}
# The name of a setting -> its option, where they differ.
GUNICORN_SETTINGS = {
    "accesslog": "access-logfile", "errorlog": "error-logfile", "loglevel": "log-level",
    "access_log_format": "access-logformat", "preload_app": "preload-app",
    "uwsgi_allow_ips": "uwsgi-allow-from", "asgi_lifespan": "lifespan",
    "websocket_max_message_size": "ws-max-size", "daemon": "daemon",
    "control_socket_disable": "no-control-socket"}
# All settings except the hooks. gunicorn ignores other names in a settings file, so that
# `import socket` there is not uWSGI's option.
GUNICORN_NAMES = frozenset("""
config wsgi_app bind backlog workers worker_class threads worker_connections max_requests
max_requests_jitter timeout graceful_timeout keepalive limit_request_line limit_request_fields
limit_request_field_size reload reload_engine reload_extra_files spew check_config print_config
preload_app sendfile reuse_port chdir daemon raw_env pidfile worker_tmp_dir user group umask
initgroups tmp_upload_dir secure_scheme_headers forwarded_allow_ips accesslog
disable_redirect_access_to_syslog access_log_format errorlog loglevel capture_output logger_class
logconfig logconfig_json syslog_addr syslog syslog_prefix syslog_facility enable_stdio_inheritance
statsd_host dogstatsd_tags statsd_prefix enable_backlog_metric proc_name default_proc_name
pythonpath paste proxy_protocol proxy_allow_ips protocol uwsgi_allow_ips keyfile certfile
ssl_version cert_reqs ca_certs suppress_ragged_eofs do_handshake_on_connect ciphers http_protocols
http2_cleartext http2_max_concurrent_streams http2_initial_window_size http2_max_frame_size
http2_max_header_list_size raw_paste_global_conf permit_obsolete_folding strip_header_spaces
permit_unconventional_http_method permit_unconventional_http_version casefold_http_method
forwarder_headers header_map asgi_loop asgi_lifespan asgi_disconnect_grace_period
websocket_max_message_size http_parser root_path dirty_apps dirty_workers dirty_timeout
dirty_threads dirty_graceful_timeout control_socket control_socket_mode control_socket_disable
""".split())
# The defaults of refused settings, where they are not None: with these nothing is asked for.
GUNICORN_DEFAULTS: Mapping[str, object] = {
    "secure_scheme_headers": {"X-FORWARDED-PROTOCOL": "ssl", "X-FORWARDED-PROTO": "https",
                              "X-FORWARDED-SSL": "on"},
    "logger_class": "gunicorn.glogging.Logger", "syslog_addr": "udp://localhost:514",
    "syslog_facility": "user", "http2_cleartext": "off", "dirty_timeout": 300,
    "dirty_threads": 1, "dirty_graceful_timeout": 30}
# Options whose `difference` from uWSGI is also one from gunicorn.
GUNICORN_DIFFERENT = frozenset("max-requests uid".split())
