"""Monkey-patching by gevent, with one look at what is installed.

gevent tells some 25 events of patching, and for each looks through the metadata of all
installed distributions for plugins that want to hear of it: with 80 of them 50 ms of the
200 that a template takes until it loads the application. What is installed does not change
meanwhile, so that one look serves every event.
"""

from typing import Any


def patch_all() -> None:
    """Patch the standard library as `gevent.monkey.patch_all()` does; its plugins are called."""
    from importlib import metadata  # gevent needs it; a master would not

    from gevent import monkey

    installed = metadata.entry_points()
    look = metadata.entry_points

    def entry_points(**wanted: Any) -> Any:
        return installed.select(**wanted)

    metadata.entry_points = entry_points  # type: ignore[assignment]
    try:
        monkey.patch_all()
    finally:
        metadata.entry_points = look
