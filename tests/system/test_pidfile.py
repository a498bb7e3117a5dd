"""Pid files: replaced in one step, removed only while they hold our pid."""

import os
import subprocess
import sys

import pytest

from geventuwsgi.errors import ConfigError
from geventuwsgi.system.pidfile import PidFile


def test_the_file_holds_our_pid(tmp_path):
    file = PidFile(str(tmp_path / "app.pid"))
    file.write()
    assert (tmp_path / "app.pid").read_text() == f"{os.getpid()}\n"
    assert file.read() == os.getpid()
    assert os.listdir(tmp_path) == ["app.pid"]
    assert file.remove() and not file.remove()
    assert os.listdir(tmp_path) == []


def test_the_directory_may_change(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = PidFile("app.pid")
    monkeypatch.chdir("/")
    file.write()
    assert (tmp_path / "app.pid").exists()


@pytest.mark.parametrize("text", ["", "garbage", "-5", "٣", "9" * 30])
def test_invalid_content_is_replaced(tmp_path, text):
    (tmp_path / "app.pid").write_text(text)
    file = PidFile(str(tmp_path / "app.pid"))
    file.write()
    assert file.read() == os.getpid()


def test_the_pid_of_a_dead_process_is_logged(tmp_path, messages):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True).stdout
    (tmp_path / "app.pid").write_text(gone)
    PidFile(str(tmp_path / "app.pid")).write()
    assert f"a process that is gone ({gone.strip()})" in messages.text


def test_the_pid_of_a_living_process_is_logged(tmp_path, messages):
    (tmp_path / "app.pid").write_text(str(os.getppid()))
    PidFile(str(tmp_path / "app.pid")).write()
    assert f"another process ({os.getppid()})" in messages.text


def test_the_file_of_another_process_is_not_removed(tmp_path):
    file = PidFile(str(tmp_path / "app.pid"))
    file.write()
    (tmp_path / "app.pid").write_text(str(os.getppid()))
    assert not file.remove()
    assert (tmp_path / "app.pid").exists()


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory"):
        PidFile(str(tmp_path / "not" / "there")).write()
    (tmp_path / "directory").mkdir()
    with pytest.raises(ConfigError, match="is not a regular file"):
        PidFile(str(tmp_path / "directory")).write()


def test_a_file_that_may_be_written_but_not_replaced(tmp_path, monkeypatch):
    """An administrator's file for a service that may not write to /run."""
    (tmp_path / "app.pid").write_text("9" * 30)

    def refused(*arguments, **named):
        raise PermissionError(13, "Permission denied")
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *more, **named: (
        refused if flags & os.O_EXCL else real)(path, flags, *more, **named))
    monkeypatch.setattr(os, "unlink", refused)
    file = PidFile(str(tmp_path / "app.pid"))
    file.write()
    assert (tmp_path / "app.pid").read_text() == f"{os.getpid()}\n"
    assert file.remove() and (tmp_path / "app.pid").read_text() == ""
    with pytest.raises(ConfigError, match="Permission denied"):
        PidFile(str(tmp_path / "none.pid")).write()


def test_a_rename_that_fails_leaves_no_draft(tmp_path, monkeypatch):
    def refused(*arguments):
        raise PermissionError(1, "Operation not permitted")  # the directory is sticky
    monkeypatch.setattr(os, "rename", refused)
    (tmp_path / "app.pid").touch()
    PidFile(str(tmp_path / "app.pid")).write()
    assert (tmp_path / "app.pid").read_text() == f"{os.getpid()}\n"
    assert os.listdir(tmp_path) == ["app.pid"]


def test_a_fifo_in_its_place_delays_nothing(tmp_path):
    os.mkfifo(tmp_path / "app.pid")
    file = PidFile(str(tmp_path / "app.pid"))
    assert file.read() is None and not file.remove()
    with pytest.raises(ConfigError, match="is not a regular file"):
        file.write()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
def test_a_pid_file_of_another_user(tmp_path):
    file = PidFile(str(tmp_path / "app.pid"), (65534, -1))
    file.write()
    assert (tmp_path / "app.pid").stat().st_uid == 65534
    assert file.remove()
