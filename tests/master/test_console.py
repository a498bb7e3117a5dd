"""Commands to a running master over its abstract socket, and pid files that are wrong."""

import os
import socket
import subprocess
import sys

import pytest

from geventuwsgi.errors import ConfigError, GeventuwsgiError
from geventuwsgi.master import console, console_client, reload
from geventuwsgi.master.generation import BOOTING, SERVING, Generation
from geventuwsgi.master.reload import Reloads
from geventuwsgi.master.role import ReloadPlan, Role
from tests.harness import ROOT, alive, children, wait_until

pytestmark = pytest.mark.slow


def run_command(option, path):
    """Run `geventuwsgi OPTION PATH`; return (status, stdout, stderr)."""
    done = subprocess.run([sys.executable, "-m", "geventuwsgi", option, str(path)], text=True,
                          capture_output=True, timeout=30, cwd=ROOT)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def pid_file(tmp_path):
    def write(text):
        path = tmp_path / "server.pid"
        path.write_text(f"{text}\n")
        return path
    return write


def test_stop_waits_for_the_end(start_master, pid_file):
    made = start_master()
    assert run_command("--stop", pid_file(made.pid)) == (0, "", "")
    assert made.process.poll() == 0 and len(made.find(" drained")) == 2


def test_reload_waits_for_the_new_generation(start_master, pid_file):
    made = start_master()
    assert run_command("--reload", pid_file(made.pid)) == (0, "", "")
    made.wait_for("ready: 2 workers (generation 2)")
    assert made.stop() == 0


def test_reload_reports_what_failed(start_master, tmp_path, pid_file):
    made = start_master(load="fails_if_broken")
    (tmp_path / "broken").touch()
    status, out, err = run_command("--reload", pid_file(made.pid))
    assert (status, out) == (1, "")
    assert "reload failed: the new code is broken" in err
    made.wait_for("generation 1 keeps serving")
    assert made.stop() == 0


def test_a_stop_ends_the_wait_for_a_reload(start_master, tmp_path, pid_file):
    made = start_master(load="loads_slowly_again")
    waiting = subprocess.Popen([sys.executable, "-m", "geventuwsgi", "--reload",
                                str(pid_file(made.pid))], cwd=ROOT, text=True,
                               stderr=subprocess.PIPE)
    made.wait_for("generation 2 of")
    made.stop()
    _, err = waiting.communicate(timeout=20)
    assert waiting.returncode == 1 and "reload failed: the server is stopping" in err


def test_pid_files_that_are_wrong(tmp_path, pid_file):
    with pytest.raises(ConfigError, match="cannot read the pid file .*No such file"):
        console_client.pid_in(str(tmp_path / "none.pid"))
    for text in ("", "abc", "-5", "0", "99999999999999"):
        with pytest.raises(ConfigError, match="holds no process id"):
            console_client.pid_in(str(pid_file(text)))
    with pytest.raises(ConfigError, match="Is a directory"):
        console_client.pid_in(str(tmp_path))


def test_stale_and_foreign_pids(pid_file):
    gone = subprocess.Popen(["true"])
    gone.wait()
    status, _, err = run_command("--stop", pid_file(gone.pid))
    assert status == 1 and f"process {gone.pid} has gone: the pid file" in err
    other = subprocess.Popen(["sleep", "60"])
    try:
        status, _, err = run_command("--reload", pid_file(other.pid))
        assert status == 1 and "(sleep) is not a geventuwsgi master: the pid file" in err
        assert alive(other.pid)
    finally:
        other.kill()
        other.wait()


def test_another_process_on_the_address_is_noticed(pid_file):
    other = subprocess.Popen(["sleep", "60"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(console.name_of(other.pid))
        listening.listen()
        try:
            with pytest.raises(GeventuwsgiError, match="another process listens"):
                console_client.call(str(pid_file(other.pid)), ["stop"], print)
        finally:
            other.kill()
            other.wait()


def test_an_unknown_command(start_master, pid_file):
    made = start_master()
    path = str(pid_file(made.pid))
    with pytest.raises(GeventuwsgiError, match="unknown command 'dance'; there are: ") as caught:
        console_client.call(path, ["dance"], print)
    assert caught.value.exit_status == 2
    assert made.stop() == 0


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_other_users_are_refused(start_master, pid_file):
    made = start_master()
    code = (f"import os, socket; os.setuid(65534); s = socket.socket(1, 5); "
            f"s.connect({console.name_of(made.pid)!r}); print(s.recv(999))")
    done = subprocess.run([sys.executable, "-c", code], text=True,
                          capture_output=True, timeout=20)
    assert "uid 65534 may not control a server of uid 0" in done.stdout + done.stderr
    assert made.stop() == 0


def test_callers_that_send_or_read_nothing(start_master, pid_file):
    """They cost a descriptor until they disconnect, and delay nothing."""
    made = start_master()
    fds = f"/proc/{made.pid}/fd"
    before = len(os.listdir(fds))
    silent = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(20)]
    for sock in silent:
        sock.connect(console.name_of(made.pid))
    wait_until(lambda: len(os.listdir(fds)) >= before + 20, "20 connections")
    for sock in silent:
        sock.close()
    wait_until(lambda: len(os.listdir(fds)) <= before, "their end")
    assert run_command("--stop", pid_file(made.pid))[0] == 0


def test_a_chain_reload_goes_worker_by_worker(start_master, pid_file):
    """Never more than one worker above the number."""
    made = start_master(count=3)
    old = made.pids()
    console_client.call(str(pid_file(made.pid)), ["reload", "chain"], print)
    made.wait_for("gracefully killing workers")  # all lines before have been read then
    lines = [line.split("] ")[-1] for line in made.err]
    steps = [line for line in lines if "chain next victim" in line
             or ("spawned geventuwsgi worker" in line) or "buried" in line][3:]
    assert [line.split("(")[0].split("after")[0].strip() for line in steps] == [
        text for number in (1, 2, 3) for text in (
            f"spawned geventuwsgi worker {number}", f"chain next victim is worker {number}",
            f"worker {number} buried")]
    wait_until(lambda: not any(map(alive, old.values())), "the end of the old workers")
    assert made.stop() == 0


def test_a_chain_reload_that_fails_is_undone(start_master, pid_file):
    """The second new worker cannot boot: the old generation has all its workers again."""
    made = start_master(count=2, work="second_fails_again")
    with pytest.raises(GeventuwsgiError, match="reload failed: "):
        console_client.call(str(pid_file(made.pid)), ["reload", "chain"], print)
    made.wait_for("chain next victim is worker 1")
    made.wait_for("spawned geventuwsgi worker 1", 3)
    wait_until(lambda: len(children(made.pid)) == 3, "a template and two workers")
    assert made.stop() == 0


def test_a_reload_that_hangs_gives_way_to_a_newer_request():
    """But not before the timeout."""
    took_over, made = [], []

    class Stub(Generation):
        def kill(self, now):
            self.state = "killed"

    def start(number, role, count):
        made.append(Stub(number, role, count, None, None))
        return made[-1]
    first = start(1, Role("worker", 1, ()), 1)
    first.state = SERVING
    generations = [first]
    reloads = Reloads(generations, start, lambda: 9, lambda: ReloadPlan((first.role,)),
                      took_over.append)
    reloads.request(100.0)
    reloads.request(110.0)
    assert [one.state for one in made] == [SERVING, BOOTING]
    reloads.request(100.0 + reload.ATTEMPT_TIMEOUT + 1)
    assert [one.state for one in made] == [SERVING, "killed", BOOTING]
