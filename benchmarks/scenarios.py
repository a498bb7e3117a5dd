"""The scenarios: one function for each, which yields rows of the table.

The limits are the project's own targets; a row shows whether they were met.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks import clients, measure, peers
from benchmarks.peers import Server, Wanted

OURS = "geventuwsgi"
IDLE = 10_000
GIB = 1 << 30


@dataclass(frozen=True)
class Limit:
    """A target: at most `factor` times the value of `peer`, or at most `factor` itself."""

    factor: float
    peer: str | None = None


@dataclass
class Row:
    """One line of the table: a value for each peer; lower is better."""

    label: str
    unit: str
    values: Mapping[str, float]
    limits: tuple[Limit, ...] = ()


@dataclass
class Run:
    """The parameters of a run: peers, seconds of a measurement, rounds."""

    peers: tuple[str, ...]
    seconds: float = 4.0
    rounds: int = 3
    notes: list[str] = field(default_factory=list)

    def among(self, able: set[str]) -> list[str]:
        """Return the peers of this run that are in a set."""
        return [peer for peer in self.peers if peer in able]


Load = Callable[[Server, float], int]
ALL = peers.WSGI


@contextlib.contextmanager
def all_running(run: Run, wanted: Wanted, able: set[str]) -> Iterator[list[Server]]:
    """Start the peers together; one that does not start is reported and skipped."""
    with contextlib.ExitStack() as stack:
        servers = []
        for name in run.among(able):
            try:
                servers.append(stack.enter_context(peers.running(name, wanted)))
            except RuntimeError as error:
                run.notes.append(str(error))
        yield servers


def cpu_per_request(server: Server, load: Load, seconds: float) -> float:
    """Load a server and return its CPU microseconds per request."""
    before = measure.cpu_us(server.pid)
    served = load(server, seconds)
    return (measure.cpu_us(server.pid) - before) / served


def compare(run: Run, label: str, wanted: Wanted, load: Load, able: set[str] = ALL,
            limits: tuple[Limit, ...] = ()) -> Row:
    """Measure the peers in turns and keep each one's best round.

    The best, because a disturbance (other guests of the machine) only adds.
    """
    best: dict[str, float] = {}
    with all_running(run, wanted, able) as servers:
        for server in servers:
            load(server, min(1.0, run.seconds))
        for _ in range(run.rounds):
            for server in servers:
                value = cpu_per_request(server, load, run.seconds)
                best[server.name] = min(value, best.get(server.name, value))
    return Row(label, "us/request", best, limits)


def _wrk(connections: int = 64, headers: dict[str, str] | None = None,
         script: str = "") -> Load:
    return lambda server, seconds: clients.wrk(
        server.address, seconds, connections, headers,
        closes=server.name == "uwsgi" or "Connection" in (headers or {}), script=script)


def hello(run: Run) -> Iterator[Row]:
    """Thirteen bytes over keep-alive connections, without and with an access log."""
    row = compare(run, "hello, keep-alive", Wanted("benchmarks.apps:hello"), _wrk(),
                  limits=(Limit(16), Limit(1 / 7, "gunicorn")))
    yield row
    with tempfile.TemporaryDirectory() as directory:
        log = compare(run, "hello, access log", Wanted(
            "benchmarks.apps:hello", access_log=f"{directory}/access.log"), _wrk())
    if OURS in row.values:
        log.limits = (Limit(1.25 * row.values[OURS]),)
    yield log


def browser(run: Run) -> Iterator[Row]:
    """The same with the headers of a browser, repeated and each time others."""
    for label, script in (("browser headers", ""), ("browser, no two alike", clients.VARYING)):
        yield compare(run, label, Wanted("benchmarks.apps:hello"),
                      _wrk(headers=clients.BROWSER, script=script),
                      limits=(Limit(1 / 5, "gunicorn"),))


def close(run: Run) -> Iterator[Row]:
    """A new connection per request, over HTTP and over the uwsgi protocol."""
    yield compare(run, "new connection, HTTP", Wanted("benchmarks.apps:hello"),
                  _wrk(headers={"Connection": "close"}), limits=(Limit(0.6, "uwsgi"),))
    yield compare(
        run, "new connection, uwsgi", Wanted("benchmarks.apps:hello", protocol="uwsgi"),
        lambda server, seconds: clients.new_connections(
            server.address, clients.NGINX_PACKET, seconds),
        able=peers.SPEAKS_UWSGI, limits=(Limit(0.6, "uwsgi"),))


def sleep(run: Run) -> Iterator[Row]:
    """400 connections whose requests wait 10 ms each."""
    yield compare(run, "10 ms sleep, 400 connections", Wanted("benchmarks.apps:sleep"), _wrk(400),
                  limits=(Limit(1 / 4, "gunicorn"),))


def idle(run: Run) -> Iterator[Row]:
    """10,000 idle keep-alive connections: their memory, and the service beside them."""
    memory: dict[str, float] = {}
    alone: dict[str, float] = {}
    beside: dict[str, float] = {}
    for name in run.among({OURS, "gunicorn", "pywsgi"}):  # uWSGI has no keep-alive here
        with all_running(run, Wanted("benchmarks.apps:hello"), {name}) as servers:
            for server in servers:
                _wrk()(server, 1)
                alone[name] = cpu_per_request(server, _wrk(), run.seconds)
                before = _total_pss(server)
                connections = clients.IdleConnections(server.address, IDLE)
                memory[name] = (_total_pss(server) - before) / IDLE
                beside[name] = cpu_per_request(server, _wrk(), run.seconds)
                closed = IDLE - connections.still_open()
                connections.close()
                if closed:
                    run.notes.append(f"{name} closed {closed} of {IDLE} idle connections")
    yield Row("an idle connection", "KB", memory, (Limit(10),))
    yield Row("hello without idle connections", "us/request", alone)
    # 5 %: what two runs of the same differ by.
    limits = (Limit(1.05 * alone[OURS]),) if OURS in alone else ()
    yield Row(f"hello beside {IDLE} idle ones", "us/request", beside, limits)


def _total_pss(server: Server) -> int:
    return sum(measure.pss_kb(pid) for pid in measure.tree(server.pid))


def memory(run: Run) -> Iterator[Row]:
    """Proportional set size after 10,000 requests: the first worker, a further one, the rest."""
    first: dict[str, float] = {}
    further: dict[str, float] = {}
    rest: dict[str, dict[str, float]] = {"master": {}, "template": {}}
    for name in run.among(peers.FORKS):
        totals = {}
        for workers in (1, 3):
            wanted = Wanted("benchmarks.apps:hello", workers=workers)
            with all_running(run, wanted, {name}) as servers:
                for server in servers:
                    served = 0
                    while served < 10_000:
                        served += _wrk()(server, 1)
                    sizes = {pid: measure.pss_kb(pid) / 1024 for pid in measure.tree(server.pid)}
                    totals[workers] = sum(sizes.values())
                    if workers == 1:
                        for role, pid in _roles(server).items():
                            rest.get(role, first)[name] = sizes[pid]
        if len(totals) == 2:
            further[name] = (totals[3] - totals[1]) / 2
    yield Row("memory of the first worker (PSS)", "MB", first, (Limit(26),))
    yield Row("memory of a further worker (PSS)", "MB", further, (Limit(12),))
    for role, values in rest.items():
        yield Row(f"memory of the {role} (PSS)", "MB", values)


def _roles(server: Server) -> dict[str, int]:
    """Return the processes of a server with one worker, by role.

    The title distinguishes template and worker; without titles the last process is the worker.
    """
    roles = {"master": server.pid}
    for pid in measure.tree(server.pid)[1:]:
        roles["template" if "template" in measure.title(pid) else "worker"] = pid
    return roles


def big(run: Run) -> Iterator[Row]:
    """1 GiB up in pieces of 64 KiB and 1 GiB down: how much the memory grows meanwhile."""
    yield _growth(run, "memory growth, 1 GiB upload", "benchmarks.apps:upload", clients.upload)
    yield _growth(run, "memory growth, 1 GiB download", "benchmarks.apps:download",
                  clients.download)


def _growth(run: Run, label: str, application: str,
            transfer: Callable[[tuple[str, int], int], None]) -> Row:
    values: dict[str, float] = {}
    for name in run.among(ALL):
        with all_running(run, Wanted(application), {name}) as servers:
            for server in servers:
                measure.reset_peak(server.pid)
                before = measure.peak_kb(server.pid)
                transfer(server.address, GIB)
                values[name] = (measure.peak_kb(server.pid) - before) / 1024
    return Row(label, "MB", values, (Limit(10),))


SCENARIOS: dict[str, Callable[[Run], Iterator[Row]]] = {
    "hello": hello, "browser": browser, "close": close, "sleep": sleep, "idle": idle,
    "memory": memory, "big": big}
