"""`benchmarks.load` for a server of the harness."""

from benchmarks import load
from tests.harness import Server, wait_until
from tests.integration.nginx import PAUSE


class Load(load.Load):
    """Requests over HTTP, and over the uwsgi protocol if the server speaks it.

    Args:
        server: the server.
        options: see `benchmarks.load.Load`.
    """

    def __init__(self, server: Server, **options: object) -> None:
        speaks = [protocol for protocol, _ in server.listeners]
        super().__init__(server.address(), server.address("uwsgi") if "uwsgi" in speaks else None,
                         pause=PAUSE, **options)

    def wait_for(self, count: int) -> None:
        """Wait until `count` requests were answered."""
        wait_until(lambda: self.count >= count or self.failures,
                   lambda: f"{count} requests, {self.count} were answered")
