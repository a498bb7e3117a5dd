"""Started as root with `uid`: who owns what is created, and what links of that user do."""

import contextlib
import os
import shutil
import signal
import stat
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.harness import Program, Server, reference_uwsgi, wait_until
from tests.integration.nginx import NOBODY, Nginx, ask
from tests.integration.test_start import readable_interpreter

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="not root")]

APP = """
def application(environ, start_response):
    print("printed", environ["PATH_INFO"], flush=True)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
INI = "[uwsgi]\nwsgi-file = app.py\nuid = 65534\ngid = 65534\nmaster = true\n"
CREATED = """\
socket = theirs/a.sock
pidfile = theirs/pidfile
pidfile2 = theirs/pidfile2
safe-pidfile = theirs/safe
safe-pidfile2 = theirs/safe2
logger = file:theirs/all.log
req-logger = file:theirs/requests.log
master-fifo = theirs/fifo
stats = theirs/stats.sock
"""
NAMES = ("a.sock", "pidfile", "pidfile2", "safe", "safe2", "all.log", "requests.log", "fifo",
         "stats.sock")


@pytest.fixture
def theirs(open_path: Path) -> Path:
    """The directory of the application's user."""
    directory = open_path / "theirs"
    directory.mkdir()
    os.chown(directory, NOBODY, NOBODY)
    (open_path / "app.py").write_text(APP)
    return directory


def server_of(directory: Path, ini: str, **named: object) -> Server:
    """Return a server that a Python runs which the user can read."""
    python, packages = readable_interpreter()
    root = Path(__file__).parents[2]
    server = Server(directory, ini=ini, env={"PYTHONPATH": f"{root}:{packages}"}, **named)
    server.argv = (python, *server.argv[1:])
    return server


def facts(path: Path) -> tuple[int, int, str]:
    """Return uid, gid and mode of a file."""
    found = path.lstat()
    return found.st_uid, found.st_gid, f"{stat.S_IMODE(found.st_mode):o}"


def owners(directory: Path, names: tuple[str, ...] = NAMES) -> dict[str, tuple[int, int, str]]:
    """Return the facts of all files, once there are all of them."""
    wait_until(lambda: all((directory / name).exists() for name in names),
               lambda: (names, os.listdir(directory)))
    return {name: facts(directory / name) for name in names}


def test_owners_and_modes_are_those_of_uwsgi(theirs: Path, open_path: Path) -> None:
    """Without `chown-socket` all belongs to uid and gid, but for the first pid file."""
    other = open_path / "uwsgi"
    other.mkdir()
    (other / "theirs").mkdir()
    os.chown(other / "theirs", NOBODY, NOBODY)
    (other / "app.ini").write_text(INI + CREATED)
    uwsgi = reference_uwsgi()
    with Program(uwsgi, "--no-orphans", "app.ini", cwd=other):     # killed: a stop may hang
        # uWSGI opens a log of requests with the first of them.
        expected = owners(other / "theirs", tuple(name for name in NAMES if "requ" not in name))
    expected["requests.log"] = expected["all.log"]
    assert {name: found[:2] for name, found in expected.items()} == {
        name: (0, 0) if name == "pidfile" else (NOBODY, NOBODY) for name in NAMES}
    with server_of(open_path, INI + CREATED, ready=False) as server:
        assert owners(theirs) == expected
        assert server.stop() == 0


def test_what_is_created_in_directories_of_roots(open_path: Path, theirs: Path) -> None:
    """Where uWSGI cannot create anything any more, it is created as root and given away."""
    for name in ("roots", "theirs/roots"):
        (open_path / name).mkdir()
    for name in ("roots", "theirs/roots"):
        ini = INI + CREATED.replace("theirs/", f"{name}/") + "vacuum = true\n"
        if name == "theirs/roots":      # there only the user binds
            ini = ini.replace("roots/a.sock", "a.sock").replace("roots/stats", "stats")
        with server_of(open_path, ini, ready=False) as server:
            found = owners(open_path / name, NAMES[1:-1] if "/" in name else NAMES)
            assert {entry[:2] for entry in found.values()} == {(0, 0), (NOBODY, NOBODY)}
            assert [one for one, entry in found.items() if not entry[0]] == ["pidfile"]
            assert server.stop() == 0
        assert sorted(os.listdir(open_path / name)) == ["all.log", "requests.log"]


def test_a_reload_changes_the_socket_that_was_given_away(open_path: Path, theirs: Path) -> None:
    ini = INI + "socket = theirs/a.sock\nchown-socket = daemon:daemon\n"
    with server_of(open_path, ini) as server:
        assert facts(theirs / "a.sock") == (1, 1, "755")
        (open_path / "app.ini").write_text(ini + "chmod-socket = 660\n")
        server.send_signal(signal.SIGHUP)
        server.wait_for("ready: ", 2)
        assert facts(theirs / "a.sock") == (1, 1, "660")
        (theirs / "a.sock").unlink()
        (theirs / "a.sock").symlink_to(open_path / "app.py")
        server.send_signal(signal.SIGHUP)
        server.wait_for("a.sock: its options cannot be changed: [Errno 1] another user has rep")
        assert server.stop() == 0
    assert facts(open_path / "app.py") == (0, 0, "644")


DEBIAN = """\
[uwsgi]
autoload = true
master = true
workers = 2
no-orphans = true
pidfile = theirs/pid
socket = theirs/socket
chmod-socket = 660
log-date = true
uid = %d
gid = %d
wsgi-file = app.py
"""


def test_nginx_in_front_of_debians_default_ini(open_path: Path, theirs: Path) -> None:
    """nginx as the same user connects; as root's socket of mode 660 every request was a 502."""
    for place in ("theirs", "roots"):
        (open_path / "roots").mkdir(exist_ok=True)
        ini = (DEBIAN % (NOBODY, NOBODY)).replace("theirs", place)
        with server_of(open_path, ini) as server:
            path = open_path / place / "socket"
            assert facts(path) == (NOBODY, NOBODY, "660")
            assert not server.find("only its owner can connect")
            with Nginx(open_path / "nginx", "uwsgi", f"unix:{path}") as nginx:
                assert nginx.ask("/").body == b"ok"
            assert server.stop() == 0


# Each option that names a file which root opens or creates; %s is the file.
OPTIONS = {
    "logto": "logto = %s", "logger": "logger = file:%s", "req-logger": "req-logger = file:%s",
    "error-logfile": "error-logfile = %s", "access-logfile": "access-logfile = %s",
    "log-maxsize": "logto = %s\nlog-maxsize = 100", "logfile-chown":
    "logto = %s\nlogfile-chown = true\nlogfile-chmod = 666",
    "log-truncate": "logto = %s\nlog-truncate = true",
    "truncated-size": "logto = %s\nlog-maxsize = 100\nlog-truncate = true",
    "daemonize": "daemonize = %s", "flock": "flock = %s", "pidfile": "pidfile = %s",
    "safe-pidfile": "safe-pidfile = %s", "master-fifo": "master-fifo = %s", "socket":
    "uwsgi-socket = %s\nchmod-socket = 666\nchown-socket = nobody"}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("way", ["file", "directory"])
def test_root_follows_no_link_of_the_applications_user(open_path: Path, theirs: Path, option: str,
                                                       way: str) -> None:
    """Neither to a file nor to a directory; nothing changes there, and nothing is created."""
    secrets = open_path / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "file").write_text("precious\n")
    (secrets / "file").chmod(0o600)
    before = facts(secrets / "file"), facts(secrets)
    if way == "file":
        (theirs / "file").symlink_to(secrets / "file")
    else:
        (theirs / "link").symlink_to(secrets)
    name = "theirs/file" if way == "file" else "theirs/link/new"
    ini = INI + "http-socket = 127.0.0.1:0\n" + OPTIONS[option] % name + "\n"
    with server_of(open_path, ini, ready=False) as server:
        if option in ("pidfile", "safe-pidfile") and way == "file":
            server.wait_for("ready: ")      # the link is replaced
            assert not (theirs / "file").is_symlink()
            assert server.stop() == 0
        else:
            assert server.wait() == 1
            assert server.find("ermission denied") or server.find("is not a "), server.log
            assert not server.find("Traceback")
    assert (facts(secrets / "file"), facts(secrets)) == before
    assert (secrets / "file").read_text() == "precious\n"
    assert os.listdir(secrets) == ["file"]


@pytest.mark.parametrize("option", ["logto", "logger", "req-logger", "error-logfile",
                                    "access-logfile", "log-maxsize", "logfile-chown"])
def test_root_reopens_no_link_of_the_applications_user(open_path: Path, theirs: Path,
                                                       option: str) -> None:
    """After a rotation the old file stays in use."""
    secret = open_path / "secret"
    secret.write_text("precious\n")
    secret.chmod(0o600)
    before = facts(secret)
    ini = INI + f"http-socket = {open_path}/http.sock\n" + OPTIONS[option] % "theirs/file" + "\n"
    with server_of(open_path, ini, ready=False) as server:
        wait_until(lambda: answers(open_path), lambda: server.log)
        (theirs / "file").rename(theirs / "old")
        (theirs / "file").symlink_to(secret)
        server.send_signal(signal.SIGUSR1)
        wait_until(lambda: server.find("cannot be reopened")
                   or "cannot be reopened" in (theirs / "old").read_text(), lambda: server.log)
        for number in range(5):
            assert ask(str(open_path / "http.sock"), f"/{number}").body == b"ok"
        assert server.stop() == 0
    assert facts(secret) == before and secret.read_text() == "precious\n"


def test_root_loads_no_key_that_a_link_names(open_path: Path, theirs: Path) -> None:
    """The workers would have another service's key in their memory; root's own file is used."""
    other, own = Authority(open_path, "other-"), Authority(theirs)
    _, key = other.issue("secret", "localhost")
    shutil.copy(open_path / "secret.crt", theirs / "here.crt")
    (theirs / "here.key").symlink_to(key)
    ini = INI + "https-socket = 127.0.0.1:0,theirs/here.crt,theirs/here.key\n"
    with server_of(open_path, ini, ready=False) as server:
        assert server.wait() == 1
        assert server.find("app.ini:6: https-socket: cannot read the private key theirs/here.key: "
                           "Permission denied for uid 65534"), server.log
    (theirs / "here.key").unlink()
    own.issue("here", "localhost")      # owned by root, mode 0600
    with server_of(open_path, ini) as server:
        (theirs / "here.key").unlink()
        (theirs / "here.key").symlink_to(key)
        server.send_signal(signal.SIGHUP)
        server.wait_for("cannot read the private key theirs/here.key: Permission denied")
        assert server.stop() == 0


def answers(directory: Path) -> bool:
    """Whether the server of a directory answers."""
    with contextlib.suppress(OSError):
        return ask(str(directory / "http.sock")).body == b"ok"
    return False


def test_a_log_that_uwsgi_left_as_roots(open_path: Path, theirs: Path) -> None:
    """uWSGI creates its log before it drops root; that file is appended to, not given away."""
    (theirs / "a.log").write_text("old\n")
    (theirs / "a.log").chmod(0o640)
    with server_of(open_path, INI + "http-socket = 127.0.0.1:0\nlogto = theirs/a.log\n",
                   ready=False) as server:
        wait_until(lambda: "ready: " in (theirs / "a.log").read_text(), lambda: server.log)
        assert server.stop() == 0
    assert facts(theirs / "a.log") == (0, 0, "640")
    assert (theirs / "a.log").read_text().startswith("old\n")


@pytest.mark.parametrize("line, name", [
    ("env-file = theirs/env", "theirs/env"), ("envdir = theirs/directory", "theirs/directory/X")])
def test_root_reads_no_variables_through_a_link(open_path: Path, theirs: Path, line: str,
                                                name: str) -> None:
    """They would be in the environment of the application."""
    secret = open_path / "secret"
    secret.write_text("PASSWORD=1\n")
    secret.chmod(0o600)
    (theirs / "directory").mkdir()
    os.chown(theirs / "directory", NOBODY, NOBODY)
    ini = INI.replace("[uwsgi]", "[geventuwsgi]") + f"http-socket = 127.0.0.1:0\n{line}\n"
    (open_path / name).write_text("A=1\n")
    with server_of(open_path, ini) as server:
        (open_path / name).unlink()
        (open_path / name).symlink_to(secret)
        server.send_signal(signal.SIGHUP)
        server.wait_for(f"{line.partition(' ')[0]}: cannot read {name}: Permission denied for uid")
        assert server.stop() == 0


def test_a_fifo_that_cannot_be_removed_does_not_end_the_clean_up(open_path: Path,
                                                                 theirs: Path) -> None:
    """The user of the application takes the right to write from its directory."""
    ini = INI + ("http-socket = 127.0.0.1:0\nsocket = a.sock\npidfile = pid\nvacuum = true\n"
                 "master-fifo = theirs/fifo\n")
    with server_of(open_path, ini) as server:
        theirs.chmod(0o555)
        assert server.stop() == 0, server.log
        assert server.find("cannot remove the FIFO"), server.log
        assert "Traceback" not in server.log
    assert not (open_path / "a.sock").exists() and not (open_path / "pid").exists()
