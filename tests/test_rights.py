"""Root, a user below it, and the links which that user places."""

import contextlib
import os
import stat
from pathlib import Path

import pytest

from geventuwsgi import rights
from geventuwsgi.config.load.arguments import read
from geventuwsgi.errors import ConfigError
from geventuwsgi.master.attached.announcer import Announcer
from geventuwsgi.net.address import parse
from geventuwsgi.rights import User, acting_as, give_away, open_file, reaching, rights_for

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="not root")]
NOBODY = User(65534, 65534, (65534,))
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def written(path: Path, user: User | None = NOBODY) -> str:
    """Open a file as a log is, write to it; return its owner, or the error."""
    try:
        fd = open_file(str(path), APPEND, 0o640, user).fd
    except OSError as error:
        return type(error).__name__
    with os.fdopen(fd, "wb") as file:
        file.write(b"line\n")
        return str(os.fstat(file.fileno()).st_uid)


@pytest.fixture
def theirs(open_path: Path) -> Path:
    """A directory of the user's, beside which root has a secret."""
    (open_path / "secret").write_text("s")
    (open_path / "secret").chmod(0o600)
    (open_path / "only").mkdir(mode=0o700)
    directory = open_path / "theirs"
    directory.mkdir()
    os.chown(directory, 65534, 65534)
    return directory


def test_who_opens_and_owns_a_file(open_path: Path, theirs: Path) -> None:
    (theirs / "ours").mkdir()
    (theirs / "roots.log").touch(0o640)
    (open_path / "way").symlink_to(theirs)
    (open_path / "sticky").mkdir()
    (open_path / "sticky").chmod(0o1777)
    (open_path / "sticky" / "old.log").touch()
    found = {name: written(open_path / name) for name in (
        "a.log", "only/a.log", "theirs/a.log", "way/b.log", "theirs/ours/a.log",
        "theirs/roots.log", "sticky/old.log", "sticky/new.log", "theirs/ours/../c.log")}
    assert found == {
        "a.log": "0", "only/a.log": "0", "theirs/a.log": "65534", "way/b.log": "65534",
        "theirs/ours/a.log": "0", "theirs/roots.log": "0", "sticky/old.log": "0",
        "sticky/new.log": "65534", "theirs/ours/../c.log": "65534"}
    assert written(open_path / "none" / "a.log") == "FileNotFoundError"
    assert written(theirs / "none" / "a.log") == "FileNotFoundError"
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_links_lead_to_nothing_that_the_user_could_not_open(open_path: Path,
                                                            theirs: Path) -> None:
    secret, only = open_path / "secret", open_path / "only"
    (only / "below").mkdir(mode=0o755)
    (theirs / "a.log").symlink_to(secret)
    (theirs / "hard.log").hardlink_to(secret)
    (theirs / "dangling.log").symlink_to(open_path / "new")
    (theirs / "directory").symlink_to(only)
    (theirs / "deep").symlink_to(only / "below")
    (theirs / "loop").symlink_to("loop")
    (open_path / "relative").symlink_to("theirs/directory")
    for name in ("a.log", "hard.log", "dangling.log", "directory/a.log", "deep/a.log",
                 "../theirs/a.log", "../relative/a.log", "../only/../theirs/directory/b.log"):
        assert written(theirs / name) == "PermissionError", name
    assert written(theirs / "loop") == "OSError"
    assert secret.read_text() == "s" and os.listdir(only) == ["below"]
    assert not os.listdir(only / "below") and not (open_path / "new").exists()


def test_a_fifo_of_the_user_delays_nothing(theirs: Path) -> None:
    os.mkfifo(theirs / "a.log")
    os.chown(theirs / "a.log", 65534, 65534)
    assert written(theirs / "a.log") == "OSError"
    fd = os.open(theirs / "a.log", os.O_RDWR)
    assert written(theirs / "a.log") == "65534"
    os.close(fd)


def test_reading(open_path: Path, theirs: Path) -> None:
    (theirs / "roots").write_text("own")
    (theirs / "roots").chmod(0o600)
    (theirs / "link").symlink_to(open_path / "secret")
    (theirs / "open").symlink_to(theirs / "roots")
    assert rights.read_file(str(theirs / "roots"), NOBODY) == b"own"
    assert rights.read_file(str(open_path / "secret"), NOBODY) == b"s"
    os.mkfifo(theirs / "fifo", 0o666)
    fd = os.open(theirs / "fifo", os.O_RDWR)
    for name in ("link", "open", "fifo"):
        with pytest.raises(OSError):
            rights.read_file(str(theirs / name), NOBODY)
    os.close(fd)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(IsADirectoryError, match="theirs"):
        rights.read_file(str(theirs), NOBODY)
    assert os.listdir("/proc/self/fd") == before


def test_the_groups_of_the_user_are_those_of_the_roles(open_path: Path, theirs: Path) -> None:
    """A directory that is open to a group which the user has by `gid` or `add-gid` only."""
    secret = open_path / "secret"
    (theirs / "env").symlink_to(secret)
    (theirs / "key").symlink_to(secret)
    os.chown(theirs, 0, 12345)
    theirs.chmod(0o775)
    ini = open_path / "app.ini"
    for line in ("gid = 12345", "add-gid = 12345"):
        for option in (f"env-file = {theirs}/env",
                       f"subscribe2 = server=127.0.0.1:2,key=a,sign=SHA256:{theirs}/key"):
            ini.write_text(f"[geventuwsgi]\nwsgi-file = app.py\nuid = nobody\n{line}\n{option}\n"
                           "socket = 127.0.0.1:1\n")
            with pytest.raises(ConfigError, match="Permission denied for uid 65534"):
                settings, _ = read(["--ini", str(ini)], {})
                assert settings is not None
                Announcer(settings, [parse("127.0.0.1:1")], lambda: 0)


def test_roots_own_groups_are_not_used(open_path: Path, theirs: Path) -> None:
    """A file of root's group is not open to the user."""
    (open_path / "secret").chmod(0o660)
    (theirs / "a.log").symlink_to(open_path / "secret")
    assert written(theirs / "a.log") == "PermissionError"


def test_only_a_certain_file_is_given_away(open_path: Path, theirs: Path) -> None:
    (open_path / "open").write_text("")
    (open_path / "open").chmod(0o666)
    (theirs / "a.log").symlink_to(open_path / "open")
    for name, certain in (("a.log", False), ("b.log", True), ("../c.log", True)):
        file = open_file(str(theirs / name), APPEND, 0o640, NOBODY)
        os.close(file.fd)
        assert file.certain == certain, name
    give_away(str(theirs / "b.log"), (1, 1), 0o604, NOBODY)
    found = (theirs / "b.log").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1, 1, 0o604)
    (theirs / "to-secret").symlink_to(open_path / "secret")
    (theirs / "directory").symlink_to(open_path)
    (theirs / "hard").hardlink_to(open_path / "secret")
    for name in ("to-secret", "directory/secret", "hard"):
        for user in (NOBODY, None)[:1 + (name == "to-secret")]:
            with pytest.raises(PermissionError, match="another user has replaced it"):
                give_away(str(theirs / name), (65534, 65534), 0o644, user)
    found = (open_path / "secret").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)


def test_rename_and_remove(open_path: Path, theirs: Path) -> None:
    (open_path / "only" / "a.log").write_text("kept")
    (theirs / "directory").symlink_to(open_path / "only")
    with pytest.raises(PermissionError):
        rights.rename(str(theirs / "directory" / "a.log"), str(theirs / "stolen"), NOBODY)
    with pytest.raises(PermissionError), \
            reaching(str(theirs / "directory" / "a.log"), NOBODY) as name:
        os.unlink(name)
    (theirs / "ours").mkdir()
    (theirs / "ours" / "a.log").touch()
    rights.rename(str(theirs / "ours" / "a.log"), str(theirs / "ours" / "b.log"), NOBODY)
    with reaching(str(theirs / "ours" / "b.log"), NOBODY) as name:
        os.unlink(name)
    assert (open_path / "only" / "a.log").read_text() == "kept"


def test_without_another_user_nothing_changes(theirs: Path, open_path: Path) -> None:
    assert rights_for(str(theirs / "a.log"), None) is None
    assert written(theirs / "a.log", None) == "0"
    with acting_as(NOBODY):     # as after a role has dropped root
        assert rights_for(str(theirs / "b.log"), NOBODY) is None
        assert written(theirs / "b.log") == "65534"


def test_a_link_that_comes_and_goes(open_path: Path, theirs: Path) -> None:
    """The user exchanges files and directories all the time; nothing reaches root's."""
    only, secret = open_path / "only", open_path / "secret"
    (theirs / "way").mkdir()
    os.chown(theirs / "way", 65534, 65534)
    ended = os.fork()
    if not ended:
        with contextlib.suppress(BaseException):
            os.setgid(65534), os.setuid(65534)
            os.chdir(theirs)
            os.symlink(only, "to-only")
            os.symlink(secret, "to-secret")
            while True:
                os.rename("way", "mine"), os.rename("to-only", "way")
                os.rename("way", "to-only"), os.rename("mine", "way")
                with contextlib.suppress(OSError):
                    os.link("to-secret", "way/a.log", follow_symlinks=False)
                    os.unlink("way/a.log")
        os._exit(0)
    try:
        found = {written(theirs / "way" / "a.log") for _ in range(2000)}
    finally:
        os.kill(ended, 9)
        os.waitpid(ended, 0)
    assert found <= {"65534", "PermissionError", "FileNotFoundError"}
    assert secret.read_text() == "s" and not os.listdir(only)


def test_absolute_paths_after_the_start_directory_is_gone(open_path: Path, theirs: Path) -> None:
    before = os.getcwd()
    (open_path / "start").mkdir()
    os.chdir(open_path / "start")
    try:
        (open_path / "start").rmdir()
        assert [written(open_path / "a.log"), written(theirs / "a.log")] == ["0", "65534"]
        assert written(Path("a.log")) == "FileNotFoundError"
    finally:
        os.chdir(before)
