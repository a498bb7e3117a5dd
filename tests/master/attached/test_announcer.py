"""Which errors of announcements are logged, and how often."""

import contextlib
import logging
import socket

import pytest

from geventuwsgi.config.load.arguments import read
from geventuwsgi.master.attached.announcer import Announcer
from geventuwsgi.net.address import parse


class Clock:
    """An announcer for one line of a configuration, and the time that passes for it."""

    def __init__(self, tmp_path, caplog, line):
        path = tmp_path / "app.ini"
        path.write_text(f"[uwsgi]\nsocket = 127.0.0.1:1\n{line}\n")
        settings, _ = read(["--ini", str(path)], {})
        self.announcer = Announcer(settings, [parse("127.0.0.1:1")], lambda: 0)
        self.now = 0.0
        self.announcer.start(self.now)
        self._caplog = caplog

    def logged(self):
        """Announce; return what was logged."""
        self._caplog.clear()
        self.now = self.announcer.poll(self.now)
        return [record.getMessage() for record in self._caplog.records
                if record.levelno >= logging.ERROR]


@pytest.fixture
def clock(tmp_path, caplog):
    return lambda line: Clock(tmp_path, caplog, line)


@contextlib.contextmanager
def listening(path, kind):
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
        yield
    path.unlink()


def test_an_error_after_a_router_that_does_not_run(tmp_path, clock):
    path = tmp_path / "router.sock"
    time = clock(f"subscribe-to = {path}:shop")
    assert time.logged() == time.logged() == []     # there is no router
    with listening(path, socket.SOCK_STREAM):
        error, = time.logged()
        assert error.startswith(f"cannot announce to {path} (shop): ") and "wrong type" in error
        assert time.logged() == []                  # the same
    assert time.logged() == []
    with listening(path, socket.SOCK_STREAM):
        assert time.logged() == []
    with listening(path, socket.SOCK_DGRAM):
        assert time.logged() == []
    with listening(path, socket.SOCK_STREAM):
        assert time.logged() == [error]             # it had worked meanwhile


def test_another_error_is_logged(tmp_path, clock):
    path, keys = tmp_path / "router.sock", tmp_path / "keys"
    time = clock(f"subscribe-to = {path}:@{keys}")
    missing, = time.logged()
    assert missing.startswith(f"cannot read the keys of {keys}: ") and time.logged() == []
    keys.mkdir()
    assert "Is a directory" in time.logged()[0] and time.logged() == []
    keys.rmdir()
    keys.write_text("shop\n")
    assert time.logged() == []
    keys.unlink()
    assert time.logged() == [missing]
