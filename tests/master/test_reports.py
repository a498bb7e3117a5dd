"""What the master believes of its templates and workers: nothing that they can say breaks it.

Also as root, with an application that sends all that it likes on its control socket.
"""

import os
import signal
import socket
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geventuwsgi.ipc import channel, credentials
from geventuwsgi.master import reports
from geventuwsgi.master.reports import END, TEMPLATE, WORKER, Report, ReportError, Reports

KINDS = sorted({*TEMPLATE, *WORKER})
NUMBERS = st.one_of(st.integers().map(str), st.text(max_size=12)).map(
    lambda text: text.encode("utf-8", "replace"))
MESSAGES = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.sampled_from(KINDS),
    st.tuples(st.sampled_from(KINDS), NUMBERS).map(b"".join),
    st.tuples(st.sampled_from(KINDS), NUMBERS, st.binary(max_size=8)).map(b" ".join),
    st.integers(channel.LIMIT - 8, channel.LIMIT + 8).map(lambda size: b"files " + b"x" * size))


def control():
    """Return both ends of a control socket."""
    ours, theirs = channel.pair()
    credentials.require(ours)
    return ours, theirs


@pytest.fixture
def pair():
    ours, theirs = control()
    with ours, theirs:
        yield ours, theirs


def taken(made, theirs, *messages):
    """Send messages, and return what is believed of them, and the error that ends it or None."""
    found = []
    for message in messages:
        theirs.send(message)
    try:
        found += made.read()
    except ReportError as error:
        return found, str(error)
    return found, None


def child(order, *messages):
    """Run a child that sends messages, then lives on; return it, our end, and its reports."""
    ours, theirs = control()
    made = Reports(ours, order)
    code = ("import socket, sys\n"
            "sock = socket.socket(fileno=int(sys.argv[1]))\n"
            "for text in sys.argv[2:]: sock.send(text.encode('latin-1'))\n"
            "sys.stdin.read()")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(theirs.fileno()),
         *(text.decode("latin-1") for text in messages)],
        pass_fds=(theirs.fileno(),), stdin=subprocess.PIPE)
    theirs.close()
    return process, ours, made


@given(st.sampled_from([TEMPLATE, WORKER]), st.integers(0, 1), st.lists(MESSAGES, max_size=12))
@example(WORKER, 1, [b"pid x"])
@example(WORKER, 1, [b"failed x y"])
@example(WORKER, 1, [b"failed"])
@example(TEMPLATE, 1, [b"failed " + b"9" * 5000])
@example(TEMPLATE, 1, [b"loaded \xb2"])
def test_any_messages(order, known, messages):
    """They are read, or end in a ReportError; each kind once, in its order, and of its type."""
    ours, theirs = control()
    with ours, theirs:
        made = Reports(ours, order, os.getpid() if known else 0)
        found, error = taken(made, theirs, *messages)
    kinds = [report.kind for report in found]
    assert len(found) == len(messages) or error
    for number, (kind, value, uid) in enumerate(found):
        assert uid == os.geteuid()
        after, before = order[kind]
        assert set(after) <= {*kinds[:number], *([channel.PID] if known else ())}
        assert not set(before) & set(kinds[:number])
        if kind in (channel.LOADED, channel.FORKED):
            assert 0 <= value < 10 ** reports.LONGEST_NUMBER
        elif kind == channel.FAILED:
            assert 0 < value[0] < 256 and isinstance(value[1], str)
        elif kind == channel.FILES:
            assert all(isinstance(path, str) for path in value)
        elif kind == channel.PID:
            raise AssertionError("this process is no child of its own")
    for kind in {*kinds} - {channel.FILES}:
        assert kinds.count(kind) <= reports.TIMES.get(kind, 1)


def test_the_pid_is_the_kernel_s():
    process, ours, made = child(WORKER, b"forked 1", b"pid 1", b"ready", b"replace it leaks",
                                b"files a")
    try:
        found = []
        while len(found) < 5:
            found += made.read()
    finally:
        ours.close()
        process.communicate()
    me = os.geteuid()
    assert found == [
        Report(channel.FORKED, 1, me), Report(channel.PID, process.pid, me),
        Report(channel.READY, None, me), Report(channel.REPLACE, "it leaks", me),
        Report(channel.FILES, ["a"], me)]


def test_the_end(pair):
    ours, theirs = pair
    made = Reports(ours, TEMPLATE, os.getpid())
    assert taken(made, theirs, b"loaded 5") == ([Report(channel.LOADED, 5, os.geteuid())], None)
    theirs.close()
    assert list(made.read()) == [END]


def test_a_worker_is_a_child_of_the_master(pair):
    made = Reports(pair[0], WORKER)
    assert taken(made, pair[1], b"pid 1") == (
        [], f"process {os.getpid()} is no child of the master")


def test_messages_of_other_processes_do_not_count(pair):
    """A child of the application may have a copy of its control socket."""
    made = Reports(pair[0], WORKER, os.getppid())
    assert taken(made, pair[1], b"ready", b"failed 3 x", b"replace x") == ([], None)
    found, error = taken(made, pair[1], *[b"files x"] * (reports.FOREIGN_LIMIT))
    assert not found and error == "other processes send on its control socket"


def test_one_turn_of_the_loop_reads_no_flood(pair):
    ours, theirs = pair
    made = Reports(ours, TEMPLATE, os.getpid())
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 23)
    count = 0
    while channel.send(theirs, b"files x") and count < 2 * reports.AT_ONCE:
        count += 1
    assert len(list(made.read())) == min(count, reports.AT_ONCE)


def test_the_paths_of_one_process_are_bounded(pair):
    ours, theirs = pair
    made = Reports(ours, TEMPLATE, os.getpid())
    taken_octets, error = 0, None
    while error is None and taken_octets <= 2 * reports.FILES_LIMIT:
        found, error = taken(made, theirs, b"files " + b"x" * 4096)
        taken_octets += 4096 * len(found)
    assert error == f"it reports more than {reports.FILES_LIMIT} bytes of paths"
    assert taken_octets <= reports.FILES_LIMIT


def test_descriptors_with_a_message_are_not_kept(pair):
    """A process that sent its own again and again would use up the master's."""
    ours, theirs = pair
    made = Reports(ours, TEMPLATE, os.getpid())
    before = os.listdir("/proc/self/fd")
    assert channel.send_with_descriptors(theirs, b"loaded 1", (0, 1, 2, 0, 1, 2))
    assert [report.kind for report in made.read()] == [channel.LOADED]
    assert os.listdir("/proc/self/fd") == before


def test_one_descriptor_is_one_descriptor(pair):
    """The kernel would put a second one into the padding of the space for one."""
    before = os.listdir("/proc/self/fd")
    assert channel.send_with_descriptors(pair[0], b"answer", (0, 1, 2))
    message, fd = channel.receive_with_descriptor(pair[1])
    assert message == b"answer" and fd is not None
    os.close(fd)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("reported, ended", [("itself", True), ("another", False)])
def test_what_hangs_in_the_fork_is_killed_if_it_is_a_child(reported, ended):
    """Of `forked PID`, only what the master has forked through its template."""
    from geventuwsgi.ipc.scoreboard import Scoreboard
    from geventuwsgi.master.children import Worker
    board = Scoreboard.alone()
    process = subprocess.Popen([sys.executable, "-c", "import sys\n"
                                "from subprocess import Popen, PIPE\n"
                                "inner = Popen(['sleep', '60'])\n"
                                "print(inner.pid, flush=True)\nsys.stdin.read()\ninner.kill()"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        inner = int(process.stdout.readline())
        ours, theirs = channel.pair()
        with ours, theirs:
            worker = Worker(1, board.row(1), ours)
            worker.forked = {process.pid if reported == "itself" else inner: os.geteuid()}
            assert worker.kill_unnamed() is ended
            worker.forked = {process.pid: os.geteuid() + 1}
            assert os.geteuid() != 0 or not worker.kill_unnamed()
        os.kill(inner, 0)
    finally:
        if ended:
            assert process.wait(10) == -signal.SIGKILL
            os.kill(inner, signal.SIGKILL)
        process.communicate()
