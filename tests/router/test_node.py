"""Connections to nodes: name resolution."""

from typing import Any

import gevent
import pytest

from geventuwsgi.errors import ClientDisconnected
from geventuwsgi.net.address import parse
from geventuwsgi.net.stream import Expired
from geventuwsgi.router import node


def test_a_resolver_that_hangs_is_a_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any, **__: Any) -> None:
        gevent.sleep(30)
    monkeypatch.setattr(node, "getaddrinfo", hang)
    stream = node.NodeStream(parse("node.example:80"), gevent.get_hub())
    with pytest.raises(Expired):
        stream.connect(0.05, 1.0)
    stream.close()


def test_an_unknown_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(-2, "Name or service not known")
    monkeypatch.setattr(node, "getaddrinfo", fail)
    stream = node.NodeStream(parse("node.example:80"), gevent.get_hub())
    with pytest.raises(ClientDisconnected, match="no address for the name 'node.example'"):
        stream.connect(5.0, 1.0)
    stream.close()
