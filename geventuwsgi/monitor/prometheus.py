"""Metrics in the text formats of Prometheus and OpenMetrics, by prometheus_client.

Counters are sums over all workers there were, so no reload sets them back.
"""

import itertools
import platform
from collections.abc import Iterator

from gevent import __version__ as gevent_version
from prometheus_client.core import (
    CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from .. import __version__
from ..ipc import scoreboard
from ..ipc.scoreboard import Scoreboard
from .figures import Instance, queues, status_of, workers

# Name, help, cell, and by how much the cell is divided.
_COUNTERS = (
    ("requests", "Requests served.", scoreboard.REQUESTS, 1),
    ("exceptions", "Exceptions of the application.", scoreboard.EXCEPTIONS, 1),
    ("harakiris", "Requests ended by harakiri.", scoreboard.HARAKIRIS, 1),
    ("sent_bytes", "Bytes of responses.", scoreboard.BYTES_SENT, 1),
    ("respawns", "Workers replaced after they died or reached a limit.", scoreboard.RESPAWNS, 1))
_OF_WORKERS = (
    ("slots", "Requests that the worker can run at once.", scoreboard.CORES, 1),
    ("requests_in_progress", "Requests inside the application.", scoreboard.IN_PROGRESS, 1),
    ("connections", "Open connections.", scoreboard.CONNECTIONS, 1),
    ("resident_bytes", "Resident memory.", scoreboard.RSS, 1),
    ("start_time_seconds", "Start of the process, Unix time.", scoreboard.STARTED, 1))


class InstanceCollector(Collector):
    """Makes metrics of the scoreboard and the sockets when they are asked for.

    Args:
        instance: what does not change.
        board: the scoreboard.
    """

    def __init__(self, instance: Instance, board: Scoreboard) -> None:
        self._instance = instance
        self._board = board

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as of now."""
        build = GaugeMetricFamily("geventuwsgi_build_info", "Versions.",
                                  labels=("version", "python", "gevent"))
        build.add_metric((__version__, platform.python_version(), gevent_version), 1)
        yield build
        for name, text, cell, unit in _COUNTERS:
            yield CounterMetricFamily(f"geventuwsgi_{name}", text,
                                      value=self._board.total(cell) / unit)
        yield from self._responses()
        yield from self._workers()
        waiting = GaugeMetricFamily("geventuwsgi_listen_queue", "Connections that wait to be "
                                    "accepted.", labels=("socket",))
        maximum = GaugeMetricFamily("geventuwsgi_listen_queue_maximum", "Connections that may "
                                    "wait to be accepted.", labels=("socket",))
        for queue in queues(self._instance.listeners):
            waiting.add_metric((queue.listener.url,), queue.waiting)
            maximum.add_metric((queue.listener.url,), queue.maximum)
        yield waiting
        yield maximum

    def _responses(self) -> Iterator[Metric]:
        responses = CounterMetricFamily("geventuwsgi_responses", "Requests by method and status.",
                                        labels=("method", "status"))
        labels = itertools.product(scoreboard.METHODS, scoreboard.STATUSES)
        for label, cell in zip(labels, scoreboard.RESPONSES):
            if total := self._board.total(cell):
                responses.add_metric(label, total)
        yield responses
        durations = HistogramMetricFamily(
            "geventuwsgi_request_duration_seconds", "Time that requests took, without upgraded "
            "connections.")
        counts = itertools.accumulate(map(self._board.total, scoreboard.DURATIONS))
        bounds = (*map(str, scoreboard.BOUNDS), "+Inf")
        durations.add_metric((), list(zip(bounds, counts)),
                             self._board.total(scoreboard.DURATION_US) / 1e6)
        yield durations

    def _workers(self) -> Iterator[Metric]:
        newest = {str(number): rows[0] for number, rows in workers(self._board).items()
                  if rows[0].cells[scoreboard.PID]}
        states = GaugeMetricFamily("geventuwsgi_workers", "Workers by state.", labels=("state",))
        found = [status_of(row) for row in newest.values()]
        found += ["cheap"] * (self._instance.workers - len(found))
        for state in ("idle", "busy", "pause", "cheap"):
            states.add_metric((state,), found.count(state))
        yield states
        for name, text, cell, unit in _OF_WORKERS:
            family = GaugeMetricFamily(f"geventuwsgi_worker_{name}", text, labels=("worker",))
            for number, row in newest.items():
                family.add_metric((number,), row.cells[cell] / unit)
            yield family
        cpu = CounterMetricFamily("geventuwsgi_worker_cpu_seconds", "CPU time of the process.",
                                  labels=("worker",))
        for number, row in newest.items():
            cpu.add_metric((number,), row.cells[scoreboard.CPU_US] / 1e6)
        yield cpu


def exposition(instance: Instance, board: Scoreboard, accept: str) -> tuple[bytes, str]:
    """Return the metrics as of now, and their content type.

    Args:
        instance: what does not change.
        board: the scoreboard.
        accept: the request's `Accept`, which may ask for OpenMetrics.
    """
    registry = CollectorRegistry()
    registry.register(InstanceCollector(instance, board))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
