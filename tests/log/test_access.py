"""The request log collects lines and writes them once per turn of the loop."""

import pytest

from geventuwsgi.log.access import MAX_BATCH, AccessLog, SelectiveLog, selection
from geventuwsgi.log.sinks import Sink, open_sink


class ListSink(Sink):
    """Keeps each write."""

    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, data):
        self.writes.append(data)


def test_one_write_per_turn():
    scheduled = []
    sink = ListSink()
    log = AccessLog(lambda record: f"{record}\n", sink, scheduled.append)
    for turn in range(2):
        for number in range(3):
            log.add(number)
        assert len(scheduled) == 1
        scheduled.pop()()
    assert sink.writes == [b"0\n1\n2\n"] * 2
    assert log.statistics()["lines"] == 6


def test_without_a_loop_each_line_is_written_at_once():
    sink = ListSink()
    log = AccessLog(lambda record: f"{record}\n", sink)
    log.add(1)
    log.add("é")
    assert sink.writes == [b"1\n", "é\n".encode()]


def test_a_batch_is_bounded():
    sink = ListSink()
    log = AccessLog(lambda record: "x\n", sink, lambda flush: None)
    for _ in range(MAX_BATCH + 1):
        log.add(None)
    assert [len(data) for data in sink.writes] == [2 * MAX_BATCH]
    log.close()
    assert [len(data) for data in sink.writes] == [2 * MAX_BATCH, 2]


def test_a_rotation_keeps_the_batch_in_the_old_file(tmp_path):
    path = tmp_path / "a.log"
    sink = open_sink(str(path))
    log = AccessLog(lambda record: f"{record}\n", sink, lambda flush: None)
    log.add(1)
    path.rename(tmp_path / "a.log.1")
    log.flush()
    sink.reopen()
    log.add(2)
    log.close()
    assert (tmp_path / "a.log.1").read_text() == "1\n"
    assert path.read_text() == "2\n"


class Finished:
    """The attributes that conditions read."""

    def __init__(self, **fields):
        self.__dict__.update({"status": 200, "duration": 0.01, "body_size": 10, "via": "",
                              "head_sent": True, "ended": True, **fields})


@pytest.mark.parametrize("condition, others, wanted", [
    ({"client_errors": True}, [{}, {"status": 500}], [{"status": 400}, {"status": 499}]),
    ({"server_errors": True}, [{}, {"status": 499}], [{"status": 500}, {"status": 599}]),
    ({"slow": 0.5}, [{"duration": 0.49}], [{"duration": 0.5}]),
    ({"big": 11}, [{}], [{"body_size": 11}]),
    ({"empty": True}, [{}], [{"body_size": 0}]),
    ({"sendfile": True}, [{}, {"via": "route()"}], [{"via": "sendfile()"}]),
    ({"broken": True}, [{}, {"gone": True, "complete": True}],
     [{"status": 499}, {"ended": False}, {"gone": True, "complete": False}]),
    ({"slow": 1, "empty": True}, [{}], [{"body_size": 0}, {"duration": 2}]),
])
def test_conditions(condition, others, wanted):
    selected = selection(**condition)
    assert [selected(Finished(**one)) for one in others] == [False] * len(others)
    assert [selected(Finished(**one)) for one in wanted] == [True] * len(wanted)


def test_only_selected_requests_are_formatted():
    sink = ListSink()
    log = SelectiveLog(lambda record: f"{1 / (record.status - 200)}\n", sink,
                       wanted=selection(server_errors=True))
    log.add(Finished())
    log.add(Finished(status=500))
    assert len(sink.writes) == log.statistics()["lines"] == 1
