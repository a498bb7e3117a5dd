"""The template of the monitor's process, and whether its requirements are installed."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..config.settings import Settings
from ..monitor.figures import Instance
from ..net.listener import Listener
from .role_template import RoleTemplate

if TYPE_CHECKING:
    from ..prefork.child import Child

MONITORED = ("stats", "metrics")    # the protocols of the monitor's own sockets


class MonitorTemplate(RoleTemplate):
    """The process of the monitor's template, and the objects that the monitor inherits."""

    kind = "monitor"

    def prepare(self, plan: dict[str, Any]) -> None:
        """Separate the monitor's sockets from those that it only observes."""
        self.observed: list[Listener] = [
            one for one in self.listeners if one.protocol not in MONITORED]
        self.listeners = [one for one in self.listeners if one.protocol in MONITORED]

    def load(self) -> None:
        """Import the code of the monitor before the fork."""
        from ..monitor import process  # noqa: F401

        self.exposition = None
        if find_spec("prometheus_client") is not None:
            from ..monitor import prometheus
            self.exposition = prometheus.exposition

    def serve(self, child: "Child") -> int:
        """Run the monitor; return its exit status."""
        from ..monitor import process

        return process.run(self.settings, self.listeners,
                           instance_of(self.settings, self.master, self.observed), child,
                           self.exposition)


def instance_of(settings: Settings, master: int, listeners: Sequence[Listener]) -> Instance:
    """Return what the statistics take from the configuration.

    Args:
        settings: the configuration.
        master: the pid of the master.
        listeners: the sockets of clients, and others, which are left out.
    """
    named = [""] if any((settings.application, settings.module, settings.wsgi_file, settings.asgi,
                         settings.paste)) else []
    mounted = (mount.partition("=")[0].strip() for mount in settings.mount)
    clients = [one for one in listeners if one.protocol not in ("routed", "statistics", *MONITORED)]
    return Instance(master, settings.processes, (*named, *mounted), settings.chdir or "", clients)


def check(settings: Settings) -> None:
    """Check that what formats metrics is installed.

    Raises:
        ConfigError: it is not; with the option.
    """
    if settings.metrics and find_spec("prometheus_client") is None:
        raise settings.origin("metrics").failure(
            "it needs prometheus_client: pip install 'geventuwsgi[metrics]'")
