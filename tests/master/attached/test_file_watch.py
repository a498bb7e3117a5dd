"""Watched files, with real files and the time as an argument."""

import os

from geventuwsgi.master.attached.file_watch import INTERVAL, Watch


class Clock:
    """A watch, and the time that passes for it."""

    def __init__(self, pattern):
        self.hits = 0
        self.now = 100.0
        self.watch = Watch()
        self.watch.add(str(pattern), self.hit, "count it")
        self.watch.start(self.now)

    def hit(self):
        self.hits += 1

    def check(self):
        self.now += INTERVAL
        assert self.watch.poll(self.now) == self.now + INTERVAL
        return self.hits


def later(path, seconds=5):
    stat = path.stat()
    os.utime(path, (stat.st_atime, stat.st_mtime + seconds))


def test_a_touch_counts_once(tmp_path, log_lines):
    path = tmp_path / "touched"
    path.touch()
    clock = Clock(path)
    assert clock.check() == 0
    later(path)
    assert (clock.check(), clock.check()) == (1, 1)
    assert log_lines == [f"*** {path} has been touched... count it ***"]


def test_a_file_may_appear_later_and_removing_it_counts(tmp_path, log_lines):
    path = tmp_path / "touched"
    clock = Clock(path)
    assert "unable to stat()" in log_lines[0]
    assert clock.check() == 0
    path.touch()
    assert clock.check() == 1
    path.unlink()  # as in uWSGI
    assert clock.check() == 2
    path.touch()
    assert clock.check() == 3
    assert len(log_lines) == 4


def test_a_link_that_is_switched_to_an_older_file_counts(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).touch()
    later(tmp_path / "two", -5000)
    (tmp_path / "current").symlink_to("one")
    clock = Clock(tmp_path / "current")
    (tmp_path / "next").symlink_to("two")
    os.rename(tmp_path / "next", tmp_path / "current")
    assert clock.check() == 1


def test_patterns_see_new_files_and_count_once_for_several(tmp_path):
    (tmp_path / "a.py").touch()
    clock = Clock(tmp_path / "*.py")
    (tmp_path / "b.py").touch()
    later(tmp_path / "a.py")
    assert clock.check() == 1
    (tmp_path / "c.txt").touch()
    assert clock.check() == 1


def test_nothing_is_checked_before_the_time_and_after_the_stop(tmp_path):
    path = tmp_path / "touched"
    path.touch()
    clock = Clock(path)
    later(path)
    assert clock.watch.poll(clock.now + 0.5) == clock.now + INTERVAL
    assert clock.hits == 0
    clock.watch.stop(clock.now)
    clock.now += 10
    clock.watch.poll(clock.now)
    assert clock.hits == 0


def test_an_action_may_replace_what_is_watched(tmp_path):
    path = tmp_path / "touched"
    path.touch()
    clock = Clock(path)

    def replace():
        clock.watch.clear()
        clock.watch.add(str(path), clock.hit, "count it")
    clock.watch.clear()
    clock.watch.add(str(path), replace, "replace")
    clock.watch.start(clock.now)
    later(path)
    assert clock.check() == 0
    later(path)
    assert clock.check() == 1
