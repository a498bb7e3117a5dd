"""When a daemon starts again, with real processes and the time as an argument."""

import os

from geventuwsgi.master.attached.daemon import (
    EARLY, MAX_DELAY, LOG_INTERVAL, LOGGED_EXITS, Daemon, DaemonSpec,
)
from geventuwsgi.master.attached.daemons import Daemons
from geventuwsgi.system.program import ProgramContext
from tests.harness import alive, wait_until

CONTEXT = ProgramContext({"PATH": os.environ["PATH"]})


def reap(daemon, now):
    """Reap a daemon that has exited by itself, and return when it starts again."""
    pid = daemon.pid
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    daemon.exited(pid, status, now)
    return daemon.due


def test_early_exits_are_throttled_more_and_more_and_logged_once_a_minute(log_lines):
    daemon = Daemon(DaemonSpec("app.ini:4: attach-daemon", "false"), CONTEXT)
    now, waits = 1000.0, []
    daemon.start(now)
    while len(waits) < 30:
        due = reap(daemon, now)
        waits.append(due - now)
        now = due
        daemon.poll(now)
    os.waitpid(daemon.pid, 0)
    assert waits == list(range(1, 31))
    exits = [line for line in log_lines if "exit status 1" in line]
    assert len(exits) <= LOGGED_EXITS + sum(waits) / LOG_INTERVAL + 1
    assert len(log_lines) < 3 * len(exits) + 3


def test_the_delay_has_a_maximum_and_is_reset_by_a_long_run():
    daemon = Daemon(DaemonSpec("here", "false", max_throttle=2), CONTEXT)
    daemon.early_exits = 100
    daemon.start(1000.0)
    assert reap(daemon, 1000.5) == 1002.5
    daemon.poll(1002.5)
    assert reap(daemon, 1002.5 + EARLY + 1) == 1002.5 + EARLY + 1
    assert daemon.early_exits == 0
    longest = Daemon(DaemonSpec("here", "false"), CONTEXT)
    longest.early_exits = 10 ** 6
    longest.start(1000.0)
    assert reap(longest, 1000.0) == 1000.0 + MAX_DELAY


def test_one_that_cannot_be_started_is_throttled_too(log_lines):
    daemon = Daemon(DaemonSpec("app.ini:4: attach-daemon2", "true", directory="/no/such/place"),
                    CONTEXT)
    daemon.start(1000.0)
    assert (daemon.pid, daemon.due) == (0, 1001.0)
    assert any("cannot be started: No such file or directory: /no/such/place" in line
               for line in log_lines)


def test_a_changed_daemon_starts_when_the_old_one_has_exited():
    """Both may need the same port."""
    daemons = Daemons([DaemonSpec("here", "sleep 1000")], CONTEXT, 3.0)
    daemons.start(1000.0)
    old = daemons.pids[0]
    daemons.replace([DaemonSpec("there", "sleep 2000")], CONTEXT, 3.0, 1001.0)
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
