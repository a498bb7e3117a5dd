"""The master with real processes and signals; the workers are those of `harness.py`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness import Program, alive, children, parent_of, wait_until
from tests.master.conftest import PROGRAM, MasterProgram

pytestmark = pytest.mark.slow


def test_workers_are_children_of_the_master(start_master):
    made = start_master(count=3, cores=7)
    pids = made.pids()
    assert sorted(pids) == [1, 2, 3]
    assert {parent_of(pid) for pid in pids.values()} == {made.pid}
    assert made.wait_for("spawned geventuwsgi worker 3 (pid: %d, cores: 7)" % pids[3])
    assert made.stop() == 0
    assert not any(map(alive, pids.values()))
    assert len(made.find(" drained")) == 3
    made.wait_for("goodbye to geventuwsgi.")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_stops_gracefully(start_master, number):
    made = start_master()
    assert made.stop(number) == 0
    assert len(made.find(" drained")) == 2
    assert made.find("stopping") and made.find("graceful shutdown triggered...")


@pytest.mark.parametrize("first, second", [(signal.SIGTERM, signal.SIGTERM),
                                           (signal.SIGINT, signal.SIGINT),
                                           (signal.SIGTERM, signal.SIGQUIT)])
def test_a_second_signal_stops_at_once(start_master, first, second):
    made = start_master(work="ignores_signals", grace=60)
    made.send_signal(first)
    made.wait_for("graceful shutdown triggered")
    made.send_signal(second)
    assert made.wait(25) == 0


def test_quit_stops_at_once(start_master):
    made = start_master()
    assert made.stop(signal.SIGQUIT, 20) == 0
    assert not made.find(" drained")


def test_a_worker_is_killed_after_the_grace(start_master):
    made = start_master(count=1, work="ignores_signals", grace=0.3)
    started = time.monotonic()
    assert made.stop() == 0
    assert time.monotonic() - started < 4.9  # 5 s are the harness's default
    made.wait_for("is taking too much time to die...NO MERCY !!!")


def test_a_signal_to_the_whole_group_is_one_stop(start_master):
    """Ctrl-C and systemd's control-group mode reach every process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        made = start_master(prefix=("setsid", "-w"))
        group = os.getpgid(made.pids()[1])
        os.killpg(group, number)
        assert made.wait() == 0
        assert not made.find("DAMN")
        assert len(made.find(" drained")) == 2


def test_a_killed_worker_is_replaced(start_master):
    made = start_master()
    first = made.pids()
    time.sleep(1.1)  # older than a second: replaced without a pause
    os.kill(first[1], signal.SIGKILL)
    made.wait_for(f"DAMN ! worker 1 (pid: {first[1]}) died, killed by signal 9 :( "
                  "trying respawn ...")
    made.wait_for("Respawned geventuwsgi worker 1 (new pid: ")
    assert made.pids()[2] == first[2] and alive(first[2])
    assert not made.find("respawning too fast")
    assert made.stop() == 0


def test_a_worker_that_ends_by_itself_is_replaced(start_master):
    made = start_master(count=1)
    first = made.pids()[1]
    os.kill(first, signal.SIGTERM)
    made.wait_for("Respawned geventuwsgi worker 1")
    assert not made.find("DAMN")
    assert made.pids()[1] != first


def test_early_deaths_are_throttled(start_master):
    made = start_master(ready=False, count=1, work="dies_early")
    made.wait_for("worker respawning too fast !!! i have to sleep a bit (0.4 seconds)...")
    started = len(made.generations())
    assert started <= 4
    assert made.find("DAMN ! worker 1 (pid: %d) died :( trying respawn" % made.generations()[0])
    made.wait_for("sleep a bit (1.0 seconds)")  # and never longer, for it did serve
    assert made.stop() == 0


def test_a_worker_s_row_outlives_it(start_master, tmp_path):
    """What a worker counted is kept, what it was doing is not."""
    from geventuwsgi.ipc import scoreboard
    from geventuwsgi.ipc.scoreboard import Scoreboard
    made = start_master(count=1)
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


def test_a_dead_template_harms_no_worker(start_master):
    made = start_master()
    pids, template = made.pids(), made.template
    os.kill(template, signal.SIGKILL)
    made.wait_for("the template of generation 1")
    wait_until(lambda: made.template not in (0, template), "another template")
    assert made.pids() == pids and all(map(alive, pids.values()))
    os.kill(pids[1], signal.SIGKILL)
    made.wait_for("Respawned geventuwsgi worker 1")
    assert made.stop() == 0


def test_a_template_ignores_signals_to_the_group(start_master):
    made = start_master()
    template = made.template
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2):
        os.kill(template, number)
    os.kill(made.pids()[1], signal.SIGKILL)
    made.wait_for("Respawned geventuwsgi worker 1")
    assert made.template == template


def test_no_process_outlives_the_master(start_master):
    made = start_master()
    processes = [*made.pids().values(), made.template]
    os.kill(made.pid, signal.SIGKILL)
    for pid in processes:
        wait_until(lambda: not alive(pid), f"the end of {pid}")


def test_no_process_outlives_a_master_that_dies_while_it_starts(tmp_path):
    for pause in (0.05, 0.1, 0.15, 0.2):
        with MasterProgram(tmp_path, count=8) as made:
            time.sleep(pause)  # any moment will do
            processes = children(made.pid)
            os.kill(made.pid, signal.SIGKILL)
            made.wait()
            for pid in {*processes, *made.generations()}:
                wait_until(lambda: not alive(pid), f"the end of {pid}")


def test_a_stuck_worker_is_logged_killed_and_replaced(start_master):
    made = start_master(work="blocks", timeout=0.6)
    first = made.pids()
    made.wait_for(f"WORKER TIMEOUT (pid:{first[1]})")
    made.wait_for("in blocks")  # its stack
    made.wait_for("Respawned geventuwsgi worker 1")
    assert made.pids()[2] == first[2]
    assert not made.find(f"WORKER TIMEOUT (pid:{first[2]})")
    assert made.stop() == 0


def test_a_stopped_worker_is_replaced(start_master):
    made = start_master(timeout=0.6)
    os.kill(made.pids()[1], signal.SIGSTOP)
    made.wait_for("Respawned geventuwsgi worker 1")
    assert made.stop() == 0


def test_a_stuck_worker_may_be_left_alone(start_master):
    made = start_master(work="blocks", timeout=0.4, replace_stuck=False)
    made.wait_for("WORKER TIMEOUT")
    made.wait_for("in blocks")
    time.sleep(1.6)  # longer than SIGUSR2 to SIGKILL takes
    assert len(made.find("WORKER TIMEOUT")) == 1
    assert alive(made.pids()[1]) and not made.find("SIGKILL")


def test_after_a_suspension_of_all_processes_no_worker_counts_as_stuck(start_master):
    """Ctrl-Z and fg: the heartbeats are old, but so is the master's last check."""
    made = start_master(timeout=2.0)
    processes = [made.pid, *made.pids().values()]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3.5)  # more than the timeout, and than the master's interval and tolerance
    for pid in processes:
        os.kill(pid, signal.SIGCONT)
    time.sleep(1.0)
    assert not made.find("WORKER TIMEOUT")
    assert made.stop() == 0


def test_one_more_and_one_fewer(start_master):
    made = start_master(count=2)
    made.send_signal(signal.SIGTTIN)
    made.wait_for("spawned geventuwsgi worker 3")
    for _ in range(4):
        count = len(made.find("from now on")) + len(made.find("that is the minimum"))
        made.send_signal(signal.SIGTTOU)
        wait_until(lambda: len(made.find("from now on"))
                   + len(made.find("that is the minimum")) > count)
    made.wait_for("worker 3 buried")
    made.wait_for("worker 2 buried")
    assert made.find("the number stays at 1 worker: that is the minimum") and alive(made.pids()[1])
    made.send_signal(signal.SIGTTIN)
    made.wait_for("spawned geventuwsgi worker 2", 2)
    assert made.stop() == 0


def test_usr1_reopens_everywhere(start_master):
    made = start_master()
    made.send_signal(signal.SIGUSR1)
    for name in ("master", "template", "worker 1", "worker 2"):
        made.wait_for(f"{name} reopened")
    made.send_signal(signal.SIGUSR2)
    assert made.stop() == 0


# Failures of the first start.

@pytest.mark.parametrize("plan, status, reason", [
    ({"load": "fails"}, 4, "no module named 'shop'"),
    ({"work": "broken_app"}, 4, "no module named 'shop'"),
    ({"work": "fails_to_boot"}, 3, "no space in this worker"),
])
def test_a_first_start_that_fails_ends_with_its_status(start_master, plan, status, reason):
    made = start_master(ready=False, **plan)
    assert made.wait() == status
    made.wait_for(f"the first start failed, shutting down with exit status {status}: {reason}")
    assert not made.find("instance ready")


def test_an_unexpected_exception_is_logged_with_its_traceback(start_master):
    made = start_master(ready=False, work="fails_to_boot")
    made.wait()
    assert made.find("Traceback (most recent call last)") and made.find("in fails_to_boot")


# Reloading.

def test_a_reload_starts_a_generation_and_then_drains_the_old_one(start_master):
    made = start_master()
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


def test_a_failed_reload_leaves_the_old_generation(start_master, tmp_path):
    made = start_master(load="fails_if_broken")
    first = made.pids()
    (tmp_path / "broken").write_text("")
    made.send_signal(signal.SIGHUP)
    made.wait_for("reload failed: the new code is broken; generation 1 keeps serving")
    assert made.pids() == first and all(map(alive, first.values()))
    (tmp_path / "broken").unlink()
    made.send_signal(signal.SIGHUP)
    made.wait_for("ready: 2 workers (generation 3)")
    assert made.stop() == 0


def test_many_reloads_leave_rows_for_another_worker(start_master):
    made = start_master()

    def descriptors():
        return len(os.listdir(f"/proc/{made.pid}/fd"))
    before = descriptors()
    for number in range(2, 7):
        made.send_signal(signal.SIGHUP)
        made.send_signal(signal.SIGHUP)
        made.wait_for(f"ready: 2 workers (generation {number})")
    made.send_signal(signal.SIGTTIN)  # rows are free again
    made.wait_for("spawned geventuwsgi worker 3")
    assert made.stop() == 0 or before


def test_descriptors_do_not_grow(start_master):
    made = start_master()

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
        time.sleep(0.3); os._exit(3)   # an exit status that would be an error of a worker
    os._exit(0)
os.wait()
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_orphans_are_reaped_without_a_log_line(tmp_path):
    """A PID 1 master inherits every orphan of its container."""
    plan = json.dumps({"count": 1, "dir": str(tmp_path)})
    with MasterProgram(tmp_path) as made:
        made.wait_for("instance ready")
        # An orphan of a worker: its subreaper is the master.
        assert made.stop() == 0
    program = Program(sys.executable, "-c", "import ctypes; ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)"
                      + ORPHAN, str(PROGRAM), "master", plan)
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
def test_as_pid_1(start_master):
    """In a container the master is PID 1, for which signals have no default action."""
    made = start_master(prefix=("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"))
    made.wait_for("spawned geventuwsgi master process (pid: 1)")
    master = children(made.pid)[0]
    os.kill(master, signal.SIGTERM)
    assert made.wait() == 0
    assert len(made.find(" drained")) == 2
