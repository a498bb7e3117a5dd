"""Socket files of servers that have ended, for stream and datagram sockets."""

import os
import socket
from pathlib import Path

import pytest

from geventuwsgi.errors import BindError
from geventuwsgi.net.address import Address
from geventuwsgi.net.listener import clear_stale

KINDS = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])


def bound(path: Path, kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def clear(path: Path, kind: int) -> None:
    clear_stale(Address(socket.AF_UNIX, path=str(path)), str(path), kind)


@KINDS
def test_a_stale_file_is_removed(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "a.sock"
    clear(path, kind)
    bound(path, kind).close()
    clear(path, kind)
    assert os.listdir(tmp_path) == []


@KINDS
def test_the_socket_of_a_running_server_is_refused(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "a.sock"
    with bound(path, kind), pytest.raises(BindError, match="already in use"):
        clear(path, kind)
    assert path.is_socket()


@KINDS
def test_a_regular_file_is_kept(tmp_path: Path, kind: int) -> None:
    """A datagram connect(2) to it is refused as if it were a stale socket."""
    path = tmp_path / "a.sock"
    path.write_text("data")
    with pytest.raises(BindError, match="is no.* socket"):
        clear(path, kind)
    assert path.read_text() == "data"
