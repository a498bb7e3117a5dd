"""Signatures of announcements: ours, that of a real uWSGI, wrong ones and wrong keys."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from geventuwsgi.errors import ConfigError, ProtocolError
from geventuwsgi.net import signature
from geventuwsgi.net.signature import Signer, Verifier
from geventuwsgi.protocol import subscription
from geventuwsgi.protocol.subscription import Announcement
from tests.harness import ROOT

# What uWSGI 2.1 (6cbb217, built with OpenSSL) sent with subscribe2 = ...,sign=SHA256:private.pem,
# and the public part of that key.
OF_UWSGI = base64.b64decode("""
4IwBAAMAa2V5DABzaG9wLmV4YW1wbGUHAGFkZHJlc3MPADEyNy4wLjAuMTozODY1NwkAbW9kaWZpZXIxAQAwCQBtb2Rp
ZmllcjIBADAFAGNvcmVzAQAxBABsb2FkAQAwBgB3ZWlnaHQBADEGAGJhY2t1cAEAMAQAdW5peAoAMTc5NjA2ODA3NQQA
c2lnbgABq+07qbhdPAVA28VmBQLsoXaYIQs8mUKmGQNplCY4ac9pHZeBH80ecSyNUzHApCvYXT7FdVSM5mIit36h9cjt
TlbG5UEopuE4odRRnpWxQlUjEYIIo8ci36/qYCibrGjykolG25oO/RmjOv7TdaAk3f9aULASLI/vwu59tTJ417M+zLcl
j4kxcjJvBJs5TeeUZsNKRP7kKkoIVurTBM42q+twUG6GlgS1EbIqQ0AD22LIU2WfCgA+GPH33fkAHmX9aXRowXG72SeV
m6JSVyI9H+eeI5YTPb5kwp/TiR/q97rebko72+PxuirPLTyFI0+FFrtmrUDrJ3BqCxn3TuzYAA==
""")
PUBLIC = """
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA2ODVDx2ip0conI0tdGq9
u1m7fpO834Io92Ws5X8DO0b6VNv18JqiSodqNWLALU368RWGnrm5xtvV3cuDm+WD
cQvqVYUxzDATpk4CNXz4s3Dsfn7HxibF2eLltXsML8DLBfaVGot5l9nIfbs5Hd47
KuUozKR3wCI/nl9dGuXOSUUYz4kteHd9PF6rZofcJGRf8xmH5lShr+pQ7Va03Cm1
JR8WIzbXZeCtkjEUgMh3GmQxmd25v+RGXN9shJPOqIz4WP2J4awexxdBsmJfpLZR
C6WNot6OFydqhEzG+Qfdmpm5FoOZnQpZ0QjskRl0WrkmL58QsOHr7yvNNNu8GxVZ
JQIDAQAB
-----END PUBLIC KEY-----
"""


def pem_of(key) -> tuple[bytes, bytes]:
    """Return the private and the public part of a key."""
    return (key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                              serialization.NoEncryption()),
            key.public_key().public_bytes(serialization.Encoding.PEM,
                                          serialization.PublicFormat.SubjectPublicKeyInfo))


@pytest.fixture(scope="module")
def pem() -> tuple[bytes, bytes]:
    return pem_of(rsa.generate_private_key(65537, 2048))


def test_a_datagram_of_uwsgi(tmp_path: Path) -> None:
    (tmp_path / "shop.example.pem").write_text(PUBLIC)
    one = subscription.parse(OF_UWSGI)
    assert (one.key, one.address, one.unix) == ("shop.example", "127.0.0.1:38657", 1796068075)
    block, found = subscription.signature_of(OF_UWSGI)
    Verifier("SHA256", str(tmp_path)).check(one.key, block, found)
    for digest, signed in (("SHA1", block), ("SHA256", block[:-1]), ("SHA256", b"")):
        with pytest.raises(ProtocolError, match="its signature is not that of"):
            Verifier(digest, str(tmp_path)).check(one.key, signed, found)


@pytest.mark.parametrize("digest", signature.DIGESTS)
def test_our_own(tmp_path: Path, digest: str, pem: tuple[bytes, bytes]) -> None:
    (tmp_path / "a_b_example.COM-1.pem").write_bytes(pem[1])
    data = subscription.encode(Announcement(False, "a/b:example.COM-1", "/x", unix=7),
                               Signer(digest, pem[0]))
    assert subscription.parse(data).unix == 7
    Verifier(digest, str(tmp_path)).check("a/b:example.COM-1", *subscription.signature_of(data))


def test_a_key_that_changes_is_read_again(tmp_path: Path, pem: tuple[bytes, bytes]) -> None:
    verifier, signed = Verifier("SHA256", str(tmp_path)), Signer("SHA256", pem[0])(b"x")
    for name, text, reason in (
            ("none", None, "No such file"), ("a", b"", "Unable to load PEM|Valid PEM|PEM"),
            ("a", pem_of(ec.generate_private_key(ec.SECP256R1()))[1], "not a public key of RSA"),
            ("a", pem[0], "PEM|deserialize"), ("a", PUBLIC.encode(), "its signature is not")):
        if text is not None:
            (tmp_path / "new").write_bytes(text)
            os.replace(tmp_path / "new", tmp_path / "a.pem")
        with pytest.raises(ProtocolError, match=reason) as caught:
            verifier.check(name, b"x", signed)
        assert caught.value.status == 403
    (tmp_path / "a.pem").unlink()
    (tmp_path / "a.pem").write_bytes(pem[1])
    verifier.check("a", b"x", signed)


@pytest.mark.parametrize("text", ["", "SHA1", "SHA1:", ":/x", "MD5:/x", "/x", "sha-256:/x"])
def test_wrong_texts(text: str) -> None:
    with pytest.raises(ValueError, match="is not of the form DIGEST:PATH"):
        signature.parse(text)
    assert signature.parse("sha256:/a:b") == ("SHA256", "/a:b")


def test_wrong_private_keys(pem: tuple[bytes, bytes]) -> None:
    for wrong in (b"", pem[1], pem_of(ec.generate_private_key(ec.SECP256R1()))[0]):
        with pytest.raises(ConfigError):
            Signer("SHA256", wrong)


def test_without_the_library() -> None:
    code = ("import sys; sys.modules['cryptography'] = None\n"
            "from geventuwsgi.net.signature import Verifier\nVerifier('SHA1', '/')")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "pip install 'geventuwsgi[signatures]'" in done.stderr
