"""An instance, in the master: logs, sockets, pid files, scoreboard, then the master's loop.

`run` is the entry. `Instance` holds what the master needs from one configuration to the next, and
prepares a reload (`plan_reload`) and an upgrade in place (`upgrade_in_place`).
"""

import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import __version__
from ..config.request_log import uses_collector
from ..config.settings import Settings
from ..errors import BindError, ConfigError, GeventuwsgiError
from ..ipc import scoreboard
from ..master import upgrade
from ..master.attached import announcer
from ..master.attached.announcer import Announcer
from ..master.attached.autoreload import Autoreload
from ..master.attached.fifo import Fifo
from ..master.attached.file_watch import Watch
from ..master.attached.systemd import ServiceManager
from ..master.console import Caller
from ..master.inherited import InheritedDaemons, descriptors
from ..master.master import Master
from ..master.role import ReloadPlan, Role
from ..privileges import Identity
from ..system import signals
from ..system.filelock import FileLocks
from ..system.limits import set_open_files
from ..system.pidfile import PidFile
from ..system.terminal import TerminalModes, detach
from . import logs, monitor_process, router_process, tls
from .attached import AttachedServices, rotate, watch_files, watch_modules
from .hooks import START_PHASES, identity_of, require_directory, run_hooks, wait_for_resources
from .logs import create_collector, start_collector
from .operator_commands import bindings_of, commands_of
from .process_setup import environ_of, packages_of, product_of, titles_of
from .roles import monitor_role, router_role, worker_role
from .router_process import Subscriptions
from .sockets import (
    SocketChange, Sockets, bind_error, describe_sockets, open_all, restore_sockets,
)
from .startup_log import log_configuration, log_workers
from .status import StatusCommand

logger = logging.getLogger("geventuwsgi.error")

# Rows for workers added by SIGTTIN, for generations that still drain at the next reload, and for
# a reload with more `processes`.
SPARE_ROWS = 128

# Attributes of the settings that a reload does not apply.
FIXED = ("pidfile", "pidfile2", "safe_pidfile", "safe_pidfile2", "reuse_port", "exit_on_reload",
         "daemonize", "daemonize2", "max_fd", "bindings", "master_fifo", "flock", "flock_wait",
         "immediate_uid", "immediate_gid")


def run(settings: Settings, reread: Callable[[], Settings], environ: Mapping[str, str]) -> int:
    """Run the master of an instance until it is asked to stop.

    Args:
        settings: the resolved configuration.
        reread: reads the configuration again, for a reload.
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
        return _run_in_foreground(settings, Instance(settings, reread, environ))
    try:
        report = detach(log, verbose=not settings.daemonize,
                        user=identity_of(settings).user)
    except OSError as error:
        name = "daemonize" if settings.daemonize else "daemonize2"
        raise settings.origin(name).error(f"{log}: {error.strerror}") from None
    if isinstance(report, int):
        return report
    status = ConfigError.exit_status
    try:
        status = Instance(settings, reread, environ, lambda: report.report(0)).run()
    except GeventuwsgiError as error:
        status = error.exit_status
        logger.critical("%s", error)
    except SystemExit:  # stopped by a signal
        status = 0
    finally:
        report.report(status)
    return status


def _run_in_foreground(settings: Settings, instance: "Instance") -> int:
    """Run an instance; report on the original standard error why it ends, if the log is elsewhere.

    Without this, a failed start would say nothing at a terminal or in the journal of systemd.
    """
    places = [place for place in (settings.logto, settings.error_logfile, *settings.logger)
              if place and place != "-"]
    original = os.dup(2)
    try:
        status = instance.run()
    except GeventuwsgiError as error:
        if places and hasattr(instance, "logs"):
            logger.critical("%s", error)    # the caller prints it on the standard error
        raise
    finally:
        os.dup2(original, 2)
        os.close(original)
    if status and places:
        print(f"geventuwsgi: error: the server could not start (exit status {status}); the reason "
              f"is in the log: {places[0]}", file=sys.stderr)
    return status


class Instance:
    """Everything that the master keeps for its roles, from one configuration to the next.

    Args:
        settings: the configuration at the start.
        reread: reads it again.
        environ: the environment that this process was started with.
        ready: called when the instance serves.
    """

    def __init__(self, settings: Settings, reread: Callable[[], Settings],
                 environ: Mapping[str, str], ready: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self._ready = ready
        self._terminal = TerminalModes(0)
        self.collector = create_collector()
        self.titles = titles_of(settings)
        self.pid_files: list[PidFile] = []
        self.safe_pid_files: list[PidFile] = []
        self.watch = Watch()
        self.fifo = Fifo(())
        self.locks = FileLocks()
        self.subscriptions = Subscriptions()
        self._reread = reread
        self.environ = {name: text for name, text in environ.items()
                        if name != upgrade.VARIABLE}

    def run(self) -> int:
        """Start, keep the roles running until asked to stop, clean up; return the exit status."""
        settings = self.settings
        self.titles.set("master")
        handed = upgrade.handed_over(os.environ) or {}
        self.upgraded = bool(handed)
        identity = self._prepare(settings, handed)
        try:
            self.sockets = restore_sockets(handed["sockets"]) if handed else open_all(settings)
        except BindError as error:
            raise bind_error(settings, error) from None
        try:
            self._create_files(settings, identity, handed)
            self._create_master(settings, handed)
            return self.master.run()
        finally:
            self.clean_up()

    def _prepare(self, settings: Settings, handed: Mapping[str, Any]) -> Identity:
        """Do everything that precedes the sockets; return the user of the roles.

        Args:
            settings: the configuration.
            handed: the state of the previous version after an upgrade in place, else empty.
        """
        if not handed:
            logs.check(settings)
        logs.create_files(settings, truncate=not handed)
        start_collector(self.collector, settings, handed.get("collector", ()))
        self.logs = logs.Logs(settings)
        logger.info("Starting geventuwsgi %s", __version__)
        log_configuration(settings)
        try:
            identity = check(settings)
        except ConfigError as error:
            if not handed:
                raise
            # The generation that was handed over keeps serving, and a reload may fix this.
            logger.error("%s", error)
            identity = Identity(None, None)
        if settings.umask is not None:
            os.umask(settings.umask)
        if settings.max_fd:
            set_open_files(settings.max_fd)
        self.locks.inherit(handed.get("locks", ()))
        if not handed:
            with signals.exit_on_stop():
                self._lock_files()
                wait_for_resources(settings, "interface", "fs", "file", "dir", "mountpoint")
                run_hooks(settings, environ_of(settings), *START_PHASES)
                require_directory(settings)     # which a hook may have created
        return identity

    def _create_files(self, settings: Settings, identity: Identity,
                      handed: Mapping[str, Any]) -> None:
        """Create the files and the memory of the instance, and log what it runs."""
        # uWSGI writes only the first before it drops root.
        names = settings.pidfile, settings.pidfile2, settings.safe_pidfile, settings.safe_pidfile2
        files = [PidFile(name, identity.owner if place else None, identity.user) if name else None
                 for place, name in enumerate(names)]
        self.pid_files = [file for file in files[:2] if file]
        self.safe_pid_files = [file for file in files[2:] if file]
        for file in self.pid_files:
            file.write()
        self.fifo = Fifo(settings.master_fifo, identity.owner, identity.user)
        self.fifo.open()
        self.sockets.log_addresses()
        log_workers(settings, identity)
        self.board = scoreboard.Scoreboard.create(
            2 * (settings.processes + settings.http_processes) + SPARE_ROWS)
        self.board.add(handed.get("counters", {}))
        self.subscriptions.restore(handed.get("subscriptions"))
        datagrams = self.subscriptions.prepare(settings)
        self.subscriptions.commit(datagrams, settings)
        self.roles = self._roles_of(settings, self.sockets, datagrams)

    def _create_master(self, settings: Settings, handed: Mapping[str, Any]) -> None:
        """Create the master and the objects attached to it."""
        self.upgrade = upgrade.Upgrade(self.environ, lambda: self.master.idle,
                                       self.upgrade_in_place)
        self.announcer = Announcer(settings, self.sockets.of_uwsgi(),
                                   lambda: self.board.total(scoreboard.IN_PROGRESS))
        self.autoreload = Autoreload(settings.py_autoreload, lambda: self.master.reload())
        watch_modules(self.autoreload, settings)
        self.services = AttachedServices(settings, self.watch, self._rotate,
                                         handed.get("crons", {}))
        self.service_manager = ServiceManager(os.environ, os.getpid(), lambda: self.master.healthy)
        inherited = InheritedDaemons(handed.get("daemons", ()), settings.reload_mercy)
        self.master = Master(
            self.roles, self.board, reopen=self.reopen_logs, ready=self._on_ready,
            commands={"pid-files": self._name_pid_files},
            stopping=self._on_stop, renew=self.plan_reload, reloading=self._on_reload,
            attached=[self.collector, self.service_manager, inherited, self.announcer, self.watch,
                      self.autoreload, self.upgrade, self.fifo, *self.services.attached],
            shutdown_delay=lambda: self.settings.shutdown_delay,
            exit_on_reload=settings.exit_on_reload, on_imported=self.autoreload.add,
            upgrade=self.upgrade.request, handed_over=handed,
            bindings=bindings_of(settings), product=product_of(settings))
        self.fifo.listen(self.master.selector, commands_of(
            self.master.operations, rotate=lambda: self.services.rotate(self.master),
            subscriptions=self.announcer.toggle, board=self.board,
            pid_files=self.pid_files + self.safe_pid_files))
        self.master.console.commands["status"] = StatusCommand(
            lambda: monitor_process.instance_of(self.settings, os.getpid(),
                                                self.sockets.listeners), self.board, self.master)
        self._watch_files(settings)

    def _name_pid_files(self, caller: Caller, arguments: Sequence[str]) -> None:
        """Send the paths of the pid files (`console.Command`)."""
        for file in self.pid_files + self.safe_pid_files:
            caller.write(file.path + "\n")
        caller.end()

    def _lock_files(self) -> None:
        """Lock the files of `flock` and `flock-wait`.

        Raises:
            ConfigError: another instance has locked one.
        """
        for name in ("flock", "flock-wait"):
            for path in getattr(self.settings, name.replace("-", "_")):
                try:
                    self.locks.lock(path, wait=name == "flock-wait",
                                    user=logs.user_of(self.settings))
                except ConfigError as error:
                    raise self.settings.origin(name).failure(error.message) from None

    def _watch_files(self, settings: Settings) -> None:
        watch_files(self.watch, settings, self.master)
        self.services.watch_files(settings, self.master)

    def _roles_of(self, settings: Settings, sockets: Sockets,
                  datagrams: Mapping[str, socket.socket]) -> list[Role]:
        """Return the roles of these settings."""
        roles = [] if settings.standalone else [
            worker_role(settings, sockets, self.board, self.collector.requests)]
        if settings.router:
            roles.append(router_role(
                settings, sockets, self.board, [one.fileno() for one in datagrams.values()],
                self.subscriptions.memory))
        if settings.stats or settings.metrics:
            roles.append(monitor_role(settings, sockets, self.board))
        return roles

    def _on_ready(self) -> None:
        try:
            for file in self.safe_pid_files:
                file.write()
        except ConfigError as error:
            if self.upgraded:       # the clients should not suffer from it
                logger.error("safe-pidfile: %s", error)
            else:
                logger.critical("safe-pidfile: %s; shutting down", error)
                self.master.stop(error.exit_status)
                return
        self._ready()
        self._on_reload(False)

    def _on_stop(self) -> None:
        self.service_manager.stopping()
        self.announcer.withdraw()
        self.sockets.close()
        self.subscriptions.close(self.settings)

    def _on_reload(self, begins: bool) -> None:
        if begins:
            self.service_manager.reloading()
        else:
            what = ("a router" if self.settings.standalone
                    else f"{self.settings.processes} workers")
            self.service_manager.ready(f"{what}, configured by "
                                       f"{', '.join(self.settings.files) or 'the command line'}")

    def plan_reload(self) -> ReloadPlan:
        """Read the configuration again and prepare a reload.

        Raises:
            GeventuwsgiError: it is wrong, or a socket cannot be bound; nothing has changed.
        """
        settings = self._reread()
        log_configuration(settings)
        check(settings)
        require_directory(settings)
        logs.check(settings)
        if not self.collector.active:  # before the new roles inherit our output
            start_collector(self.collector, settings)
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
            self.subscriptions.discard(datagrams, settings)
            os.umask(umask)
            raise
        if settings.unsubscribe_on_graceful_reload:
            self.announcer.withdraw()

        def commit() -> None:
            self._warn_about_fixed_options(settings)
            change.commit()
            self.announcer.replace(settings, change.sockets.of_uwsgi())
            self.subscriptions.commit(datagrams, settings)
            for role in self.roles:
                os.close(role.fds[0])
            logs_change = logs.signature(settings) != logs.signature(self.settings)
            self.settings, self.sockets, self.roles = settings, change.sockets, roles
            if logs_change:
                self._change_logs()
            start_collector(self.collector, settings)
            if settings.log_reopen:
                self.master.reopen_logs()
            self.services.replace(settings)
            self._watch_files(settings)
            watch_modules(self.autoreload, settings)
            self.titles = titles_of(settings)
            self.titles.set("master")
            self.master.product = product_of(settings)

        def discard() -> None:
            change.discard()
            self.subscriptions.discard(datagrams, settings)
            self.announcer.reloaded(0.0)
            start_collector(self.collector, self.settings)
            for role in roles:
                os.close(role.fds[0])
            os.umask(umask)
        return ReloadPlan(tuple(roles), commit, discard, settings.chain_reload)

    def _change_to(self, settings: Settings) -> tuple[SocketChange, dict[str, socket.socket]]:
        """Bind the sockets that these settings need and that are not open yet.

        Raises:
            GeventuwsgiError: one cannot be bound or announced; nothing has changed.
        """
        change = SocketChange(self.sockets, settings)
        try:
            announcer.check(settings, announcer.subscriptions_of(settings),
                            change.sockets.of_uwsgi())
            return change, self.subscriptions.prepare(settings)
        except (GeventuwsgiError, OSError):
            change.discard()
            raise

    def reopen_logs(self) -> list[tuple[str, int]]:
        """Reopen our logs (SIGUSR1); return files opened for roles that have dropped root."""
        try:
            logs.create_files(self.settings)
        except ConfigError as error:
            logger.error("%s", error)
        self.collector.reopen()
        self.logs.reopen()
        leaves_root = identity_of(self.settings).leaves_root
        return logs.open_log_files(self.settings) if leaves_root else []

    def _rotate(self) -> None:
        self.collector.rotate()
        rotate(self.settings, required=not uses_collector(self.settings))

    def upgrade_in_place(self) -> None:
        """Execute the version on disk, which a check has run before; return if this fails."""
        signals.block_all()
        try:
            if self.master.interrupted():
                return  # for a stop or a reload that came first
            state = self.master.hand_over()
            state["sockets"] = describe_sockets(self.sockets)
            state["daemons"] = self.services.daemons.pids
            state["crons"] = self.services.crons.hand_over()
            state["counters"] = self.board.sums()
            state["version"] = __version__
            state["subscriptions"], fds = self.subscriptions.describe()
            fds += [listener.socket.fileno() for listener in self.sockets.listeners]
            fds += [fd for one in state["generations"] for fd in descriptors(one)]
            state["collector"], more = self.collector.hand_over()
            fds += more
            state["locks"] = self.locks.fds
            fds += self.locks.fds
            fds += [state["console"]] if state["console"] >= 0 else []
            logger.info("upgrade: %s", " ".join(upgrade.command()))
            upgrade.execute(state, fds, self.environ)
        except OSError as error:
            logger.error("upgrade failed: cannot execute %s: %s; this version keeps serving",
                         sys.executable, error.strerror)
        finally:
            signals.unblock_all()

    def _warn_about_fixed_options(self, settings: Settings) -> None:
        """Log the changed options that a reload does not apply."""
        for name in FIXED:
            if getattr(settings, name) != getattr(self.settings, name):
                origin = settings.origin(name)
                logger.warning("%s: %s: this change needs a restart", origin.place,
                               origin.option or name.replace("_", "-"))
        if os.geteuid() != 0 and (settings.uid, settings.gid) != (self.settings.uid,
                                                                  self.settings.gid):
            logger.warning("uid or gid changed, but the master is not root and cannot apply it")

    def _change_logs(self) -> None:
        before = self.logs
        try:
            self.logs = logs.Logs(self.settings)
        except ConfigError as error:
            logger.error("%s; the present log files are kept", error)
        else:
            before.close()

    def clean_up(self) -> None:
        """Remove our files: sockets with `vacuum`, pid files with `vacuum` or outside [uwsgi].

        uWSGI keeps its pid file without `vacuum`; gunicorn removes it.
        """
        settings = self.settings
        if settings.dev:
            self._terminal.restore()
        user = logs.user_of(settings)
        self.fifo.close(remove=settings.vacuum)
        for listener in self.sockets.listeners:
            listener.close()
            if settings.vacuum and listener.vacuum(user):
                logger.info("VACUUM: unix socket %s removed.", listener.address.text)
        if settings.vacuum or settings.dialect != "uwsgi":
            for file in self.pid_files + self.safe_pid_files:
                if file.remove():
                    logger.info("VACUUM: pidfile removed.")


def check(settings: Settings) -> Identity:
    """Check what a start needs besides sockets; return the user of the roles.

    Raises:
        ConfigError: one does not exist or cannot be used; with the option.
    """
    identity = identity_of(settings)
    if settings.home:
        packages_of(settings)
    tls.check(settings)
    monitor_process.check(settings)
    router_process.check(settings)
    return identity
