"""Dropping root, each time in a process of its own because it cannot be undone."""

import json
import os
import subprocess
import sys

import pytest

from geventuwsgi.errors import ConfigError
from geventuwsgi.privileges import Identity, warn_about_root

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.getuid() != 0, reason="needs root")]

CODE = """
import grp, json, os, pwd, sys
os.__file__ = "/etc/passwd"     # the interpreter of the tests may lie in root's home
from geventuwsgi.privileges import Identity
*arguments, initgroups = json.loads(sys.argv[1])
Identity(*arguments, initgroups=initgroups).assume()
print(json.dumps([os.getresuid(), os.getresgid(), sorted(os.getgroups())]))
"""


def assume(*arguments, initgroups=True):
    result = subprocess.run([sys.executable, "-c", CODE, json.dumps([*arguments, initgroups])],
                            capture_output=True, text=True,
                            env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("arguments, uid, gid, groups", [
    (("nobody", None), 65534, 65534, [65534]),          # the user's own group, not root's
    (("65534", "1"), 65534, 1, [1]),
    (("nobody", "daemon", [7, "bin"]), 65534, 1, [1, 2, 7]),
    (("4242", None), 4242, 0, []),                      # a container's uid without a name
    (("4242", "4343"), 4242, 4343, [4343]),
    ((None, "4343"), 0, 4343, [4343]),
    ((None, None), 0, 0, None),
])
def test_user_and_groups_of_a_role(arguments, uid, gid, groups):
    uids, gids, found = assume(*arguments)
    assert uids == [uid] * 3 and gids == [gid] * 3
    assert groups is None or found == groups


def test_an_interpreter_that_the_user_cannot_read(tmp_path):
    (tmp_path / "os.py").write_text("")
    (tmp_path / "os.py").chmod(0o600)
    code = CODE.replace("/etc/passwd", str(tmp_path / "os.py"))
    result = subprocess.run([sys.executable, "-c", code, '["nobody", null, true]'], text=True,
                            capture_output=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert "cannot read Python's library" in result.stderr


def test_an_unknown_user_or_group():
    with pytest.raises(ConfigError, match="uid: there is no user 'nosuchuser'"):
        Identity("nosuchuser", None)
    with pytest.raises(ConfigError, match="gid: there is no group 'nosuchgroup'"):
        Identity(None, "nosuchgroup")


def test_running_as_root_is_two_lines(caplog):
    warn_about_root(Identity(None, None), "geventuwsgi")
    assert len(caplog.records) == 2 and "running geventuwsgi as root" in caplog.text
    caplog.clear()
    warn_about_root(Identity("nobody", None), "geventuwsgi")
    assert not caplog.records


def test_without_root_a_warning_is_logged():
    code = ("import logging, os; logging.basicConfig()\n"
            "from geventuwsgi.privileges import Identity\n"
            "who = Identity('12', '13'); os.setuid(4242); who.assume(); print(os.getuid())")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert result.stdout == "4242\n", result.stderr
    assert "cannot setuid(12) as non-root user" in result.stderr
    assert "cannot setgid(13) as non-root user" in result.stderr


def test_groups_in_addition_to_those_of_the_user():
    assert assume("nobody", None, [7], initgroups=False) == [[65534] * 3, [65534] * 3, [7, 65534]]
    own = sorted(os.getgroups())
    assert assume(None, None, ["bin"]) == [[0] * 3, [0] * 3, sorted({*own, 2})]
