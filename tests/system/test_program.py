"""Programs of the operator's: real ones, and the surroundings that they start in."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from geventuwsgi.system import program
from geventuwsgi.system.limits import Limits, processors
from geventuwsgi.privileges import Identity
from geventuwsgi.system.program import ProgramContext
from tests.harness import Program, alive, wait_until

REPORT = """
import json, os, resource, signal, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
json.dump({"blocked": int(status["SigBlk"], 16), "ignored": int(status["SigIgn"], 16),
           "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
           "stdin": os.readlink("/proc/self/fd/0"), "cwd": os.getcwd(),
           "session": os.getsid(0) == os.getpid(), "environ": os.environ.get("COLOUR"),
           "ids": [*os.getresuid(), *os.getresgid()], "nice": os.nice(0),
           "as": resource.getrlimit(resource.RLIMIT_AS)}, open(sys.argv[1], "w"))
"""
PYTHON = [sys.executable, "-S", "-c", REPORT]


def context(**more):
    return ProgramContext(environ={"PATH": os.environ["PATH"], **more.pop("environ", {})}, **more)


@pytest.mark.parametrize("text, argv", [
    ("sleep 1", ["sleep", "1"]),
    ("  echo 'a; b' \"c d\" ", ["echo", "a; b", "c d"]),
    ("./manage.py migrate", ["./manage.py", "migrate"]),
    ("echo $HOME", None), ("a | b", None), ("a > b", None), ("a && b", None), ("sleep 1 &", None),
    ("X=1 env", None), ("cd /tmp", None), ("echo 'open", None), ("ls *.py", None), ("", None),
    ("no-such-command-at-all", None), ("echo \\n", None), ("true # why", None),
])
def test_plain_commands_need_no_shell(text, argv):
    found = program.argv_of(text, os.environ["PATH"])
    if argv is None:
        assert found == ["/bin/sh", "-c", text]
    else:
        assert [os.path.basename(found[0]), *found[1:]] == [os.path.basename(argv[0]), *argv[1:]]


def test_a_program_gets_nothing_of_ours(tmp_path):
    inherited = os.open(tmp_path / "secret", os.O_CREAT | os.O_RDWR)
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        out = tmp_path / "out"
        assert program.run([*PYTHON, str(out)], context(
            environ={"COLOUR": "blue"}, directory=str(tmp_path))) == 0
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGUSR2}
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
        signal.signal(signal.SIGUSR1, before)
        os.close(inherited)
    found = json.loads(out.read_text())
    assert found["blocked"] == 0 and not found["ignored"] & 1 << signal.SIGUSR1 - 1
    assert inherited not in found["fds"] and found["stdin"] == "/dev/null"
    assert (found["cwd"], found["environ"], found["session"]) == (str(tmp_path), "blue", False)


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_user_and_limits(open_path):
    out = open_path / "out"
    out.touch()
    out.chmod(0o666)
    shell = f"id -u; id -g; ulimit -v; nice; kill -0 {os.getpid()} 2>/dev/null; echo $?"
    # The user nobody may not be able to read the tests' own Python, but it can run the shell.
    assert program.run(["/bin/sh", "-c", f"({shell}) > {out}"], context(
        identity=Identity("65534", "65534"), limits=Limits(2 ** 30, None, 7))) == 0
    assert out.read_text().split() == ["65534", "65534", str(2 ** 20), "7", "1"]
    assert os.getuid() == 0 and resource.getrlimit(resource.RLIMIT_AS)[0] != 2 ** 30


@pytest.mark.parametrize("argv, more, words", [
    (["/no/such/program"], {}, "No such file or directory"),
    (["/etc"], {}, "Permission denied"),
    (["/bin/true"], {"directory": "/no/such/place"}, "No such file or directory: /no/such/place"),
])
def test_a_program_that_cannot_start_leaves_nothing(argv, more, words):
    before, descriptors = child_pids(), os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=words):
        program.start(argv, context(**more))
    assert os.listdir("/proc/self/fd") == descriptors
    assert child_pids() <= before  # those of other tests may end meanwhile


def child_pids():
    """Return the pids of our children, including zombies."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.parametrize("code, status, words", [
    ("exit 3", 3, "exit status 3"), ("kill -9 $$", -9, "killed by signal 9"),
    ("nosuchcommand 2>/dev/null", 127, "command not found")])
def test_exit_status(code, status, words):
    assert program.run(["/bin/sh", "-c", code], context()) == status
    assert words in program.describe_status(status)


@pytest.mark.parametrize("outlives", [False, True])
def test_a_program_dies_with_its_parent_unless_it_outlives_it(outlives, tmp_path):
    code = f"""
import os, signal, sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from geventuwsgi.system import program
pid = program.start(["/bin/sleep", "1000"], program.ProgramContext(dict(os.environ)),
                    session=True, outlives={outlives}, pidfile={str(tmp_path / "pid")!r})
print(pid, flush=True)
time.sleep(1000)
"""
    with Program(sys.executable, "-c", code) as parent:
        pid = int(wait_until(lambda: parent.out, "the pid")[0])
        assert (tmp_path / "pid").read_text() == f"{pid}\n"
        assert os.getsid(pid) == pid
        parent.send_signal(signal.SIGKILL)
        parent.process.wait()   # not for the end of its output, which the program holds
        if outlives:
            assert alive(pid)
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), "the end of the program")


def test_an_interrupted_run_leaves_nothing(tmp_path):
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from geventuwsgi.system import program, signals
with signals.exit_on_stop():
    program.run(["/bin/sh", "-c", "echo $$; exec sleep 1000"], program.ProgramContext(os.environ))
"""
    for number in (signal.SIGTERM, signal.SIGINT):
        with Program(sys.executable, "-c", code) as parent:
            pid = int(wait_until(lambda: parent.out, "the pid")[0])
            assert parent.stop(number) == 0
            assert not alive(pid)


def test_in_a_patched_process():
    code = f"""
from gevent import monkey; monkey.patch_all()
import gevent, os, sys
gevent.sleep(0)  # there is a hub, for which gevent's close would wait
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from geventuwsgi.system import program
print(program.run(["/bin/sh", "-c", "exit 7"], program.ProgramContext(os.environ)))
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          timeout=20).stdout == "7\n"


@pytest.mark.parametrize("worker, count, usable, expected", [
    (1, 1, [0, 1], [0]), (2, 1, [0, 1], [1]), (3, 1, [0, 1], [0]), (2, 2, [0, 1, 2], [0, 2]),
    (1, 8, [0, 1], [0, 1]), (1, 1, [3], [3]), (2, 1, [4, 6], [6])])
def test_processors_in_turn(worker, count, usable, expected):
    assert processors(worker, count, usable) == expected
