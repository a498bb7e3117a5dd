"""A process that the application forks is not a server."""

import subprocess
import sys

from tests.harness import ROOT

PROGRAM = """
import os, signal
from geventuwsgi.system import forked

class Fake:
    def __init__(self, name, ended):
        self.name, self.ended = name, ended
    def become_ordinary(self):
        assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        forked.give_up([])
        print(self.name, flush=True)

servers = [Fake("first", False), Fake("ended", True), Fake("second", False)]
for server in servers:
    forked.watch(server)
forked.watch(Fake("forgotten", False))
mine = lambda *_: print("mine", flush=True)
signal.signal(signal.SIGHUP, mine)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1,))
mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
child = os.fork()
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
if child == 0:
    assert signal.getsignal(signal.SIGHUP) is mine
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
os.kill(os.getpid(), signal.SIGTERM)    # the parent still ignores it
for status, error in ((0, None), (3, SystemExit(3)), (1, ValueError("of the child"))):
    child = os.fork()
    if child == 0:
        forked.leave(error)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status, error
"""


def test_the_child_of_a_fork() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True,
                            cwd=ROOT, timeout=60)
    assert result.returncode == 0, result.stderr
    assert sorted(set(result.stdout.split())) == ["first", "second"]
    assert "ValueError: of the child" in result.stderr
