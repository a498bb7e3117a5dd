"""Sinks write whole lines whatever happens to the disk or the reader, and never wait."""

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading

import pytest

from geventuwsgi.log import sinks

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def drain(reader):
    data = b""
    while select.select([reader], [], [], 0)[0]:
        data += os.read(reader, 1 << 16)
    return data


def test_a_file_is_appended_and_reopened(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"old\n")
    sink = sinks.open_sink(str(path))
    sink.write(b"one\n")
    path.rename(tmp_path / "a.log.1")
    sink.write(b"two\n")
    sink.reopen()
    sink.write(b"three\n")
    sink.close()
    assert (tmp_path / "a.log.1").read_bytes() == b"old\none\ntwo\n"
    assert path.read_bytes() == b"three\n"
    assert path.stat().st_mode & 0o007 == 0


def test_truncation_by_another_is_survived(tmp_path):
    """logrotate's copytruncate: the next line is at the new end, with no hole before it."""
    path = tmp_path / "a.log"
    sink = sinks.open_sink(str(path))
    sink.write(LINE)
    os.truncate(path, 0)
    sink.write(b"new\n")
    sink.close()
    assert path.read_bytes() == b"new\n"


def test_a_file_that_cannot_be_reopened_stays(tmp_path):
    directory = tmp_path / "logs"
    directory.mkdir()
    warnings = []
    sink = sinks.open_sink(str(directory / "a.log"), warn=warnings.append)
    directory.rename(tmp_path / "gone")
    sink.reopen()
    sink.write(b"one\n")
    sink.close()
    assert (tmp_path / "gone" / "a.log").read_bytes() == b"one\n"
    assert len(warnings) == 1 and "cannot be reopened" in warnings[0]


def test_a_file_that_became_a_fifo_stays(tmp_path):
    """Its reader could let every process wait."""
    warnings = []
    sink = sinks.open_sink(str(tmp_path / "a.log"), warn=warnings.append)
    (tmp_path / "a.log").rename(tmp_path / "old.log")
    os.mkfifo(tmp_path / "a.log")
    sink.reopen()
    sink.write(b"one\n")
    sink.close()
    assert (tmp_path / "old.log").read_bytes() == b"one\n"
    assert len(warnings) == 1 and "the old file stays: it is not a regular file" in warnings[0]


def test_a_path_is_absolute_from_the_start(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sink = sinks.open_sink("a.log")
    monkeypatch.chdir("/")
    (tmp_path / "a.log").unlink()
    sink.reopen()
    sink.write(b"one\n")
    sink.close()
    assert (tmp_path / "a.log").read_bytes() == b"one\n"


def test_standard_descriptors_follow_a_rotation(tmp_path):
    """`logto`: what the application prints goes to the same file, after a reopen as well."""
    script = ("import os, sys; from geventuwsgi.log.sinks import open_sink\n"
              "sink = open_sink('a.log', also=(1, 2)); print('one', flush=True)\n"
              "os.rename('a.log', 'a.log.1'); sink.reopen(); print('two', flush=True)\n"
              "sink.write(b'three\\n')")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True,
                   env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert (tmp_path / "a.log.1").read_bytes() == b"one\n"
    assert (tmp_path / "a.log").read_bytes() == b"two\nthree\n"


def test_a_full_disk_loses_lines_counts_and_reports_them(tmp_path):
    """RLIMIT_FSIZE simulates the full disk: the write that exceeds it is cut, the next fails."""
    path = tmp_path / "a.log"
    warnings = []
    sink = sinks.open_sink(str(path), warn=warnings.append)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250, old[1]))
    try:
        sink.write(LINE * 3)
        sink.write(LINE * 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert sink.statistics()["dropped_lines"] == 5 and len(warnings) == 1
    sink.write(b"after\n")
    sink.write(b"more\n")
    sink.close()
    assert path.read_bytes() == (
        LINE * 2 + b"x" * 50 + b"\n*** 5 log lines were dropped ***\nafter\nmore\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_dev_full():
    sink = sinks.open_sink("/dev/full")
    for _ in range(3):
        sink.write(LINE)
    assert sink.statistics() == {"dropped_lines": 3, "waiting_bytes": 0}


def test_a_slow_reader_gets_all_lines_in_order(pipe):
    reader, writer = pipe
    sink = sinks.open_sink(writer)
    lines = [b"%d %s\n" % (number, b"y" * (number % 500)) for number in range(2000)]
    received = b""
    for position in range(0, 2000, 100):
        sink.write(b"".join(lines[position:position + 100]))
        received += os.read(reader, 9000)
    while not sink.flush():
        received += drain(reader)
    received += drain(reader)
    sink.close()
    assert received == b"".join(lines)


def test_a_blocked_reader_does_not_block_and_gets_the_loss(pipe):
    reader, writer = pipe
    warnings = []
    sink = sinks.open_sink(writer, warn=warnings.append)
    for _ in range(300):
        sink.write(LINE * 100)
    statistics = sink.statistics()
    assert statistics["waiting_bytes"] <= sinks.MAX_WAITING
    assert statistics["dropped_lines"] > 0 and len(warnings) == 1
    received = b""
    while not sink.flush():
        received += drain(reader)
    sink.write(b"after\n")
    received += drain(reader)
    sink.close()
    lines = received.splitlines(keepends=True)
    assert lines[-1] == b"after\n"
    assert lines[-2] == b"*** %d log lines were dropped ***\n" % statistics["dropped_lines"]
    assert set(lines[:-2]) == {LINE}
    assert len(lines) - 2 + statistics["dropped_lines"] == 30000


def test_the_descriptor_of_the_application_still_blocks(pipe):
    """O_NONBLOCK belongs to the open file; the sink's is another one."""
    reader, writer = pipe
    sink = sinks.open_sink(writer)
    sink.write(LINE)
    assert os.get_blocking(writer)
    sink.close()
    os.write(writer, b"still open")


def test_workers_that_share_a_pipe_do_not_break_lines(pipe):
    """Invariant: every line that arrives is one that was written, and none is missing."""
    reader, writer = pipe
    children = []
    for letter in (b"a", b"b", b"c"):
        pid = os.fork()
        if not pid:
            sink = sinks.open_sink(writer)
            for number in range(200):
                sink.write(b"".join(letter * (1 + (number * 7 + i) % 300) + b"\n"
                                    for i in range(20)))
            while not sink.flush():
                select.select([], [writer], [])
            os._exit(0)
        children.append(pid)
    received = []

    def read():
        while chunk := os.read(reader, 5000):
            received.append(chunk)
            if b"END\n" in chunk:
                break

    thread = threading.Thread(target=read)
    thread.start()
    for pid in children:
        os.waitpid(pid, 0)
    os.write(writer, b"END\n")
    thread.join()
    lines = b"".join(received).splitlines()[:-1]
    assert len(lines) == 3 * 200 * 20
    assert all(len(set(line)) == 1 for line in lines)


def test_a_line_longer_than_an_atomic_write_arrives_whole(pipe):
    reader, writer = pipe
    sink = sinks.open_sink(writer)
    line = b"z" * 20000 + b"\n"
    sink.write(LINE + line + LINE)
    sink.close()
    assert drain(reader) == LINE + line + LINE


def test_a_reader_that_is_gone_costs_only_lines():
    reader, writer = os.pipe()
    warnings = []
    sink = sinks.open_sink(writer, warn=warnings.append)
    os.close(reader)
    for _ in range(3):
        sink.write(LINE)
    assert sink.statistics() == {"dropped_lines": 3, "waiting_bytes": 0}
    assert len(warnings) == 1
    sink.close()
    os.close(writer)


def test_a_socket_such_as_the_journal(tmp_path):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sink = sinks.open_sink(ours.fileno())
        for _ in range(200):
            sink.write(LINE * 100)
        assert sink.statistics()["waiting_bytes"] > 0
        theirs.settimeout(10)
        received = theirs.recv(1 << 20)
        while not sink.flush():
            received += theirs.recv(1 << 20)
        assert set(received.splitlines(keepends=True)[:-1]) == {LINE}
        sink.close()


def test_a_pipe_of_another_user_is_polled(pipe, monkeypatch):
    """If the pipe cannot be opened again, `poll` says whether a write would block."""
    reader, writer = pipe

    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        sink = sinks.open_sink(writer)
    for _ in range(20):
        sink.write(LINE * 100)
    assert sink.statistics()["waiting_bytes"] > 0
    received = b""
    while not sink.flush():
        received += drain(reader)
    received += drain(reader)
    sink.close()
    assert received == LINE * 2000


def test_a_fifo_opens_before_its_reader(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    sink = sinks.open_sink(str(path))
    sink.write(b"one\n")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert os.read(reader, 100) == b"one\n"
    os.close(reader)
    sink.close()


def test_standard_output_by_name(capfd):
    for name in ("-", "/dev/stdout"):
        sink = sinks.open_sink(name)
        sink.write(name.encode() + b"\n")
        sink.reopen()
        sink.close()
    assert capfd.readouterr().out == "-\n/dev/stdout\n"
