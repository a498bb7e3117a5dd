"""Scheduled commands: when they are due, and what happens to their processes."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geventuwsgi.master.attached import cron
from geventuwsgi.master.attached.cron import Crons, CronSpec
from geventuwsgi.system.program import ProgramContext
from tests.harness import alive, wait_until

pytestmark = pytest.mark.fast
CONTEXT = ProgramContext(dict(os.environ))
MIDNIGHT = 1_700_000_000 // 60 * 60     # the first second of a minute


def spec(command: str = "true", *, minute: int = -1, hour: int = -1, day: int = -1,
         month: int = -1, week: int = -1, **more: Any) -> CronSpec:
    return CronSpec("app.ini:3: cron", command, minute, hour, day, month, week, **more)


def moment(text: str) -> time.struct_time:
    return time.strptime(text, "%Y-%m-%d %H:%M")


@pytest.mark.parametrize("fields, at, due", [
    ({}, "2026-11-30 18:00", True),
    ({"minute": 5}, "2026-11-30 18:05", True), ({"minute": 5}, "2026-11-30 18:06", False),
    ({"minute": -15}, "2026-11-30 18:45", True), ({"minute": -15}, "2026-11-30 18:46", False),
    ({"hour": -6, "minute": 0}, "2026-11-30 18:00", True),
    ({"month": 11}, "2026-11-30 18:00", True), ({"month": 12}, "2026-11-30 18:00", False),
    ({"week": 1}, "2026-11-30 18:00", True), ({"week": 0}, "2026-11-29 18:00", True),
    ({"week": 7}, "2026-11-29 18:00", True), ({"week": 7}, "2026-11-30 18:00", False),
    # Either of the two is enough.
    ({"day": 1, "week": 1}, "2026-11-30 18:00", True),
    ({"day": 30, "week": 2}, "2026-11-30 18:00", True),
    ({"day": 1, "week": 2}, "2026-11-30 18:00", False),
    # With a multiple among them both have to match.
    ({"day": -10, "week": 2}, "2026-11-30 18:00", False),
])
def test_due(fields: dict[str, int], at: str, due: bool) -> None:
    assert spec(**fields).is_due(moment(at)) is due


@given(st.integers(-59, 59), st.integers(0, 59))
def test_a_multiple(field: int, minute: int) -> None:
    due = spec(minute=field).is_due(moment(f"2026-11-30 18:{minute:02}"))
    assert due == (minute == field if field >= 0 else minute % abs(field) == 0)


class Clock:
    """The time of day, as tests set it."""

    def __init__(self) -> None:
        self.now = float(MIDNIGHT)

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cron.time, "time", clock.time)
    return clock


@pytest.fixture
def crons() -> Iterator[Callable[..., Crons]]:
    """Return a function that starts scheduled commands; their processes are killed at the end."""
    made: list[Crons] = []

    def start(*specs: CronSpec, **more: Any) -> Crons:
        made.append(Crons(specs, CONTEXT, **more))
        made[-1].start(time.monotonic())
        return made[-1]

    yield start
    for one in made:
        for pid in tuple(one._runs):
            cron.program.kill_group(pid)
            reap(one, pid)


def reap(crons: Crons, pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    assert crons.exited(pid, os.waitstatus_to_exitcode(status))


def running(crons: Crons) -> list[int]:
    return list(crons._runs)


def reap_all(crons: Crons) -> None:
    for pid in running(crons):
        reap(crons, pid)


def test_once_a_minute_and_not_at_the_start(
        crons: Callable[..., Crons], clock: Clock, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    found = crons(spec(f"echo >>{ran}"))
    for second in (0, 1, 59):
        clock.now = MIDNIGHT + second
        assert found.poll(100.0) == pytest.approx(160.0 - second)
        assert not running(found)
    for second in (60.2, 61, 119.9):
        clock.now = MIDNIGHT + second
        found.poll(100.0)
    reap_all(found)
    assert ran.read_text() == "\n"


def test_a_reload_and_an_upgrade_run_nothing_twice(
        crons: Callable[..., Crons], clock: Clock, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    line = spec(f"echo >>{ran}")
    found = crons(line)
    clock.now += 60
    found.poll(0.0)
    found.replace([line, spec("true", minute=-2)], CONTEXT)
    found.poll(0.0)
    successor = crons(line, handed_over=found.hand_over())
    successor.poll(0.0)
    found._runs.clear()
    reap_all(successor)     # it has taken over the processes
    assert ran.read_text() == "\n"


@pytest.mark.parametrize("upgrade", [False, True])
def test_the_first_command_that_a_reload_or_an_upgrade_adds_waits_for_its_minute(
        crons: Callable[..., Crons], clock: Clock, upgrade: bool) -> None:
    found = crons()
    clock.now = MIDNIGHT + 150
    if upgrade:
        found = crons(spec(), handed_over=found.hand_over())
    else:
        found.replace([spec()], CONTEXT)
    found.poll(0.0)
    assert not running(found)
    clock.now = MIDNIGHT + 180
    found.poll(0.0)
    assert len(running(found)) == 1


@pytest.mark.parametrize("step, runs", [(-1, 1), (-3600, 2), (3600, 2)])
def test_a_clock_that_is_set(crons: Callable[..., Crons], clock: Clock, tmp_path: Path,
                             step: int, runs: int) -> None:
    ran = tmp_path / "ran"
    found = crons(spec(f"echo >>{ran}"))
    for at in (60, 60 + step, 60 + step + 1, 60 + step + (61 if step < -1 else 1)):
        clock.now = MIDNIGHT + at
        found.poll(0.0)
    reap_all(found)
    assert ran.read_text() == "\n" * runs


def test_a_unique_command(crons: Callable[..., Crons], clock: Clock,
                          caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = crons(spec("sleep 1000", unique=True))
    for minute in (1, 2):
        clock.now = MIDNIGHT + 60 * minute
        found.poll(0.0)
        assert len(running(found)) == 1
    assert "still runs and is not started again" in caplog.text


def test_harakiri_kills_what_the_command_has_started(
        crons: Callable[..., Crons], clock: Clock, tmp_path: Path,
        caplog: pytest.LogCaptureFixture) -> None:
    pid = tmp_path / "pid"
    found = crons(spec(f"sleep 1000 & echo $! >{pid}; wait", harakiri=5))
    clock.now += 60
    found.poll(10.0)
    wait_until(lambda: pid.exists() and pid.read_text(), "the command has started its own")
    assert found.poll(14.9) == pytest.approx(15.0)
    assert len(running(found)) == 1
    found.poll(15.0)
    reap_all(found)
    wait_until(lambda: not alive(int(pid.read_text())), "the whole group has ended")
    assert "HARAKIRI" in caplog.text and "killed by signal 9" in caplog.text


def test_what_cannot_be_started(crons: Callable[..., Crons], clock: Clock,
                                caplog: pytest.LogCaptureFixture) -> None:
    found = crons(spec())
    found.replace([spec()], CONTEXT._replace(directory="/nowhere/at/all"))
    clock.now += 60
    found.poll(0.0)
    assert "app.ini:3: cron: cannot run" in caplog.text and not running(found)


def test_a_stop_starts_nothing_and_kills_nothing(
        crons: Callable[..., Crons], clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = crons(spec("sleep 1000"))
    clock.now += 60
    found.poll(0.0)
    found.stop(0.0)
    clock.now += 60
    found.poll(0.0)
    assert len(running(found)) == 1 and alive(running(found)[0]) and found.done
    assert "is not ended by the stop" in caplog.text
