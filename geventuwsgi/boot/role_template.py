"""The template of a role that runs no application: routers, the monitor.

A subclass says what to import before the fork and what its processes do. Which sockets belong to
which role is decided here too.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..config.settings import Settings
from ..net.listener import Listener
from ..net.rebind import Pair
from .hooks import identity_of
from .logs import Logs
from .process_setup import titles_of
from .sockets import places

if TYPE_CHECKING:
    from ..prefork.child import Child


class RoleTemplate:
    """The process of a template, and the objects that its children inherit.

    Args:
        plan: the plan that `roles.write_plan` wrote.
        generation: its number.
        sock: its end of the control socket.

    Attributes:
        kind: the name of the role.
        settings: the configuration.
        listeners: the sockets that are for this role.
        master: the pid of the master.
    """

    kind = ""

    def __init__(self, plan: dict[str, Any], generation: int, sock: Any) -> None:
        from ..ipc.scoreboard import Scoreboard
        from ..prefork.template import Template

        self.settings = settings = Settings.from_json(plan["settings"])
        self.logs = Logs(settings)
        titles = titles_of(settings)
        titles.set(f"{self.kind} template {generation}")
        self.listeners = [Listener.from_json(text) for text in plan["listeners"]]
        self.master: int = plan["master"]
        self.prepare(plan)
        board = Scoreboard.open(plan["board"])
        os.set_inheritable(board.fd, False)
        identity = identity_of(settings)
        self.logs.reopened_by_master = identity.leaves_root
        identity.assume()
        self.template = Template(
            sock, board, generation=generation, master=self.master, cores=1,
            reopen=self.logs.reopen, use_log=self.logs.replace,
            title=lambda number: titles.set(f"{self.kind} {number}"))

    def run(self) -> int:
        """Fork children until the master ends the template; return the exit status."""
        return self.template.run(self.load, self._work)

    def prepare(self, plan: dict[str, Any]) -> None:
        """Take what only this role needs from the plan; root is not dropped yet."""

    def load(self) -> None:
        """Import the code of the children once for all of them."""
        raise NotImplementedError

    def serve(self, child: "Child") -> int:
        """Run a child; return its exit status."""
        raise NotImplementedError

    def _work(self, _: None, child: "Child") -> int:
        import gevent

        gevent.reinit()  # after an os.fork() that gevent did not see
        child.reopen, child.use_log = self.logs.reopen, self.logs.replace
        return self.serve(child)


def select_sockets(settings: Settings, pairs: Sequence[Pair], kind: str) -> list[Pair]:
    """Return the sockets of a role: those that it accepts from, and others that it needs.

    Inherited sockets that no option names are for the workers; the private socket between router
    and workers is for both. The monitor also reads the queues of clients' sockets.
    """
    found = []
    for place, pair in zip(places(settings, pairs), pairs):
        owner = "worker" if place is None else settings.owners[place]
        wanted = {owner, "monitor"}
        if pair[1].protocol == "routed":
            wanted = {"worker", "router"}
        if kind in wanted:
            found.append(pair)
    return found
