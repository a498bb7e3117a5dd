"""Who may announce: this machine, those that sign, the owners of files."""

import os
from pathlib import Path
from time import time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from geventuwsgi.errors import ProtocolError
from geventuwsgi.net.signature import Signer, Verifier
from geventuwsgi.protocol import subscription
from geventuwsgi.protocol.subscription import Announcement
from geventuwsgi.router.senders import Senders
from tests.net.test_signature import pem_of

ELSEWHERE = ("192.0.2.7", 5)
HERE = ("127.0.0.1", 5)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Senders, Signer]:
    """A check of signatures, and what signs for the keys a and b."""
    directory = tmp_path_factory.mktemp("keys")
    private, public = pem_of(rsa.generate_private_key(65537, 2048))
    for name in "ab":
        (directory / f"{name}.pem").write_bytes(public)
    return (Senders(Verifier("SHA256", str(directory)), 60, unsigned=[4321]),
            Signer("SHA256", private))


def datagram(sign: Signer | None = None, **more: object) -> bytes:
    return subscription.encode(Announcement(False, "a", "127.0.0.1:1", unix=int(time()))
                               ._replace(**more), sign)  # type: ignore[arg-type]


def reason(senders: Senders, data: bytes, sender: object = HERE,
           user: tuple[int, int] | None = None) -> str:
    with pytest.raises(ProtocolError) as caught:
        senders.check(data, sender, user)
    return caught.value.reason


def test_without_signatures() -> None:
    senders = Senders()
    assert senders.check(datagram(), HERE, None).uid is None
    assert senders.check(datagram(), None, (7, 8)).uid == 7
    assert "from another machine" in reason(senders, datagram(), ELSEWHERE)
    # The time of a signature that was not checked must not count.
    assert senders.check(datagram(lambda block: b"x"), HERE, None).unix == 0


def test_signatures(signed: tuple[Senders, Signer]) -> None:
    senders, sign = signed
    for sender in (HERE, ELSEWHERE):
        assert senders.check(datagram(sign), sender, None).unix >= time() - 60
        assert reason(senders, datagram(), sender) == "it is not signed"
        assert "there is no usable key" in reason(senders, datagram(sign, key="c"), sender)
        for late in (-100, 100):
            assert "seconds ago" in reason(senders, datagram(sign, unix=int(time()) + late), sender)
    assert reason(senders, datagram(), None, (0, 0)) == "it is not signed"
    assert senders.check(datagram(), None, (4321, 1)).unix == 0


@given(st.data())
def test_a_changed_datagram_is_rejected(signed: tuple[Senders, Signer],
                                        data: st.DataObject) -> None:
    """Except for its fourth byte, which uWSGI does not sign: the time of a leave is later."""
    senders, sign = signed
    octets = bytearray(datagram(sign))
    at = data.draw(st.integers(0, len(octets) - 1).filter(lambda at: at != 3))
    octets[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ProtocolError):
        senders.check(bytes(octets), ELSEWHERE, None)


def test_the_owner_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    me = (os.geteuid(), os.getegid())
    senders = Senders(directories=[str(tmp_path / "none") + "/", f"{tmp_path}/"])
    assert senders.check(datagram(), None, me).uid == me[0]
    for user in ((me[0] + 1, me[1]), (me[0], me[1] + 1), None):
        assert "no file allows" in reason(senders, datagram(), None, user)
    assert "no file allows" in reason(senders, datagram(key="b"), None, me)
    assert "no file allows" in reason(senders, datagram(key=f"../{tmp_path.name}/a"), None, me)
