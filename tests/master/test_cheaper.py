"""How many workers there are: the algorithms by tables of loads, the rest with real processes."""

import os
import signal
import socket
import time

import pytest

from geventuwsgi.ipc import scoreboard
from geventuwsgi.ipc.scoreboard import Scoreboard
from geventuwsgi.master.cheaper_algorithms import (
    Backlog, Busyness, BusynessAlgorithm, Cheaper, Manual, Spare, Spare2,
)
from geventuwsgi.master.children import Worker
from geventuwsgi.master.load import LoadMeter, Load
from tests.harness import alive, wait_until

pytestmark = pytest.mark.slow


def decisions(algorithm, *loads):
    """Feed one load a second, each (workers, busy slots[, backlog]) of 10 slots a worker."""
    decided = []
    for second, (workers, busy, *backlog) in enumerate(loads):
        decided.append(algorithm.decide(
            Load(1000.0 + second, workers, workers, busy, workers * 10, *backlog)))
    return decided


PLAN = Cheaper(minimum=1, maximum=8, initial=1, overload=2)


@pytest.mark.parametrize("loads, expected", [
    # no free slot for two seconds: one more
    ([(1, 10), (1, 10), (1, 10)], [0, 0, 1]),
    ([(1, 9), (1, 9), (1, 9)], [0, 0, 1]),
    # a free moment in between starts again
    ([(1, 10), (1, 10), (1, 5), (1, 10), (1, 10)], [0, 0, 0, 0, 0]),
    # a worker with one request of ten is not busy: it scales down under gevent
    ([(2, 2), (2, 2), (2, 2)], [0, 0, -1]),
    ([(2, 7), (2, 7), (2, 7)], [0, 0, -1]),
    ([(2, 8), (2, 8), (2, 8)], [0, 0, 0]),  # would not fit into one with slots to spare
    ([(4, 22), (4, 22), (4, 22), (3, 22), (3, 22), (3, 22)], [0, 0, -1, 0, 0, 0]),
    ([(1, 0), (1, 0), (1, 0), (1, 0)], [0, 0, 0, 0]),
])
def test_spare(loads, expected):
    assert decisions(Spare(PLAN), *loads) == expected


def test_spare_starts_as_many_as_the_step():
    assert decisions(Spare(PLAN._replace(step=3)), (1, 10), (1, 10), (1, 10)) == [0, 0, 3]


@pytest.mark.parametrize("loads, expected", [
    ([(2, 0), (2, 12), (3, 12), (3, 27)], [0, 1, 0, 2]),
    ([(4, 2)] * 5, [0, 0, 0, 0, 0]),  # spare_time
    ([(4, 2)] * 11, [0] * 10 + [-1]),
    ([(2, 2)] * 11, [0] * 11),
])
def test_spare2(loads, expected):
    plan = PLAN._replace(minimum=2, step=2)
    assert decisions(Spare2(plan), *loads) == expected


@pytest.mark.parametrize("loads, expected", [
    ([(1, 10, 2), (1, 10, 3), (1, 10, 30)], [0, 1, 1]),
    ([(2, 0, 0)] * 5, [0, 0, 0, -1, 0]),
    ([(2, 0, 0), (2, 0, 1), (2, 0, 0), (2, 0, 0), (2, 0, 0)], [0, 0, 0, 0, 0]),
])
def test_backlog(loads, expected):
    assert decisions(Backlog(PLAN), *loads) == expected


def test_manual():
    assert decisions(Manual(PLAN), (1, 10, 90), (8, 0)) == [0, 0]


@pytest.mark.parametrize("loads, expected", [
    # cycles of two seconds, above 50 %
    ([(1, 6)] * 5, [0, 0, 1, 0, 1]),
    ([(1, 5)] * 5, [0, 0, 0, 0, 0]),
    # below 25 % for three cycles
    ([(2, 4)] * 9, [0, 0, 0, 0, 0, 0, -1, 0, 0]),
    # connections wait: at once
    ([(2, 4), (2, 4, 34)], [0, 1]),
    ([(2, 4), (2, 4, 33)], [0, 0]),
    # a few of them for five seconds
    ([(2, 6, 1)] * 7, [0, 0, 0, 0, 0, 1, 0]),
])
def test_busyness(loads, expected):
    plan = PLAN._replace(busyness=Busyness(multiplier=3, backlog_nonzero=5))
    assert decisions(BusynessAlgorithm(plan), *loads) == expected


def test_busyness_punishes_a_stop_that_was_taken_back():
    plan = PLAN._replace(busyness=Busyness(multiplier=1, penalty=3))
    calm, busy = (2, 0), (2, 19)
    decided = decisions(BusynessAlgorithm(plan), calm, calm, calm, busy, busy, *[calm] * 12)
    assert decided[:5] == [0, 0, -1, 0, 1]
    assert decided[5:] == [0] * 7 + [-1, 0, 0, 0, 0]  # four cycles now, three after that


def test_emergency_workers_are_stopped_sooner():
    plan = PLAN._replace(busyness=Busyness(multiplier=50, backlog_alert=5, backlog_multiplier=1))
    decided = decisions(BusynessAlgorithm(plan), (1, 0), (1, 0, 9), (2, 0), (2, 0), (2, 0))
    assert decided == [0, 1, 0, 0, -1]


# Measuring.

def a_worker(pid, **cells):
    board = Scoreboard.create(1)
    os.close(board.fd)  # the memory stays
    worker = Worker(1, board.row(1), None)
    worker.pid, worker.ready_at = pid, 1.0
    cells = {"cores": 10, "heartbeat_ns": 100 * 10 ** 9, **cells}
    for name, value in cells.items():
        worker.row.cells[getattr(scoreboard, name.upper())] = value
    return worker


@pytest.mark.parametrize("first, later, busy", [
    ({"in_progress": 3}, {"in_progress": 4}, 4),
    ({}, {"response_time_us": 2_500_000}, 2.5),     # two and a half requests at a time
    ({}, {"response_time_us": 90_000_000}, 10),     # a long one has ended
    ({}, {"cpu_us": 950_000}, 9.5),     # computes all the time
    ({"in_progress": 2}, {"in_progress": 2, "cpu_us": 100_000, "response_time_us": 100}, 2),
    ({}, {"heartbeat_ns": 99 * 10 ** 9}, 10),   # blocked for two seconds
])
def test_how_busy_a_worker_is(first, later, busy):
    meter, worker = LoadMeter(), a_worker(7, **first)
    meter.measure([worker], 1, 0, 100.0)
    for name, value in {"heartbeat_ns": 101 * 10 ** 9, **later}.items():
        worker.row.cells[getattr(scoreboard, name.upper())] = value
    load = meter.measure([worker], 1, 5, 101.0)
    assert (load.busy, load.slots, load.backlog) == (pytest.approx(busy), 10, 5)


def test_a_new_process_of_a_worker_starts_at_zero():
    meter, worker = LoadMeter(), a_worker(7)
    meter.measure([worker], 1, 0, 100.0)
    worker.pid = 8
    worker.row.cells[scoreboard.RESPONSE_TIME_US] = 10 ** 9
    assert meter.measure([worker], 1, 0, 100.5).busy == 0


# With real processes.

def cheap_master(start_master, **plan):
    cheaper = {"minimum": 1, "maximum": 3, "initial": 1, "overload": 0.4, "period": 0.2,
               **plan.pop("cheaper", {})}
    return start_master(count=cheaper["maximum"], cores=10, cheaper=cheaper, **plan)


def running(made):
    return sorted(number for number, pid in made.pids().items() if alive(pid))


def test_workers_follow_the_load(start_master, tmp_path):
    (tmp_path / "busy").write_text("10")
    made = cheap_master(start_master, cheaper={"step": 2})
    made.wait_for("ready: 1 worker ")
    made.wait_for("3 workers from now on: 10.0 of 10 slots in use, 0 connections wait (spare)")
    wait_until(lambda: running(made) == [1, 2, 3], made.log)
    (tmp_path / "busy").write_text("1")  # of ten, in each
    made.wait_for("geventuwsgi worker 3 cheaped.")
    made.wait_for("geventuwsgi worker 2 cheaped.")
    made.wait_for("drained", 2)
    assert running(made) == [1]
    assert not made.find("DAMN") and not made.find("NO MERCY")
    assert made.stop() == 0


def test_waiting_connections_start_workers(start_master, tmp_path):
    made = cheap_master(start_master, cheaper={"algorithm": "backlog", "overload": 5})
    (tmp_path / "backlog").write_text("6")
    made.wait_for("3 workers from now on: 0.0 of 20 slots in use, 6 connections wait (backlog)")
    assert made.stop() == 0


def test_memory_bounds_the_number(start_master, tmp_path):
    (tmp_path / "busy").write_text("10")
    (tmp_path / "rss").write_text(str(60 << 20))
    made = cheap_master(start_master, cheaper={"step": 2, "soft_memory": 50 << 20,
                                               "hard_memory": 150 << 20})
    made.wait_for("the workers use 60 MB: cheaper-rss-limit-soft is reached, "
                  "no more are started")
    assert running(made) == [1]
    (tmp_path / "rss").write_text(str(20 << 20))
    made.wait_for("3 workers from now on")
    wait_until(lambda: running(made) == [1, 2, 3], made.log)
    (tmp_path / "rss").write_text(str(60 << 20))
    made.wait_for("the workers use 180 MB: cheaper-rss-limit-hard is reached, "
                  "one is stopped")
    made.wait_for("cheaped.")
    assert made.stop() == 0


def test_signals_respect_the_bounds(start_master):
    made = cheap_master(start_master, cheaper={"algorithm": "manual", "maximum": 2})
    made.send_signal(signal.SIGTTOU)
    made.wait_for("the number stays at 1 worker: that is the minimum")
    made.send_signal(signal.SIGTTIN)
    made.wait_for("spawned geventuwsgi worker 2")
    made.send_signal(signal.SIGTTIN)
    made.wait_for("the number stays at 2 workers: processes = 2")
    made.send_signal(signal.SIGTTOU)
    made.wait_for("geventuwsgi worker 2 cheaped.")
    assert made.stop() == 0


def test_a_reload_keeps_the_number_and_the_algorithm(start_master, tmp_path):
    (tmp_path / "busy").write_text("10")
    made = cheap_master(start_master, cheaper={"maximum": 4})
    made.wait_for("2 workers from now on")
    wait_until(lambda: running(made) == [1, 2], made.log)
    made.send_signal(signal.SIGHUP)
    made.wait_for("workers (generation 2)")
    made.wait_for("4 workers from now on")
    wait_until(lambda: running(made) == [1, 2, 3, 4], made.log)
    assert made.stop() == 0


def test_a_slow_reload_gets_as_many_workers_as_the_old_generation(start_master, tmp_path):
    (tmp_path / "busy").write_text("10")
    made = cheap_master(start_master, work="boots_later", cheaper={"step": 2})
    made.send_signal(signal.SIGHUP)
    made.wait_for("3 workers from now on")
    (tmp_path / "allowed").touch()
    made.wait_for("ready: 3 workers (generation 2)")
    assert made.stop() == 0


def test_a_worker_that_dies_while_the_number_decreases(start_master, tmp_path):
    (tmp_path / "busy").write_text("10")
    made = cheap_master(start_master, cheaper={"step": 2})
    made.wait_for("3 workers from now on")
    wait_until(lambda: running(made) == [1, 2, 3], made.log)
    (tmp_path / "busy").write_text("0")
    for number in (3, 2, 1):
        os.kill(made.pids()[number], signal.SIGKILL)
    made.wait_for("1 worker from now on")
    wait_until(lambda: len(running(made)) == 1, made.log)
    assert made.stop() == 0


# Cheap mode.

@pytest.fixture
def listener():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(8)
        os.set_inheritable(sock.fileno(), True)
        yield sock


def idle_master(start_master, listener, **cheaper):
    plan = {"minimum": 2, "maximum": 2, "initial": 2, "algorithm": "manual", "period": 0.2,
            **cheaper}
    return start_master(prefix=(), still=1, cheaper=plan, socket=listener.fileno(),
                        pass_fds=(listener.fileno(),))


def test_idle_workers_are_stopped_and_a_connection_starts_them_again(start_master, listener):
    made = idle_master(start_master, listener, idle=0.5)
    made.wait_for("workers have been inactive for more than 0.5 seconds")
    made.wait_for("cheap mode enabled: waiting for socket connection...")
    made.wait_for("worker 1 buried")
    made.wait_for("worker 2 buried")
    made.send_signal(signal.SIGHUP)  # a reload without workers
    made.wait_for("ready: 0 workers (generation 2)")
    made.wait_for("cheap mode enabled", 2)
    with socket.create_connection(listener.getsockname()):
        made.wait_for("a connection arrived: leaving cheap mode")
        wait_until(lambda: running(made) == [1, 2], made.log)
        listener.accept()[0].close()
    assert made.stop() == 0


def test_a_start_without_workers(start_master, listener):
    made = idle_master(start_master, listener, asleep=True)
    assert made.find("ready: 0 workers") and not made.pids()
    with socket.create_connection(listener.getsockname()):
        made.wait_for("a connection arrived")
        wait_until(lambda: running(made) == [1, 2], made.log)
    assert made.stop() == 0


def test_an_idle_instance_stops(start_master, listener):
    made = idle_master(start_master, listener, idle=0.5, end=True)
    started = time.monotonic()
    assert made.wait() == 0 and time.monotonic() - started < 10
    assert made.find("workers have been inactive") and not made.find("cheap mode")
