"""Files that trigger something: from settings to the master's watchers."""

from ..config.settings import Settings
from ..process.master import Master
from ..process.watch import Watch


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
