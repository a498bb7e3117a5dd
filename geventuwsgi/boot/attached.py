"""The objects attached to the master, from the settings: daemons, hooks, watched files.

Called in the master only. The hooks of the start are in `hooks`.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..config.settings import Settings
from ..log.sinks import rename
from ..master.attached.attached import Attached
from ..master.attached.autoreload import Autoreload
from ..master.attached.cron import Crons, CronSpec
from ..master.attached.daemon import DaemonSpec
from ..master.attached.daemons import Daemons
from ..master.attached.file_watch import Mounts, Watch
from ..master.attached.hook_runner import HookRunner
from ..master.attached.hooks import Hook
from ..master.master import Master
from ..system.program import ProgramContext
from .hooks import hooks_of, identity_of, limits_of
from .logs import files_of, user_of
from .process_setup import environ_of

logger = logging.getLogger("geventuwsgi.error")


class AttachedServices:
    """Daemons, scheduled commands, hooks and mount checks of one instance.

    Args:
        settings: the configuration at the start.
        watch: watches files of the instance.
        rotate: renames the log files.
        handed_over: what `crons.hand_over` of the previous version returned.

    Attributes:
        attached: the objects for the master, in the order in which they stop.
    """

    def __init__(self, settings: Settings, watch: Watch, rotate: Callable[[], None],
                 handed_over: Mapping[str, Any]) -> None:
        self._rotate = rotate
        context = program_context_of(settings)
        self.watch = watch
        self.daemons = Daemons(daemon_specs_of(settings), context, settings.reload_mercy)
        self.hook_runner = HookRunner(hooks_of(settings, "master-start"),
                                      hooks_of(settings, "as-user-atexit"), context,
                                      settings.worker_reload_mercy)
        self.mounts = Mounts(settings.mount_check)
        self.crons = Crons(cron_specs_of(settings), context, handed_over)
        self.attached: tuple[Attached, ...] = (
            self.daemons, self.hook_runner, self.mounts, self.crons)

    def watch_files(self, settings: Settings, master: Master) -> None:
        """Add the files of `touch-logreopen`, `touch-logrotate`, `hook-touch` and daemons."""
        watch = self.watch
        self.daemons.watch(watch)
        for path in settings.touch_logreopen:
            watch.add(path, master.reopen_logs, "reopening logs")
        for path in settings.touch_logrotate:
            watch.add(path, partial(self.rotate, master), "rotating logs")
        for path, origin, action, argument, private in settings.touch_hooks:
            hook = Hook("touch", origin, action, argument, private)
            watch.add(path, partial(self.hook_runner.send, [hook]), "running its hook")

    def replace(self, settings: Settings) -> None:
        """Apply a new configuration (a reload)."""
        self.mounts.replace(settings.mount_check)
        context = program_context_of(settings)
        self.daemons.replace(daemon_specs_of(settings), context, settings.reload_mercy,
                             time.monotonic())
        self.hook_runner.replace(hooks_of(settings, "as-user-atexit"), context,
                                 settings.worker_reload_mercy)
        self.crons.replace(cron_specs_of(settings), context)

    def rotate(self, master: Master) -> None:
        """Rotate the log files and have all processes reopen them."""
        self._rotate()
        master.reopen_logs()


def program_context_of(settings: Settings) -> ProgramContext:
    """Return the surroundings of daemons and hooks, which are those of the application."""
    return ProgramContext(
        environ_of(settings), directory=settings.chdir and os.path.abspath(settings.chdir),
        identity=identity_of(settings), limits=limits_of(settings))


def daemon_specs_of(settings: Settings) -> list[DaemonSpec]:
    """Return the daemons of the settings."""
    return [DaemonSpec(**dict(fields)) for fields in settings.daemons]


def cron_specs_of(settings: Settings) -> list[CronSpec]:
    """Return the scheduled commands of the settings."""
    return [CronSpec(**dict(fields)) for fields in settings.crons]


def rotate(settings: Settings, *, required: bool = True) -> None:
    """Rename each log file, as uWSGI does (`touch-logrotate`).

    Args:
        settings: names the files; that of `logto` becomes `log-backupname`.
        required: warn if there are no files; False where the log collector rotates files too.
    """
    found = not required
    for path, name in {path: name for name, path in files_of(settings)[::-1]}.items():
        if os.path.isfile(path):
            found = True
            backup = settings.log_backupname if name == "logto" else None
            try:
                rename(path, backup or "", int(time.time()), user_of(settings))
            except OSError as error:
                logger.error("cannot rename the log %s: %s", path, error.strerror)
    if not found:
        logger.warning("touch-logrotate: no log is written to a file")


def watch_files(watch: Watch, settings: Settings, master: Master) -> None:
    """Watch the files of `touch-reload` and `touch-chain-reload`, and no others.

    Args:
        watch: the watcher; its present files are removed.
        settings: the configuration, at the start or at a reload.
        master: reloads when a file changes.
    """
    watch.clear()
    for pattern in settings.touch_reload:
        watch.add(pattern, master.reload, "grace them all !!!")
    for pattern in settings.touch_chain_reload:
        watch.add(pattern, master.chain_reload, "chain reload !!!")


def watch_modules(autoreload: Autoreload, settings: Settings) -> None:
    """Watch the files of modules and those of `reload-extra-file`.

    In a development run also template files and the configuration.
    """
    files = (*settings.reload_extra_file,
             *((*settings.files, *settings.env_file) if settings.dev else ()))
    autoreload.configure(settings.py_autoreload, files, templates=settings.dev)
