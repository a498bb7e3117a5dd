"""The options that say which application is served, and how Python is set up for it.

`APPLICATION` and `ASGI` are sections of the reference; `UNSUPPORTED` has uWSGI's options on
Python that have no effect here.
"""

import re

from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values.numbers import Number, Seconds, Size
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import (
    Assignment, Boolean, Choice, Many, Mount, Name, Path, Source, ValueType, Variable,
)

# The worker classes by which gunicorn runs uvicorn.
UVICORN_WORKERS = ("uvicorn.workers.uvicornworker", "uvicorn.workers.uvicornh11worker",
                   "uvicorn_worker.uvicornworker", "uvicorn_worker.uvicornh11worker")

# gunicorn's other names of its worker classes, in lower case.
GUNICORN_WORKERS = {
    "gevent_wsgi": "gevent", "gevent_pywsgi": "gevent",
    "gunicorn.workers.ggevent.geventworker": "gevent",
    "gunicorn.workers.ggevent.geventpywsgiworker": "gevent",
    "gunicorn.workers.gthread.threadworker": "gthread",
    "gunicorn.workers.sync.syncworker": "sync"}


class ModuleAlias(ValueType):
    """`name=module`, or `name=path/of/file.py`: a target with a slash is a file."""

    metavar = "NAME=MODULE"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        name, equals, target = (part.strip() for part in text.partition("="))
        if not equals or not target or not re.fullmatch(r"\w+(\.\w+)*", name):
            context.fail(f"{text!r} is not of the form name=module")
        return f"{name}={target}"


class Pecan(Path):
    """A configuration file of Pecan; the value is the factory call that loads it."""

    def value(self, text: str, context: CastContext) -> object:
        return f"pecan.deploy:deploy({super().value(text, context)!r})"


_APPLICATION = "Application"
APPLICATION: tuple[Option, ...] = (
    Option("optimize", Number(maximum=2), "run the application's Python with -O (1) or -OO (2)",
           _APPLICATION, letters="O", derived="as the server's"),
    Option("application", Source(), "the application: pkg.module:name, pkg.module:factory(), "
           "file.py or file.py:name; on the command line the argument without a dash",
           _APPLICATION, gunicorn=("wsgi-app",), everywhere=False),
    Option("module", Source(), "the module that contains the application, module:callable or "
           "module:factory()", _APPLICATION, aliases=("wsgi",)),
    Option("wsgi-file", Path(), "the Python file that contains the application", _APPLICATION,
           aliases=("file",)),
    Option("paste", Path(), "the application that PasteDeploy builds: config:FILE.ini#name or "
           "egg:Package#name", _APPLICATION, gunicorn=("paster",)),
    Option("paste-global", Many(Assignment()), "set a variable for the file of paste, like an "
           "argument of pserve: usable as %(NAME)s, and passed to factories in global_conf; may "
           "be repeated", _APPLICATION, default=(), merge=True,
           gunicorn=("raw-paste-global-conf",)),
    Option("paste-logger", Boolean(), "set up logging from the [loggers] section of the file of "
           "paste", _APPLICATION, default=False),
    Option("ini-paste", Path(), "read the [uwsgi] section of an INI file, if it has one, and serve "
           "the application that PasteDeploy builds from the file", _APPLICATION,
           status="directive"),
    Option("ini-paste-logged", Path(), "as ini-paste, with paste-logger", _APPLICATION,
           status="directive"),
    Option("callable", Source(), "the name of the application in its module", _APPLICATION,
           derived="``application``, then ``app``"),
    Option("mount", Many(Mount()), "serve an application under a path; with vhost also under a "
           "path of one host; may be repeated", _APPLICATION, default=(), merge=True),
    Option("manage-script-name", Boolean(), "move the path of a mount from PATH_INFO to "
           "SCRIPT_NAME", _APPLICATION, default=False),
    Option("need-app", Boolean(), "exit with status 4 if the application cannot be loaded",
           _APPLICATION, default=True,
           difference="on unless switched off; uWSGI starts without an application and serves "
                      "errors"),
    Option("lazy-apps", Boolean(), "load the application in each worker instead of once before "
           "the workers fork", _APPLICATION, default=False, aliases=("lazy",),
           derived="false; true for ASGI applications, which may start threads when imported",
           difference="``lazy`` means the same; a reload is not limited to the workers"),
    Option("import", Many(Source()), "import a module or a Python file before the application; may "
           "be repeated", _APPLICATION, default=(), merge=True,
           aliases=("pyimport", "py-import", "python-import")),
    Option("monkey-patch", Boolean(), "patch the standard library for gevent before any code of "
           "the application is imported", _APPLICATION,
           derived="on with greenlets (see gevent), off with native threads; if it is set, "
                   "requests run in greenlets"),
    Option("pythonpath", Many(Path(), split=",", split_in_uwsgi=False),
           "add a directory at the front of sys.path; may be repeated, globs are expanded",
           _APPLICATION, default=(), merge=True, aliases=("python-path", "pp"),
           gunicorn=("app-dir",)),
    Option("home", Path(), "use the packages of this virtual environment", _APPLICATION,
           aliases=("virtualenv", "venv", "pyhome"), letters="H",
           difference="the interpreter remains the one that runs the server; an environment of "
                      "another Python version is an error"),
    Option("chdir", Path(), "change to this directory before the application is loaded",
           _APPLICATION,
           gunicorn=("working-dir",)),
    Option("chdir2", Path(), "change to this directory after the application is loaded",
           _APPLICATION),
    Option("env", Many(Variable()), "set an environment variable; may be repeated",
           _APPLICATION, default=(), merge=True, gunicorn=("raw-env",), letters="e"),
    Option("env-file", Many(Path()), "set the environment variables of a file (``.env``), unless "
           "the server's environment has them; may be repeated", _APPLICATION, default=(),
           merge=True, everywhere=False,
           gunicorn=("env-files",)),
    Option("unenv", Many(Name()), "remove an environment variable; may be repeated",
           _APPLICATION, default=(), merge=True),
    Option("vhost", Boolean(), "choose the application by host and path: a mount may begin with a "
           "host, which is compared with SERVER_NAME", _APPLICATION, default=False,
           difference="a mount without a host serves every host; a mount whose host has no port "
                      "matches with or without a port in the request"),
    Option("vhost-host", Boolean(), "as vhost, compared with the Host header",
           _APPLICATION, default=False),
    Option("ignore-script-name", Boolean(), "let the application without a mount serve all "
           "requests, whatever SCRIPT_NAME says", _APPLICATION, default=False),
    Option("no-default-app", Boolean(), "send 500 if no application matches a request, instead of "
           "passing it to the first one", _APPLICATION, default=False),
    Option("worker-mount", Many(Mount()), "as mount", _APPLICATION, to="mount", default=(),
           merge=True, derived="as mount",
           difference="the application is loaded with the others; lazy-apps loads all of them in "
                      "the workers"),
    Option("pecan", Pecan(), "the application that Pecan builds from a configuration file",
           _APPLICATION, to="module", derived="as module"),
    Option("shared-import", Many(Source()), "import a module or a Python file once, before the "
           "workers fork and before import, also with lazy-apps; may be repeated", _APPLICATION,
           default=(), merge=True,
           aliases=("shared-pyimport", "shared-py-import", "shared-python-import")),
    Option("pymodule-alias", Many(ModuleAlias()), "import another module or file under a name, as "
           "in json=ujson; may be repeated", _APPLICATION, default=(), merge=True),
    Option("post-pymodule-alias", Many(ModuleAlias()), "as pymodule-alias", _APPLICATION,
           default=(), merge=True, to="pymodule-alias", derived="none"),
    Option("pyargv", ValueType(), "the arguments after the program name in sys.argv, separated by "
           "blanks", _APPLICATION, derived="the arguments of the server"),
    Option("threads-stack-size", Number(minimum=32, off=True), "the stack size of native threads, "
           "in KiB: those of ``threads``, except the main thread, and the application's own",
           _APPLICATION, derived="the system's",
           aliases=("threads-stacksize", "thread-stack-size", "thread-stacksize"),
           difference="it also applies to threads that the application starts; the stacks of "
                      "greenlets grow as needed"),
)

_ASGI = "ASGI"
ASGI: tuple[Option, ...] = (
    Option("asgi", Source(), "the ASGI application, module:callable or module:factory()", _ASGI),
    Option("interface", Choice("auto", "wsgi", "asgi",
                               asgi3="write interface = asgi",
                               asgi2="write interface = asgi: both forms are served",
                               rsgi="only WSGI and ASGI are served"),
           "the interface of the application; auto inspects the application", _ASGI,
           default="auto",
           derived="``asgi`` with the option asgi or worker-class asgi, else ``auto``"),
    Option("factory", Boolean(), "call the given object without arguments to get the application",
           _ASGI, default=False),
    Option("root-path", ValueType(), "the path that a proxy in front removes from each request, "
           "for root_path of the scope", _ASGI, default=""),
    Option("asgi-loop", Choice("auto", "asyncio", "uvloop"), "the event loop of ASGI workers; "
           "auto uses uvloop if it is installed", _ASGI, default="auto"),
    Option("asgi-loop-timeout", Seconds(), "seconds after which an event loop that does not "
           "respond has its stack logged and its worker replaced; 0: never", _ASGI,
           default=30),
    Option("lifespan", Choice("auto", "on", "off"), "run the application's startup and shutdown "
           "events; auto serves an application that does not support them without", _ASGI,
           default="auto", gunicorn=("asgi-lifespan",)),
    Option("lifespan-startup-timeout", Seconds(), "maximum duration of the startup, in seconds; 0: "
           "no limit", _ASGI, default=60),
    Option("lifespan-shutdown-timeout", Seconds(), "maximum duration of the shutdown, in seconds",
           _ASGI, default=30),
    Option("ws-ping-interval", Seconds(), "seconds between two pings on a WebSocket; 0 sends no "
           "pings", _ASGI, default=20,
           gunicorn=("websocket-ping-interval",)),
    Option("ws-ping-timeout", Seconds(), "seconds to wait for the pong; 0: no limit", _ASGI,
           default=20),
    Option("ws-max-size", Size(), "maximum size of a WebSocket message; 0: no limit", _ASGI,
           default=16 * 1024 ** 2, gunicorn=("websocket-max-message-size",)),
    Option("ws-max-queue", Number(minimum=1), "maximum number of messages of a WebSocket that "
           "wait for the application before reading pauses", _ASGI, default=32),
    Option("ws-per-message-deflate", Boolean(), "compress WebSocket messages if the client "
           "offers it", _ASGI, default=True),
)

_ANY = ValueType()
_NUMBER = Number(on=1)
_RUN_IT = "run it with Python beside the server"

UNSUPPORTED: tuple[Option, ...] = (
    *refused("py python pyrun", f"the server does not run scripts: {_RUN_IT}, with attach-daemon "
             "if it belongs to this instance, or name a module with import"),
    *refused("pyshell pyshell-oneshot", "the server does not open a shell: use python -i and "
             "import the application, or --stacks to see where requests are"),
    *refused("eval", "the application cannot be given as code: write it to a file and use "
             "wsgi-file"),
    *refused("test", "use python -c 'import MODULE'"),
    *refused("python-version", "use python --version, or see the first lines of the log"),
    *refused("python-raw", "there are no raw requests: use module"),
    *refused("python-worker-override", "a worker's main loop cannot be replaced: use "
             "attach-daemon for a program of your own"),
    *refused("py-sharedarea", "there are no shared areas: use multiprocessing.shared_memory"),
    *refused("profiler", "use a sampling profiler, such as py-spy dump or py-spy record with "
             "the pid of a worker"),
    *refused("command-mode", f"there is no command mode: {_RUN_IT}"),
    *refused("config-py dot-h cflags", "nothing is compiled: this server is a Python package"),
    *refused("clock-list clocks-list loop-list loops-list", "there is only one: the server's "
             "loop is gevent's, with the system's clock"),
    *ignored("clock", "the clock is the system's", _ANY),
    *ignored("py-programname py-program-name binary-path py-sys-executable py-executable",
             "sys.executable is the interpreter that runs the server", _ANY),
    *ignored("reload-os-env", "os.environ is that of the process: requests do not change it"),
    *ignored("no-site", "the packages of this interpreter come after those of home"),
    *ignored("ugreen", "greenlets are gevent's: async = N runs requests in them"),
    *ignored("ugreen-stacksize", "a greenlet's stack grows as needed", _NUMBER),
    *ignored("no-threads-wait", "a worker ends when its requests are finished, or after "
             "worker-reload-mercy; it does not wait for threads of the application"),
    *ignored("use-abort", "after a crash the system writes a core file if its limits allow it "
             "(limit core)"),
    *ignored("backtrace-depth", "stacks are logged in full", _NUMBER),
    *ignored("harakiri-no-arh no-harakiri-arh no-harakiri-after-req-hook",
             "the harakiri of a request ends with its response"),
    *ignored("skip-atexit-teardown", "a worker exits without tearing the interpreter down"),
)
