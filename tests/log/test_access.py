"""The request log collects lines and writes them once per turn of the loop."""

from geventuwsgi.log.access import MAX_BATCH, AccessLog
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


def test_without_a_loop_each_line_leaves_at_once():
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
