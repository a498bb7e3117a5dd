"""Signatures of announcements, as uWSGI makes and checks them: RSA, PKCS #1 v1.5, over the block.

The arithmetic is that of `cryptography`, which is imported where there is a key.
"""

import os
import re
from typing import Any

from ..errors import ConfigError, ProtocolError

DIGESTS = ("SHA1", "SHA224", "SHA256", "SHA384", "SHA512")
_UNSAFE = re.compile(r"[^0-9A-Za-z._-]")
MISSING = "it needs cryptography: pip install 'geventuwsgi[signatures]'"


def parse(text: str) -> tuple[str, str]:
    """Return digest and path of `DIGEST:PATH`.

    Raises:
        ValueError: it has another form.
    """
    digest, colon, path = text.partition(":")
    if not colon or not path or digest.upper() not in DIGESTS:
        raise ValueError(f"{text!r} is not of the form DIGEST:PATH, with a digest of "
                         f"{', '.join(DIGESTS)}")
    return digest.upper(), path


def _algorithm(digest: str) -> tuple[Any, Any]:
    """Return padding and digest for `cryptography`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding
    except ImportError:
        raise ConfigError(MISSING) from None
    return padding.PKCS1v15(), getattr(hashes, digest)()


class Signer:
    """Signs with one key.

    Args:
        digest: one of DIGESTS.
        pem: the private key, without a passphrase.

    Raises:
        ConfigError: it is no RSA key, or `cryptography` is not installed.
    """

    def __init__(self, digest: str, pem: bytes) -> None:
        self._algorithm = _algorithm(digest)
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"no private key without a passphrase: {error}") from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ConfigError("not the private key of RSA")
        self._key = key

    def __call__(self, block: bytes) -> bytes:
        """Return the signature of a block."""
        return self._key.sign(block, *self._algorithm)


class Verifier:
    """Checks signatures with the public keys of a directory.

    Args:
        digest: one of DIGESTS.
        directory: has a file `KEY.pem` for each key of an announcement, with `_` for what is not
            a letter, a digit, `.`, `-` or `_`, as in uWSGI.

    Raises:
        ConfigError: `cryptography` is not installed.
    """

    def __init__(self, digest: str, directory: str) -> None:
        self._algorithm = _algorithm(digest)
        self._directory = directory
        self._keys: dict[str, tuple[int, int, Any]] = {}    # by path: inode, time, public key

    def check(self, name: str, block: bytes, signature: bytes) -> None:
        """Check that a block was signed with the key that belongs to a name.

        Raises:
            ProtocolError: 403, it was not.
        """
        from cryptography.exceptions import InvalidSignature
        path = os.path.join(self._directory, _UNSAFE.sub("_", name) + ".pem")
        try:
            self._key(path).verify(signature, block, *self._algorithm)
        except InvalidSignature:
            raise ProtocolError(403, f"its signature is not that of {path}") from None
        except (OSError, ValueError) as error:
            raise ProtocolError(403, f"there is no usable key {path}: {error}") from None

    def _key(self, path: str) -> Any:
        """Return a public key, which is read again when its file has changed.

        Raises:
            OSError: the file cannot be read.
            ValueError: it has no RSA key.
        """
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
        found = os.stat(path)
        known = self._keys.get(path)
        if known is not None and known[:2] == (found.st_ino, found.st_mtime_ns):
            return known[2]
        with open(path, "rb") as file:
            key = serialization.load_pem_public_key(file.read())
        if not isinstance(key, rsa.RSAPublicKey):
            raise ValueError("not a public key of RSA")
        self._keys[path] = (found.st_ino, found.st_mtime_ns, key)
        return key
