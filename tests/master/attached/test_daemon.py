"""When a daemon starts again, with real processes and a clock that comes in as an argument."""

import os

from geventuwsgi.master.attached.daemon import (
    EARLY, LONGEST, SILENCE, TALKATIVE, Daemon, DaemonSpec,
)
from geventuwsgi.master.attached.daemons import Daemons
from geventuwsgi.system.program import ProgramContext
from tests.harness import alive, wait_until

CONDITIONS = ProgramContext({"PATH": os.environ["PATH"]})


def end(daemon, now):
    """Reap a daemon that has ended by itself, and return when it is due again."""
    pid = daemon.pid
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    daemon.ended(pid, status, now)
    return daemon.due


def test_early_ends_are_throttled_more_and_more_and_told_once_a_minute(told):
    daemon = Daemon(DaemonSpec("app.ini:4: attach-daemon", "false"), CONDITIONS)
    now, waits = 1000.0, []
    daemon.start(now)
    while len(waits) < 30:
        due = end(daemon, now)
        waits.append(due - now)
        now = due
        daemon.poll(now)
    os.waitpid(daemon.pid, 0)
    assert waits == list(range(1, 31))
    ends = [line for line in told if "exit status 1" in line]
    assert len(ends) <= TALKATIVE + sum(waits) / SILENCE + 1
    assert len(told) < 3 * len(ends) + 3


def test_the_throttle_has_an_end_and_is_forgotten_after_a_long_life():
    daemon = Daemon(DaemonSpec("here", "false", max_throttle=2), CONDITIONS)
    daemon.early_ends = 100
    daemon.start(1000.0)
    assert end(daemon, 1000.5) == 1002.5
    daemon.poll(1002.5)
    assert end(daemon, 1002.5 + EARLY + 1) == 1002.5 + EARLY + 1
    assert daemon.early_ends == 0
    longest = Daemon(DaemonSpec("here", "false"), CONDITIONS)
    longest.early_ends = 10 ** 6
    longest.start(1000.0)
    assert end(longest, 1000.0) == 1000.0 + LONGEST


def test_one_that_cannot_be_started_is_throttled_as_one_that_ends(told):
    daemon = Daemon(DaemonSpec("app.ini:4: attach-daemon2", "true", directory="/no/such/place"),
                    CONDITIONS)
    daemon.start(1000.0)
    assert (daemon.pid, daemon.due) == (0, 1001.0)
    assert any("cannot be started: No such file or directory: /no/such/place" in line
               for line in told)


def test_a_changed_daemon_starts_when_its_predecessor_is_gone():
    """They may want the same port."""
    daemons = Daemons([DaemonSpec("here", "sleep 1000")], CONDITIONS, 3.0)
    daemons.start(1000.0)
    old = daemons.pids[0]
    daemons.replace([DaemonSpec("there", "sleep 2000")], CONDITIONS, 3.0, 1001.0)
    daemons.poll(1001.0)
    assert daemons.pids == [old]
    pid, status = os.waitpid(old, 0)
    assert daemons.exited(pid, os.waitstatus_to_exitcode(status))
    daemons.poll(1001.5)
    daemons.reloaded(1001.5)
    new = [pid for pid in daemons.pids if pid]
    assert new != [old] and alive(new[0])
    daemons.stop(1002.0)
    wait_until(lambda: not alive(new[0]), "the end of the daemon")
    assert daemons.exited(os.waitpid(new[0], 0)[0], -15) and daemons.done
