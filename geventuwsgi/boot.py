"""Settings become sockets, memory and roles: the one place that knows everyone.

`run` is the master's part: logs, sockets, pid files, scoreboard, then the master's loop.
`play` is what an exec'd interpreter does: it re-creates all that from descriptors, drops
root, loads the application and forks workers.

This room alone imports inside functions: the master must not load what a worker needs
(11 MB instead of 30), and a role must load some things before others.
"""

import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from . import __version__
from .config.settings import Settings
from .errors import BindError, ConfigError, GeventuwsgiError
from .process.privileges import Identity
from .process.title import Titles

if TYPE_CHECKING:
    from .app.loader import Applications
    from .log.sinks import Sink
    from .net.listener import Listener
    from .process.child import Child
    from .process.role import Role
    from .shared.scoreboard import Scoreboard

logger = logging.getLogger("geventuwsgi.error")

SPARE_ROWS = 32  # for SIGTTIN, and for generations that still drain at the next reload

# What `python -c` runs. The empty entry of sys.path is the current directory, where a
# file of the application's may bear the name of a module of ours or of Python's.
PROLOGUE = """\
import sys
if sys.path[:1] == ['']: del sys.path[0]
if {house!r} not in sys.path: sys.path.append({house!r})
from geventuwsgi.boot import play
play(*map(int, sys.argv[1:]))
"""


def run(settings: Settings) -> int:
    """Be the master of an instance until it is told to stop.

    Returns:
        The exit status: 0, or 3 or 4 if the first start failed.
    Raises:
        GeventuwsgiError: with its exit status, before anything was started.
    """
    from .process.master import Master
    from .shared.scoreboard import Scoreboard

    logs = Logs(settings)
    titles = titles_of(settings)
    titles.set("master")
    tell_start(settings)
    identity = Identity(settings.uid, settings.gid)
    if settings.home:
        packages_of(settings.home)
    if settings.umask is not None:
        os.umask(settings.umask)
    listeners = listen(settings)
    pid_files = [path for path in (settings.pidfile, settings.pidfile2) if path]
    safe_pid_files = [path for path in (settings.safe_pidfile, settings.safe_pidfile2) if path]

    def stop_listening() -> None:
        for listener in listeners:
            listener.close()

    try:
        write_pid_files(pid_files)
        tell_sockets(settings, listeners, identity)
        board = Scoreboard.create(2 * settings.processes + SPARE_ROWS)
        role = worker_role(settings, listeners, board)
        master = Master([role], board, reopen=logs.reopen,
                        ready=lambda: write_pid_files(safe_pid_files),
                        stopping=stop_listening)
        return master.run()
    finally:
        clean_up(settings, listeners, pid_files + safe_pid_files)


class Logs:
    """The error log of this process and, with `logto`, its standard output and error.

    Args:
        settings: the resolved configuration.
        requests: also open the request log, as a role does before it drops root.

    Attributes:
        requests: the request log's sink; None if there is none.

    Raises:
        ConfigError: a file cannot be opened.
    """

    def __init__(self, settings: Settings, *, requests: bool = False) -> None:
        from . import log
        from .log.sinks import open_sink

        self._logto: Sink | None = None
        self.requests: Sink | None = None
        option = "logto" if settings.logto else "error-logfile"
        try:
            if settings.logto:
                self._logto = open_sink(settings.logto, also=(1, 2))
            option = "error-logfile"
            log.setup(level=settings.log_level, error_logfile=settings.error_logfile)
            if requests and not settings.disable_logging:
                option = "access-logfile"
                self.requests = open_sink(settings.access_logfile or "-", warn=logger.warning)
        except OSError as error:
            raise ConfigError(f"cannot open {error.filename}: {error.strerror}",
                              option=option) from None
        self._reopen = log.reopen

    def reopen(self) -> None:
        """Open the files anew after a rotation (SIGUSR1)."""
        if self._logto is not None:
            self._logto.reopen()
        if self.requests is not None:
            self.requests.reopen()
        self._reopen()


def listen(settings: Settings) -> "list[Listener]":
    """Bind every socket of the settings, or take those that we were started with.

    Raises:
        BindError: one cannot be bound.
    """
    from .net.listener import Inherited, bind_all

    inherited = Inherited(os.environ, os.getpid())
    options = {
        "listen": settings.listen or None, "reuse_port": settings.reuse_port,
        "chmod": settings.chmod_socket, "chown": settings.chown_socket,
        "keepalive": settings.so_keepalive, "sndbuf": settings.socket_sndbuf,
        "rcvbuf": settings.socket_rcvbuf}
    listeners = bind_all(settings.listeners, inherited, options)
    default = "uwsgi" if settings.dialect == "uwsgi" else "http"
    listeners += inherited.rest(settings.protocol or default)
    if not listeners:
        raise BindError("no socket is named, and none of LISTEN_FDS is meant for this process "
                        "(LISTEN_PID)")
    return listeners


def worker_role(settings: Settings, listeners: "list[Listener]", board: "Scoreboard") -> "Role":
    """Return the row of the workers, with all that an exec'd role has to know in a memfd.

    Settings are never read from disk again by a role, which may not be allowed to.
    """
    from .process.role import Role
    from .process.spawn import interpreter

    plan = json.dumps({
        "settings": settings.to_json(), "master": os.getpid(), "board": board.fd,
        "listeners": [listener.to_json() for listener in listeners], "argv": sys.argv[:1]})
    fd = os.memfd_create("geventuwsgi-plan", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(plan.encode("utf-8", "surrogateescape"))
    house = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return Role(
        name="worker", processes=settings.processes,
        argv=(*interpreter(PROLOGUE.format(house=house)), str(fd)),
        fds=(fd, board.fd, *(listener.socket.fileno() for listener in listeners)),
        environ=environ_of(settings), cores=settings.gevent,
        mercy=settings.worker_reload_mercy, timeout=settings.worker_timeout,
        replace_stuck=settings.worker_timeout_action == "replace")


def environ_of(settings: Settings) -> dict[str, str]:
    """Return the environment of the roles: ours, `env` and `unenv`.

    It is set before their interpreter starts, so that PYTHONPATH, TZ and LANG count too.
    What a service manager said to us is not said to the application's children.
    """
    environ = dict(os.environ)
    environ.pop("NOTIFY_SOCKET", None)
    for assignment in settings.env:
        name, _, value = assignment.partition("=")
        environ[name] = value
    for name in settings.unenv:
        environ.pop(name, None)
    return environ


def titles_of(settings: Settings) -> Titles:
    """Return how processes are called; for a [uwsgi] file by uWSGI's names."""
    return Titles(
        "uWSGI" if settings.dialect == "uwsgi" else "geventuwsgi", on=settings.auto_procname,
        prefix=settings.procname_prefix, prefix_spaced=settings.procname_prefix_spaced,
        append=settings.procname_append, name=settings.procname, master=settings.procname_master)


def tell_start(settings: Settings) -> None:
    """Log the version, the files that were read and what there is to say about them."""
    logger.info("Starting geventuwsgi %s", __version__)
    for file in settings.files:
        logger.info("getting INI configuration from %s", file)
    for warning in settings.warnings:
        logger.warning("%s", warning)


def tell_sockets(settings: Settings, listeners: "list[Listener]", identity: Identity) -> None:
    """Log where we listen, with how many workers, and as whom."""
    from .net.listener import hint_about_mode
    from .process.privileges import warn_about_root

    for listener in listeners:
        logger.info("Listening at: %s (%d)", listener.url, os.getpid())
        hint_about_mode(listener)
    logger.info("%d worker%s, each with %d request%s at a time", settings.processes,
                "s" * (settings.processes != 1), settings.gevent, "s" * (settings.gevent != 1))
    for note in settings.notes:
        logger.info("%s", note)
    warn_about_root(identity)


def write_pid_files(paths: list[str]) -> None:
    """Write our pid to each of these files."""
    from .process.pidfile import PidFile

    for path in paths:
        PidFile(path).write()


def clean_up(settings: Settings, listeners: "list[Listener]", pid_files: list[str]) -> None:
    """Remove what we made, as far as `vacuum` says so.

    uWSGI keeps its pid file without `vacuum`; gunicorn's users expect it to go.
    """
    from .process.pidfile import PidFile

    for listener in listeners:
        listener.close()
        if settings.vacuum and listener.vacuum():
            logger.info("VACUUM: unix socket %s removed.", listener.address.text)
    if settings.vacuum or settings.dialect != "uwsgi":
        for path in pid_files:
            if PidFile(path).remove():
                logger.info("VACUUM: pidfile removed.")


# The exec'd role


def play(plan_fd: int, generation: int, control_fd: int) -> None:
    """Be the template of one generation, and in its children the workers; never return.

    Args:
        plan_fd: the memfd with what `worker_role` wrote.
        generation: its number.
        control_fd: its end of the control socket.
    """
    import socket

    from .process import control, template

    sock = socket.socket(fileno=control_fd)
    status = 3
    try:
        os.set_inheritable(control_fd, False)
        os.set_inheritable(plan_fd, False)
        plan = json.loads(os.pread(plan_fd, os.fstat(plan_fd).st_size, 0)
                          .decode("utf-8", "surrogateescape"))
        sys.argv = plan["argv"]
        status = Playing(plan, generation, sock).run()
    except GeventuwsgiError as error:
        status = template.told_failure(error, "a role could not start")
        control.send(sock, control.failed(status, str(error)))
    except Exception:
        logger.exception("a role could not start")
        control.send(sock, control.failed(status, "a role could not start"))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Playing:
    """The template's process, and what its workers inherit."""

    def __init__(self, plan: dict[str, Any], generation: int, sock: Any) -> None:
        from .net.listener import Listener
        from .process.template import Template
        from .shared.scoreboard import Scoreboard

        self.settings = settings = Settings.from_json(plan["settings"])
        self.logs = Logs(settings, requests=True)
        self.titles = titles_of(settings)
        self.titles.set(f"template {generation}")
        self.listeners = [Listener.from_json(text) for text in plan["listeners"]]
        board = Scoreboard.open(plan["board"])
        os.set_inheritable(board.fd, False)
        Identity(settings.uid, settings.gid).assume()
        self.template = Template(
            sock, board, generation=generation, master=plan["master"], cores=settings.gevent,
            reopen=self.logs.reopen, title=lambda number: self.titles.set(f"worker {number}"))

    def run(self) -> int:
        """Load and fork until the master says so."""
        return self.template.run(self.load, self.work)

    def load(self) -> "Applications | None":
        """Prepare the process, and load the application unless each worker does so."""
        settings = self.settings
        if settings.monkey_patch:
            # Before anything of the application: what it imports is to find the patched.
            from gevent import monkey
            monkey.patch_all()
        # In every worker, so once here: its pages are shared.
        from .server import worker as _  # noqa: F401
        prepare_paths(settings)
        if settings.lazy_apps:
            return None
        return load_applications(settings)

    def work(self, applications: "Applications | None", child: "Child") -> int:
        """Be a worker; return its exit status."""
        gevent = sys.modules.get("gevent")
        if gevent is not None:
            gevent.reinit()  # the fork was the system's, not gevent's
        from .server import worker

        child.reopen = self.logs.reopen
        if applications is None:
            applications = load_applications(self.settings)
        return worker.run(self.settings, self.listeners, applications, child,
                          self.logs.requests)


def prepare_paths(settings: Settings) -> None:
    """Set directory and sys.path as the application expects them.

    uWSGI's order: `pythonpath`, the last one first, then the directory, then the packages
    of `home`, then our own interpreter's.
    """
    import glob
    import site

    if settings.home:
        packages = packages_of(settings.home)
        known = list(sys.path)
        site.addsitedir(packages)  # its .pth files count
        sys.path[:] = [path for path in sys.path if path not in known] + known
        sys.prefix = sys.exec_prefix = settings.home
        os.environ["VIRTUAL_ENV"] = settings.home
        logger.info("Set PythonHome to %s", settings.home)
    if settings.chdir:
        change_directory(settings.chdir, "chdir")
    sys.path.insert(0, os.getcwd())
    for pattern in settings.pythonpath:
        for path in sorted(glob.glob(pattern)) or [pattern]:
            sys.path.insert(0, os.path.abspath(path))


def packages_of(home: str) -> str:
    """Return the site-packages directory of a virtual environment.

    Raises:
        ConfigError: there is none for the version of Python that runs this server.
    """
    import glob

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = os.path.join(home, "lib", f"python{version}", "site-packages")
    if os.path.isdir(packages):
        return packages
    others = glob.glob(os.path.join(home, "lib", "python*", "site-packages"))
    if others:
        other = others[0].split(os.sep)[-2].removeprefix("python")
        raise ConfigError(f"{home} is an environment of Python {other}, this server runs on "
                          f"Python {version}: install it there, or make the environment anew",
                          option="home")
    raise ConfigError(f"{home} is no virtual environment (there is no {packages})", option="home")


def change_directory(path: str, option: str) -> None:
    """Go to a directory.

    Raises:
        ConfigError: we cannot.
    """
    try:
        os.chdir(path)
    except OSError as error:
        raise ConfigError(f"cannot change to {path}: {error.strerror}", option=option) from None


def load_applications(settings: Settings) -> "Applications":
    """Import what is to be imported, load the applications and say so.

    Raises:
        AppLoadError: an application does not load.
    """
    from .app import loader

    for source in settings.import_:
        try:
            loader.import_source(source)
        except loader.AppLoadError as error:  # uWSGI goes on too
            logger.error("import = %s: %s\n%s", source, error, error.traceback.rstrip())
    started = time.monotonic()
    applications = loader.load(
        application=settings.application, module=settings.module, wsgi_file=settings.wsgi_file,
        callable=settings.callable, mounts=settings.mount,
        manage_script_name=settings.manage_script_name, need_app=settings.need_app)
    for failure in applications.failures:
        logger.error("%s\n%s", failure, failure.traceback.rstrip())
    for line in applications.ready_lines(os.getpid()):
        logger.info("%s", line)
    names = ", ".join(application.source for application in applications) or "no application"
    logger.info("application %s loaded in %d ms", names, (time.monotonic() - started) * 1000)
    if settings.chdir2:
        change_directory(settings.chdir2, "chdir2")
    return applications
