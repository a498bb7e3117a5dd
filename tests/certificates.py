"""A certificate authority for tests: certificates and keys as PEM files."""

import datetime
import ssl
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization


class Authority:
    """An authority with its files in one directory.

    Args:
        directory: where the files are written; `ca.pem` is its own certificate.
        name: a prefix of the file names, if there are two authorities.
    """

    def __init__(self, directory: Path, name: str = "") -> None:
        self.directory = directory
        self.name = name
        self._ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.pem = directory / f"{name}ca.pem"
        self._ca.cert_pem.write_to_path(str(self.pem))

    def issue(self, file: str, *names: str, common_name: str | None = None,
              expired: bool = False) -> tuple[str, str]:
        """Write `file.crt` and `file.key` for host names; return both paths."""
        until = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        leaf = self._ca.issue_cert(*names, common_name=common_name,
                                   key_type=trustme.KeyType.ECDSA,
                                   **({"not_after": until} if expired else {}))
        cert, key = self.directory / f"{file}.crt", self.directory / f"{file}.key"
        cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key.write_bytes(leaf.private_key_pem.bytes())
        key.chmod(0o600)
        return str(cert), str(key)

    def encrypt(self, key: str, passphrase: str) -> None:
        """Encrypt a private key in place."""
        found = serialization.load_pem_private_key(Path(key).read_bytes(), None)
        Path(key).write_bytes(found.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(passphrase.encode())))

    def client(self, cert: tuple[str, str] | None = None,
               only: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Return a client context that trusts this authority.

        Args:
            cert: the certificate and key of the client.
            only: the only protocol version to use.
        """
        context = ssl.create_default_context(cafile=str(self.pem))
        if cert is not None:
            context.load_cert_chain(*cert)
        if only is not None:
            context.minimum_version = context.maximum_version = only
        return context
