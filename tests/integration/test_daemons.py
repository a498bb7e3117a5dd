"""Attached daemons beside a running instance: their life, their end, and who outlives whom."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.harness import Program, Server, alive, children, parent_of, wait_until

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
INI = "[uwsgi]\nhttp-socket = 127.0.0.1:0\nwsgi-file = app.py\n"
# Writes its pid and the signals it gets to a file; ends on TERM unless its arguments say otherwise.
DAEMON = """
import os, signal, sys, time
log, *options = sys.argv[1:]
for fd in (1, 2):  # whoever outlives the server does not hold its output
    os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
def note(text):
    with open(log, "a") as file:
        file.write(text + "\\n")
def got(number, frame):
    note(signal.Signals(number).name)
    if number == signal.SIGTERM and "stubborn" not in options or number == signal.SIGINT:
        sys.exit(0)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR2):
    signal.signal(number, got)
if "daemonize" in options:
    if os.fork(): os._exit(0)
    os.setsid()
    open(log + ".pid", "w").write(str(os.getpid()))
note("start %d" % os.getpid())
time.sleep(1000)
"""


@pytest.fixture
def daemon(tmp_path):
    """Return (command line, how to read what one has noted, how to read its last pid)."""
    (tmp_path / "daemon.py").write_text(DAEMON)
    log = tmp_path / "noted"

    class Daemon:
        command = f"{sys.executable} -S {tmp_path}/daemon.py {log}"
        pidfile = f"{log}.pid"

        @staticmethod
        def notes():
            return log.read_text().split("\n")[:-1] if log.exists() else []

        def starts(self):
            return [int(note.split()[1]) for note in self.notes() if note.startswith("start")]

        def started(self, count=1):
            return wait_until(lambda: self.starts()[count - 1:], f"start {count}")[0]
    made = Daemon()
    yield made
    for pid in made.starts():
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_it_lives_with_the_instance(tmp_path, daemon):
    with Server(tmp_path, app=APP, ini=INI + f"attach-daemon = {daemon.command}\n") as server:
        pid = daemon.started()
        assert parent_of(pid) == server.pid and os.getsid(pid) == pid
        assert server.find(f'[uwsgi-daemons] spawning "{daemon.command}" (uid: {os.getuid()} gid: '
                           f'{os.getgid()})')
        server.kill(pid)
        second = daemon.started(2)
        assert server.find(f'respawning "{daemon.command}"') and parent_of(second) == server.pid
        assert server.stop() == 0
        assert not alive(second) and daemon.notes()[-1] == "SIGTERM"
        server.wait_for(f"[uwsgi-daemons] stopping daemon (pid: {second}): ")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_it_never_outlives_the_master(tmp_path, daemon, number):
    ini = INI + f"attach-daemon = {daemon.command} stubborn\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        pid = daemon.started()
        server.stop(number)
        wait_until(lambda: not alive(pid), "the end of the daemon")


def test_one_that_ignores_its_signal_is_killed_after_the_mercy(tmp_path, daemon):
    ini = INI + f"attach-daemon = {daemon.command} stubborn\nreload-mercy = 1\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        pid = daemon.started()
        assert server.stop() == 0 and not alive(pid)
        server.wait_for(f"daemon did not die in time, killing (pid: {pid})")


def test_what_a_shell_runs_gets_the_signal_and_its_time(tmp_path, daemon):
    ini = INI + f"attach-daemon = true; {daemon.command}; true\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        pid = daemon.started()
        assert parent_of(pid) != server.pid
        assert server.stop() == 0 and not alive(pid)
        assert daemon.notes()[-1] == "SIGTERM"


def test_one_that_dies_at_once_is_throttled_and_the_log_says_so(tmp_path):
    ini = INI + "attach-daemon2 = cmd=exit 3;,max_throttle=1\nattach-daemon = nosuchcommand\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        server.wait_for('throttling "exit 3;" for 1 seconds', 2)
        assert server.find('app.ini:4: attach-daemon2: "exit 3;" (pid: ')[0].endswith(
            "exited, exit status 3")
        assert server.find('"nosuchcommand" (pid: ')[0].endswith(
            "exit status 127: command not found")
        server.wait_for('throttling "nosuchcommand" for 2 seconds')
        assert server.body() == b"ok" and server.stop() == 0


def test_daemons_are_not_started_where_the_application_does_not_load(tmp_path, daemon):
    ini = INI + f"attach-daemon = {daemon.command}\n"
    with Server(tmp_path, app="1 / 0", ini=ini, ready=False) as server:
        assert server.wait() == 4
        assert daemon.notes() == []


def test_a_reload_starts_it_anew_and_a_failed_one_does_not(tmp_path, daemon):
    with Server(tmp_path, app=APP, ini=INI + f"attach-daemon = {daemon.command}\n") as server:
        pid = daemon.started()
        (tmp_path / "app.py").write_text("1 / 0")
        server.send_signal(signal.SIGHUP)
        server.wait_for("reload failed")
        (tmp_path / "app.py").write_text(APP)
        server.send_signal(signal.SIGHUP)
        assert daemon.started(2) != pid and not alive(pid)
        assert daemon.notes()[1] == "SIGTERM"
        assert server.stop() == 0


def test_a_reload_signal_and_a_stop_signal(tmp_path, daemon):
    ini = INI + (f"attach-daemon2 = cmd={daemon.command} stubborn,stopsignal=2,"
                 "reloadsignal=USR2\n")
    with Server(tmp_path, app=APP, ini=ini) as server:
        daemon.started()
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: daemon.notes()[1:] == ["SIGUSR2"], "the reload signal")
        assert server.stop() == 0
        assert daemon.notes()[1:] == ["SIGUSR2", "SIGINT"]  # it was not started anew


def test_a_reload_takes_on_other_daemons(tmp_path, daemon):
    gone = f"{daemon.command}-gone"
    ini = INI + f"attach-daemon = {gone}\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        wait_until((tmp_path / "noted-gone").exists, "the first daemon")
        first = children(server.pid)
        (tmp_path / "app.ini").write_text(
            INI.replace("127.0.0.1:0", "127.0.0.1:%d" % server.port)
            + f"attach-daemon = {daemon.command}\n")
        server.send_signal(signal.SIGHUP)
        daemon.started()
        wait_until(lambda: not any(alive(pid) for pid in first), "the end of what was")
        assert len(daemon.notes()) == 1  # it was not started anew by the reload that began it
        assert server.stop() == 0


def test_a_touched_file_starts_it_anew(tmp_path, daemon):
    trigger = tmp_path / "trigger"
    trigger.touch()
    os.utime(trigger, (1, 1))
    ini = INI + f"attach-daemon2 = cmd={daemon.command},touch={trigger}\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        daemon.started()
        trigger.touch()
        daemon.started(2)
        assert server.find("reloading daemon") and server.stop() == 0


@pytest.mark.parametrize("line", ["attach-control-daemon = {}",
                                  "attach-daemon2 = control=1,cmd={}"])
def test_the_instance_ends_with_a_control_daemon(tmp_path, daemon, line):
    ini = INI + line.format(daemon.command) + "\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        pid = daemon.started()
        server.send_signal(signal.SIGHUP)
        second = daemon.started(2)  # a reload is no end
        assert second != pid
        os.kill(second, signal.SIGKILL)
        assert server.wait() == 0
        server.wait_for(": the instance stops")


def test_a_smart_one_outlives_the_instance_and_is_found_by_the_next(tmp_path, daemon):
    ini = INI + f"smart-attach-daemon = {daemon.pidfile} {daemon.command} daemonize\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        pid = daemon.started()
        wait_until(lambda: os.path.exists(daemon.pidfile), "the pid file")
        assert server.stop() == 0
    assert alive(pid) and daemon.notes() == [f"start {pid}"]
    with Server(tmp_path, app=APP, ini=ini) as server:
        server.wait_for(f"found valid/active pidfile for \"{daemon.command} daemonize\" "
                        f"(pid: {pid})")
        server.kill(pid)
        assert daemon.started(2) != pid
        assert server.stop() == 0


def test_a_smart_one_that_does_not_daemonize_gets_its_pid_file_from_us(tmp_path, daemon):
    ini = INI + f"smart-attach-daemon2 = {daemon.pidfile} {daemon.command}\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        pid = daemon.started()
        assert Path(daemon.pidfile).read_text() == f"{pid}\n"
        server.stop(signal.SIGKILL)
    assert alive(pid)


@pytest.mark.parametrize("stale", ["gone", "ours", "nonsense", "empty"])
def test_a_stale_pid_file_stops_nobody(tmp_path, daemon, stale):
    """A pid of our own session, as after the restart of a container, is no daemon's."""
    text = {"gone": "4194303", "ours": str(os.getpid()), "nonsense": "x\n", "empty": ""}[stale]
    Path(daemon.pidfile).write_text(text)
    ini = INI + f"smart-attach-daemon2 = {daemon.pidfile} {daemon.command}\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        pid = daemon.started()
        assert Path(daemon.pidfile).read_text() == f"{pid}\n"
        assert server.find("is stale: it names no running daemon") or stale == "nothing"
        assert server.stop() == 0


def test_a_smart_one_is_notified_if_it_asks_for_it(tmp_path, daemon):
    ini = INI + (f"attach-daemon2 = cmd={daemon.command},pidfile={daemon.pidfile},daemonize=1,"
                 "notifypid=1\n")
    with Server(tmp_path, app=APP, ini=ini) as server:
        pid = daemon.started()
        server.send_signal(signal.SIGHUP)
        wait_until(lambda: daemon.notes()[1:] == ["SIGHUP"], "the reload's signal")
        assert server.stop() == 0
        wait_until(lambda: not alive(pid), "the end of the daemon")


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_root_signals_no_process_that_others_wrote_into_a_pid_file(tmp_path, daemon):
    with Program("/bin/sh", "-c", "echo on; exec sleep 1000", start_new_session=True) as other:
        other.wait_for("on")
        Path(daemon.pidfile).write_text(str(other.pid))
        ini = INI + (f"attach-daemon2 = cmd={daemon.command},pidfile={daemon.pidfile},uid=nobody,"
                     "notifypid=1\n")
        with Server(tmp_path, app=APP, ini=ini) as server:
            server.wait_for("found valid/active pidfile")
            assert server.stop() == 0
            assert server.find(f"names process {other.pid}, which gets no signal: Operation not")
            assert alive(other.pid)


def test_a_smart_one_that_never_daemonizes_is_logged(tmp_path, daemon):
    ini = INI + f"smart-attach-daemon = {daemon.pidfile},1 {daemon.command}\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        server.wait_for(f"(pid: {daemon.started()}) did not daemonize !!!")
        assert server.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_a_daemon_of_a_root_master_is_the_application_s_user(tmp_path, open_root):
    out = open_root / "daemon-user"
    out.mkdir()
    out.chmod(0o777)
    ini = INI + (f"gid = nogroup\nattach-daemon2 = cmd=id -u > {out}/one; id -g >> {out}/one; "
                 f"sleep 1000,uid=nobody\nattach-daemon = id -g > {out}/two; sleep 1000\n")
    with Server(tmp_path, app=APP, ini=ini) as server:
        wait_until(lambda: (out / "one").exists() and (out / "two").exists()
                   and (out / "one").read_text().count("\n") == 2 and (out / "two").read_text(),
                   "both")
        assert (out / "one").read_text().split() == ["65534", "65534"]
        assert (out / "two").read_text().split() == ["65534"]
        assert server.stop() == 0


def test_no_zombie_stays_and_no_descriptor(tmp_path):
    ini = INI + "attach-daemon2 = cmd=sleep 0,max_throttle=1\n"
    with Server(tmp_path, app=APP, ini=ini) as server:
        def descriptors():
            return len(os.listdir(f"/proc/{server.pid}/fd"))
        server.wait_for('"sleep 0" (pid: ')
        before = descriptors()
        server.wait_for('"sleep 0" (pid: ', 3)
        assert descriptors() == before
        path = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        wait_until(lambda: all(alive(pid) for pid in map(int, path.read_text().split())),
                   "the end of the zombies")
        assert server.stop() == 0
