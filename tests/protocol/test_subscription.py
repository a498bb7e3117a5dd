"""Subscription datagrams: as uWSGI writes them, and malformed ones."""

import pytest

from geventuwsgi.errors import ProtocolError
from geventuwsgi.protocol import subscription, uwsgi
from geventuwsgi.protocol.subscription import Announcement


def packet(leaves: int = 0, **pairs: str) -> bytes:
    return uwsgi.encode(pairs, 224, leaves)


def test_encode_and_parse() -> None:
    announcement = Announcement(False, "example.com", "127.0.0.1:3031", 5, 1, 8, 3, 2)
    assert subscription.parse(subscription.encode(announcement)) == announcement
    assert subscription.parse(subscription.encode(announcement._replace(leaves=True))).leaves


def test_defaults() -> None:
    announcement = subscription.parse(packet(key="Example.COM:80", address="/run/app.sock"))
    assert announcement == Announcement(False, "example.com:80", "/run/app.sock")
    assert subscription.parse(packet(key="k", address="a", weight="0")).weight == 1
    assert subscription.parse(packet(key="k", address="a", sign="x", notify="/x", sni_key="y")) \
        == Announcement(False, "k", "a")


@pytest.mark.parametrize("data", [
    b"", b"\xe0", b"GET / HTTP/1.1\r\n\r\n", packet(key="k", address="a")[:-1],
    packet(key="k", address="a") + b"x", b"\0" + packet(key="k", address="a")[1:],
    packet(2, key="k", address="a"), packet(key="", address="a"), packet(key="k"),
    packet(address="a"), packet(key="k" * 256, address="a"), packet(key="a\nb", address="a"),
    packet(key="k", address="a b"), packet(key="k", address="a", weight="-1"),
    packet(key="k", address="a", weight="1" * 20), packet(key="k", address="a", modifier1="256"),
    packet(key="k", address="a", cores="٣".encode().decode("latin-1")),
    packet(key="k", address="a", filler="x" * 4096),
    b"\xe0\x04\x00\x00\xff\xff\x01\x01", b"\xe0\x03\x00\x00\x01\x00k",
])
def test_malformed_datagrams_are_rejected(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        subscription.parse(data)


def test_a_datagram_that_is_too_large() -> None:
    with pytest.raises(ProtocolError):
        subscription.encode(Announcement(False, "k" * 5000, "a"))
