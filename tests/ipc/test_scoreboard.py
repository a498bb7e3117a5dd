"""The scoreboard: what one process writes, another reads."""

import os
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


def test_publish_adds_to_the_counters_of_the_process_before(board):
    row = board.row(1)
    row.cells[scoreboard.REQUESTS] = 5
    before = row.counters
    for own in ((1, 0, 0, 100, 7), (3, 1, 0, 200, 9)):
        row.publish(before, 4, 2, own)
    assert row.counters[:5] == [8, 1, 0, 200, 9]
    assert row.cells[scoreboard.CONNECTIONS] == 4 and row.cells[scoreboard.IN_PROGRESS] == 2
    assert row.cells[scoreboard.HEARTBEAT_NS] > 0


def test_measure_fills_memory_and_cpu_time(board):
    row = board.row(1)
    row.measure()
    assert row.cells[scoreboard.VSZ] > row.cells[scoreboard.RSS] > 1 << 20
    assert row.cells[scoreboard.CPU_US] > 0


def test_there_are_no_other_rows(board):
    for index in (-1, 4):
        with pytest.raises(IndexError):
            board.row(index)
