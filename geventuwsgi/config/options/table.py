"""Every option, one row: the only place where an option is written down.

uWSGI's names come first, gunicorn's are aliases. The rows are in the order of `--help`
and of the reference. `rows_uwsgi` holds the rows of uWSGI's options that have no effect
here, each with its reason.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from geventuwsgi.config.values.types import (
    Account, Address, Assignment, Boolean, Choice, Header, Kind, Many, Mount, Name, Network, Octal,
    Owner, Path, SocketMode, Variable,
)
from geventuwsgi.config.values.numbers import Keepalive, Number, Seconds, Size
from geventuwsgi.config.options.option import Option
from geventuwsgi.config.options.rows_asgi import ROWS as ASGI, UVICORN_WORKERS
from geventuwsgi.config.options.configuration import ROWS as DIALECT
from geventuwsgi.config.options.rows_facilities import ROWS as FACILITY_ROWS
from geventuwsgi.config.options.rows_development import DEVELOPMENT
from geventuwsgi.config.options.aliases import ROWS as GUNICORN_ROWS
from geventuwsgi.config.options.requests import REQUESTS as HTTP_REQUESTS
from geventuwsgi.config.options.requests import RESPONSES as HTTP_RESPONSES
from geventuwsgi.config.options.requests import ROWS as HTTP_ROWS
from geventuwsgi.config.options.requests import SOCKETS as HTTP_SOCKETS
from geventuwsgi.config.options.rows_uvicorn import ROWS as UVICORN_ROWS
from geventuwsgi.config.options.hooks import ROWS as HOOKS_ROWS
from geventuwsgi.config.options.hooks import WITHOUT
from geventuwsgi.config.options.application import PROCESSES as PYTHON_PROCESSES
from geventuwsgi.config.options.application import PYTHON
from geventuwsgi.config.options.rows_operation import OPERATION, RIGHTS, ROWS as OPERATION_ROWS
from geventuwsgi.config.options.rows_operation import SOCKETS as MORE_SOCKETS
from geventuwsgi.config.options.application import ROWS as PYTHON_ROWS
from geventuwsgi.config.options.logging import ROWS as LOGGING_ROWS
from geventuwsgi.config.options.logging import WITHOUT as WITHOUT_ALARMS
from geventuwsgi.config.options.rows_reload import RELOAD
from geventuwsgi.config.options.router import ROUTER, SUBSCRIPTION
from geventuwsgi.config.options.rows_routers import ROWS as ROUTERS_ROWS
from geventuwsgi.config.options.rules import ROUTES
from geventuwsgi.config.options.static import STATIC
from geventuwsgi.config.options.rows_stuck import STUCK
from geventuwsgi.config.options.sockets import TLS
from geventuwsgi.config.options.unsupported import ROWS as UWSGI_ROWS
from geventuwsgi.config.options.processes import CHEAPER, RECYCLING

LOOPBACK = ("127.0.0.0/8", "::1")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918, RFC 4193
KEEPALIVE = 75  # seconds: nginx's keepalive_timeout

_CONFIGURATION = "Configuration"
CONFIGURATION = (
    Option("ini", Path(), "read an INI file; FILE:SECTION reads that section", _CONFIGURATION,
           aliases=("config", "include"), letters="c", status="directive",
           difference="a file that includes itself, over whatever others, is an error"),
    Option("inherit", Path(), "read an INI file behind all that is named otherwise",
           _CONFIGURATION, status="directive"),
    Option("strict", Boolean(), "make an unknown option in a [uwsgi] section an error",
           _CONFIGURATION, default=False, status="directive"),
    Option("set", Assignment(), "set an option, or a placeholder if there is no such option",
           _CONFIGURATION, letters="S", status="directive"),
    Option("set-placeholder", Assignment(), "set a placeholder, for %(name)", _CONFIGURATION,
           aliases=("set-ph",), status="directive"),
    Option("show-config", Boolean(), "print every value and where it came from, and the lines that "
           "are refused, with status 1, then end",
           _CONFIGURATION, gunicorn=("print-config",), status="command",
           difference="in a file it has no effect; uWSGI prints its options and goes on"),
    Option("check-config", Boolean(), "tell for each line of the configuration what becomes of it, "
           "then end; also of a gunicorn.conf.py; status 1 if anything is refused or wrong",
           _CONFIGURATION, status="command"),
    Option("format", Choice("text", "json"), "how --check-config prints", _CONFIGURATION,
           status="command", everywhere=False),
    Option("from", Path(), "print a gunicorn.conf.py as an INI file, then end", _CONFIGURATION,
           status="command", everywhere=False),
    Option("completion", Choice("bash", "zsh", "fish"), "print what completes this command line in "
           "a shell, then end: source <(geventuwsgi --completion bash)", _CONFIGURATION,
           status="command", everywhere=False),
    Option("help", Boolean(), "print this text, or with --help OPTION all about one option",
           _CONFIGURATION, aliases=("usage",), letters="h", status="command"),
    Option("version", Boolean(), "print the version", _CONFIGURATION, letters="V",
           status="command"),
)

_APPLICATION = "Application"
APPLICATION = (
    Option("application", Name(), "the application: pkg.module:name, pkg.module:factory(), "
           "file.py or file.py:name; what stands alone on the command line", _APPLICATION,
           gunicorn=("wsgi-app",), everywhere=False),
    Option("module", Name(), "the module that holds the application, module:callable or "
           "module:factory()", _APPLICATION, aliases=("wsgi",)),
    Option("wsgi-file", Path(), "the Python file that holds the application", _APPLICATION,
           aliases=("file",)),
    Option("paste", Path(), "the application that PasteDeploy builds: config:FILE.ini#name or "
           "egg:Package#name", _APPLICATION, gunicorn=("paster",)),
    Option("paste-global", Many(Assignment()), "a variable for the file of paste, as pserve takes "
           "them behind its name: %(NAME)s, and part of what factories get as global_conf; may be "
           "repeated", _APPLICATION, default=(), merge=True, gunicorn=("raw-paste-global-conf",)),
    Option("paste-logger", Boolean(), "set up logging from the [loggers] of the file of paste",
           _APPLICATION, default=False),
    Option("ini-paste", Path(), "read the [uwsgi] section of an INI file, if it has one, and serve "
           "the application that PasteDeploy builds from it", _APPLICATION, status="directive"),
    Option("ini-paste-logged", Path(), "the same with paste-logger", _APPLICATION,
           status="directive"),
    Option("callable", Name(), "the name of the application in its module", _APPLICATION,
           derived="``application``, then ``app``"),
    Option("mount", Many(Mount()), "serve an application under a path, and with vhost of one "
           "host; may be repeated", _APPLICATION, default=(), merge=True),
    Option("manage-script-name", Boolean(), "move the path of a mount from PATH_INFO to "
           "SCRIPT_NAME", _APPLICATION, default=False),
    Option("need-app", Boolean(), "end with exit status 4 if the application cannot be loaded",
           _APPLICATION, default=True,
           difference="on unless switched off; uWSGI serves errors without an application"),
    Option("lazy-apps", Boolean(), "load the application in each worker instead of once before "
           "the workers fork", _APPLICATION, default=False, aliases=("lazy",),
           derived="false; true for ASGI applications, which may start threads when imported",
           difference="``lazy`` means the same; reloads are not limited to workers"),
    Option("import", Many(Name()), "import a module or a Python file before the application",
           _APPLICATION, default=(), merge=True,
           aliases=("pyimport", "py-import", "python-import")),
    Option("monkey-patch", Boolean(), "patch the standard library for gevent before anything of "
           "the application is imported", _APPLICATION, default=True),
    Option("pythonpath", Many(Path(), split=",", split_in_uwsgi=False),
           "put a directory in front of sys.path; may be repeated, globs are expanded",
           _APPLICATION, default=(), merge=True, aliases=("python-path", "pp"),
           gunicorn=("app-dir",)),
    Option("home", Path(), "use the packages of this virtual environment", _APPLICATION,
           aliases=("virtualenv", "venv", "pyhome"), letters="H",
           difference="the interpreter stays the one that runs the server; an environment of "
                      "another Python version is an error"),
    Option("chdir", Path(), "change to this directory before the application is loaded",
           _APPLICATION),
    Option("chdir2", Path(), "change to this directory after the application was loaded",
           _APPLICATION),
    Option("env", Many(Variable()), "set an environment variable; may be repeated",
           _APPLICATION, default=(), merge=True, gunicorn=("raw-env",), letters="e"),
    Option("unenv", Many(Name()), "remove an environment variable; may be repeated",
           _APPLICATION, default=(), merge=True),
)

_SOCKETS = "Sockets"
SOCKETS = (
    Option("http-socket", Many(Address()), "listen for HTTP; may be repeated", _SOCKETS,
           default=(), aliases=("http11-socket",),
           difference="connections are kept alive and bodies may be chunked, with or without "
                      "the 11"),
    Option("socket", Many(Address()), "listen for the uwsgi protocol of nginx's uwsgi_pass, or "
           "for what protocol says; may be repeated", _SOCKETS, default=(), letters="s"),
    Option("uwsgi-socket", Many(Address()), "listen for the uwsgi protocol whatever protocol "
           "says; may be repeated", _SOCKETS, default=()),
    Option("bind", Many(Address(), split=","), "listen for HTTP, or for what protocol says; "
           "may be repeated", _SOCKETS, default=(), everywhere=False,
           derived="127.0.0.1:8000 where no socket is named outside [uwsgi] sections; with "
                   "PORT in the environment 0.0.0.0 and that port"),
    Option("http", Many(Address()), "listen for HTTP", _SOCKETS, default=(),
           aliases=("httprouter",),
           difference="workers that take several requests at a time accept the connections "
                      "themselves, as with http-socket; http-router decides"),
    Option("protocol", Choice("uwsgi", "http",
                              fastcgi="FastCGI is not spoken here: use uwsgi and nginx's "
                                      "uwsgi_pass",
                              scgi="SCGI is not spoken here: use uwsgi and nginx's uwsgi_pass"),
           "the protocol of socket and bind", _SOCKETS, aliases=("socket-protocol",),
           derived="uwsgi for socket, http for bind"),
    Option("listen", Number(off=True), "the length of the queue of waiting connections",
           _SOCKETS, gunicorn=("backlog",), letters="l", derived="the system's somaxconn",
           difference="more than somaxconn is cut to it with a warning; uWSGI does not start"),
    Option("reuse-port", Boolean(), "set SO_REUSEPORT, so that another server may listen on the "
           "same port", _SOCKETS, default=False),
    Option("chmod-socket", SocketMode(), "the mode of unix sockets, in three octal digits; 666 "
           "without a value", _SOCKETS, aliases=("chmod",), letters="C",
           derived="what the umask leaves"),
    Option("chown-socket", Owner(), "the owner of unix sockets", _SOCKETS),
    Option("umask", Octal(), "the umask of the server and its workers", _SOCKETS, letters="m",
           derived="as inherited"),
    Option("vacuum", Boolean(), "remove unix sockets and pid files at the end", _SOCKETS,
           default=False),
    Option("so-keepalive", Boolean(), "set SO_KEEPALIVE on connections", _SOCKETS,
           default=False),
    Option("socket-sndbuf", Size(off=True), "the send buffer of connections (SO_SNDBUF)",
           _SOCKETS, derived="the system's"),
    Option("socket-rcvbuf", Size(off=True), "the receive buffer of connections (SO_RCVBUF)",
           _SOCKETS, derived="the system's"),
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
    Option("procname-prefix", Kind(), "a text in front of the names", _PROCESSES, default=""),
    Option("procname-prefix-spaced", Kind(), "a text and a blank in front of the names",
           _PROCESSES, default="", gunicorn=("name", "proc-name"), letters="n"),
    Option("procname-append", Kind(), "a text behind the names", _PROCESSES, default=""),
    Option("procname", Kind(), "the name of all processes", _PROCESSES, default=""),
    Option("procname-master", Kind(), "the name of the master", _PROCESSES, default=""),
)

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

_LOGGING = "Logging"
LOGGING = (
    Option("disable-logging", Boolean(), "write no line per request", _LOGGING, default=False,
           gunicorn=("no-access-log",), letters="L"),
    Option("logto", Path(), "write all logs, and what the application prints, to this file, or "
           "to a UDP socket (host:port)", _LOGGING),
    Option("log-format", Kind(), "the form of the line per request, with uWSGI's %(names)",
           _LOGGING, aliases=("logformat",), gunicorn=("access-logformat",),
           derived="uWSGI's line"),
    Option("log-x-forwarded-for", Boolean(), "log the address of X-Forwarded-For", _LOGGING,
           default=False),
    Option("log-micros", Boolean(), "log microseconds instead of milliseconds", _LOGGING,
           default=False),
    Option("memory-report", Boolean(), "tell the memory of the worker in front of each request "
           "line", _LOGGING, default=False,
           difference="it is measured once a second; a log-format has %(vsz) and %(rss)"),
    Option("access-logfile", Path(), "the file of the request lines; - is the standard output",
           _LOGGING, derived="the standard output"),
    Option("error-logfile", Path(), "the file of all other lines; - is the standard error",
           _LOGGING, gunicorn=("log-file",), derived="the standard error"),
    Option("log-level", Choice("debug", "info", "warning", "error", "critical"),
           "the least level that is logged", _LOGGING, default="info"),
)

_LOGIC = "INI logic"
_TEXT, _PATH = Kind(), Path()  # an inline comment is cut from a path (decisions 39)
_CONDITIONS = (
    ("if-env if-not-env ifenv", _TEXT,
     "NAME[=VALUE]: lines up to endif count if the variable is set"),
    ("if-opt if-not-opt", _TEXT, "KEY[=VALUE]: if the option is set"),
    ("if-file if-not-file", _PATH, "PATH: if it is a file"),
    ("if-dir if-not-dir ifdir if-directory if-not-directory", _PATH, "PATH: if it is a directory"),
    ("if-exists if-not-exists ifexists", _PATH, "PATH: if it exists"),
    ("if-hostname if-not-hostname", _TEXT, "NAME: if it is this machine's name"),
    ("if-hostname-match if-not-hostname-match", _TEXT, "REGEX: if this machine's name matches"),
    ("if-plugin if-not-plugin ifplugin", _TEXT, "NAME: if uWSGI's plugin is built in here"),
    ("if-reload if-not-reload", _TEXT, "if the files are read again for a reload"),
    ("for", _TEXT, "WORDS: the lines up to endfor, once for each word as %(_)"),
    ("for-glob", _PATH, "PATTERN: once for each file that matches"),
    ("for-times", _PATH, "N: once for each number from 1 to N"),
    ("for-readline", _PATH, "PATH: once for each line of a file"),
    ("endif end-if endfor end-for end", _TEXT, "ends the block"),
)
LOGIC = tuple(
    Option(names.split()[0], kind, help_, _LOGIC, aliases=tuple(names.split()[1:]),
           status="directive")
    for names, kind, help_ in _CONDITIONS)

OPTIONS: tuple[Option, ...] = (
    *CONFIGURATION,
    *DIALECT,
    *APPLICATION,
    *PYTHON,
    *ASGI,
    *SOCKETS,
    *HTTP_SOCKETS,
    *MORE_SOCKETS,
    *TLS,
    *PROCESSES,
    *PYTHON_PROCESSES,
    *RIGHTS,
    *ROUTER,
    *SUBSCRIPTION,
    *RELOAD,
    *DEVELOPMENT,
    *RECYCLING,
    *CHEAPER,
    *HOOKS_ROWS,
    *OPERATION,
    *REQUESTS,
    *HTTP_REQUESTS,
    *STUCK,
    *TRUST,
    *RESPONSES,
    *HTTP_RESPONSES,
    *STATIC,
    *ROUTES,
    *LOGGING,
    *LOGGING_ROWS,
    *LOGIC,
    *UWSGI_ROWS,
    *HTTP_ROWS,
    *PYTHON_ROWS,
    *ROUTERS_ROWS,
    *FACILITY_ROWS,
    *OPERATION_ROWS,
    *GUNICORN_ROWS,
    *UVICORN_ROWS,
    *WITHOUT,
    *WITHOUT_ALARMS,
)

BY_NAME: Mapping[str, Option] = MappingProxyType(
    {name: option for option in OPTIONS for name in option.names})
BY_LETTER: Mapping[str, Option] = MappingProxyType(
    {letter: option for option in OPTIONS for letter in option.letters})


def row(name: str, uwsgi: bool = False) -> Option | None:
    """Find the row of a name.

    Args:
        name: a long name.
        uwsgi: whether it stands in a [uwsgi] section or a `UWSGI_*` variable, where
            gunicorn's names are placeholders.
    """
    option = BY_NAME.get(name)
    if option is None or (uwsgi and (name in option.gunicorn or not option.everywhere)):
        return None
    return option


def nearest(name: str, uwsgi: bool = False, likeness: float = 0.75,
            among: Iterable[str] = ()) -> str | None:
    """Return the option that a mistyped name most likely means.

    Args:
        name: the name.
        uwsgi: as for `row`.
        likeness: how alike both have to be. With 0.75 `vaccum`, `process` and `chmod-sock` are
            found, `project` is not.
        among: other names than those of the table.
    """
    plain = name.lower() if among else name.lower().replace("_", "-")
    names = list(among) or [known for known in BY_NAME if known != name
                            and row(known, uwsgi)]
    if plain in names:
        return plain
    if not among:   # what has no effect is nothing to propose
        names = [known for known in names if BY_NAME[known].status not in ("ignored", "refused")]
    from difflib import get_close_matches  # rarely needed, and 0.7 MB of the master

    if len(plain) < 6:
        likeness = max(likeness, 0.8)   # one letter of four is another word: psgi, wsgi
    close = get_close_matches(plain, names, 1, likeness)
    return close[0] if close else None


def meant(key: str, text: str | None, uwsgi: bool) -> str:
    """Say what a line whose name is no option is most likely to mean; "" if that is unknown."""
    if key == "else":
        return "uWSGI 2.0 has no else: write the opposite behind the endif, such as if-not-env"
    if key == "name":
        return ""   # a placeholder of many files, and gunicorn's for processes
    name, colon, rest = (part.strip() for part in key.partition(":"))
    if colon and not text and row(name, uwsgi):
        return f"did you mean {name} = {rest}?"
    foreign = row(key) if uwsgi else None
    if foreign is not None and foreign.name == key:
        return f"in a [geventuwsgi] section and on the command line it is {foreign.name}"
    close = foreign.name if foreign is not None else nearest(key, uwsgi)
    return f"did you mean {close}?" if close else ""
