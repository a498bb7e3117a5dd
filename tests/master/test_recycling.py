"""Replacing workers after requests, a lifetime or for memory, with those of `harness.py`."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from geventuwsgi.ipc import scoreboard
from geventuwsgi.ipc.scoreboard import Scoreboard
from geventuwsgi.master.children import Worker
from geventuwsgi.master.recycling import Recycler, Recycling
from tests.harness import alive, wait_until

pytestmark = pytest.mark.slow


def made_worker(number=1, **cells):
    """Return a worker that became ready at 100.0, and its row."""
    board = Scoreboard.create(2)
    os.close(board.fd)  # the memory stays
    row = board.row(1)
    worker = Worker(number, row, None)
    worker.pid = 4242
    worker.ready_at = 100.0
    worker.first_memory = (30 << 20, 130 << 20)
    for name, value in cells.items():
        row.cells[getattr(scoreboard, name.upper())] = value
    return worker


@pytest.mark.parametrize("limits, number, cells, age, reason", [
    ({"max_requests": 10}, 1, {"requests": 9}, 60, ""),
    ({"max_requests": 10}, 1, {"requests": 10}, 60, "it served 10 requests (max-requests)"),
    ({"max_requests": 10}, 1, {"requests": 10}, 9, ""),  # min-worker-lifetime = 10
    ({"max_requests": 10, "min_lifetime": 0}, 1, {"requests": 10}, 0, "it served 10 requests"),
    ({"max_requests": 10, "max_requests_delta": 5}, 3, {"requests": 19}, 60, ""),
    ({"max_requests": 10, "max_requests_delta": 5}, 3, {"requests": 20}, 60, "it served 20"),
    ({"max_lifetime": 20}, 1, {}, 19.9, ""),
    ({"max_lifetime": 20}, 1, {}, 20, "it ran for 20 seconds (max-worker-lifetime)"),
    ({"max_lifetime": 5}, 1, {}, 6, "it ran for 6 seconds"),
    ({"max_lifetime": 20, "max_lifetime_delta": 7}, 4, {}, 40.9, ""),
    ({"max_lifetime": 20, "max_lifetime_delta": 7}, 4, {}, 41, "it ran for 41 seconds"),
    ({"rss": 50 << 20}, 1, {"rss": 49 << 20}, 60, ""),
    ({"rss": 50 << 20}, 1, {"rss": 50 << 20}, 60, "it uses 50 MB (reload-on-rss)"),
    ({"rss": 50 << 20}, 1, {"rss": 90 << 20}, 9, ""),
    ({"address_space": 200 << 20}, 1, {"vsz": 200 << 20}, 60, "it uses 200 MB (reload-on-as)"),
    # Over the limit when it started: it has to grow by a quarter.
    ({"rss": 20 << 20}, 1, {"rss": 37 << 20}, 60, ""),
    ({"rss": 20 << 20}, 1, {"rss": 38 << 20}, 60, "it uses 38 MB (reload-on-rss)"),
])
def test_when_a_worker_is_due(limits, number, cells, age, reason):
    worker = made_worker(number, **cells)
    Recycler(Recycling(**limits)).review([worker], 100.0 + age)
    assert worker.due_for_replacement.startswith(reason) and bool(
        worker.due_for_replacement) == bool(reason)


def test_a_limit_that_cannot_help_counts_for_less_each_time():
    recycler = Recycler(Recycling(rss=20 << 20))
    for second, (resident, due) in enumerate(((37, False), (38, True), (44, False), (45, True),
                                              (59, False), (60, True), (89, False), (90, True),
                                              (149, False), (150, True), (150, True))):
        worker = made_worker(rss=resident << 20)
        recycler.review([worker], 200.0 + second)
        assert bool(worker.due_for_replacement) == due, resident


def test_jitter_differs_from_worker_to_worker():
    workers = [made_worker(requests=1500) for _ in range(50)]
    Recycler(Recycling(max_requests=1000, max_requests_jitter=1000)).review(workers, 200.0)
    assert 0 < sum(bool(worker.due_for_replacement) for worker in workers) < 50


def test_no_limit_is_no_recycling():
    assert not Recycling() and not Recycling(min_lifetime=1, max_requests_delta=5)
    assert Recycling(evil_as=1) and Recycling(max_lifetime=1)


# With real processes.

def replacements(made):
    """Return what was logged about replaced and exited workers, in order."""
    events = []
    for line in made.err:
        if found := re.search(r"worker (\d+) \(pid: (\d+)\) is replaced", line):
            events.append(("replaced", int(found[1])))
        elif found := re.search(r"worker (\d+) buried", line):
            events.append(("buried", int(found[1])))
    return events


def test_a_worker_is_replaced_after_its_requests(start_master):
    """All reach the limit at once; they are replaced one by one, each by a worker that serves."""
    made = start_master(count=3, recycling={"max_requests": 5, "min_lifetime": 0})
    first = made.pids()
    for number in (1, 2, 3):
        made.wait_for(f"worker {number} (pid: {first[number]}) is replaced: it served")
        made.wait_for(f"The work of process {first[number]} is done. Seeya!")
    events = replacements(made)[:6]
    assert [kind for kind, _ in events] == ["replaced", "buried"] * 3
    log = made.log
    for number, pid in first.items():
        later = log.index(f"Respawned geventuwsgi worker {number}")
        assert later < log.index(f"The work of process {pid} is done")
    assert not made.find("DAMN") and not made.find("respawning too fast")
    assert made.stop() == 0


def test_a_worker_is_replaced_for_its_age(start_master):
    made = start_master(count=2, recycling={"max_lifetime": 0.7, "max_lifetime_delta": 100})
    first = made.pids()
    made.wait_for("worker 1 lifetime reached, it was running for")
    made.wait_for(f"The work of process {first[1]} is done")
    assert alive(first[2]) and made.pids()[2] == first[2]
    assert made.stop() == 0


def test_the_counters_of_a_replaced_worker_are_kept(start_master):
    made = start_master(count=1, recycling={"max_requests": 5, "min_lifetime": 0})
    link = next(entry for entry in Path(f"/proc/{made.pid}/fd").iterdir()
                if "scoreboard" in os.readlink(entry))
    board = Scoreboard.open(os.open(link, os.O_RDWR))
    made.wait_for("is done. Seeya!", 2)
    assert board.total(scoreboard.REQUESTS) >= 10
    assert board.total(scoreboard.RESPAWNS) in (2, 3)
    assert sum(1 for _ in board.rows()) <= 2
    os.close(board.fd)
    assert made.stop() == 0


def test_memory(start_master):
    made = start_master(count=2, work="grows", recycling={"rss": 60 << 20, "min_lifetime": 0})
    first = made.pids()
    os.kill(first[2], signal.SIGUSR2)
    made.wait_for(f"worker 2 (pid: {first[2]}) is replaced: it uses 100 MB (reload-on-rss)")
    made.wait_for(f"The work of process {first[2]} is done")
    assert made.pids()[1] == first[1]
    assert made.stop() == 0


def test_a_limit_below_the_size_of_a_new_worker_does_not_replace_forever(start_master):
    made = start_master(count=2, work="grows", recycling={"rss": 10 << 20, "min_lifetime": 0})
    first = made.pids()
    made.wait_for("reload-on-rss is 10 MB, but a worker uses 30 MB when it starts: it is "
                  "replaced when it has grown to 37 MB")
    os.kill(first[1], signal.SIGUSR2)
    made.wait_for(f"The work of process {first[1]} is done")
    assert len(made.generations()) == 3 and made.pids()[2] == first[2]
    assert len(made.find("when it starts")) == 1
    assert made.stop() == 0


@pytest.mark.parametrize("limits, name", [({"evil_rss": 90 << 20}, "RSS"),
                                          ({"evil_as": 90 << 20}, "ADDRESS SPACE")])
def test_evil_limits_kill(start_master, limits, name):
    made = start_master(count=1, work="grows", recycling={"evil_every": 0.2, **limits})
    first = made.pids()[1]
    os.kill(first, signal.SIGUSR2)
    made.wait_for(f"*** EVIL RELOAD ON WORKER 1 {name}: ")
    made.wait_for(f"DAMN ! worker 1 (pid: {first}) died, killed by signal 9")
    made.wait_for("Respawned geventuwsgi worker 1")
    assert made.stop() == 0


def test_a_worker_asks_for_its_replacement(start_master):
    made = start_master(work="asks_for_replacement")
    first = made.pids()
    os.kill(first[1], signal.SIGUSR2)
    made.wait_for(f"worker 1 (pid: {first[1]}) is replaced: on request")
    made.wait_for(f"The work of process {first[1]} is done")
    assert made.pids()[2] == first[2]
    assert made.stop() == 0


# Failures during a replacement.

def test_a_replacement_that_cannot_boot_leaves_the_worker_serving(start_master, tmp_path):
    made = start_master(work="boots_once")
    first = made.pids()
    (tmp_path / "forbidden").touch()
    os.kill(first[1], signal.SIGUSR2)
    made.wait_for("worker 1 has no replacement yet and keeps serving; next attempt in 0.2 seconds")
    assert alive(first[1]) and not made.find("drained")
    (tmp_path / "forbidden").unlink()
    made.wait_for(f"The work of process {first[1]} is done")
    assert made.stop() == 0


def booting(start_master, count=2):
    """Return a master whose worker 1 has a replacement that is booting, and the pids of both."""
    made = start_master(work="boots_later", count=count, grace=5)
    first = made.pids()[1]
    os.kill(first, signal.SIGUSR2)
    made.wait_for("Respawned geventuwsgi worker 1")
    return made, first, made.pids()[1]


def test_a_worker_that_dies_while_it_is_replaced(start_master, tmp_path):
    made, old, new = booting(start_master)
    os.kill(old, signal.SIGKILL)
    made.wait_for(f"DAMN ! worker 1 (pid: {old}) died, killed by signal 9")
    (tmp_path / "allowed").touch()
    made.stop()
    assert len(made.generations()) == 3 and made.pids()[1] == new


def test_a_replacement_that_dies_while_it_boots(start_master, tmp_path):
    made, old, new = booting(start_master)
    os.kill(new, signal.SIGKILL)
    made.wait_for("worker 1 has no replacement yet and keeps serving")
    assert alive(old)
    (tmp_path / "allowed").touch()
    made.wait_for(f"The work of process {old} is done")
    assert made.stop() == 0


def test_both_die(start_master, tmp_path):
    made, old, new = booting(start_master)
    os.kill(new, signal.SIGKILL)
    os.kill(old, signal.SIGKILL)
    (tmp_path / "allowed").touch()
    wait_until(lambda: made.pids()[1] not in (old, new), made.log)
    assert made.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_stop_while_a_worker_is_replaced(start_master, number):
    made, old, new = booting(start_master)
    assert made.stop(number) == 0
    assert not alive(old) and not alive(new)


def test_a_reload_while_a_worker_is_replaced(start_master, tmp_path):
    made, old, new = booting(start_master)
    made.send_signal(signal.SIGHUP)
    (tmp_path / "allowed").touch()
    made.wait_for("ready: 2 workers (generation 2)")
    wait_until(lambda: not alive(old) and not alive(new))
    assert made.stop() == 0


def test_one_fewer_while_a_worker_is_replaced(start_master, tmp_path):
    made, old, new = booting(start_master, count=1)
    made.send_signal(signal.SIGTTIN)
    made.wait_for("pawned geventuwsgi worker 2")
    made.send_signal(signal.SIGTTOU)  # stops worker 2, which does not serve yet
    made.wait_for("geventuwsgi worker 2 cheaped.")
    (tmp_path / "allowed").touch()
    made.wait_for(f"The work of process {old} is done")
    assert alive(new)
    assert made.stop() == 0


def test_a_template_that_dies_while_workers_are_replaced(start_master):
    made = start_master(work="asks_for_replacement", count=3)
    first, template = made.pids(), made.template
    for pid in first.values():
        os.kill(pid, signal.SIGUSR2)
    made.wait_for("is replaced")
    os.kill(template, signal.SIGKILL)
    made.wait_for("another one is started")
    for pid in first.values():
        made.wait_for(f"The work of process {pid} is done")
    assert made.stop() == 0


def test_descriptors_and_rows_do_not_grow(start_master):
    made = start_master(count=1, recycling={"max_requests": 1, "min_lifetime": 0})

    def descriptors():
        return len(os.listdir(f"/proc/{made.pid}/fd"))
    before = descriptors()
    made.wait_for("is done. Seeya!", 6)  # there are 4 rows
    wait_until(lambda: descriptors() <= before)
    end = time.monotonic() + 5
    assert made.stop() == 0 and time.monotonic() < end
