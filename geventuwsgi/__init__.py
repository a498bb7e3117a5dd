"""The gevent application server that runs the `uwsgi.ini` you already have.

The house has seven floors. A file imports from the floors below it and from its
own wing, never upward and never in a circle: not at import time, not inside a
function, not under `TYPE_CHECKING`. `tests/test_architecture.py` holds the rule.

    7  cli, __main__   arguments in, exit status out
       runner          the same from a [server:main] section of PasteDeploy
       django, flask   the same from `manage.py rungeventuwsgi` and `flask geventuwsgi`
    6  boot            settings become sockets, memory and roles: the one place that knows everyone
    5  api             the module an application imports as `uwsgi`
    4  server          a WSGI worker's I/O: worker, acceptor, connection, limits
       asgi            an ASGI worker's: the hub accepts, asyncio in a thread serves
       router          the HTTP(S) router: clients on one side, nodes on the other
       process         master, template, child, role, signals; knows no HTTP
    3  app             one request, no sockets, no settings: loader, environ, start_response
       config          the option table, INI and argv, the frozen settings
    2  protocol        bytes in, events out; no socket, no clock, no log
       net             sockets: addresses, listeners, streams, TLS; knows no settings
       log             request lines, the error log, and where both are written
       shared          what all processes have in common: the scoreboard, the master's orders
    1  errors          all that may go wrong, whose fault it is, and what status follows

The wings of one floor never name each other. Only the entry room of a wing
(`server.worker`, `asgi.bridge`, `process.master`...) reads the settings; the rooms
beneath take plain arguments. `boot` alone may import inside a function, in the process
that plays the role. One arrow runs up: `serve` below, a door to `boot.embedded` that loads
nothing until it is used.

The processes:

    master            reads the configuration, binds the sockets, keeps the roles alive;
     |                never imports the application, gevent or anything patched
     |- log           only where loggers are wanted: reads the lines of all the others
     |- template      a fresh interpreter that loads the application once, then forks
     '- worker 1..N   a gevent hub: one greenlet per connection, one slot per request

The template forks twice, so that the workers are the master's children: the death of
a template harms no request, and a reload is a second template beside the first. Each
worker holds one end of a control socket; its end-of-file says that the master is gone,
and nobody outlives it with a port open.

Three trips lead through the house. A request: acceptor, connection, parser, environ,
application, response, one send, one access line. An option: file or argv gives a key,
a text and its place, the table casts it, `Settings` remembers where it came from. A
signal: a byte in a pipe, the master's loop, messages to the workers, and the same loop
sees them leave.
"""

from typing import Any

__version__ = "1.0.0rc1"


def serve(application: Any, **settings: Any) -> None:
    """Serve an application in this process until SIGTERM or SIGINT; return when it is drained.

        from geventuwsgi import serve
        serve(application, bind="127.0.0.1:8000", harakiri=30)

    It is one worker, as it would be under a master, with the requests in progress finished
    at the end (`worker_reload_mercy` seconds at most; a second signal ends them at once), the
    sockets closed and the signal handlers given back. docs/embedding.rst tells the rest.

    Args:
        application: a WSGI or ASGI callable, not its name.
        settings: options by their names with underscores (gunicorn's names too): text,
            numbers, booleans, paths, and lists of these where an option repeats. Without a
            socket it is http://127.0.0.1:8000.

    Raises:
        ConfigError: an option is unknown or wrong, or needs a master or processes of its
            own; this is not the main thread; a WSGI application and threads that run in a
            process that is not monkey-patched, or an ASGI one in a process that is.
        AppLoadError: it is no application.
        BindError: a socket cannot be bound.
        BootError: the startup of an ASGI application failed.
    """
    from .boot import embedded  # the door: see above

    embedded.serve(application, settings)
