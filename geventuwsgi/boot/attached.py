"""What the master has beside its roles, made from the settings: files, daemons, errands.

Called in the master only; the hooks of the start are in `points`.
"""

import logging
import os
import time
from collections.abc import Callable
from functools import partial

from ..config.settings import Settings
from ..log.sinks import rename
from ..master.attached.attached import Attached
from ..master.attached.autoreload import Autoreload
from ..master.attached.daemon import DaemonSpec
from ..master.attached.daemons import Daemons
from ..master.attached.file_watch import Mounts, Watch
from ..master.attached.hook_runner import HookRunner
from ..master.attached.hooks import Hook
from ..master.master import Master
from ..system.program import ProgramContext
from .hooks import hooks_of, identity_of, limits_of
from .logs import files_of
from .process_setup import environ_of

logger = logging.getLogger("geventuwsgi.error")


class AttachedServices:
    """The attached of one instance.

    Args:
        settings: the configuration to start with.
        watch: the watcher of the instance's files.
        rotate: renames the log files.

    Attributes:
        attached: for the master, in the order in which they end.
    """

    def __init__(self, settings: Settings, watch: Watch, rotate: Callable[[], None]) -> None:
        self._rotate = rotate
        conditions = conditions_of(settings)
        self.watch = watch
        self.daemons = Daemons(orders_of(settings), conditions, settings.reload_mercy)
        self.errands = HookRunner(hooks_of(settings, "master-start"),
                                  hooks_of(settings, "as-user-atexit"), conditions,
                                  settings.worker_reload_mercy)
        self.mounts = Mounts(settings.mount_check)
        self.attached: tuple[Attached, ...] = (self.daemons, self.errands, self.mounts)

    def watch_for(self, settings: Settings, master: Master) -> None:
        """Watch files on behalf of a master; nothing else of the kind may be watched yet."""
        watch = self.watch
        self.daemons.watch(watch)
        for path in settings.touch_logreopen:
            watch.add(path, master.reopen_logs, "reopening logs")
        for path in settings.touch_logrotate:
            watch.add(path, partial(self.rotated, master), "rotating logs")
        for path, place, action, argument, private in settings.touch_hooks:
            hook = Hook("touch", place, action, argument, private)
            watch.add(path, partial(self.errands.send, [hook]), "running its hook")

    def replace(self, settings: Settings) -> None:
        """Take on a new configuration (a reload)."""
        self.mounts.replace(settings.mount_check)
        conditions = conditions_of(settings)
        self.daemons.replace(orders_of(settings), conditions, settings.reload_mercy,
                             time.monotonic())
        self.errands.replace(hooks_of(settings, "as-user-atexit"), conditions,
                             settings.worker_reload_mercy)

    def rotated(self, master: Master) -> None:
        self._rotate()
        master.reopen_logs()


def conditions_of(settings: Settings) -> ProgramContext:
    """Return what daemons and errands run under: what the application does."""
    return ProgramContext(
        environ_of(settings), directory=settings.chdir and os.path.abspath(settings.chdir),
        identity=identity_of(settings), limits=limits_of(settings))


def orders_of(settings: Settings) -> list[DaemonSpec]:
    """Return the daemons that are wanted."""
    return [DaemonSpec(**dict(fields)) for fields in settings.daemons]


def rotate(settings: Settings, *, told: bool = False) -> None:
    """Give each log file its other name, as uWSGI does (`touch-logrotate`).

    Args:
        settings: whose files; `log-backupname` is the name of that of `logto`.
        told: others rotate files too, so that it is no mistake if we have none.
    """
    found = told
    for path, name in {path: name for name, path in files_of(settings)[::-1]}.items():
        if os.path.isfile(path):
            found = True
            backup = settings.log_backupname if name == "logto" else None
            try:
                rename(path, backup or "", int(time.time()))
            except OSError as error:
                logger.error("cannot rename the log %s: %s", path, error.strerror)
    if not found:
        logger.warning("touch-logrotate: no log goes to a file")


# Files that trigger something: from settings to the master's watchers.

def watch_files(watch: Watch, settings: Settings, master: Master) -> None:
    """Watch what the settings name, and nothing else.

    Args:
        watch: the watcher; what it watched before is forgotten.
        settings: the configuration, at a start or at a reload.
        master: whose deeds are done.
    """
    watch.clear()
    for pattern in settings.touch_reload:
        watch.add(pattern, master.reload, "grace them all !!!")
    for pattern in settings.touch_chain_reload:
        watch.add(pattern, master.chain_reload, "chain reload !!!")


def watch_modules(autoreload: Autoreload, settings: Settings) -> None:
    """Look at the files of modules, and at what else the settings count among the code.

    In a development run these are the templates and the configuration too.
    """
    files = (*settings.reload_extra_file, *(settings.files if settings.dev else ()))
    autoreload.configure(settings.py_autoreload, files, templates=settings.dev)
