"""Waiting for files, mounts, interfaces and servers; lock files; pinging and reading a socket."""

import os
import socket
import subprocess
import sys
import threading

import pytest

from geventuwsgi.errors import BindError, ConfigError, GeventuwsgiError
from geventuwsgi.master.attached.hooks import Hook, act
from geventuwsgi.system import probe
from geventuwsgi.system.filelock import FileLocks
from geventuwsgi.system.probe import wait_for


@pytest.fixture
def listening():
    """A socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def name_of(sock):
    return "%s:%d" % sock.getsockname()


def test_nothing_to_wait_for(tmp_path, listening):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for kind, name in (("fs", tmp_path), ("fs", tmp_path / "link"), ("file", tmp_path / "file"),
                       ("dir", tmp_path), ("mountpoint", "/"), ("interface", "lo"),
                       ("socket", name_of(listening)),
                       ("socket", f":{listening.getsockname()[1]}")):
        wait_for(kind, str(name), 0.0)


@pytest.mark.parametrize("kind, name", [
    ("fs", "nothing"), ("file", "."), ("dir", "file"), ("mountpoint", "."),
    ("interface", "nonesuch0"), ("socket", "./nothing.sock"), ("socket", "nowhere.invalid:1")])
def test_a_timeout(tmp_path, monkeypatch, kind, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(TimeoutError) as caught:
        wait_for(kind, name, 0.15)
    assert f"{name} is not there after 0.15 seconds" in str(caught.value.strerror)


def test_an_invalid_address():
    with pytest.raises(BindError):
        wait_for("socket", "127.0.0.1:many", 1.0)


def test_a_file_that_appears_later(tmp_path):
    path = tmp_path / "late"
    timer = threading.Timer(0.15, path.touch)
    timer.start()
    act(Hook("pre-app", "app.ini:1", "wait_for_file", str(path)))
    timer.join()
    assert path.is_file()


def test_a_locked_file(tmp_path):
    path = str(tmp_path / "lock")
    first, second = FileLocks(), FileLocks()
    first.lock(path, wait=False)
    with pytest.raises(ConfigError, match="lock is locked by another process"):
        second.lock(path, wait=False)
    with pytest.raises(ConfigError, match="cannot lock .*: Is a directory"):
        second.lock(str(tmp_path), wait=False)
    waiter = threading.Thread(target=second.lock, args=(path,), kwargs={"wait": True})
    waiter.start()
    os.close(first.fds[0])
    waiter.join(60)
    assert not waiter.is_alive()
    for fd in second.fds:
        os.close(fd)


def test_the_lock_of_a_process_that_is_killed_is_free(tmp_path):
    path = str(tmp_path / "lock")
    with subprocess.Popen(
            [sys.executable, "-c", "import sys; from geventuwsgi.system.filelock import FileLocks;"
             " FileLocks().lock(sys.argv[1], wait=False); print(1, flush=True); input()", path],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.getcwd()}) as other:
        assert other.stdout.readline() == b"1\n"
        mine = FileLocks()
        with pytest.raises(ConfigError):
            mine.lock(path, wait=False)
        other.kill()
        other.wait()
        mine.lock(path, wait=False)
    for fd in mine.fds:
        os.close(fd)


def answering(listening, answer):
    """Answer one connection with these bytes; return the thread, and what it received."""
    received = []

    def serve():
        with listening.accept()[0] as sock:
            received.append(sock.recv(4))
            sock.sendall(answer)
    thread = threading.Thread(target=serve)
    thread.start()
    return thread, received


@pytest.mark.parametrize("answer, outcome", [
    (b"\x64\x00\x00\x01", ""), (b"\x64\x05\x00\x01tired", "tired"),
    (b"HTTP/1.1 400", GeventuwsgiError), (b"\x64", GeventuwsgiError)])
def test_ping(listening, answer, outcome):
    thread, received = answering(listening, answer)
    written = []
    if outcome is GeventuwsgiError:
        with pytest.raises(GeventuwsgiError):
            probe.ping(name_of(listening), 30.0, written.append)
    else:
        probe.ping(name_of(listening), 30.0, written.append)
        assert outcome in "".join(written)
    thread.join()
    assert received == [b"\x64\x00\x00\x00"]


def test_a_ping_without_a_response(listening):
    name = name_of(listening)
    with pytest.raises(GeventuwsgiError, match="does not answer: timed out"):
        probe.ping(name, 0.1, print)    # it listens and sends nothing
    listening.close()
    with pytest.raises(GeventuwsgiError, match="does not answer: Connection refused"):
        probe.ping(name, 3.0, print)


def test_reading_all_of_a_socket(tmp_path):
    path = str(tmp_path / "stacks")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve():
            with listening.accept()[0] as sock:
                sock.sendall(b"a stack\n" * 5000)
        thread = threading.Thread(target=serve)
        thread.start()
        written = []
        probe.read_all(path, 30.0, written.append)
        thread.join()
    assert "".join(written) == "a stack\n" * 5000
    with pytest.raises(GeventuwsgiError, match="stacks: Connection refused"):
        probe.read_all(path, 1.0, print)
