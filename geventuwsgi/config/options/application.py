"""The rows of uWSGI's options on Python: how it is set up, and which application is for whom.

`ROWS` are those without an effect here, `ignored` and `refused` as in `rows_uwsgi`.
"""

import re

from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values.numbers import Number, Seconds, Size
from geventuwsgi.config.values.origin import CastContext
from geventuwsgi.config.values.types import (
    Assignment, Boolean, Choice, ValueType, Many, Mount, Name, Path, Variable,
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

_PROCESSES = "Processes"
PYTHON_PROCESSES = (
    Option("gevent-wait-for-hub", Boolean(), "let a worker end only when the greenlets that the "
           "application has spawned are done", _PROCESSES, default=False,
           difference="timers and watchers without a greenlet are not waited for"),
)


class ModuleAlias(ValueType):
    """`name=module`, or `name=path/of/file.py`: what has a slash in it is a file."""

    metavar = "NAME=MODULE"
    comments = True

    def value(self, text: str, context: CastContext) -> object:
        name, equals, target = (part.strip() for part in text.partition("="))
        if not equals or not target or not re.fullmatch(r"\w+(\.\w+)*", name):
            context.fail(f"{text!r} is not of the form name=module")
        return f"{name}={target}"


class Pecan(Path):
    """A configuration file of Pecan; the value is what makes the application of it."""

    def value(self, text: str, context: CastContext) -> object:
        return f"pecan.deploy:deploy({super().value(text, context)!r})"


PYTHON = (
    Option("vhost", Boolean(), "choose the application by the host too, which mount names in front "
           "of the path; the host is SERVER_NAME", _APPLICATION, default=False,
           difference="a mount without a host is for every host; what names none is found with or "
                      "without the port"),
    Option("vhost-host", Boolean(), "the same by the Host header", _APPLICATION, default=False),
    Option("ignore-script-name", Boolean(), "let the application without a mount serve all "
           "requests, whatever SCRIPT_NAME says", _APPLICATION, default=False),
    Option("no-default-app", Boolean(), "answer 500 where a request finds no application, instead "
           "of asking the first one", _APPLICATION, default=False),
    Option("worker-mount", Many(Mount()), "as mount", _APPLICATION, to="mount", default=(),
           merge=True, derived="as mount",
           difference="the application is loaded with the others: lazy-apps loads all of them in "
                      "the workers"),
    Option("pecan", Pecan(), "the application that Pecan makes of a configuration file",
           _APPLICATION, to="module", derived="as module"),
    Option("shared-import", Many(Name()), "import a module or a Python file once, before the "
           "workers fork and before import, also with lazy-apps; may be repeated", _APPLICATION,
           default=(), merge=True,
           aliases=("shared-pyimport", "shared-py-import", "shared-python-import")),
    Option("pymodule-alias", Many(ModuleAlias()), "let a name be imported as another module or "
           "file, as in json=ujson; may be repeated", _APPLICATION, default=(), merge=True),
    Option("post-pymodule-alias", Many(ModuleAlias()), "the same", _APPLICATION, default=(),
           merge=True, to="pymodule-alias", derived="none"),
    Option("pyargv", ValueType(), "what stands behind the program in sys.argv, separated by blanks",
           _APPLICATION, derived="the arguments of the server"),
    Option("threads-stack-size", Number(minimum=32, off=True), "the stack of the application's "
           "threads, in KiB", _APPLICATION, derived="the system's",
           aliases=("threads-stacksize", "thread-stack-size", "thread-stacksize"),
           difference="requests run in greenlets, whose stacks grow; it is that of native "
                      "threads"),
)

_ANY = ValueType()
_NUMBER = Number(on=1)
_INSTEAD = "run it with Python beside the server"

PYTHON_ROWS: tuple[Option, ...] = (
    *refused("py python pyrun", f"the server runs no script: {_INSTEAD}, with attach-daemon if it "
             "belongs to this instance, or name a module with import"),
    *refused("pyshell pyshell-oneshot", "the server opens no shell: python -i with import of the "
             "application shows the same, --stacks where requests stand"),
    *refused("eval", "the application is not code on a line: write it to a file and use "
             "wsgi-file"),
    *refused("test", "use python -c 'import MODULE'"),
    *refused("python-version", "python --version tells it, and the first lines of the log"),
    *refused("python-raw", "there are no raw requests: use module"),
    *refused("python-worker-override", "the worker's loop is the server's: use attach-daemon for "
             "a program of your own"),
    *refused("py-sharedarea", "there are no shared areas: use multiprocessing.shared_memory"),
    *refused("profiler", "use a profiler that samples, such as py-spy dump or py-spy record with "
             "the pid of a worker"),
    *refused("command-mode", "there are no commands in place of a server: " + _INSTEAD),
    *refused("config-py dot-h cflags", "nothing is built here: this server is a package of "
             "Python"),
    *refused("clock-list clocks-list loop-list loops-list", "there is one of them: gevent's loop "
             "with the system's clock"),
    *ignored("clock", "the clock is the system's", _ANY),
    *ignored("py-programname py-program-name", "sys.executable is the interpreter that runs the "
             "server", _ANY),
    *ignored("reload-os-env", "os.environ is that of the process: requests do not change it"),
    *ignored("no-site", "the packages of this interpreter stand behind those of home"),
    *ignored("ugreen", "each request runs in a greenlet of gevent"),
    *ignored("ugreen-stacksize", "a greenlet's stack grows as it needs", _NUMBER),
    *ignored("no-threads-wait", "a worker ends when its requests have; threads of the application "
             "are not waited for"),
    *ignored("use-abort", "a crash is left to the system, which writes a core if it is told to "
             "(limit core)"),
    *ignored("backtrace-depth", "stacks are logged whole", _NUMBER),
    *ignored("harakiri-no-arh no-harakiri-arh no-harakiri-after-req-hook",
             "the harakiri of a request ends with its response"),
    *ignored("skip-atexit-teardown", "a worker is not taken apart at its end"),
)


# The options of ASGI applications; uvicorn's names where it has one.

# gunicorn's way to run uvicorn, as files and command lines have it.
UVICORN_WORKERS = ("uvicorn.workers.uvicornworker", "uvicorn.workers.uvicornh11worker",
                   "uvicorn_worker.uvicornworker", "uvicorn_worker.uvicornh11worker")

_ASGI = "ASGI"
ASGI: tuple[Option, ...] = (
    Option("asgi", Name(), "the ASGI application, module:callable or module:factory()", _ASGI),
    Option("interface", Choice("auto", "wsgi", "asgi",
                               asgi3="write interface = asgi",
                               asgi2="write interface = asgi: both forms are served",
                               rsgi="only WSGI and ASGI are served"),
           "what the application is; auto looks at it", _ASGI, default="auto",
           derived="``asgi`` with the option asgi or worker-class asgi, else ``auto``"),
    Option("factory", Boolean(), "the application named is a function that makes it", _ASGI,
           default=False),
    Option("root-path", ValueType(), "the path that a proxy in front has cut off, for root_path of "
           "the scope", _ASGI, default=""),
    Option("asgi-loop", Choice("auto", "asyncio", "uvloop"), "the event loop of ASGI workers; "
           "auto takes uvloop where it is installed", _ASGI, default="auto"),
    Option("asgi-loop-timeout", Seconds(), "after how many seconds without an answer of the "
           "event loop its stack is logged and the worker replaced; 0 is never", _ASGI,
           default=30),
    Option("lifespan", Choice("auto", "on", "off"), "run the application's startup and shutdown; "
           "with auto an application that knows no lifespan is served without", _ASGI,
           default="auto", gunicorn=("asgi-lifespan",)),
    Option("lifespan-startup-timeout", Seconds(), "seconds that the startup may take; 0 is no "
           "limit", _ASGI, default=60),
    Option("lifespan-shutdown-timeout", Seconds(), "seconds that the shutdown may take", _ASGI,
           default=30),
    Option("ws-ping-interval", Seconds(), "seconds between two pings on a WebSocket; 0 is no "
           "pings", _ASGI, default=20),
    Option("ws-ping-timeout", Seconds(), "seconds within which a ping has to be answered; 0 is "
           "no limit", _ASGI, default=20),
    Option("ws-max-size", Size(minimum=1), "the greatest WebSocket message", _ASGI,
           default=16 * 1024 ** 2, gunicorn=("websocket-max-message-size",)),
    Option("ws-max-queue", Number(minimum=1), "how many messages of a WebSocket may wait for the "
           "application before reading stops", _ASGI, default=32),
    Option("ws-per-message-deflate", Boolean(), "compress WebSocket messages where the client "
           "offers it", _ASGI, default=True),
)
