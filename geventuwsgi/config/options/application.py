"""The rows of uWSGI's options on Python: how it is set up, and which application is for whom.

`ROWS` are those without an effect here, `ignored` and `refused` as in `rows_uwsgi`.
"""

import re

from geventuwsgi.config.values.types import Boolean, Kind, Many, Mount, Name, Path
from geventuwsgi.config.values.numbers import Number
from geventuwsgi.config.options.option import Option, ignored, refused
from geventuwsgi.config.values.origin import Case


_PROCESSES = "Processes"
PROCESSES = (
    Option("gevent-wait-for-hub", Boolean(), "let a worker end only when the greenlets that the "
           "application has spawned are done", _PROCESSES, default=False,
           difference="timers and watchers without a greenlet are not waited for"),
)


class ModuleAlias(Kind):
    """`name=module`, or `name=path/of/file.py`: what has a slash in it is a file."""

    metavar = "NAME=MODULE"
    comments = True

    def value(self, text: str, case: Case) -> object:
        name, equals, target = (part.strip() for part in text.partition("="))
        if not equals or not target or not re.fullmatch(r"\w+(\.\w+)*", name):
            case.fail(f"{text!r} is not of the form name=module")
        return f"{name}={target}"


class Pecan(Path):
    """A configuration file of Pecan; the value is what makes the application of it."""

    def value(self, text: str, case: Case) -> object:
        return f"pecan.deploy:deploy({super().value(text, case)!r})"


_APPLICATION = "Application"
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
    Option("pyargv", Kind(), "what stands behind the program in sys.argv, separated by blanks",
           _APPLICATION, derived="the arguments of the server"),
    Option("threads-stack-size", Number(minimum=32, off=True), "the stack of the application's "
           "threads, in KiB", _APPLICATION, derived="the system's",
           aliases=("threads-stacksize", "thread-stack-size", "thread-stacksize"),
           difference="requests run in greenlets, whose stacks grow; it is that of native "
                      "threads"),
)

_ANY = Kind()
_NUMBER = Number(on=1)
_INSTEAD = "run it with Python beside the server"

ROWS: tuple[Option, ...] = (
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
