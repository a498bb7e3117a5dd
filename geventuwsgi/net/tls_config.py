"""The TLS configuration of a listener as plain values.

They are passed as JSON to the process that makes a context of them (`tls`). This module does
not import `ssl`, which a server without TLS does not need.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import ConfigError


class Certificate(NamedTuple):
    """A certificate with its key, and the host names that it is used for.

    Attributes:
        cert: a PEM file with the certificate and the intermediate ones.
        key: a PEM file with the private key; "" = it is in `cert`.
        ciphers: a list for TLS 1.2 as in OpenSSL; "" = Python's.
        name: a host name, `*.domain`, or with `pattern` a regular expression; "" = any.
        pattern: whether `name` is a regular expression.
        option: the option it comes from, for errors.
    """

    cert: str
    key: str = ""
    ciphers: str = ""
    name: str = ""
    pattern: bool = False
    option: str = ""


class TlsConfig(NamedTuple):
    """The TLS configuration of a listener.

    Attributes:
        certificate: the default, if a client sends no host name or one that matches no other.
        others: certificates chosen by the host name (SNI, RFC 6066 section 3).
        directory: a directory of further ones, as HOST.crt and HOST.key; "" = none.
        directory_ciphers: the ciphers for those.
        ca: a PEM file of the authorities for client certificates; "" = none.
        verify: "none", "optional" or "required": whether clients need a certificate.
        minimum: "TLSv1.2" or "TLSv1.3".
        options: further SSL_OP_* bits.
        passphrase: `file:PATH` or `env:NAME`, where that of encrypted keys is; "" = nowhere.
    """

    certificate: Certificate
    others: tuple[Certificate, ...] = ()
    directory: str = ""
    directory_ciphers: str = ""
    ca: str = ""
    verify: str = "none"
    minimum: str = "TLSv1.2"
    options: int = 0
    passphrase: str = ""

    @classmethod
    def from_json(cls, data: Sequence[Any]) -> "TlsConfig":
        """Recreate a configuration that has gone through JSON."""
        certificate, others, *rest = data
        return cls(Certificate(*certificate), tuple(Certificate(*one) for one in others), *rest)

    def certificates(self) -> list[Certificate]:
        """List the certificates, the default first; the directory is read now.

        Raises:
            ConfigError: the directory cannot be read.
        """
        found = [self.certificate, *self.others]
        if self.directory:
            found += directory_of(self.directory, self.directory_ciphers, "sni-dir")
        return found


def directory_of(path: str, ciphers: str, option: str) -> list[Certificate]:
    """List the certificates of a directory: each `HOST.crt` that has a `HOST.key`.

    Raises:
        ConfigError: it cannot be read, or has authorities for a single host.
    """
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise ConfigError(f"cannot read the directory {path}: {error.strerror}",
                          option=option) from None
    found = []
    for name in names:
        host, dot, kind = name.rpartition(".")
        if kind == "ca" and f"{host}.crt" in names:
            raise ConfigError(f"{path}/{name}: client certificates are required per listener, "
                              f"not per host name: use a separate listener for {host}",
                              option=option)
        if kind == "crt" and dot and f"{host}.key" in names:
            found.append(Certificate(f"{path}/{name}", f"{path}/{host}.key", ciphers, host,
                                     option=option))
    return found
