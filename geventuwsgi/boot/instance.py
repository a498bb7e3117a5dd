"""The master's part: logs, sockets, pid files, scoreboard, then the master's loop."""

import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .. import __version__
from ..config.request_log import scribed
from ..config.settings import Settings
from ..errors import ConfigError, GeventuwsgiError
from ..ipc import scoreboard
from ..master import upgrade
from ..master.attached import announcer
from ..master.attached.announcer import Announcer
from ..master.attached.autoreload import Autoreload
from ..master.attached.fifo import Fifo
from ..master.attached.file_watch import Watch
from ..master.attached.systemd import ServiceManager
from ..master.inherited import InheritedDaemons, descriptors
from ..master.master import Master
from ..master.role import ReloadPlan, Role
from ..system import signals
from ..system.filelock import FileLocks
from ..system.limits import open_files
from ..system.pidfile import PidFile
from ..system.privileges import Identity
from ..system.terminal import TerminalModes, detach
from . import logs, tls
from .attached import AttachedServices, rotate, watch_files, watch_modules
from .hooks import AT_THE_START, await_things, identity_of, require_directory, run_hooks
from .logs import collector_of, start_collector
from .operator_commands import bindings_of, commands_of
from .process_setup import environ_of, packages_of, product_of, titles_of
from .roles import router_role, worker_role
from .router_process import Subscriptions
from .sockets import Change, Sockets, describe, handed_over, open_all
from .startup_log import tell_configuration, tell_workers

logger = logging.getLogger("geventuwsgi.error")

# For SIGTTIN, for generations that still drain at the next reload, and for `processes` that
# grows with one.
SPARE_ROWS = 128

# Attributes of the settings that a reload does not change.
FIXED = ("pidfile", "pidfile2", "safe_pidfile", "safe_pidfile2", "reuse_port", "exit_on_reload",
         "daemonize", "daemonize2", "max_fd", "bindings", "master_fifo", "flock", "flock_wait",
         "immediate_uid", "immediate_gid")


def run(settings: Settings, again: Callable[[], Settings], environ: Mapping[str, str]) -> int:
    """Be the master of an instance until it is told to stop.

    Args:
        settings: the resolved configuration.
        again: reads the configuration anew, for a reload.
        environ: the environment that this process was started with, for an upgrade in place.

    Returns:
        The exit status: 0, or 3 or 4 if the first start failed.
    Raises:
        GeventuwsgiError: with its exit status, before anything was started.
    """
    if settings.immediate_uid or settings.immediate_gid:
        Identity(settings.immediate_uid, settings.immediate_gid).assume()
    log = settings.daemonize or settings.daemonize2
    if not log or upgrade.VARIABLE in os.environ:
        return Instance(settings, again, environ).run()
    try:
        report = detach(log, verbose=not settings.daemonize)
    except OSError as error:
        name = "daemonize" if settings.daemonize else "daemonize2"
        raise settings.origin(name).error(f"{log}: {error.strerror}") from None
    if isinstance(report, int):
        return report
    status = ConfigError.exit_status
    try:
        status = Instance(settings, again, environ, lambda: report.tell(0)).run()
    except GeventuwsgiError as error:
        status = error.exit_status
        logger.critical("%s", error)
    except SystemExit:  # stopped by a signal
        status = 0
    finally:
        report.tell(status)
    return status


class Instance:
    """What the master holds for its roles, from one configuration to the next.

    Args:
        settings: the configuration to start with.
        again: reads it anew.
        environ: the environment that this process was started with.
        ready: called when the instance serves.
    """

    def __init__(self, settings: Settings, again: Callable[[], Settings],
                 environ: Mapping[str, str], ready: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self._ready = ready
        self._keyboard = TerminalModes(0)
        self.scribe = collector_of()
        self.titles = titles_of(settings)
        self.pid_files: list[PidFile] = []
        self.safe_pid_files: list[PidFile] = []
        self.watch = Watch()
        self.fifo = Fifo(())
        self.locks = FileLocks()
        self.subscriptions = Subscriptions()
        self._again = again
        self.environ = {name: text for name, text in environ.items()
                        if name != upgrade.VARIABLE}

    def run(self) -> int:
        """Start, keep the roles alive until told to stop, clean up."""
        settings = self.settings
        self.titles.set("master")
        handed = upgrade.handed_over(os.environ) or {}
        self.upgraded = bool(handed)
        identity = self._begin(settings, handed)
        self.sockets = handed_over(handed["sockets"]) if handed else open_all(settings)
        try:
            self._create_files(settings, identity, handed)
            self._create_master(settings, handed)
            return self.master.run()
        finally:
            self.clean_up()

    def _begin(self, settings: Settings, handed: Mapping[str, Any]) -> Identity:
        """Do what comes before the sockets; return who the processes will be.

        Args:
            settings: the configuration.
            handed: what the version before handed over, nothing at a first start.
        """
        if not handed:
            logs.check(settings)
        logs.normalize(settings, truncate=not handed)
        start_collector(self.scribe, settings, handed.get("scribe", ()))
        self.logs = logs.Logs(settings)
        logger.info("Starting geventuwsgi %s", __version__)
        tell_configuration(settings)
        try:
            identity = check(settings)
        except ConfigError as error:
            if not handed:
                raise
            # The generation that was handed over serves on; a reload may do better.
            logger.error("%s", error)
            identity = Identity(None, None)
        if settings.umask is not None:
            os.umask(settings.umask)
        if settings.max_fd:
            open_files(settings.max_fd)
        self.locks.adopt(handed.get("locks", ()))
        if not handed:
            with signals.ending():
                self._lock_files()
                await_things(settings, "interface", "fs", "file", "dir", "mountpoint")
                run_hooks(settings, environ_of(settings), *AT_THE_START)
                require_directory(settings)     # which a hook may have made
        return identity

    def _create_files(self, settings: Settings, identity: Identity, handed: Mapping[str,
                                                                                    Any]) -> None:
        """Make the files and the memory of the instance, and say what there is."""
        self.pid_files = pid_files_of(settings.pidfile, settings.pidfile2, identity)
        self.safe_pid_files = pid_files_of(settings.safe_pidfile, settings.safe_pidfile2,
                                           identity)
        for file in self.pid_files:
            file.write()
        self.fifo = Fifo(settings.master_fifo, (identity.uid, identity.gid))
        self.fifo.open()
        self.sockets.tell()
        tell_workers(settings, identity)
        self.board = scoreboard.Scoreboard.create(
            2 * (settings.processes + settings.http_processes) + SPARE_ROWS)
        self.subscriptions.take(handed.get("subscriptions"))
        datagrams = self.subscriptions.prepare(settings)
        self.subscriptions.commit(datagrams)
        self.roles = self._roles_of(settings, self.sockets, datagrams)

    def _create_master(self, settings: Settings, handed: Mapping[str, Any]) -> None:
        """Make the master, and what is attached to it."""
        self.upgrade = upgrade.Upgrade(self.environ, lambda: self.master.idle, self.go)
        self.announcer = Announcer(settings, self.sockets.of_uwsgi(), self._load)
        self.autoreload = Autoreload(settings.py_autoreload, lambda: self.master.reload())
        watch_modules(self.autoreload, settings)
        self.company = AttachedServices(settings, self.watch, self._rotate)
        self.manager = ServiceManager(os.environ, os.getpid(), lambda: self.master.healthy)
        remnants = InheritedDaemons(handed.get("daemons", ()), settings.reload_mercy)
        self.master = Master(
            self.roles, self.board, reopen=self.reopen_logs, ready=self._serves,
            stopping=self._stops, renew=self.renew, reloading=self._reloading,
            attached=[self.scribe, self.manager, remnants, self.announcer, self.watch,
                      self.autoreload, self.upgrade, self.fifo, *self.company.attached],
            shutdown_delay=lambda: self.settings.shutdown_delay,
            exit_on_reload=settings.exit_on_reload, on_imported=self.autoreload.add,
            upgrade=self.upgrade.request, handed_over=handed,
            bindings=bindings_of(settings), product=product_of(settings))
        self.fifo.listen(self.master.selector, commands_of(
            self.master.operations, rotate=lambda: self.company.rotated(self.master),
            subscriptions=self.announcer.toggle, board=self.board,
            pid_files=self.pid_files + self.safe_pid_files))
        self._watch_files(settings)

    def _lock_files(self) -> None:
        """Lock the files that no other instance may have locked.

        Raises:
            ConfigError: one has.
        """
        for name in ("flock", "flock-wait"):
            for path in getattr(self.settings, name.replace("-", "_")):
                try:
                    self.locks.take(path, wait=name == "flock-wait")
                except ConfigError as error:
                    raise self.settings.origin(name).failure(error.message) from None

    def _watch_files(self, settings: Settings) -> None:
        watch_files(self.watch, settings, self.master)
        self.company.watch_for(settings, self.master)

    def _roles_of(self, settings: Settings, sockets: Sockets,
                  datagrams: Mapping[str, socket.socket]) -> list[Role]:
        """Return a row for each kind of process of these settings."""
        roles = [] if settings.standalone else [worker_role(settings, sockets, self.board)]
        if settings.router:
            roles.append(router_role(
                settings, sockets, self.board, [one.fileno() for one in datagrams.values()],
                self.subscriptions.memory))
        return roles

    def _load(self) -> int:
        """Count the requests that are being served."""
        return self.board.total(scoreboard.IN_PROGRESS)

    def _serves(self) -> None:
        try:
            for file in self.safe_pid_files:
                file.write()
        except ConfigError as error:
            if self.upgraded:       # whoever is being served has no part in it
                logger.error("safe-pidfile: %s", error)
            else:
                logger.critical("safe-pidfile: %s; shutting down", error)
                self.master.stop(error.exit_status)
                return
        self._ready()
        self._reloading(False)

    def _stops(self) -> None:
        self.manager.stopping()
        self.announcer.withdraw()
        self.sockets.close()
        self.subscriptions.close()

    def _reloading(self, begins: bool) -> None:
        if begins:
            self.manager.reloading()
        else:
            what = ("a router" if self.settings.standalone
                    else f"{self.settings.processes} workers")
            self.manager.ready(f"{what}, configured by "
                               f"{', '.join(self.settings.files) or 'the command line'}")

    def renew(self) -> ReloadPlan:
        """Read the configuration again, and prepare what it asks for (a reload).

        Raises:
            GeventuwsgiError: it does not read, or a socket cannot be bound; nothing has
                changed then.
        """
        settings = self._again()
        tell_configuration(settings)
        check(settings)
        require_directory(settings)
        logs.check(settings)
        if not self.scribe.active:     # the new roles inherit what our output is then
            start_collector(self.scribe, settings)
        umask = os.umask(0o077)
        os.umask(umask if settings.umask is None else settings.umask)
        try:
            change, datagrams = self._change_to(settings)
        except (GeventuwsgiError, OSError):
            os.umask(umask)
            raise
        try:
            roles = self._roles_of(settings, change.sockets, datagrams)
        except OSError:
            change.discard()
            self.subscriptions.discard(datagrams)
            os.umask(umask)
            raise
        if settings.unsubscribe_on_graceful_reload:
            self.announcer.withdraw()

        def commit() -> None:
            self._tell_what_stays(settings)
            change.commit()
            self.announcer.replace(settings, change.sockets.of_uwsgi())
            self.subscriptions.commit(datagrams)
            for role in self.roles:
                os.close(role.fds[0])
            logs_change = logs.signature(settings) != logs.signature(self.settings)
            self.settings, self.sockets, self.roles = settings, change.sockets, roles
            if logs_change:
                self._change_logs()
            start_collector(self.scribe, settings)
            if settings.log_reopen:
                self.master.reopen_logs()
            self.company.replace(settings)
            self._watch_files(settings)
            watch_modules(self.autoreload, settings)
            self.titles = titles_of(settings)
            self.titles.set("master")
            self.master.product = product_of(settings)

        def discard() -> None:
            change.discard()
            self.subscriptions.discard(datagrams)
            self.announcer.reloaded(0.0)
            start_collector(self.scribe, self.settings)
            for role in roles:
                os.close(role.fds[0])
            os.umask(umask)
        return ReloadPlan(tuple(roles), commit, discard, settings.chain_reload)

    def _change_to(self, settings: Settings) -> tuple[Change, dict[str, socket.socket]]:
        """Bind what these settings want beyond what there is.

        Raises:
            GeventuwsgiError: it cannot be bound, or not be announced; nothing has changed.
        """
        change = Change(self.sockets, settings)
        try:
            announcer.check(settings, announcer.subscriptions_of(settings),
                            change.sockets.of_uwsgi())
            return change, self.subscriptions.prepare(settings)
        except (GeventuwsgiError, OSError):
            change.discard()
            raise

    def reopen_logs(self) -> list[tuple[str, int]]:
        """Open our logs anew, and those of roles that cannot for want of root (SIGUSR1)."""
        try:
            logs.normalize(self.settings)
        except ConfigError as error:
            logger.error("%s", error)
        self.scribe.reopen()
        self.logs.reopen()
        leaves_root = identity_of(self.settings).leaves_root
        return logs.opened(self.settings) if leaves_root else []

    def _rotate(self) -> None:
        self.scribe.rotate()
        rotate(self.settings, told=scribed(self.settings))

    def go(self) -> None:
        """Become the version on disk, which the check found able to; return if that fails."""
        signals.block_all()
        try:
            if self.master.interrupted():
                return  # a stop or a reload came first
            state = self.master.hand_over()
            state["sockets"] = describe(self.sockets)
            state["daemons"] = self.company.daemons.pids
            state["version"] = __version__
            state["subscriptions"], fds = self.subscriptions.describe()
            fds += [listener.socket.fileno() for listener in self.sockets.listeners]
            fds += [fd for one in state["generations"] for fd in descriptors(one)]
            state["scribe"], more = self.scribe.hand_over()
            fds += more
            state["locks"] = self.locks.fds
            fds += self.locks.fds
            fds += [state["console"]] if state["console"] >= 0 else []
            logger.info("upgrade: %s", " ".join(upgrade.command()))
            upgrade.execute(state, fds, self.environ)
        except OSError as error:
            logger.error("upgrade failed: cannot execute %s: %s; this version serves on",
                         sys.executable, error.strerror)
        finally:
            signals.unblock_all()

    def _tell_what_stays(self, settings: Settings) -> None:
        """Log the options whose change takes a restart."""
        for name in FIXED:
            if getattr(settings, name) != getattr(self.settings, name):
                origin = settings.origin(name)
                logger.warning("%s: %s: this change takes a restart", origin.place,
                               origin.option or name.replace("_", "-"))
        if os.geteuid() != 0 and (settings.uid, settings.gid) != (self.settings.uid,
                                                                  self.settings.gid):
            logger.warning("uid or gid changed, and the master is not root: it stays who it is")

    def _change_logs(self) -> None:
        before = self.logs
        try:
            self.logs = logs.Logs(self.settings)
        except ConfigError as error:
            logger.error("%s; the logs stay where they are", error)
        else:
            before.close()

    def clean_up(self) -> None:
        """Remove what we made, as far as `vacuum` says so.

        uWSGI keeps its pid file without `vacuum`; gunicorn's users expect it to go.
        """
        settings = self.settings
        if settings.dev:
            self._keyboard.restore()
        self.fifo.close(remove=settings.vacuum)
        for listener in self.sockets.listeners:
            listener.close()
            if settings.vacuum and listener.vacuum():
                logger.info("VACUUM: unix socket %s removed.", listener.address.text)
        if settings.vacuum or settings.dialect != "uwsgi":
            for file in self.pid_files + self.safe_pid_files:
                if file.remove():
                    logger.info("VACUUM: pidfile removed.")


def check(settings: Settings) -> Identity:
    """Refuse what cannot be: a user, a certificate or a virtual environment that is not there.

    Raises:
        ConfigError: naming the option.
    """
    identity = identity_of(settings)
    if settings.home:
        packages_of(settings)
    tls.check(settings)
    return identity


def pid_files_of(own: str | None, users: str | None, identity: Identity) -> list[PidFile]:
    """Return the pid files of these paths, the second one as the user of the workers."""
    found = [PidFile(own)] if own else []
    return found + ([PidFile(users, (identity.uid, identity.gid))] if users else [])
