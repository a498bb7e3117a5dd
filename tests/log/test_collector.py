"""Routes, filters, encoders and request lines of the log collector; rotation; datagrams."""

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventuwsgi.log import datagrams
from geventuwsgi.log.collector import (
    MAX_LINE, ROTATE, Dispatcher, LineSplitter, LogCollector, stream,
)
from geventuwsgi.log.datagrams import DatagramSink, open_datagrams
from geventuwsgi.log.loggers import logger
from geventuwsgi.log.sinks import RotatedFile, Sink
from geventuwsgi.rights import User


class Memory(Sink):
    """What was written, message by message."""

    def __init__(self):
        super().__init__()
        self.got = []

    def write(self, data):
        self.got.append(data)

    def messages(self, messages):
        self.got += messages


def sinks(*names):
    return {name: Memory() for name in names}


def test_routes_filters_and_loggers_without_a_name():
    found = sinks("", "err", "slow", "raw")
    requests = sinks("", "bad")
    one = Dispatcher(
        stream([(name, found[name]) for name in ("", "err", "slow")],
               [("err", "ERROR"), ("slow", "slow"), ("err", "fatal|ERROR")],
               ["prefix >", "suffix:err !"], lambda: found["raw"]),
        stream(requests.items(), [("bad", " 5.. ")], [], lambda: found["raw"]),
        drains=["secret"], filters=["e", "E"])
    one.dispatch([b"one\n", b"ERROR slow\n", b"why\n", b"secret: ERROR\n", b"the end\n"])
    one.dispatch([b"GET 200 ok\n", b"GET 500 secret\n"], requests=True)
    assert found[""].got == [b">one\n", b">the end\n"]
    assert found["err"].got == [b">ERROR slow!\n"]
    assert found["slow"].got == [b">ERROR slow\n"]
    assert requests[""].got == [b"GET 200 ok\n"]
    assert requests["bad"].got == [b"GET 500 secret\n"]
    assert found["raw"].got == []


def test_an_encoder_without_a_name_applies_to_every_logger_in_order():
    found = sinks("", "err")
    one = stream(found.items(), [("err", "E")], ["format {${msg}}", "suffix:err !", "nl"],
                 Memory)
    Dispatcher(one, one).dispatch([b"E\n", b"a\n"])
    assert found["err"].got == [b"{E}!\n"] and found[""].got == [b"{a}\n"]


def test_without_an_unnamed_logger_other_lines_go_to_the_original_destination():
    raw, err = Memory(), Memory()
    one = stream([("err", err)], [("err", "E")], [], lambda: raw)
    Dispatcher(one, one).dispatch([b"E\n", b"a\n", b"b\n", b"E2\n"])
    assert (raw.got, err.got) == ([b"a\n", b"b\n"], [b"E\n", b"E2\n"])


def collect(tmp_path, *steps):
    """Run a collector whose pipes get these (pipe, bytes), and their end; return its files."""
    plan = {"log": ["file:all.log"], "requests": ["file:req.log"], "log_routes": [],
            "request_routes": [], "log_encoders": [], "request_encoders": [], "drains": [],
            "filters": [], "file": None, "datagrams": False, "maxsize": 0, "backup": "",
            "mode": None, "owner": (-1, -1), "logger_owner": (-1, -1), "user": None,
            "packet": 1024, "split": False}
    pipes = {name: os.pipe() for name in ("log", "requests", "orders")}
    for name, data in steps:
        os.write(pipes[name][1], data)
    for _, writer in pipes.values():
        os.close(writer)
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        LogCollector(*(reader for reader, _ in pipes.values()), lambda: plan).run()
    finally:
        os.chdir(before)
        for reader, _ in pipes.values():
            os.close(reader)
    return {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_what_is_printed_is_no_order_and_no_request(tmp_path):
    printed = b"\x1drotate\n\x1dreopen\n\x1dplan\n\x1eGET /forged\no\nr\np\n"
    found = collect(tmp_path, ("log", printed), ("requests", b"GET /\n\x1drotate\n"))
    assert found == {"all.log": printed, "req.log": b"GET /\n\x1drotate\n"}


def test_an_order_comes_after_the_lines_before(tmp_path):
    lines = b"".join(b"line %d\n" % number for number in range(5000))
    found = collect(tmp_path, ("log", lines), ("requests", b"GET /\n"), ("orders", ROTATE))
    assert found.pop("all.log") == found.pop("req.log") == b""
    assert [text.startswith(lines) for name, text in sorted(found.items())] == [True, False]


@given(st.lists(st.tuples(st.sampled_from(["log", "requests", "orders"]),
                          st.binary(min_size=1, max_size=200)), max_size=10))
def test_any_bytes_on_any_pipe(tmp_path_factory, steps):
    """Each line is in the file of its pipe, and nothing raises."""
    steps = [(name, data.replace(ROTATE, b"") if name == "orders" else data)
             for name, data in steps]
    found = collect(tmp_path_factory.mktemp("collected"), *steps)
    for name, file in (("log", "all.log"), ("requests", "req.log")):
        data = b"".join(data for pipe, data in steps if pipe == name)
        if data and not data.endswith(b"\n"):
            data += b"\n"
        assert found[file] == data


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_only_newlines_end_lines(size):
    """Whatever the pieces that are read, the lines are the same."""
    data, splitter, lines = b"one\ntwo\r\n\nthr\ree\nrest", LineSplitter(), []
    for start in range(0, len(data), size):
        lines += splitter.split(data[start:start + size])
    assert splitter.pending
    assert lines + splitter.rest() == [b"one\n", b"two\r\n", b"\n", b"thr\ree\n", b"rest\n"]
    assert not splitter.pending and splitter.rest() == []
    assert splitter.split(b"x" * MAX_LINE) == [b"x" * MAX_LINE + b"\n"]


def test_a_file_is_rotated_and_nothing_lost(tmp_path, monkeypatch):
    """Even if it is rotated several times in the same second."""
    monkeypatch.setattr("time.time", lambda: 1795290513.5)
    path = tmp_path / "a.log"
    path.write_bytes(b"before\n")
    sink = RotatedFile(str(path), maxsize=100, mode=0o604)
    for number in range(60):
        sink.write(b"line %d\n" % number)
    sink.close()
    files = sorted(tmp_path.iterdir(), key=lambda one: one.stat().st_ino)
    assert {one.name for one in files} == {"a.log", "a.log.1795290513"} | {
        f"a.log.1795290513.{number}" for number in range(1, len(files) - 1)}
    lines = [line for one in files for line in one.read_bytes().splitlines()]
    assert sorted(line for line in lines if b"triggering" not in line) == sorted(
        [b"before", *(b"line %d" % number for number in range(60))])
    assert path.stat().st_mode & 0o777 == 0o604
    assert b"logsize: " in (tmp_path / "a.log.1795290513").read_bytes()


def test_a_backup_name_and_a_directory_that_cannot_be_written(tmp_path):
    path, backup = tmp_path / "a.log", tmp_path / "old.log"
    warnings = []
    sink = RotatedFile(str(path), maxsize=10, backup=str(backup), warn=warnings.append)
    for text in (b"a" * 20 + b"\n", b"b" * 20 + b"\n", b"c\n"):
        sink.write(text)
    assert backup.read_bytes().startswith(b"b" * 20) and path.read_bytes() == b"c\n"
    backup.unlink()
    backup.mkdir()
    sink.write(b"d" * 20 + b"\n")
    sink.write(b"e\n")
    assert path.read_bytes().endswith(b"e\n") and len(warnings) == 1
    sink.close()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
def test_root_opens_the_file_of_a_user_with_the_rights_of_that_user(open_path):
    """A link of that user must not make root open or rename other files."""
    theirs, secret = open_path / "theirs", open_path / "secret"
    theirs.mkdir()
    secret.write_text("s")
    secret.chmod(0o600)
    os.chown(theirs, 65534, 65534)
    warnings = []
    user = User(65534, 65534, (65534,))
    sink = RotatedFile(str(theirs / "a.log"), user=user, warn=warnings.append)
    sink.write(b"one\n")
    sink.rotate()
    assert (theirs / "a.log").stat().st_uid == 65534 and os.geteuid() == 0
    (theirs / "a.log").unlink()
    (theirs / "a.log").symlink_to(secret)
    sink.reopen()
    sink.write(b"two\n")
    assert secret.read_text() == "s" and "Permission denied" in warnings[0]
    sink.close()
    with pytest.raises(PermissionError):
        RotatedFile(str(theirs / "a.log"), user=user)
    assert os.geteuid() == 0


@pytest.fixture
def receiver():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        yield sock, sock.getsockname()[1]


def test_udp_and_rsyslog(receiver):
    sock, port = receiver
    sink = open_datagrams(logger(f"socket:127.0.0.1:{port},pre"))
    sink.write(b"one\ntwo\n")
    assert [sock.recv(999) for _ in range(2)] == [b"preone\n", b"pretwo\n"]
    sink.close()
    sink = open_datagrams(logger(f"rsyslog:127.0.0.1:{port},app"), packet=64, split=True)
    sink.messages([b"x" * 100 + b"\n"])
    first, second, third = (sock.recv(999) for _ in range(3))
    assert first.startswith(b"<29>") and b" app: xxx" in first and len(first) == 64
    assert b"".join(one.partition(b": ")[2] for one in (first, second, third)) == b"x" * 100
    sink.close()


def test_a_restart_of_syslog_loses_nothing(tmp_path, monkeypatch):
    """Lines also wait if it is not there at first."""
    path = str(tmp_path / "log")
    monkeypatch.setattr(datagrams, "SYSLOG", path)
    monkeypatch.setattr(datagrams, "RECONNECT_DELAY", 0)
    sink = open_datagrams(logger("syslog:app,local0"))
    sink.write(b"one\n")
    for number in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(path)
            sock.settimeout(10)
            assert sink.flush()
            sink.write(b"two\n")
            got = [sock.recv(999) for _ in range(2)]
            assert all(one.startswith(b"<134>") for one in got)
            assert [one.rpartition(b" ")[2] for one in got] == [b"one", b"two"]
        os.unlink(path)
        sink.write(b"one\n")
    assert sink.statistics()["waiting_bytes"] > 0
    sink.close()


def test_a_receiver_that_does_not_read_costs_bounded_memory_and_gets_the_loss(tmp_path):
    path = str(tmp_path / "s")
    warnings = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sink = DatagramSink(path, lambda line: (line,), warn=warnings.append)
        for _ in range(300):
            sink.write(b"x" * 9999 + b"\n")
        statistics = sink.statistics()
        assert statistics["dropped_lines"] > 0 and statistics["waiting_bytes"] <= 1 << 20
        assert len(warnings) == 1
        sock.setblocking(False)
        got = []
        while not sink.flush() or not got or b"dropped" not in got[-1]:
            try:
                got.append(sock.recv(99999))
            except BlockingIOError:
                pass
        assert got[-1] == b"*** %d log lines were dropped ***\n" % statistics["dropped_lines"]
        assert len(got) - 1 + statistics["dropped_lines"] == 300
        sink.close()


def test_the_journal(tmp_path, monkeypatch):
    monkeypatch.setattr(datagrams, "JOURNAL", str(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(datagrams.JOURNAL)
        sink = open_datagrams(logger("systemd"))
        sink.messages([b"one\n", b"a\nb\n"])
        assert sock.recv(999) == b"PRIORITY=6\nSYSLOG_IDENTIFIER=uwsgi\nMESSAGE=one\n"
        assert sock.recv(999).endswith(b"\nMESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n")
        sink.close()
