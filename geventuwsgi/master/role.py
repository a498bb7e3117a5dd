"""A role: one kind of process, as data. The master knows nothing else about its children."""

from collections.abc import Callable
from typing import NamedTuple

from .cheaper_algorithms import Cheaper
from .recycling import Recycling


class Role(NamedTuple):
    """One kind of process.

    Attributes:
        name: what logs and process titles call such a process, e.g. "worker".
        processes: how many to run; TTIN and TTOU change it while running.
        argv: the command of the template; the number of the generation and that of the
            template's control descriptor are appended.
        fds: descriptors that the template inherits under the same numbers.
        environ: the template's environment; None = the master's.
        cores: application slots of one process, for the log.
        grace: seconds until a draining process is killed.
        timeout: seconds without a heartbeat until a process counts as stuck; None = never.
        replace_stuck: whether a stuck process is killed and replaced; False = only the
            stacks of its threads are logged.
        alternative: the role to continue with if a template finds, after loading, that the
            application has the wrong interface for it.
        preferred: it is an alternative: a reload of a generation that changed to it begins
            with it, so that the application is not loaded twice again.
        recycling: the limits after which a process is replaced; None = never.
        cheaper: how the number follows the load; None = it does not.
        sockets: the listening sockets among `fds`; in cheap mode the master waits there for
            a connection.
        backlog: returns how many connections wait on these sockets.
        auxiliary: it serves the operator and no clients, so the server is healthy without it.
        front: it passes requests to the other roles: it stops before them.
        stdin: whether it has the server's standard input; otherwise it has /dev/null.
        product: what the log calls this server (`log-dialect`).
    """

    name: str
    processes: int
    argv: tuple[str, ...]
    fds: tuple[int, ...] = ()
    environ: dict[str, str] | None = None
    cores: int = 1
    grace: float = 30.0
    timeout: float | None = None
    replace_stuck: bool = True
    recycling: Recycling | None = None
    alternative: "Role | None" = None
    preferred: bool = False
    cheaper: Cheaper | None = None
    sockets: tuple[int, ...] = ()
    backlog: Callable[[], int] = lambda: 0
    auxiliary: bool = False
    front: bool = False
    stdin: bool = False
    product: str = "geventuwsgi"

    @property
    def fixed(self) -> bool:
        """Whether TTIN and TTOU leave the number of processes as it is."""
        return self.front or self.auxiliary

    @property
    def initial(self) -> int:
        """The number of processes at the first start."""
        plan = self.cheaper
        if plan is None:
            return self.processes
        return 0 if plan.asleep else plan.initial

    @property
    def bounds(self) -> tuple[int, int | None]:
        """The minimum and maximum number for TTIN and TTOU; None = no limit."""
        plan = self.cheaper
        if plan is None or plan.minimum == plan.maximum:
            return 1, None
        return plan.minimum, plan.maximum


class ReloadPlan(NamedTuple):
    """What to run after a reload, and what to call when it has ended.

    Attributes:
        roles: the new roles.
        commit: called when the new generations serve, before the old ones drain.
        discard: called when the reload has failed.
        chained: replace worker by worker.
    """

    roles: tuple[Role, ...]
    commit: Callable[[], None] = lambda: None
    discard: Callable[[], None] = lambda: None
    chained: bool = False
