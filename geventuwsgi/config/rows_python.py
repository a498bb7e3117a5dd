"""The rows of uWSGI's options on Python and its loops that have no effect here.

`ignored` and `refused` as in `rows_uwsgi`.
"""

from geventuwsgi.config.kinds import Kind
from geventuwsgi.config.numeric import Number
from geventuwsgi.config.option import Option, ignored, refused

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
