"""The process tree with real processes and signals; the workers are those of `house.py`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness import Program, alive, children, wait_until
from tests.master.conftest import HOUSE, House

pytestmark = pytest.mark.slow


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def test_workers_are_children_of_the_master(house):
    made = house(count=3, cores=7)
    pids = made.pids()
    assert sorted(pids) == [1, 2, 3]
    assert {parent_of(pid) for pid in pids.values()} == {made.pid}
    assert made.wait_for("spawned uWSGI worker 3 (pid: %d, cores: 7)" % pids[3])
    assert made.stop() == 0
    assert not any(map(alive, pids.values()))
    assert len(made.find(" drained")) == 3
    made.wait_for("goodbye to uWSGI.")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_stops_gracefully(house, number):
    made = house()
    assert made.stop(number) == 0
    assert len(made.find(" drained")) == 2
    assert made.find("stopping") and made.find("graceful shutdown triggered...")


@pytest.mark.parametrize("first, second", [(signal.SIGTERM, signal.SIGTERM),
                                           (signal.SIGINT, signal.SIGINT),
                                           (signal.SIGTERM, signal.SIGQUIT)])
def test_a_second_signal_stops_at_once(house, first, second):
    made = house(work="stubborn", grace=60)
    made.send_signal(first)
    made.wait_for("graceful shutdown triggered")
    made.send_signal(second)
    assert made.wait(25) == 0


def test_quit_stops_at_once(house):
    made = house()
    assert made.stop(signal.SIGQUIT, 20) == 0
    assert not made.find(" drained")


def test_mercy_ends(house):
    made = house(count=1, work="stubborn", grace=0.3)
    started = time.monotonic()
    assert made.stop() == 0
    assert time.monotonic() - started < 4.9  # 5 s are the default of these houses
    made.wait_for("is taking too much time to die...NO MERCY !!!")


def test_a_signal_to_the_whole_group_is_one_stop(house):
    """Ctrl-C and systemd's control-group mode reach every process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        made = house(prefix=("setsid", "-w"))
        group = os.getpgid(made.pids()[1])
        os.killpg(group, number)
        assert made.wait() == 0
        assert not made.find("DAMN")
        assert len(made.find(" drained")) == 2


def test_a_killed_worker_is_replaced(house):
    made = house()
    first = made.pids()
    time.sleep(1.1)  # older than a second: replaced without a pause
    os.kill(first[1], signal.SIGKILL)
    made.wait_for(f"DAMN ! worker 1 (pid: {first[1]}) died, killed by signal 9 :( "
                  "trying respawn ...")
    made.wait_for("Respawned uWSGI worker 1 (new pid: ")
    assert made.pids()[2] == first[2] and alive(first[2])
    assert not made.find("respawning too fast")
    assert made.stop() == 0


def test_a_worker_that_ends_by_itself_is_replaced(house):
    made = house(count=1)
    first = made.pids()[1]
    os.kill(first, signal.SIGTERM)
    made.wait_for("Respawned uWSGI worker 1")
    assert not made.find("DAMN")
    assert made.pids()[1] != first


def test_early_deaths_are_throttled(house):
    made = house(ready=False, count=1, work="dies_early")
    made.wait_for("worker respawning too fast !!! i have to sleep a bit (0.4 seconds)...")
    started = len(made.generations())
    assert started <= 4
    assert made.find("DAMN ! worker 1 (pid: %d) died :( trying respawn" % made.generations()[0])
    made.wait_for("sleep a bit (1.0 seconds)")  # and never longer, for it did serve
    assert made.stop() == 0


def test_a_worker_s_row_outlives_it(house, tmp_path):
    """What a worker counted is kept, what it was doing is not."""
    from geventuwsgi.ipc import scoreboard
    from geventuwsgi.ipc.scoreboard import Scoreboard
    made = house(count=1)
    link = next(entry for entry in Path(f"/proc/{made.pid}/fd").iterdir()
                if "scoreboard" in os.readlink(entry))
    board = Scoreboard.open(os.open(link, os.O_RDWR))
    row = board.row(1)
    wait_until(lambda: row.cells[scoreboard.REQUESTS] > 2)
    assert row.cells[scoreboard.PID] == made.pids()[1]
    assert row.cells[scoreboard.STATE] == scoreboard.STATE_READY
    before = row.cells[scoreboard.REQUESTS]
    os.kill(made.pids()[1], signal.SIGKILL)
    made.wait_for("Respawned")
    wait_until(lambda: row.cells[scoreboard.PID] == made.pids()[1])
    assert row.cells[scoreboard.REQUESTS] >= before
    assert row.cells[scoreboard.RESPAWNS] == 1
    total = board.total(scoreboard.REQUESTS)
    made.send_signal(signal.SIGHUP)
    made.wait_for("worker 1 buried")
    assert board.total(scoreboard.REQUESTS) >= total
    os.close(board.fd)


def test_a_dead_template_harms_no_worker(house):
    made = house()
    pids, template = made.pids(), made.template
    os.kill(template, signal.SIGKILL)
    made.wait_for("the template of generation 1")
    wait_until(lambda: made.template not in (0, template), "another template")
    assert made.pids() == pids and all(map(alive, pids.values()))
    os.kill(pids[1], signal.SIGKILL)
    made.wait_for("Respawned uWSGI worker 1")
    assert made.stop() == 0


def test_a_template_ignores_signals_to_the_group(house):
    made = house()
    template = made.template
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2):
        os.kill(template, number)
    os.kill(made.pids()[1], signal.SIGKILL)
    made.wait_for("Respawned uWSGI worker 1")
    assert made.template == template


def test_nobody_outlives_the_master(house):
    made = house()
    family = [*made.pids().values(), made.template]
    os.kill(made.pid, signal.SIGKILL)
    for pid in family:
        wait_until(lambda: not alive(pid), f"the end of {pid}")


def test_nobody_outlives_a_master_that_dies_while_it_starts(tmp_path):
    for pause in (0.05, 0.1, 0.15, 0.2):
        with House(tmp_path, count=8) as made:
            time.sleep(pause)  # any moment will do
            offspring = children(made.pid)
            os.kill(made.pid, signal.SIGKILL)
            made.wait()
            for pid in {*offspring, *made.generations()}:
                wait_until(lambda: not alive(pid), f"the end of {pid}")


def test_a_stuck_worker_is_told_killed_and_replaced(house):
    made = house(work="stuck", timeout=0.6)
    first = made.pids()
    made.wait_for(f"WORKER TIMEOUT (pid:{first[1]})")
    made.wait_for("in stuck")  # its stack
    made.wait_for("Respawned uWSGI worker 1")
    assert made.pids()[2] == first[2]
    assert not made.find(f"WORKER TIMEOUT (pid:{first[2]})")
    assert made.stop() == 0


def test_a_stopped_worker_is_replaced(house):
    made = house(timeout=0.6)
    os.kill(made.pids()[1], signal.SIGSTOP)
    made.wait_for("Respawned uWSGI worker 1")
    assert made.stop() == 0


def test_a_stuck_worker_may_be_left_alone(house):
    made = house(work="stuck", timeout=0.4, replace_stuck=False)
    made.wait_for("WORKER TIMEOUT")
    made.wait_for("in stuck")
    time.sleep(1.6)  # longer than SIGUSR2 to SIGKILL takes
    assert len(made.find("WORKER TIMEOUT")) == 1
    assert alive(made.pids()[1]) and not made.find("SIGKILL")


def test_a_pause_of_everyone_is_no_stuck_worker(house):
    """Ctrl-Z and fg: the heartbeats are old, but so is the master's last look."""
    made = house(timeout=2.0)
    family = [made.pid, *made.pids().values()]
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3.5)  # more than the timeout, and than a look and the tolerance of the master
    for pid in family:
        os.kill(pid, signal.SIGCONT)
    time.sleep(1.0)
    assert not made.find("WORKER TIMEOUT")
    assert made.stop() == 0


def test_one_more_and_one_fewer(house):
    made = house(count=2)
    made.send_signal(signal.SIGTTIN)
    made.wait_for("spawned uWSGI worker 3")
    for _ in range(4):
        count = len(made.find("from now on")) + len(made.find("there is always one"))
        made.send_signal(signal.SIGTTOU)
        wait_until(lambda: len(made.find("from now on"))
                   + len(made.find("there is always one")) > count)
    made.wait_for("worker 3 buried")
    made.wait_for("worker 2 buried")
    assert made.find("it stays at 1 worker: there is always one") and alive(made.pids()[1])
    made.send_signal(signal.SIGTTIN)
    made.wait_for("spawned uWSGI worker 2", 2)
    assert made.stop() == 0


def test_usr1_reopens_everywhere(house):
    made = house()
    made.send_signal(signal.SIGUSR1)
    for who in ("master", "template", "worker 1", "worker 2"):
        made.wait_for(f"{who} reopened")
    made.send_signal(signal.SIGUSR2)
    assert made.stop() == 0


# Starting badly.

@pytest.mark.parametrize("plan, status, reason", [
    ({"load": "badly"}, 4, "no module named 'shop'"),
    ({"work": "broken_app"}, 4, "no module named 'shop'"),
    ({"work": "never"}, 3, "no room in this worker"),
])
def test_a_first_start_that_fails_ends_with_its_status(house, plan, status, reason):
    made = house(ready=False, **plan)
    assert made.wait() == status
    made.wait_for(f"the first start failed, shutting down with exit status {status}: {reason}")
    assert not made.find("instance ready")


def test_an_unexpected_exception_is_told_with_its_traceback(house):
    made = house(ready=False, work="never")
    made.wait()
    assert made.find("Traceback (most recent call last)") and made.find("in never")


# Reloading.

def test_a_reload_starts_beside_and_then_drains(house):
    made = house()
    first = made.pids()
    made.send_signal(signal.SIGHUP)
    made.wait_for("ready: 2 workers (generation 2)")
    for pid in first.values():
        wait_until(lambda: not alive(pid))
    made.wait_for(" drained", 2)
    log = made.log
    assert log.index("ready: 2 workers (generation 2)") < log.index("gracefully killing workers")
    assert len(made.find("instance ready")) == 1
    assert made.stop() == 0


def test_a_failed_reload_leaves_the_old_generation(house, tmp_path):
    made = house(load="switch")
    first = made.pids()
    (tmp_path / "broken").write_text("")
    made.send_signal(signal.SIGHUP)
    made.wait_for("reload failed: the new code is broken; generation 1 serves on")
    assert made.pids() == first and all(map(alive, first.values()))
    (tmp_path / "broken").unlink()
    made.send_signal(signal.SIGHUP)
    made.wait_for("ready: 2 workers (generation 3)")
    assert made.stop() == 0


def test_many_reloads_leave_nothing_behind(house):
    made = house()

    def descriptors():
        return len(os.listdir(f"/proc/{made.pid}/fd"))
    before = descriptors()
    for number in range(2, 7):
        made.send_signal(signal.SIGHUP)
        made.send_signal(signal.SIGHUP)
        made.wait_for(f"ready: 2 workers (generation {number})")
    made.send_signal(signal.SIGTTIN)  # the rows came back, so there is room
    made.wait_for("spawned uWSGI worker 3")
    assert made.stop() == 0 or before


def test_descriptors_do_not_grow(house):
    made = house()

    def settled():
        return len(children(made.pid)) == 3 and len(os.listdir(f"/proc/{made.pid}/fd"))
    before = wait_until(settled)
    for number in (2, 3, 4):
        made.send_signal(signal.SIGHUP)
        made.wait_for(f"ready: 2 workers (generation {number})")
        wait_until(lambda: settled() == before, "the descriptors of the first generation")


# Orphans.

ORPHAN = """
import os, sys, time
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.3); os._exit(3)   # an exit status that means something for a worker
    os._exit(0)
os.wait()
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_strange_children_are_reaped_in_silence(tmp_path):
    """A PID 1 master inherits every orphan of its container."""
    plan = json.dumps({"count": 1, "dir": str(tmp_path)})
    with House(tmp_path) as made:
        made.wait_for("instance ready")
        # An orphan of a worker's: the subreaper above it is the master.
        assert made.stop() == 0
    program = Program(sys.executable, "-c", "import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)"
                      + ORPHAN, str(HOUSE), "master", plan)
    with program:
        program.wait_for("instance ready")
        wait_until(lambda: len(children(program.pid)) == 2, "the orphan's end")
        time.sleep(0.4)
        assert program.process.poll() is None
        assert not program.find("DAMN")
        assert program.stop() == 0


def has_unshare():
    return subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"],
                          capture_output=True).returncode == 0


@pytest.mark.skipif(not has_unshare(), reason="no pid namespaces here")
def test_as_pid_1(house):
    """In a container the master is PID 1, for which signals have no default action."""
    made = house(prefix=("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"))
    made.wait_for("spawned uWSGI master process (pid: 1)")
    master = children(made.pid)[0]
    os.kill(master, signal.SIGTERM)
    assert made.wait() == 0
    assert len(made.find(" drained")) == 2
