"""The gevent application server that runs the `uwsgi.ini` you already have.

A folder is a kind of process or one layer, and a file is named for what it holds. The package has
seven floors. A module imports from lower floors and from its own subpackage, never upward and
never in a circle: not at import time, not inside a function, not under `TYPE_CHECKING`.
`tests/test_architecture.py` checks this.

    7  __main__        `python -m geventuwsgi`: a development run
    6  cli             arguments in, exit status out
    5  boot            settings become sockets, memory and roles; imports every other subpackage
       flask, django   the same server from `flask geventuwsgi` and `manage.py rungeventuwsgi`
    4  workers         values and limits that both kinds of worker need
         wsgi          a WSGI worker: acceptor, connections, application slots
         asgi          an ASGI worker: the hub accepts, an asyncio thread serves
       router          the HTTP(S) router and load balancer: clients on one side, nodes on the other
       monitor         serves statistics of the whole instance, from the scoreboard
       master          the master's loop: signals, children, generations, reloads; knows no HTTP
         attached      what the master has beside workers: daemons, hooks, file watches, log
       prefork         the template and its children: the only code between fork and worker
       paste           the same server from a [server:main] section of PasteDeploy
    3  app             one request, no sockets, no settings: loader, environ, start_response
         rules         uWSGI's internal routing
         static        static files
       config          load > commands > resolve > sources > options > values; one row per option
       system          Linux: limits, signals, pid files, the terminal
    2  protocol        bytes in, events out; no socket, no clock, no log
       net             sockets: addresses, listeners, streams, TLS; no settings
       privileges      the user and groups of the roles, and dropping root
    1  log             request lines, the error log, and the files and sockets that they go to
       ipc             memory and messages shared by all processes: scoreboard, channel, commands
       api             the module that an application imports as `uwsgi`
       errors          the exceptions: who caused them, and the status that follows

The subpackages of one floor never import each other, nor does `workers.wsgi` import `workers.asgi`
or the other way round. Only the entry module of a subpackage (`workers.wsgi.worker`,
`workers.asgi.bridge`, `router.gateway` and what turns settings into values for them) reads the
settings; the other modules take plain arguments. Only `boot` imports inside functions, in the
process that needs the module. One import runs upward: `serve` below imports `boot.embedded` when it
is called.

Processes:

    master            reads the configuration, binds the sockets, keeps the roles running;
     |                never imports the application or gevent
     |- log           only with `logger`: writes the lines of all other processes
     |- template      a fresh interpreter that loads the application once, then forks
     |- worker 1..N   a gevent hub: one greenlet per connection, one slot per request; WSGI in
     |                that greenlet or in native threads
     |- router        only with `http-to`, `http-router` or subscriptions; has its own template
     |- monitor       only with `stats` or `metrics`; has its own template, too
     '- daemons       programs of the operator (`attach-daemon`)

The template forks twice, so that the workers are children of the master. Therefore the death of a
template ends no request, and a reload is a second template beside the first. Each worker holds one
end of a control socket; end-of-file on it means that the master has died, and the worker exits.

Three trips through the package:

- A request: acceptor, connection, parser, environ, application, response, one send, one line in
  the request log.
- An option: a file, variable or argument gives key, text and place; the row of the table casts the
  text; `Settings` keeps the value and where it came from; an entry module reads it.
- A signal (SIGHUP): a byte in a pipe, the master's loop, a new template that loads the new code.
  When its workers are ready the old ones finish their requests and exit. If the code does not
  load, the old ones keep serving.
"""

import sys
from typing import Any

if sys.platform != "linux":
    # Otherwise a module that is missing there, such as fcntl, would be the only message.
    raise ImportError(f"geventuwsgi runs only on Linux, and this is {sys.platform}: use a "
                      "container, or WSL on Windows")

__version__ = "1.0.0rc1"


def serve(application: Any, **settings: Any) -> None:
    """Serve an application in this process until SIGTERM or SIGINT; return when it is drained.

        from geventuwsgi import serve
        serve(application, bind="127.0.0.1:8000", harakiri=30)

    This process becomes one worker. At the end it finishes the requests in progress, for at most
    `worker_reload_mercy` seconds (a second signal ends them at once), closes the sockets and
    restores the signal handlers. See docs/embedding.rst.

    Args:
        application: a WSGI or ASGI callable, not its name.
        settings: options by their names with underscores (also gunicorn's names): text,
            numbers, booleans, paths, and lists of these for a repeatable option. Without a
            socket the server listens on http://127.0.0.1:8000.

    Raises:
        ConfigError: an option is unknown or wrong, or needs a master; this is not the main
            thread; a WSGI application is to run in greenlets, and the process is not
            monkey-patched but runs threads; the application is ASGI, and the process is
            monkey-patched.
        AppLoadError: the argument is not an application.
        BindError: a socket cannot be bound.
        BootError: the startup of an ASGI application failed.
    """
    from .boot import embedded  # upward: see above

    embedded.serve(application, settings)
