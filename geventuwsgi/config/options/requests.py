"""The rows of uWSGI's further options on requests and responses.

`ROWS` are those without an effect here, `ignored` and `refused` as in `rows_uwsgi`.
"""

from dataclasses import dataclass

from geventuwsgi.config.options.option import SHARED, Option, ignored, refused
from geventuwsgi.config.values.numbers import Keepalive, Milliseconds, Number, Seconds, Size
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import (
    TOKEN, Boolean, Header, ValueType, Many, Name, Network, Path, PathLimit,
)

LOOPBACK = ("127.0.0.0/8", "::1")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918, RFC 4193
KEEPALIVE = 75  # seconds: nginx's keepalive_timeout

_REQUESTS = "Requests: limits and times"
REQUESTS = (
    Option("buffer-size", Size(minimum=512), "the greatest request head or uwsgi block", _REQUESTS,
           default=65536,
           derived="65536",
           difference="larger by default (uWSGI: 4096), and may exceed 65535; written, it is also "
                      "the limit of the request line and of each field over HTTP"),
    Option("limit-request-line", Size(minimum=256), "the greatest request line", _REQUESTS,
           default=8190, derived="8190, or buffer-size if that is written"),
    Option("limit-request-fields", Number(minimum=1, maximum=32768),
           "the greatest number of request header fields", _REQUESTS, default=100),
    Option("limit-request-field-size", Size(minimum=256), "the greatest request header field",
           _REQUESTS, default=8190, aliases=("limit-request-field_size",),
           derived="8190, or buffer-size if that is written"),
    Option("limit-post", Size(), "the greatest request body, larger ones are answered 413; 0 is "
           "no limit", _REQUESTS, default=0),
    Option("post-buffering", Size(on=65536), "store request bodies larger than this in a "
           "temporary file before the application is called; 0 is off", _REQUESTS, default=0),
    Option("http-headers-timeout", Seconds(), "seconds for the head of a request to arrive; 0 is "
           "no limit", _REQUESTS, default=30),
    Option("keepalive", Seconds(), "seconds that an idle connection is kept; 0 is off",
           _REQUESTS, default=KEEPALIVE, gunicorn=("keep-alive", "timeout-keep-alive")),
    Option("http-keepalive", Keepalive(default=KEEPALIVE), "uWSGI's form of keepalive: 0 is "
           "off, 1 or true is on, more is seconds", _REQUESTS, to="keepalive",
           derived="as keepalive"),
    Option("socket-timeout", Seconds(), "seconds without progress in reading a body or writing "
           "a response; 0 is no limit", _REQUESTS, default=30, letters="z"),
)

_TRUST = "Trust"
TRUST = (
    Option("uwsgi-allow-from", Many(Network(), split=","), "who may speak the uwsgi protocol "
           "over TCP: addresses, networks or ``*``", _TRUST, default=LOOPBACK,
           derived=", ".join(LOOPBACK) + "; a [uwsgi] section with a TCP socket beyond loopback "
                   "adds the private networks, with a warning",
           difference="uWSGI takes requests from everybody"),
    Option("forwarded-allow-ips", Many(Network(), split=","), "whose X-Forwarded-Proto, and "
           "X-Forwarded-For with ASGI, is believed: addresses, networks or ``*``", _TRUST,
           default=("127.0.0.1", "::1"),
           derived="127.0.0.1, ::1; FORWARDED_ALLOW_IPS in the environment"),
    Option("enable-proxy-protocol", Boolean(), "take the PROXY protocol, versions 1 and 2, on "
           "HTTP sockets", _TRUST, default=False, gunicorn=("proxy-protocol",)),
    Option("proxy-allow-ips", Many(Network(), split=","), "whose PROXY protocol is believed",
           _TRUST, default=LOOPBACK, gunicorn=("proxy-allow-from",)),
)

_RESPONSES = "Responses"
RESPONSES = (
    Option("add-header", Many(Header()), "add a header to each response; may be repeated",
           _RESPONSES, default=(), merge=True, gunicorn=("header",)),
    Option("server-header", Boolean(), "send a Server header", _RESPONSES, default=True),
    Option("date-header", Boolean(), "send a Date header", _RESPONSES, default=True),
)

_ANY = ValueType()
_NUMBER = Number(on=1)


class Modifier(Number):
    """A modifier of the uwsgi protocol: 0 is Python, and others are other languages."""

    def value(self, text: str, case: CastContext) -> object:
        number = super().value(text, case)
        if number:
            case.fail(f"{number}: this server runs Python alone, which is modifier 0")
        return number


# The statuses that the server itself answers with; uWSGI has pages for three of them.
STATUSES = (400, 403, 404, 408, 413, 414, 421, 431, 500, 501, 502, 503, 504, 505)


class ErrorPage(Path):
    """The file of a page for one status, or `STATUS=FILE`."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.metavar = "FILE" if status else "STATUS=FILE"

    def value(self, text: str, case: CastContext) -> object:
        status = str(self.status)
        if not self.status:
            status, equals, text = (part.strip() for part in text.partition("="))
            if not equals or not status.isdigit() or int(status) not in STATUSES:
                case.fail(f"{status!r} is none of the statuses that the server itself answers "
                          f"with: {', '.join(map(str, STATUSES))}")
        return f"{status}={super().value(text, case)}"


class FieldName(ValueType):
    """The name of a header."""

    metavar = "NAME"
    comments = True

    def value(self, text: str, case: CastContext) -> object:
        if not TOKEN.fullmatch(text.rstrip(":")):
            case.fail(f"{text!r} is no name of a header")
        return text.rstrip(":")


class FieldVariable(ValueType):
    """`NAME VARIABLE`: a header, and the variable that its value goes into."""

    metavar = "NAME VARIABLE"
    comments = True

    def value(self, text: str, case: CastContext) -> object:
        name, _, variable = text.strip().partition(" ")
        variable = variable.strip()
        if not TOKEN.fullmatch(name) or not TOKEN.fullmatch(variable) or "." in variable:
            case.fail(f"{text!r} is not of the form NAME VARIABLE, such as X-User REMOTE_USER")
        return f"{name} {variable}"


@dataclass(frozen=True)
class Kibibytes(Number):
    """A size in KiB; the value is in bytes."""

    metavar = "KIB"

    def value(self, text: str, case: CastContext) -> object:
        number = super().value(text, case)
        assert isinstance(number, int)
        return number * 1024


HTTP_RESPONSES = (
    Option("del-header", Many(FieldName()), "leave a header out of each response; may be repeated",
           _RESPONSES, default=(), merge=True, aliases=("rem-header",)),
    Option("collect-header", Many(FieldVariable()), "put the value of a response's header into a "
           "variable of the request, for final-route and the log; may be repeated", _RESPONSES,
           default=(), merge=True, aliases=("response-header-collect",)),
    Option("pull-header", Many(FieldVariable()), "the same, and leave the header out; may be "
           "repeated", _RESPONSES, default=(), merge=True),
    Option("error-page", Many(ErrorPage()), "the HTML that is sent with a status where the server "
           "itself answers; may be repeated, the first that can be read counts", _RESPONSES,
           default=(), merge=True),
    *(Option(f"error-page-{status}", Many(ErrorPage(status)), f"the same for {status}", _RESPONSES,
             default=(), merge=True, to="error-page", derived="as error-page",
             difference="it serves whenever the server answers so by itself; an application's "
                        "own response is left alone")
      for status in STATUSES),
    Option("catch-exceptions", Boolean(), "send the traceback of an exception to the client; for "
           "tests alone", _RESPONSES, default=False),
    Option("reload-on-exception", Boolean(), "replace the worker when the application raises "
           "anything", _RESPONSES, default=False,
           difference="the new worker serves before the old one ends"),
    Option("reload-on-exception-type", Many(Name()), "the same for one class of exceptions; may be "
           "repeated", _RESPONSES, default=(), merge=True),
    Option("reload-on-exception-value", Many(Name()), "the same for one message of exceptions; may "
           "be repeated", _RESPONSES, default=(), merge=True),
    Option("reload-on-exception-repr", Many(Name()), "the same for exceptions that read so, as in "
           "ValueError: message; may be repeated", _RESPONSES, default=(), merge=True),
    Option("wsgi-accept-buffer", Boolean(), "let the pieces of a response be bytearray or "
           "memoryview", _RESPONSES, default=False, aliases=("wsgi-accept-buffers",)),
    Option("wsgi-disable-file-wrapper", Boolean(), "leave wsgi.file_wrapper out of the environ",
           _RESPONSES, default=False),
    Option("disable-sendfile", Boolean(), "read files and write them, instead of sendfile",
           _RESPONSES, default=False),
    Option("offload-threads", Number(on=1), "send a file that the application hands to "
           "wsgi.file_wrapper when its own part is over: it is closed and the slot free before",
           _RESPONSES, default=0, aliases=("offload-thread",),
           difference="any number does; it is sent without a thread, and files of static-map "
                      "never take a slot"),
    Option("http-auto-gzip", Boolean(), "compress a response that says uWSGI-Encoding: gzip, if "
           "the client takes that", _RESPONSES, default=False,
           difference="the workers do it, not the router: also without one, and not for other "
                      "nodes"),
)
HTTP_REQUESTS = (
    Option("chunked-input-timeout", Seconds(), "seconds without progress in a chunked body",
           _REQUESTS, derived="socket-timeout"),
    Option("socket-send-timeout", Seconds(), "seconds without progress in writing a response",
           _REQUESTS, derived="socket-timeout",
           aliases=("so-send-timeout", "socket-write-timeout", "so-write-timeout")),
    Option("http-server-name-as-http-host", Boolean(), "let SERVER_NAME be what the Host header "
           "says", _REQUESTS, default=False),
    Option("websocket-max-size", Kibibytes(minimum=1), "ws-max-size in KiB", _REQUESTS,
           to="ws-max-size", derived="as ws-max-size", aliases=("websockets-max-size",)),
    Option("websocket-ping-freq", Seconds(), "as ws-ping-interval", _REQUESTS,
           to="ws-ping-interval", derived="as ws-ping-interval", aliases=("websockets-ping-freq",)),
    Option("websocket-pong-tolerance", Seconds(), "as ws-ping-timeout", _REQUESTS,
           to="ws-ping-timeout", derived="as ws-ping-timeout",
           aliases=("websockets-pong-tolerance",)),
)
HTTP_SOCKETS = (
    Option("tcp-fast-open", Number(off=True), "how many connections with data in their first "
           "packet may wait (TCP_FASTOPEN)", "Sockets", aliases=("tcp-fastopen",),
           derived="none"),
)

HTTP_ROWS: tuple[Option, ...] = (
    *ignored("http-socket-modifier1 http-socket-modifier2 https-socket-modifier1 "
             "https-socket-modifier2", "what comes in by HTTP is for the application",
             Modifier()),
    *ignored("fastcgi-modifier1 fastcgi-modifier2 scgi-modifier1 scgi-modifier2 raw-modifier1 "
             "raw-modifier2", "there are no such sockets here", _NUMBER),
    *ignored("allowed-modifiers", "requests with a modifier1 other than 0 are pings, or refused",
             _ANY),
    *refused("remap-modifier", "modifier1 is 0 or a ping: leave it out of the web server's "
             "configuration (nginx: uwsgi_modifier1)"),

    *ignored("tcp-fast-open-client tcp-fastopen-client", "connections to nodes are kept open, "
             "which saves more"),
    *ignored("static-cache-paths", "nothing has to be remembered: each file is opened, and the "
             "kernel asked where it really is", _NUMBER),
    *ignored("static-cache-paths-name", "no paths are cached", _ANY),
    *refused("load-file-in-cache load-file-in-cache-gzip", "files are not served out of a cache: "
             "use static-map, the system keeps what is asked for in memory"),
    *refused("upload-progress", "no file tells how far an upload is: let the client show it, or "
             "use nginx's upload progress module"),
    *ignored("chunked-input-limit", "a chunk is handed on as it arrives, however long: limit-post "
             "bounds the body", _NUMBER),
    *ignored("body-read-warning", "the log has no such warning: limit-post bounds a body, and "
             "memory-report tells what a worker takes", _NUMBER),
    *ignored("response-headers-limit", "there is no such limit", _NUMBER),
    *ignored("wsgi-strict", "what PEP 3333 calls an error always is one"),
    *refused("start_response-nodelay", "PEP 3333 has the head leave with the first piece of the "
             "body: yield that at once"),
    *refused("exception-handler", "there are no handlers to load: tracebacks are in the log; use "
             "the SDK of your error tracker in the application"),
    *refused("harakiri-queue-threshold", "a request ends at its harakiri however many wait: use "
             "harakiri-path for those that may take long"),
    *refused("carbon carbon-freq carbon-hostname-dots carbon-id carbon-idle-avg carbon-max-retry "
             "carbon-name-resolve carbon-no-workers carbon-resolve-names carbon-retry-delay "
             "carbon-root carbon-timeout carbon-use-metrics rrdtool rrdtool-freq rrdtool-lib",
             "figures are not pushed to Carbon or into a database: let its own collector read the "
             "request log"),
    *refused("nagios", "let the check ask over HTTP, as a client does"),
    *refused("extract", "nothing is packed into this server: use cat, or curl"),
    *refused("symcall symcall-post-fork symcall-register-rpc symcall-use-next",
             "functions of C libraries are not called: use import, and ctypes in the module"),
    *refused("router-list routers-list", f"the actions of route are in {SHARED}docs/rules.rst"),
)


# The rows of requests that are stuck, slow, abandoned or too many.

_STUCK = "Requests: stuck, slow, too many"
STUCK = (
    Option("harakiri", Seconds(), "seconds that the application may take for a request; 0 is no "
           "limit", _STUCK, default=0,
           difference="it ends the request with 504 and the worker goes on; only a worker that "
                      "is blocked is killed"),
    Option("harakiri-path", Many(PathLimit()), "the harakiri of requests whose path begins so, "
           "as in /reports/=120, instead of the general one; the longest prefix counts, 0 is no "
           "limit; may be repeated", _STUCK, default=(), merge=True),
    Option("harakiri-verbose", Boolean(), "at a harakiri log the request's variables and the "
           "stacks of all greenlets of the worker too", _STUCK, default=False,
           difference="uWSGI shows the system call and the native stack of the process instead"),
    Option("harakiri-graceful-timeout", Seconds(), "seconds that a request has to end after its "
           "harakiri, before its connection is cut and its worker replaced", _STUCK, default=5,
           difference="it is told by an exception in its greenlet, not by a signal to the worker"),
    Option("slow-request", Seconds(), "log the stack of a request that is still running after so "
           "many seconds, once; 0 is off", _STUCK, default=0),
    Option("block-warning", Milliseconds(minimum=10, off=True), "log the stack of a greenlet that "
           "keeps its worker's hub blocked for so many milliseconds; 0 is off", _STUCK,
           derived="off"),
    Option("py-tracebacker", Path(), "a unix socket per worker, at this path with the worker's "
           "number behind: who connects is told the stacks of its threads and greenlets", _STUCK,
           difference="a stack per greenlet too, named by its request; --stacks PIDFILE asks all "
                      "workers without any socket"),
    Option("stacks", Path(), "print the stacks of all greenlets of every worker of this pid "
           "file's server, then end", _STUCK, status="command"),
    Option("cancel-on-disconnect", Boolean(), "raise geventuwsgi.errors.RequestCancelled in a "
           "request whose client is gone", _STUCK, default=False),
    Option("queue-limit", Number(), "how many requests of a worker may wait for a slot of gevent; "
           "those past that are answered 503 at once; 0 lets them wait, most of them in the "
           "queue of listen", _STUCK, default=0),
)
