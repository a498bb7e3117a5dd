"""A role: one kind of process, as a row that the master can carry out.

The master knows nothing else about its children: how many, what to exec, what to hand
over, how long they may be silent, how long they may take to end. A new kind of process
is a new row.
"""

from collections.abc import Callable
from typing import NamedTuple

from .cheaper_algorithms import Cheaper
from .recycling import Recycling


def _no_backlog() -> int:
    """Tell that nothing waits."""
    return 0


class Role(NamedTuple):
    """What the master has to know about one kind of process.

    Attributes:
        name: how logs and process titles call one of them, e.g. "worker".
        processes: how many there are to be; TTIN and TTOU change it while running.
        argv: the command of the template; the generation's number and the number of the
            template's control descriptor are appended.
        fds: descriptors that the template inherits under the same numbers.
        environ: the template's environment; None = the master's.
        cores: application slots of one process, for the log.
        grace: seconds that a draining process gets before it is killed.
        timeout: seconds without heartbeat until a process counts as stuck; None = never.
        replace_stuck: whether a stuck process is killed and replaced; False = only the
            stacks of its threads go to the log.
        otherwise: the row to go on with if a template, having loaded, finds that it is the
            wrong kind of process for what it loaded.
        recycling: when a process that serves well is replaced all the same; None = never.
        cheaper: how the number changes with what there is to do; None = it stands.
        sockets: the listening sockets among `fds`; the master waits for a connection there
            while there is no process at all.
        front: it hands work to the other roles: a stop ends it before them, and TTIN and TTOU
            do not change its number.
        backlog: tells how many connections wait on them.
        stdin: whether it has our standard input; otherwise it reads nothing.
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
    otherwise: "Role | None" = None
    cheaper: Cheaper | None = None
    sockets: tuple[int, ...] = ()
    backlog: Callable[[], int] = _no_backlog
    front: bool = False
    stdin: bool = False
    product: str = "geventuwsgi"

    @property
    def initial(self) -> int:
        """How many the first start has."""
        plan = self.cheaper
        if plan is None:
            return self.processes
        return 0 if plan.asleep else plan.initial

    @property
    def bounds(self) -> tuple[int, int | None]:
        """The least and the greatest number that TTIN and TTOU may lead to; None = no limit."""
        plan = self.cheaper
        if plan is None or plan.minimum == plan.maximum:
            return 1, None
        return plan.minimum, plan.maximum


def _nothing() -> None:
    """Do nothing."""


class ReloadPlan(NamedTuple):
    """What is to run after a reload, and what follows from how the reload ends.

    Attributes:
        roles: the rows from now on.
        commit: called when the new generations serve, before the old ones drain.
        discard: called when they do not.
        chained: replace worker by worker.
    """

    roles: tuple[Role, ...]
    commit: Callable[[], None] = _nothing
    discard: Callable[[], None] = _nothing
    chained: bool = False
