"""A stream has one reader and one sender at a time, and none after its end."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.exceptions import ConcurrentObjectUseError

from geventuwsgi.errors import ClientDisconnected
from geventuwsgi.net.acceptor import adopt
from geventuwsgi.net.stream import Stream


@pytest.fixture
def peers() -> Iterator[tuple[Stream, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(adopt(ours.detach(), socket.AF_UNIX), gevent.get_hub(), 5.0)
    with theirs:
        yield stream, theirs
        stream.close()


def test_a_second_reader_does_not_replace_the_first(peers: tuple[Stream, socket.socket]) -> None:
    stream, theirs = peers
    first = gevent.spawn(stream.receive, 5.0)
    gevent.sleep(0)
    with pytest.raises(ConcurrentObjectUseError):
        stream.receive(5.0)
    theirs.send(b"for the first")
    assert first.get(timeout=5) == b"for the first"


@pytest.mark.parametrize("end", [Stream.forget, Stream.close])
def test_a_closed_stream_does_not_wait(
        peers: tuple[Stream, socket.socket], end: Callable[[Stream], None]) -> None:
    """libev aborts the process when a watcher of a closed descriptor is started."""
    stream, theirs = peers
    theirs.send(b"first")
    assert stream.receive(5.0) == b"first"
    end(stream)
    with pytest.raises(ClientDisconnected):
        stream.receive(5.0)
    with pytest.raises(ClientDisconnected):
        stream.send(b"late")


@pytest.mark.parametrize("send", [
    lambda stream, file: stream.send(b"second"),
    lambda stream, file: stream.send_pair(b"second", b""),
    lambda stream, file: stream.send_pair(b"second", b"x" * 100_000),
    lambda stream, file: stream.send_file(file.fileno(), 0, 100)])
def test_a_second_sender_does_not_mix_with_the_first(
        peers: tuple[Stream, socket.socket], send: Callable[[Stream, Any], object]) -> None:
    stream, theirs = peers
    data = b"f" * 1_000_000
    first = gevent.spawn(stream.send, data)
    gevent.sleep(0)
    received = theirs.recv(65536)   # the kernel takes more, before the first goes on
    with open(__file__, "rb") as file, pytest.raises(ConcurrentObjectUseError):
        send(stream, file)
    theirs.setblocking(False)
    while len(received) < len(data):
        gevent.sleep(0)
        try:
            received += theirs.recv(65536)
        except BlockingIOError:
            continue
    assert received == data and first.get(timeout=5) is None
    stream.send(b"third")
    assert theirs.recv(10) == b"third"
