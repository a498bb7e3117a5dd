"""The master's part: logs, sockets, pid files, scoreboard, then the master's loop."""

import json
import logging
import os
import sys
from typing import TYPE_CHECKING

from .. import __version__
from ..config.settings import Settings
from ..errors import BindError
from ..process.privileges import Identity
from .playing import Logs, environ_of, packages_of, titles_of

if TYPE_CHECKING:
    from ..net.listener import Listener
    from ..process.role import Role
    from ..shared.scoreboard import Scoreboard

logger = logging.getLogger("geventuwsgi.error")

SPARE_ROWS = 32  # for SIGTTIN, and for generations that still drain at the next reload

# What `python -c` runs. The empty entry of sys.path is the current directory, where a
# file of the application's may bear the name of a module of ours or of Python's.
PROLOGUE = """\
import sys
if sys.path[:1] == ['']: del sys.path[0]
if {house!r} not in sys.path: sys.path.append({house!r})
from geventuwsgi.boot.playing import play
play(*map(int, sys.argv[1:]))
"""


def run(settings: Settings) -> int:
    """Be the master of an instance until it is told to stop.

    Returns:
        The exit status: 0, or 3 or 4 if the first start failed.
    Raises:
        GeventuwsgiError: with its exit status, before anything was started.
    """
    from ..process.master import Master
    from ..shared.scoreboard import Scoreboard

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


def listen(settings: Settings) -> "list[Listener]":
    """Bind every socket of the settings, or take those that we were started with.

    Raises:
        BindError: one cannot be bound.
    """
    from ..net.listener import Inherited, bind_all

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
    from ..process.role import Role
    from ..process.spawn import interpreter

    plan = json.dumps({
        "settings": settings.to_json(), "master": os.getpid(), "board": board.fd,
        "listeners": [listener.to_json() for listener in listeners], "argv": sys.argv[:1]})
    fd = os.memfd_create("geventuwsgi-plan", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(plan.encode("utf-8", "surrogateescape"))
    house = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return Role(
        name="worker", processes=settings.processes,
        argv=(*interpreter(PROLOGUE.format(house=house)), str(fd)),
        fds=(fd, board.fd, *(listener.socket.fileno() for listener in listeners)),
        environ=environ_of(settings), cores=settings.gevent,
        mercy=settings.worker_reload_mercy, timeout=settings.worker_timeout,
        replace_stuck=settings.worker_timeout_action == "replace")


def tell_start(settings: Settings) -> None:
    """Log the version, the files that were read and what there is to say about them."""
    logger.info("Starting geventuwsgi %s", __version__)
    for file in settings.files:
        logger.info("getting INI configuration from %s", file)
    for warning in settings.warnings:
        logger.warning("%s", warning)


def tell_sockets(settings: Settings, listeners: "list[Listener]", identity: Identity) -> None:
    """Log where we listen, with how many workers, and as whom."""
    from ..net.listener import hint_about_mode
    from ..process.privileges import warn_about_root

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
    from ..process.pidfile import PidFile

    for path in paths:
        PidFile(path).write()


def clean_up(settings: Settings, listeners: "list[Listener]", pid_files: list[str]) -> None:
    """Remove what we made, as far as `vacuum` says so.

    uWSGI keeps its pid file without `vacuum`; gunicorn's users expect it to go.
    """
    from ..process.pidfile import PidFile

    for listener in listeners:
        listener.close()
        if settings.vacuum and listener.vacuum():
            logger.info("VACUUM: unix socket %s removed.", listener.address.text)
    if settings.vacuum or settings.dialect != "uwsgi":
        for path in pid_files:
            if PidFile(path).remove():
                logger.info("VACUUM: pidfile removed.")
