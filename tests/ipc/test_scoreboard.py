"""The scoreboard: what one process writes, another reads."""

import os
import struct
import subprocess
import sys

import pytest

from geventuwsgi.ipc import scoreboard
from geventuwsgi.ipc.scoreboard import Scoreboard


@pytest.fixture
def board():
    board = Scoreboard.create(3)
    yield board
    os.close(board.fd)


@pytest.fixture
def memory():
    fd = scoreboard.create_row()
    yield fd
    os.close(fd)


def test_rows_do_not_overlap(board):
    first, second = board.row(1), board.row(2)
    first.cells[scoreboard.REQUESTS] = 2 ** 62
    assert second.cells[scoreboard.REQUESTS] == 0
    assert board.row(1).cells[scoreboard.REQUESTS] == 2 ** 62
    assert len(board) == 3


def test_another_process_sees_what_is_written(board):
    code = ("import sys; from geventuwsgi.ipc import scoreboard as s\n"
            "row = s.Scoreboard.open(int(sys.argv[1])).row(2)\n"
            "row.cells[s.REQUESTS] += 7\n")
    subprocess.run([sys.executable, "-c", code, str(board.fd)], check=True, pass_fds=(board.fd,),
                   env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert board.row(2).cells[scoreboard.REQUESTS] == 7


def test_retiring_keeps_the_totals(board):
    row = board.row(1)
    row.cells[scoreboard.PID] = 99
    row.cells[scoreboard.REQUESTS] = 5
    row.cells[scoreboard.CONNECTIONS] = 4
    board.row(2).cells[scoreboard.REQUESTS] = 3
    board.retire(1)
    assert board.total(scoreboard.REQUESTS) == 8
    assert board.total(scoreboard.CONNECTIONS) == 0
    assert not any(row.cells)
    board.row(1).cells[scoreboard.REQUESTS] = 1
    assert board.total(scoreboard.REQUESTS) == 9


def test_a_total_never_decreases_for_another_process(board):
    """While rows are retired, and the master gives a row's respawns to another."""
    code = ("import sys; from geventuwsgi.ipc import scoreboard as s\n"
            "s._REPEATS = 10 ** 9  # a busy machine may stop the writer at any moment\n"
            "board = s.Scoreboard.open(int(sys.argv[1])); last = [0, 0]; print(flush=True)\n"
            "while not board.row(3).cells[s.STATE]:\n"
            "    now = [board.total(s.REQUESTS), board.total(s.RESPAWNS)]\n"
            "    assert now[0] >= last[0] and now[1] >= last[1], (last, now)\n"
            "    last = now\n")
    with subprocess.Popen([sys.executable, "-c", code, str(board.fd)], pass_fds=(board.fd,),
                          stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()},
                          ) as reader:
        assert reader.stdout.readline()
        for number in range(5000):
            old, new = (1, 2) if number % 2 else (2, 1)
            board.row(old).cells[scoreboard.REQUESTS] = 50
            board.promote(board.row(old), board.row(new))
            board.retire(old)
        board.row(3).cells[scoreboard.STATE] = 1
    assert reader.returncode == 0
    assert board.total(scoreboard.REQUESTS) == 250_000
    assert board.total(scoreboard.RESPAWNS) == 5000


def test_a_master_that_died_while_it_moved_counters_stops_no_reader(board):
    board.row(0).cells[scoreboard.VERSION] = 1
    board.row(1).cells[scoreboard.REQUESTS] = 5
    assert board.total(scoreboard.REQUESTS) == 5
    board.retire(1)
    assert board.total(scoreboard.REQUESTS) == 5
    assert board.row(0).cells[scoreboard.VERSION] == 2


def test_vacating_keeps_the_counters(board):
    row = board.row(1)
    row.cells[scoreboard.PID] = 99
    row.cells[scoreboard.REQUESTS] = 5
    row.cells[scoreboard.IN_PROGRESS] = 2
    assert [one.index for one in board.rows()] == [1]
    row.vacate()
    assert list(board.rows()) == []
    assert row.cells[scoreboard.REQUESTS] == 5
    assert row.cells[scoreboard.IN_PROGRESS] == 0


def test_publish_adds_to_the_counters_of_the_process_before(board, memory):
    table = board.row(1)
    table.cells[scoreboard.REQUESTS] = 5
    row = table.owned(memory)
    for own in ((1, 0, 0, 100, 7), (3, 1, 0, 200, 9)):
        row.publish(4, 2, own)
    counters = slice(scoreboard.REQUESTS, scoreboard.RESPAWNS)
    assert table.cells[counters].tolist() == [8, 1, 0, 200, 9]
    assert row.cells[counters].tolist() == [3, 1, 0, 200, 9]
    for one in (table, row):
        assert one.cells[scoreboard.CONNECTIONS] == 4 and one.cells[scoreboard.IN_PROGRESS] == 2
        assert one.cells[scoreboard.HEARTBEAT_NS] > 0


def test_what_others_write_does_not_reach_the_memory_of_a_row(board, memory):
    row = board.row(1).owned(memory)
    row.publish(1, 1, (5, 0, 0, 0, 0))
    board.row(1).cells[:] = memoryview(struct.pack("q", -1) * scoreboard.CELLS).cast("q")
    assert row.cells[scoreboard.REQUESTS] == 5
    row.publish(1, 1, (6, 0, 0, 0, 0))
    assert board.row(1).cells[scoreboard.REQUESTS] == 6


@pytest.mark.parametrize("number", [scoreboard.GREATEST, -scoreboard.GREATEST - 1, 2 ** 62])
def test_no_number_of_another_process_breaks_the_master(board, memory, number):
    """The master adds to counters that every process can write."""
    for index in range(3):
        cells = board.row(index).cells
        for field in range(scoreboard.CELLS):
            cells[field] = number
    row = board.row(1).owned(memory)
    row.respawns += 1
    row.publish(0, 0, (1, 1, 1, 1, 1))
    assert 0 <= row.respawns <= scoreboard.GREATEST
    row.vacate()
    for index in (1, 2):
        board.retire(index)
    assert 0 <= board.row(0).cells[scoreboard.REQUESTS] <= scoreboard.GREATEST


def test_no_process_can_cut_a_memory(board, memory):
    """The next access of the master would be SIGBUS."""
    for fd in (board.fd, memory):
        for size in (0, 1 << 20):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, size)


def test_measure_fills_memory_and_cpu_time(board):
    row = board.row(1)
    row.measure()
    assert row.cells[scoreboard.VSZ] > row.cells[scoreboard.RSS] > 1 << 20
    assert row.cells[scoreboard.CPU_US] > 0


def test_there_are_no_other_rows(board):
    for index in (-1, 4):
        with pytest.raises(IndexError):
            board.row(index)
