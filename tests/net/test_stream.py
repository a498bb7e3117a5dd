"""A stream has one reader at a time."""

import socket

import gevent
import pytest
from gevent.exceptions import ConcurrentObjectUseError

from geventuwsgi.net.acceptor import adopt
from geventuwsgi.net.stream import Stream


def test_a_second_reader_does_not_replace_the_first() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(adopt(ours.detach(), socket.AF_UNIX), gevent.get_hub(), 5.0)
    with theirs:
        first = gevent.spawn(stream.receive, 5.0)
        gevent.sleep(0)
        with pytest.raises(ConcurrentObjectUseError):
            stream.receive(5.0)
        theirs.send(b"for the first")
        assert first.get(timeout=5) == b"for the first"
    stream.close()
