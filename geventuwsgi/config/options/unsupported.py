"""uWSGI's options that have no effect here: each a row with the reason.

`ignored` rows are harmless, because what they ask for is always so or has no meaning in
this server. `refused` rows would change behaviour or safety if they were passed over.
"""

from geventuwsgi.config.values.types import Choice, Kind, Plugins
from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values.origin import Case

_NO_LOOP = "the loop of this server is gevent's; of ASGI workers asgi-loop chooses it"
_LOOPS = Choice("gevent", "simple", "async", asyncio=_NO_LOOP, uv=_NO_LOOP, greenlet=_NO_LOOP,
                auto="write asgi-loop = auto", uvloop="write asgi-loop = uvloop")
_NO_LOCK = "each worker accepts through its own event loop; there is no lock to choose"
_NO_STATISTICS = "statistics of workers are not served: http-stats-server answers with those of " \
    "the router, also for Prometheus; what a request took is in the request log"
_NO_PLUGIN = "there are no plugins to load"
_GONE = "a client that goes away is no error in the log"
_NO_LOGGER = "workers write whole lines themselves; no line passes through the master"


class _Statistics(Kind):
    """Where uWSGI answers with its statistics; whoever asks there is to find the reason."""

    metavar = "ADDRESS"

    def value(self, text: str, case: Case) -> object:
        case.warn(f"nothing listens at {text}: statistics of workers are not served")
        return text


ROWS: tuple[Option, ...] = (
    *ignored("master", "there is always a master", letters="M"),
    *ignored("die-on-term", "SIGTERM always stops the server, gracefully"),
    *ignored("no-orphans", "workers always end with their master"),
    *ignored("thunder-lock persistent-ipcsem", _NO_LOCK),
    *ignored("lock-engine ftok", _NO_LOCK, Kind()),
    *ignored("enable-threads", "threads of the application always run", letters="T"),
    *ignored("single-interpreter", "there is always a single interpreter", letters="i"),
    *ignored("plugin plugins need-plugin need-plugins",
             "Python, gevent and HTTP are built in; other languages are warned of", Plugins()),
    *ignored("plugin-dir plugins-dir dlopen", _NO_PLUGIN, Kind()),
    *ignored("plugin-list plugins-list autoload", _NO_PLUGIN),
    *ignored("loop", "the loop is always gevent's", _LOOPS),
    *ignored("gevent-monkey-patch gevent-early-monkey-patch",
             "the standard library is patched before the application is imported, unless "
             "monkey-patch is false"),
    *ignored("ignore-sigpipe ignore-write-errors write-errors-exception-only "
             "disable-write-exception", _GONE),
    *ignored("write-errors-tolerance", _GONE, Kind()),
    *ignored("no-defer-accept", "TCP_DEFER_ACCEPT is never set"),
    *ignored("tcp-nodelay", "TCP_NODELAY is always set"),
    *ignored("close-on-exec close-on-exec2",
             "Python's sockets are never inherited by programs that the application runs"),
    *ignored("max-vars max-apps", "there is no such limit; buffer-size bounds a request", Kind()),
    *ignored("log-master log-master-stream log-master-req-stream threaded-logger", _NO_LOGGER),
    *ignored("log-master-bufsize", _NO_LOGGER, Kind()),
    *ignored("post-buffering-bufsize", "a body is stored as it arrives, in pieces of up to 64 KiB",
             Kind()),
    *ignored("py-call-uwsgi-fork-hooks py-call-osafterfork",
             "workers are forked by Python itself, whose hooks always run"),
    *ignored("wsgi-env-behaviour wsgi-env-behavior", "each request has an environ of its own",
             Kind()),
    *ignored("wsgi-manage-chunked-input http-chunked-input",
             "chunked request bodies are always decoded"),
    *ignored("http-auto-chunked",
             "a response without a length is always sent in chunks over HTTP/1.1"),
    *ignored("binary-path py-sys-executable py-executable",
             "sys.executable is the interpreter that runs the server", Kind()),
    *ignored("pcre-jit", "regular expressions are Python's"),
    *ignored("preload preload-app",
             "the application is always loaded before the workers fork, unless lazy-apps is set"),
    *ignored("worker-tmp-dir", "workers give their signs of life in shared memory", Kind()),
    *ignored("stats stats-server", _NO_STATISTICS, _Statistics()),
    *ignored("stats-http stats-minified stats-min stats-no-cores stats-no-metrics",
             _NO_STATISTICS),
    *ignored("stats-push stats-pusher-default-freq stats-pushers-default-freq", _NO_STATISTICS,
             Kind()),
    *ignored("harakiri-graceful-signal",
             "a request is told of its harakiri by an exception, not by a signal", Kind()),

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
