"""Files that trigger something: from settings to the master's watchers."""

from ..config.settings import Settings
from ..master.master import Master
from ..master.attached.autoreload import Autoreload
from ..master.attached.file_watch import Watch


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
