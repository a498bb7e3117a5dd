"""Mountpoints: what the kernel lists, and that an instance stops without one."""

from pathlib import Path

import pytest

from geventuwsgi.master.attached.file_watch import Mounts, mountpoints
from tests.harness import Server

LINE = "36 35 98:0 / %s rw,noatime shared:1 - ext3 /dev/root rw\n"


def test_the_list(tmp_path: Path) -> None:
    listed = tmp_path / "mountinfo"
    listed.write_text(LINE % "/" + LINE % "/mnt/a\\040b" + "\n")
    assert mountpoints(str(listed)) == {"/", "/mnt/a b"}
    assert "/proc" in mountpoints()


def test_one_that_is_unmounted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listed = tmp_path / "mountinfo"
    listed.write_text(LINE % "/a" + LINE % "/b")
    mounts = Mounts(["/a/", "/x/../b"], str(listed))
    assert mounts.poll(0.0) == 1.0 and mounts.exit_status is None  # not started yet
    mounts.start(0.0)
    assert mounts.poll(0.0) == 1.0 and mounts.exit_status is None
    listed.write_text(LINE % "/b")
    assert mounts.poll(0.5) == 1.0 and mounts.exit_status is None
    mounts.poll(1.0)
    assert mounts.exit_status == 1 and "/a is no longer a mountpoint" in caplog.text


def test_a_reload_changes_them(tmp_path: Path) -> None:
    mounts = Mounts(["/proc"])
    mounts.start(0.0)
    mounts.poll(0.0)
    assert mounts.exit_status is None
    mounts.replace([str(tmp_path)])
    mounts.poll(1.0)
    assert mounts.exit_status == 1


def test_the_instance_stops(tmp_path: Path) -> None:
    app = "def application(environ, start_response):\n    return []\n"
    with Server(tmp_path, "app", "--workers", "1", "--mount-check", "/proc", "--check-mount",
                str(tmp_path), app=app, ready=False) as server:
        assert server.wait() == 1
        server.wait_for(f"{tmp_path} is no longer a mountpoint (mount-check)")
