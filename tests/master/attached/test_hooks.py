"""What hooks do, one by one, on real files."""

import os
import stat
import sys

import pytest

from geventuwsgi.errors import HookError
from geventuwsgi.master.attached import hooks
from geventuwsgi.master.attached.hooks import Hook
from geventuwsgi.rights import User
from geventuwsgi.system.program import ProgramContext

CONTEXT = ProgramContext({"PATH": os.environ["PATH"]})


def run(action, argument, phase="asap"):
    hooks.run([Hook("asap", "app.ini:7: hook-asap", action, argument)], phase, CONTEXT)


def test_files_are_made_written_and_removed(tmp_path):
    path = tmp_path / "a file"
    plain = tmp_path / "plain"
    run("create", str(path))
    assert path.read_bytes() == b""
    run("unlink", str(path))
    run("unlink", str(path))  # a missing file is not an error
    assert not path.exists()
    run("write", f"{plain} one two")
    run("append", f"{plain} three")
    assert plain.read_text() == "one twothree"
    run("writen", f"{plain} new")
    run("appendn", f"{plain} line")
    run("appendn", f"{plain}")
    assert plain.read_text() == "new\nline\n\n"


def test_a_touch_creates_a_file_or_changes_its_time(tmp_path):
    path = tmp_path / "touched"
    run("touch", str(path))
    os.utime(path, (1, 1))
    path.write_text("stays")
    os.utime(path, (1, 1))
    run("touch", str(path))
    assert path.stat().st_mtime > 1e9 and path.read_text() == "stays"


def test_directories_and_modes(tmp_path):
    path = tmp_path / "place"
    run("mkdir", str(path))
    run("mkdir", str(path))
    run("chmod", f"{path} 750")
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    run("sticky", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o1750
    (tmp_path / "file").touch()
    with pytest.raises(HookError, match="File exists"):
        run("mkdir", str(tmp_path / "file"))


def test_chdir_changes_sys_path_too(tmp_path, monkeypatch):
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/elsewhere"])
    run("chdir", "new")
    assert os.getcwd() == str(tmp_path / "new")
    assert sys.path == [str(tmp_path / "new"), "/elsewhere"]
    with pytest.raises(HookError, match="No such file"):
        run("cd", "none")


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_owners(tmp_path):
    path = tmp_path / "file"
    path.touch()
    run("chown", f"{path} daemon nogroup")
    assert (path.stat().st_uid, path.stat().st_gid) == (1, 65534)
    run("chown2", f"{path} 12 34")
    assert (path.stat().st_uid, path.stat().st_gid) == (12, 34)


def test_a_fifo_without_a_reader_is_not_a_failure(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    run("writefifo", f"{path} text")
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    run("writefifo", f"{path} text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)


def test_commands(tmp_path):
    run("exec", f"echo one > {tmp_path}/out; exit 0")
    assert (tmp_path / "out").read_text() == "one\n"
    run("safeexec", "exit 5")
    run("exec", "false", phase="pre-app")  # another phase


@pytest.mark.parametrize("action, argument, words", [
    ("exec", "exit 5", "exit status 5"), ("run", "kill -9 $$", "killed by signal 9"),
    ("exec", "nosuchcommand-at-all 2>/dev/null", "exit status 127: command not found"),
    ("exec", "/no/such/program", "No such file or directory"),
    ("write", "/no/such/place text", "No such file or directory"),
    ("chown", "/etc nobody-has-this root", "name not found"),
    ("chmod", "/no/such/place 644", "No such file or directory")])
def test_a_failure_names_line_and_cause(action, argument, words):
    with pytest.raises(HookError) as caught:
        run(action, argument)
    assert str(caught.value).startswith(f'app.ini:7: hook-asap: "{action}:{argument}": ')
    assert words in str(caught.value) and caught.value.exit_status == 1


def test_the_first_failure_ends_a_phase(tmp_path):
    several = [Hook("asap", "here", "exec", "false"),
               Hook("asap", "here", "touch", str(tmp_path / "x"))]
    with pytest.raises(HookError):
        hooks.run(several, "asap", CONTEXT)
    assert not (tmp_path / "x").exists()


def test_a_private_hook_keeps_its_argument_out_of_the_log():
    with pytest.raises(HookError) as caught:
        hooks.run([Hook("asap", "app.ini:7: hook-asap", "exec", "test secret = x", True)],
                  "asap", CONTEXT)
    assert "secret" not in str(caught.value)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="not root")
@pytest.mark.parametrize("way", ["file", "directory"])
@pytest.mark.parametrize("action, more", [
    ("touch", ""), ("create", ""), ("write", " x"), ("writen", " x"), ("append", " x"),
    ("appendn", " x"), ("writefifo", " x"), ("unlink", ""), ("mkdir", ""), ("chmod", " 777"),
    ("sticky", ""), ("chown", " 65534 65534"), ("chown2", " 65534 65534")])
def test_hooks_of_root_follow_no_link_of_the_user(open_path, action, more, way):
    """They work on what is really there, and on paths that the user cannot change."""
    user, theirs, secrets = User(65534, 65534, ()), open_path / "theirs", open_path / "secrets"
    for path in (theirs, secrets):
        path.mkdir(mode=0o755)
    os.chown(theirs, 65534, 65534)
    secret = secrets / "file"
    secret.write_text("s")
    secret.chmod(0o600)
    before, listed = secret.stat(), os.listdir(secrets)
    (theirs / "file").symlink_to(secret)
    (theirs / "way").symlink_to(secrets)
    name = theirs / "file" if way == "file" else theirs / "way" / (
        "new" if action in ("create", "mkdir", "touch") else "file")

    def act(path):
        hooks.run([Hook("as-root", "a.ini:1: hook-as-root", action, f"{path}{more}")], "as-root",
                  CONTEXT, user)
    if (action, way) == ("unlink", "file"):
        act(name)       # the link itself
        assert not name.is_symlink()
    else:
        with pytest.raises(HookError):
            act(name)
    after = secret.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (
        before.st_mode, before.st_uid, before.st_mtime_ns)
    assert secret.read_text() == "s" and os.listdir(secrets) == listed
    for directory in (theirs, secrets):
        path = directory / "real"
        if action != "mkdir":
            path.touch()
        act(path)
        assert path.exists() == (action != "unlink")
        if "chown" in action:
            assert path.stat().st_uid == 65534
