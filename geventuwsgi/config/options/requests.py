"""The options on requests and responses: sizes, times, trust, headers and error pages.

`UNSUPPORTED` has uWSGI's options of these topics that have no effect here.
"""

from dataclasses import dataclass

from geventuwsgi.config.options.option import SHARED, Option, ignored, refused
from geventuwsgi.config.values.numbers import Keepalive, Milliseconds, Number, Seconds, Size
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import (
    TOKEN, Boolean, Header, Many, Name, Network, Path, PathLimit, ValueType,
)

LOOPBACK = ("127.0.0.0/8", "::1")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918, RFC 4193
KEEPALIVE = 75  # seconds: nginx's keepalive_timeout
MIN_RATE = 240  # that of .NET's Kestrel; Apache's mod_reqtimeout has 500
# The statuses that the server itself sends; uWSGI has pages for three of them.
STATUSES = (400, 403, 404, 408, 413, 414, 421, 431, 500, 501, 502, 503, 504, 505)


class Modifier(Number):
    """A modifier of the uwsgi protocol: 0 is Python, others are other languages."""

    def value(self, text: str, context: CastContext) -> object:
        number = super().value(text, context)
        if number:
            context.fail(f"{number}: this server runs only Python, which is modifier 0")
        return number


class ErrorPage(Path):
    """The file of a page for one status, or `STATUS=FILE`."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.metavar = "FILE" if status else "STATUS=FILE"

    def value(self, text: str, context: CastContext) -> object:
        status = str(self.status)
        if not self.status:
            status, equals, text = (part.strip() for part in text.partition("="))
            if not equals or status not in map(str, STATUSES):
                context.fail(f"{status!r} is not one of the statuses that the server itself "
                             f"sends: {', '.join(map(str, STATUSES))}")
        return f"{status}={super().value(text, context)}"


class FieldName(ValueType):
    """The name of a header."""

    metavar = "NAME"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        if not TOKEN.fullmatch(text.rstrip(":")):
            context.fail(f"{text!r} is not a header name")
        return text.rstrip(":")


class FieldVariable(ValueType):
    """`NAME VARIABLE`: a header, and the variable that receives its value."""

    metavar = "NAME VARIABLE"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        name, _, variable = text.strip().partition(" ")
        variable = variable.strip()
        if not TOKEN.fullmatch(name) or not TOKEN.fullmatch(variable) or "." in variable:
            context.fail(f"{text!r} is not of the form NAME VARIABLE, such as X-User REMOTE_USER")
        return f"{name} {variable}"


@dataclass(frozen=True)
class Kibibytes(Number):
    """A size in KiB; the value is in bytes."""

    metavar = "KIB"
    noun = "number of KiB"

    def value(self, text: str, context: CastContext) -> object:
        number = super().value(text, context)
        assert isinstance(number, int)
        return number * 1024


_REQUESTS = "Requests: limits and times"
REQUESTS: tuple[Option, ...] = (
    Option("buffer-size", Size(minimum=512), "maximum size of a request head or uwsgi packet",
           _REQUESTS, default=65536,
           derived="65536",
           difference="larger by default (uWSGI: 4096), and may exceed 65535; if set, it also "
                      "limits the request line and each header field over HTTP",
           gunicorn=("http1-buffer-size",)),
    Option("limit-request-line", Size(), "maximum length of the request line; 0: as much as a "
           "request head may have, which is then 1 MiB unless buffer-size is set",
           _REQUESTS, default=8190, derived="8190, or buffer-size if that is set"),
    Option("limit-request-fields", Number(), "maximum number of header fields in a request; 0: "
           "32768, which is also the largest value", _REQUESTS, default=100),
    Option("limit-request-field-size", Size(), "maximum size of a header field in a request; 0: "
           "as limit-request-line = 0", _REQUESTS, default=8190,
           aliases=("limit-request-field_size",),
           derived="8190, or buffer-size if that is set"),
    Option("limit-post", Size(), "maximum size of a request body; the response to a larger one "
           "is 413; 0: no limit", _REQUESTS, default=0),
    Option("post-buffering", Size(on=65536), "store request bodies larger than this in a "
           "temporary file before the application is called; 0: off", _REQUESTS, default=0),
    Option("http-headers-timeout", Seconds(), "seconds for the head of a request to arrive; 0: "
           "no limit", _REQUESTS, default=30),
    Option("request-timeout", Seconds(), "seconds for a whole request to arrive, head and body; "
           "the time in which the application does not read does not count; 0: no limit", _REQUESTS,
           default=0),
    Option("request-min-rate", Size(), "least number of bytes per second of a request body, after "
           "its first socket-timeout seconds of waiting; 0: any", _REQUESTS, default=MIN_RATE),
    Option("limit-connections-per-address", Number(), "maximum number of connections that one "
           "address may have open in a worker or router process; further ones are closed. Those of "
           "forwarded-allow-ips and of unix sockets are not counted; 0: no limit", _REQUESTS,
           default=0),
    Option("keepalive", Seconds(), "seconds that an idle connection is kept open; 0: off",
           _REQUESTS, default=KEEPALIVE, gunicorn=("keep-alive", "timeout-keep-alive")),
    Option("http-keepalive", Keepalive(default=KEEPALIVE), "uWSGI's form of keepalive: 0 is "
           "off, 1 or true is on, a larger number is seconds", _REQUESTS, to="keepalive",
           derived="as keepalive"),
    Option("socket-timeout", Seconds(), "seconds without progress in reading a body or writing "
           "a response; 0: no limit", _REQUESTS, default=30, letters="z",
           gunicorn=("read-timeout",)),
    Option("chunked-input-timeout", Seconds(), "seconds without progress in reading a chunked "
           "body", _REQUESTS, derived="socket-timeout"),
    Option("socket-send-timeout", Seconds(), "seconds without progress in writing a response",
           _REQUESTS, derived="socket-timeout",
           aliases=("so-send-timeout", "socket-write-timeout", "so-write-timeout")),
    Option("http-server-name-as-http-host", Boolean(), "set SERVER_NAME to the value of the Host "
           "header", _REQUESTS, default=False),
    Option("websocket-max-size", Kibibytes(minimum=1), "ws-max-size in KiB", _REQUESTS,
           to="ws-max-size", derived="as ws-max-size", aliases=("websockets-max-size",)),
    Option("websocket-ping-freq", Seconds(), "as ws-ping-interval", _REQUESTS,
           to="ws-ping-interval", derived="as ws-ping-interval", aliases=("websockets-ping-freq",)),
    Option("websocket-pong-tolerance", Seconds(), "as ws-ping-timeout", _REQUESTS,
           to="ws-ping-timeout", derived="as ws-ping-timeout",
           aliases=("websockets-pong-tolerance",)),
)

_STUCK = "Requests: stuck, slow, too many"
STUCK: tuple[Option, ...] = (
    Option("harakiri", Seconds(), "maximum duration of a request in the application, in seconds; "
           "0: no limit", _STUCK, default=0,
           difference="the request ends with 504 and the worker keeps running; a worker is "
                      "replaced only if it is blocked, or the request goes on "
                      "(harakiri-graceful-timeout)"),
    Option("harakiri-path", Many(PathLimit()), "the harakiri of requests whose path has this "
           "prefix, as in /reports/=120, in place of the general one; the longest prefix wins, 0: "
           "no limit; may be repeated", _STUCK, default=(), merge=True),
    Option("harakiri-verbose", Boolean(), "at a harakiri, also log the request's variables and "
           "the stacks of all requests, greenlets and threads of the worker", _STUCK,
           default=False,
           difference="uWSGI logs the system call and the native stack of the process instead"),
    Option("harakiri-graceful-timeout", Seconds(), "seconds that a request has to end after its "
           "harakiri, before its connection is closed and its worker replaced", _STUCK, default=5,
           difference="an exception is raised in the request's greenlet or thread; uWSGI sends a "
                      "signal to the worker"),
    Option("slow-request", Seconds(), "log the stack of a request that is still running after "
           "this many seconds, once; 0: off", _STUCK, default=0),
    Option("block-warning", Milliseconds(minimum=10, off=True), "log the stack of what blocks "
           "its worker's hub for this many milliseconds: a greenlet, or in a native thread C code "
           "that holds the interpreter's lock; 0: off", _STUCK,
           derived="off"),
    Option("py-tracebacker", Path(), "a unix socket per worker, at this path followed by the "
           "worker's number, that sends each client the stacks of the worker's threads and "
           "greenlets", _STUCK,
           difference="it includes a stack per greenlet, and each stack is labelled with its "
                      "request; --stacks PIDFILE asks all workers without a socket"),
    Option("stacks", Path(), "print the stacks of all requests, greenlets and threads of all "
           "workers of the server with this pid file, then exit", _STUCK, status="command"),
    Option("cancel-on-disconnect", Boolean(), "raise geventuwsgi.errors.RequestCancelled in the "
           "greenlet or thread of a request whose client has disconnected", _STUCK,
           default=False),
    Option("queue-limit", Number(), "maximum number of requests that wait for one of a worker's "
           "application slots; further ones get 503 at once; 0 lets them wait, most of them in "
           "the listen queue", _STUCK, default=0),
)

_TRUST = "Trust"
TRUST: tuple[Option, ...] = (
    Option("uwsgi-allow-from", Many(Network(), split=","), "addresses allowed to connect with the "
           "uwsgi protocol over TCP: addresses, networks or ``*``", _TRUST, default=LOOPBACK,
           derived=", ".join(LOOPBACK) + "; a [uwsgi] section with a TCP socket beyond loopback "
                   "adds the private networks, with a warning",
           difference="uWSGI accepts requests from any address"),
    Option("forwarded-allow-ips", Many(Network(), split=","), "proxies whose X-Forwarded-Proto "
           "is trusted, and with ASGI X-Forwarded-For: addresses, networks or ``*``", _TRUST,
           default=("127.0.0.1", "::1"),
           derived="127.0.0.1, ::1; FORWARDED_ALLOW_IPS in the environment"),
    Option("enable-proxy-protocol", Boolean(), "read the PROXY protocol, versions 1 and 2, on "
           "HTTP sockets; connections without its header are served as they are", _TRUST,
           default=False, gunicorn=("proxy-protocol",),
           difference="version 2 too, and only from proxy-allow-ips"),
    Option("proxy-allow-ips", Many(Network(), split=","), "proxies whose PROXY protocol header "
           "is trusted", _TRUST, default=LOOPBACK, gunicorn=("proxy-allow-from",)),
)

_RESPONSES = "Responses"
RESPONSES: tuple[Option, ...] = (
    Option("add-header", Many(Header()), "add a header to each response; may be repeated",
           _RESPONSES, default=(), merge=True, gunicorn=("header",),
           difference="Server replaces the server's own, Connection: close closes the connection, "
                      "and Content-Length, Transfer-Encoding, Date and others that only the server "
                      "can know are refused"),
    Option("server-header", Boolean(), "send a Server header", _RESPONSES, default=True),
    Option("date-header", Boolean(), "send a Date header", _RESPONSES, default=True),
    Option("del-header", Many(FieldName()), "remove a header from each response; may be repeated",
           _RESPONSES, default=(), merge=True, aliases=("rem-header",)),
    Option("collect-header", Many(FieldVariable()), "copy the value of a response header into a "
           "variable of the request, for final-route and the log; may be repeated", _RESPONSES,
           default=(), merge=True, aliases=("response-header-collect",)),
    Option("pull-header", Many(FieldVariable()), "as collect-header, and remove the header; may be "
           "repeated", _RESPONSES, default=(), merge=True),
    Option("error-page", Many(ErrorPage()), "an HTML file to send with a status when the server "
           "itself generates the response; may be repeated, the first file that can be read is "
           "used", _RESPONSES, default=(), merge=True),
    *(Option(f"error-page-{status}", Many(ErrorPage(status)), f"as error-page, for {status}",
             _RESPONSES, default=(), merge=True, to="error-page", derived="as error-page",
             difference="it is sent whenever the server itself generates this status; responses "
                        "of the application are left as they are")
      for status in STATUSES),
    Option("catch-exceptions", Boolean(), "send the traceback of an exception to the client; for "
           "testing only", _RESPONSES, default=False),
    Option("reload-on-exception", Boolean(), "replace the worker when the application raises an "
           "exception", _RESPONSES, default=False,
           difference="the new worker is ready before the old one ends"),
    Option("reload-on-exception-type", Many(Name()), "as reload-on-exception, for one class of "
           "exceptions; may be repeated", _RESPONSES, default=(), merge=True),
    Option("reload-on-exception-value", Many(Name()), "as reload-on-exception, for exceptions with "
           "this message; may be repeated", _RESPONSES, default=(), merge=True),
    Option("reload-on-exception-repr", Many(Name()), "as reload-on-exception, for exceptions with "
           "this class and message, as in ValueError: message; may be repeated", _RESPONSES,
           default=(), merge=True),
    Option("wsgi-accept-buffer", Boolean(), "allow bytearray and memoryview as pieces of a "
           "response", _RESPONSES, default=False, aliases=("wsgi-accept-buffers",)),
    Option("wsgi-disable-file-wrapper", Boolean(), "omit wsgi.file_wrapper from the environ",
           _RESPONSES, default=False),
    Option("disable-sendfile", Boolean(), "send files by reading and writing instead of sendfile",
           _RESPONSES, default=False),
    Option("offload-threads", Number(on=1), "send a file given to wsgi.file_wrapper after the "
           "application has finished: the application is closed and its slot freed first; without "
           "gevent this is always so", _RESPONSES, default=0, aliases=("offload-thread",),
           difference="any number enables it; no thread is used, and files of static-map never "
                      "occupy a slot"),
    Option("http-auto-gzip", Boolean(), "compress a response with the header uWSGI-Encoding: "
           "gzip, if the client accepts it", _RESPONSES, default=False,
           difference="done by the workers, not by the router: it works without a router, and "
                      "not for other nodes"),
)

_ANY = ValueType()
_NUMBER = Number(on=1)

UNSUPPORTED: tuple[Option, ...] = (
    *ignored("http-socket-modifier1 http-socket-modifier2 https-socket-modifier1 "
             "https-socket-modifier2", "requests over HTTP always go to the application",
             Modifier()),
    *ignored("fastcgi-modifier1 fastcgi-modifier2 scgi-modifier1 scgi-modifier2 raw-modifier1 "
             "raw-modifier2", "there are no such sockets here", _NUMBER),
    *ignored("allowed-modifiers", "a request with a modifier1 other than 0 is a ping, or is "
             "rejected", _ANY),
    *refused("remap-modifier", "modifier1 is 0 or a ping: leave it out of the web server's "
             "configuration (nginx: uwsgi_modifier1)"),

    *ignored("tcp-fast-open-client tcp-fastopen-client", "connections to nodes are kept open, "
             "which saves more"),
    *ignored("static-cache-paths", "paths are not cached: each file is opened, and the kernel "
             "reports its real path", _NUMBER),
    *ignored("static-cache-paths-name", "paths are not cached", _ANY),
    *refused("load-file-in-cache load-file-in-cache-gzip", "files are not served from a cache: "
             "use static-map; the system keeps files in use in memory"),
    *refused("upload-progress", "the progress of uploads is not written to files: let the client "
             "show it, or use nginx's upload progress module"),
    *ignored("chunked-input-limit", "a chunk of any length is passed on as it arrives: limit-post "
             "limits the body", _NUMBER),
    *ignored("body-read-warning", "there is no such warning: limit-post limits a body, and "
             "memory-report logs the memory of a worker", _NUMBER),
    *ignored("response-headers-limit", "there is no such limit", _NUMBER),
    *ignored("wsgi-strict", "PEP 3333 is always enforced"),
    *refused("start_response-nodelay", "PEP 3333 requires the head to be sent with the first "
             "piece of the body: yield that at once"),
    *refused("exception-handler", "exception handlers cannot be loaded: tracebacks are in the "
             "log; use the SDK of your error tracker in the application"),
    *refused("harakiri-queue-threshold", "a request ends at its harakiri regardless of the queue: "
             "use harakiri-path for requests that may take long"),
    *ignored("carbon carbon-freq carbon-hostname-dots carbon-id carbon-idle-avg carbon-max-retry "
             "carbon-name-resolve carbon-no-workers carbon-resolve-names carbon-retry-delay "
             "carbon-root carbon-timeout carbon-use-metrics rrdtool rrdtool-freq rrdtool-lib",
             "metrics are not pushed to Carbon or stored in a database: metrics serves them for "
             "Prometheus, stats in uWSGI's JSON", _ANY),
    *refused("nagios", "let the check send an HTTP request, as a client does"),
    *refused("extract", "nothing is embedded in this server: use cat, or curl"),
    *refused("symcall symcall-post-fork symcall-register-rpc symcall-use-next",
             "functions of C libraries are not called: use import, and ctypes in the module"),
    *refused("router-list routers-list", f"the actions of route are in {SHARED}docs/rules.rst"),
)
