"""The queue of a listening socket has the connections that were not accepted yet."""

import socket

import pytest

from geventuwsgi.net.listen_queue import Backlog, length


def listening(family, tmp_path):
    sock = socket.socket(family)
    sock.bind(str(tmp_path / "x.sock") if family == socket.AF_UNIX else
              ("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
    sock.listen(16)
    return sock


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_a_queue_is_counted(family, tmp_path):
    with listening(family, tmp_path) as sock:
        assert length(sock) == 0
        clients = []
        for number in (1, 2, 3):
            client = socket.socket(family)
            clients.append(client)
            client.connect(sock.getsockname())
            assert length(sock) == number
        sock.accept()[0].close()
        assert length(sock) == 2
        for client in clients:
            client.close()


def test_the_longest_counts(tmp_path):
    with listening(socket.AF_INET, tmp_path) as one, listening(socket.AF_UNIX, tmp_path) as two:
        backlog = Backlog([one, two])
        assert backlog.measurable() and backlog.waiting() == 0
        with socket.create_connection(one.getsockname()), socket.socket(socket.AF_UNIX) as client:
            client.connect(two.getsockname())
            with socket.create_connection(one.getsockname()):
                assert backlog.waiting() == 2


def test_a_queue_that_cannot_be_read_counts_as_empty(tmp_path):
    closed = listening(socket.AF_INET, tmp_path)
    closed.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        backlog = Backlog([closed, other])
        assert backlog.waiting() == 0 and not backlog.measurable()
