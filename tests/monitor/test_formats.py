"""The formats of the monitor, from a scoreboard that a test has written."""

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from geventuwsgi.ipc import scoreboard
from geventuwsgi.ipc.scoreboard import Scoreboard
from geventuwsgi.monitor import prometheus, uwsgi_json
from geventuwsgi.monitor.figures import Instance
from geventuwsgi.net.address import parse as address
from geventuwsgi.net.listener import Listener

pytestmark = pytest.mark.fast


@pytest.fixture
def board() -> Scoreboard:
    """Two processes of worker 1, as in a reload, a dead one of worker 2, and a router."""
    board = Scoreboard.create(6)
    write(board, 1, pid=10, worker=1, generation=1, requests=7, busy=0, us=70)
    write(board, 2, pid=20, worker=1, generation=2, requests=3, busy=2, us=30)
    write(board, 3, pid=30, worker=2, generation=2, requests=5, busy=1, us=50)
    board.row(3).vacate()
    write(board, 4, pid=40, worker=1, generation=2, requests=0, busy=0, us=0)
    board.row(4).cells[scoreboard.ROLE] = scoreboard.ROLE_ROUTER
    return board


def write(board: Scoreboard, index: int, *, pid: int, worker: int, generation: int,
          requests: int, busy: int, us: int) -> None:
    cells = board.row(index).cells
    cells[scoreboard.PID], cells[scoreboard.WORKER] = pid, worker
    cells[scoreboard.GENERATION], cells[scoreboard.CORES] = generation, 3
    cells[scoreboard.STATE] = scoreboard.STATE_READY
    cells[scoreboard.ACCEPTING] = 1
    cells[scoreboard.REQUESTS], cells[scoreboard.IN_PROGRESS] = requests, busy
    cells[scoreboard.RESPONSE_TIME_US] = us
    cells[scoreboard.PROCESS_REQUESTS] = cells[scoreboard.APP_REQUESTS[0]] = requests


@pytest.fixture
def instance() -> Iterator[Instance]:
    with socket.create_server(("127.0.0.1", 0), backlog=5) as sock:
        text = "127.0.0.1:%d" % sock.getsockname()[1]
        yield Instance(9, 3, ("",), "/srv", [Listener(sock, "http", address(text))])


def by_id(found: dict[str, Any]) -> dict[int, dict[str, Any]]:
    return {worker["id"]: worker for worker in found["workers"]}


def test_a_number_has_the_newest_process_and_the_counters_of_all(
        board: Scoreboard, instance: Instance) -> None:
    found = by_id(uwsgi_json.snapshot(instance, board, cores=True))
    assert (found[1]["pid"], found[1]["requests"], found[1]["delta_requests"]) == (20, 10, 3)
    assert (found[1]["status"], found[1]["avg_rt"], found[1]["running_time"]) == ("busy", 10, 100)
    assert [core["in_request"] for core in found[1]["cores"]] == [1, 1, 0]
    assert sum(core["requests"] for core in found[1]["cores"]) == 10


def test_a_worker_that_does_not_run_keeps_its_counters(
        board: Scoreboard, instance: Instance) -> None:
    found = by_id(uwsgi_json.snapshot(instance, board, cores=True))
    assert (found[2]["pid"], found[2]["status"], found[2]["requests"]) == (0, "cheap", 5)
    assert (found[3]["pid"], found[3]["status"], found[3]["requests"]) == (0, "cheap", 0)


def test_a_pause(board: Scoreboard, instance: Instance) -> None:
    board.row(2).cells[scoreboard.ACCEPTING] = 0
    board.row(2).cells[scoreboard.IN_PROGRESS] = 0
    assert by_id(uwsgi_json.snapshot(instance, board, cores=False))[1]["status"] == "pause"


def test_the_queue_of_a_socket(board: Scoreboard, instance: Instance) -> None:
    listening = instance.listeners[0].socket
    with socket.create_connection(listening.getsockname()):
        found = uwsgi_json.snapshot(instance, board, cores=False)
        assert (found["listen_queue"], found["load"]) == (1, 1)
        assert found["sockets"] == [{"name": instance.listeners[0].address.text, "proto": "http",
                                     "queue": 1, "max_queue": 5, "shared": 0, "can_offload": 0}]
    listening.close()
    assert uwsgi_json.snapshot(instance, board, cores=False)["listen_queue"] == 0


@pytest.mark.parametrize("minified", [False, True])
def test_the_json_can_be_read(board: Scoreboard, instance: Instance, minified: bool) -> None:
    found = uwsgi_json.snapshot(instance, board, cores=False)
    text = uwsgi_json.dump(found, minified)
    assert json.loads(text) == found
    assert (b"\n" in text) is not minified


def test_counters_outlive_their_workers(board: Scoreboard, instance: Instance) -> None:
    def requests() -> float:
        text, _ = prometheus.exposition(instance, board, "")
        samples = {sample.name: sample.value
                   for family in parse(text.decode()) for sample in family.samples}
        return samples["geventuwsgi_requests_total"]

    assert requests() == 15
    board.retire(1)
    assert requests() == 15


def test_durations_and_responses(board: Scoreboard, instance: Instance) -> None:
    cells = board.row(2).cells
    for index, count in ((0, 5), (3, 2), (13, 1)):      # up to 1 ms, up to 10 ms, over 10 s
        cells[scoreboard.DURATIONS[index]] = count
    cells[scoreboard.DURATION_US] = 150
    cells[scoreboard.RESPONSES[2]] = 7                          # GET 2xx
    cells[scoreboard.RESPONSES[2 * len(scoreboard.STATUSES) + 5]] = 1      # POST 5xx
    text, _ = prometheus.exposition(instance, board, "")
    samples = {(sample.name, *sample.labels.values()): sample.value
               for family in parse(text.decode()) for sample in family.samples}
    name = "geventuwsgi_request_duration_seconds"
    assert [samples[f"{name}_bucket", le] for le in ("0.001", "0.005", "0.01", "10.0", "+Inf")] == [
        5, 5, 7, 7, 8]
    assert (samples[f"{name}_count",], samples[f"{name}_sum",]) == (8, 150 / 1e6)
    assert {key[1:]: value for key, value in samples.items()
            if key[0] == "geventuwsgi_responses_total"} == {("GET", "2xx"): 7, ("POST", "5xx"): 1}
    assert uwsgi_json.snapshot(instance, board, cores=False)["responses"] == {
        "other": 0, "1xx": 0, "2xx": 7, "3xx": 0, "4xx": 0, "5xx": 1}


def test_openmetrics(board: Scoreboard, instance: Instance) -> None:
    text, content_type = prometheus.exposition(
        instance, board, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    states = {sample.labels["state"]: sample.value for family in parse_open(text.decode())
              if family.name == "geventuwsgi_workers" for sample in family.samples}
    assert states == {"idle": 0, "busy": 1, "pause": 0, "cheap": 2}


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, scoreboard.CELLS - 1), st.one_of(
    st.sampled_from([-1, 2 ** 63 - 1, -2 ** 63]), st.integers(-5, 10 ** 6))), max_size=60))
def test_any_numbers(numbers: list[tuple[int, int, int]]) -> None:
    """Every process of the application can write them."""
    board = Scoreboard.create(6)
    for index in range(1, 7):
        write(board, index, pid=index, worker=index % 3, generation=1, requests=1, busy=1, us=1)
    for index, cell, number in numbers:
        board.row(index).cells[cell] = number
    instance = Instance(1, 2, ("", "/x"), "/srv", ())
    text = uwsgi_json.dump(uwsgi_json.snapshot(instance, board, True), True)
    assert len(json.loads(text)["workers"]) >= 2 and len(text) < 100 << 20
    assert prometheus.exposition(instance, board, "")[0]
    os.close(board.fd)
